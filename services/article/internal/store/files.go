package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/services/article/internal/file"
)

// maxUsersShown is the number of articles that the error of a file in use names.
const maxUsersShown = 10

// Files is a file.Store in MySQL, MariaDB or SQLite.
type Files struct {
	db        *database.DB
	retention time.Duration
	files     *coalesce.Group[uint64, file.File]
	lists     *coalesce.Group[filesKey, *file.List]
}

var _ file.Store = (*Files)(nil)

// filesKey is what a list of files depends on.
type filesKey struct {
	file.Filter
	file.Page
}

// NewFiles returns a store in db, whose schema must be current. An upload under an
// Idempotency-Key can be repeated for the given retention.
func NewFiles(db *database.DB, retention time.Duration) *Files {
	f := &Files{db: db, retention: retention}
	f.files = coalesce.New(coalesce.Config{Timeout: db.Timeout()}, f.read)
	f.lists = coalesce.NewSingle(coalesce.Config{MaxWaiting: maxListsWaiting, Timeout: db.Timeout()}, f.list)
	return f
}

// Begin implements file.Store.
func (f *Files) Begin(ctx context.Context, client string, files []file.File, quota file.Quota) (room bool, err error) {
	sizes := map[file.Digest]int64{}
	digests := make([]file.Digest, 0, len(files))
	for _, one := range files {
		sizes[one.Digest] = one.Size
		digests = append(digests, one.Digest)
	}
	sortDigests(digests)
	digests = slices.Compact(digests)
	err = f.db.InTx(ctx, func(tx *gorm.DB) error {
		used, err := f.usage(tx, client)
		if room = used.plus(files).within(quota); err != nil || !room {
			return err
		}
		values := make([]any, 0, 3*len(digests))
		for _, digest := range digests {
			values = append(values, digest[:], sizes[digest], tx.NowFunc())
		}
		_, err = f.db.Exec(tx, "INSERT INTO "+f.db.Table("blob")+" (sha256, size, unused_since) VALUES (?, ?, ?)"+strings.Repeat(", (?, ?, ?)", len(digests)-1)+
			f.onConflict("sha256", "unused_since = VALUES(unused_since)", "unused_since = excluded.unused_since"), values...)
		return err
	})
	return room, err
}

// onConflict returns the end of an INSERT of rows whose key may exist.
func (f *Files) onConflict(key, mysql, sqlite string) string {
	if f.db.Dialect() == database.SQLite {
		return " ON CONFLICT (" + key + ") DO UPDATE SET " + sqlite
	}
	return " ON DUPLICATE KEY UPDATE " + mysql
}

// sortDigests makes transactions lock rows in the same order.
func sortDigests(digests []file.Digest) {
	slices.SortFunc(digests, func(a, b file.Digest) int { return cmp.Compare(string(a[:]), string(b[:])) })
}

// usage is what the files of a client take, or a change of it.
type usage struct{ files, bytes int64 }

func (u usage) plus(files []file.File) usage {
	for _, one := range files {
		u.files++
		u.bytes += one.Size
	}
	return u
}

func (u usage) within(quota file.Quota) bool { return u.files <= quota.Files && u.bytes <= quota.Bytes }

func (f *Files) usage(tx *gorm.DB, client string) (used usage, err error) {
	err = f.db.QueryIn(tx, "SELECT files, bytes FROM "+f.db.Table("file_usage")+" WHERE client = ?", []any{client}, func(rows *sql.Rows) error {
		return rows.Scan(&used.files, &used.bytes)
	})
	return used, err
}

// use changes the usage of a client, and locks it until the transaction ends.
func (f *Files) use(tx *gorm.DB, client string, change usage) error {
	_, err := f.db.Exec(tx, "INSERT INTO "+f.db.Table("file_usage")+" (client, files, bytes) VALUES (?, ?, ?)"+f.onConflict("client",
		"files = files + VALUES(files), bytes = bytes + VALUES(bytes)", "files = files + excluded.files, bytes = bytes + excluded.bytes"),
		client, change.files, change.bytes)
	return err
}

// Create implements file.Store.
func (f *Files) Create(ctx context.Context, client string, files []file.File, quota file.Quota, key idempotency.Key) (created []file.File, replayed bool, err error) {
	created, replayed, err = replay.Create(ctx, f.db, key, f.retention, func(tx *gorm.DB) ([]file.File, error) {
		return f.insertWithin(tx, client, files, quota)
	}, func(tx *gorm.DB, created []file.File) error { return f.setUnused(tx, created, nil) })
	return created, replayed, collected(err)
}

// collected returns the error of files whose bytes may be missing.
func collected(err error) error {
	if errors.Is(err, database.ErrForeignKey) {
		err = errors.Join(file.ErrCollected, err)
	}
	return err
}

// CreateOnce implements file.Store. The usage of the client is locked before the files are read,
// so calls wait for each other, and see what the one before has created.
func (f *Files) CreateOnce(ctx context.Context, client string, one file.File, quota file.Quota) (created file.File, err error) {
	err = f.db.InTx(ctx, func(tx *gorm.DB) error {
		if err := f.use(tx, client, usage{}); err != nil {
			return err
		}
		found := false
		query := "SELECT " + fileColumns + " FROM " + f.db.Indexed("file", "file_sha256") + " WHERE sha256 = ? AND created_by = ? AND name = ? ORDER BY id LIMIT 1"
		err := f.db.QueryIn(tx, query, []any{one.Digest[:], client, one.Name}, func(rows *sql.Rows) (err error) {
			created, found, err = scanFile(rows)
			return err
		})
		if err != nil {
			return err
		}
		if !found {
			inserted, err := f.insertWithin(tx, client, []file.File{one}, quota)
			if err != nil {
				return err
			}
			created = inserted[0]
		}
		return f.setUnused(tx, []file.File{created}, nil)
	})
	return created, collected(err)
}

// insertWithin inserts files, unless the client would have more than its quota.
func (f *Files) insertWithin(tx *gorm.DB, client string, files []file.File, quota file.Quota) ([]file.File, error) {
	if err := f.use(tx, client, usage{}.plus(files)); err != nil {
		return nil, err
	}
	used, err := f.usage(tx, client)
	if err == nil && !used.within(quota) {
		err = file.QuotaExceeded(quota)
	}
	if err != nil {
		return nil, err
	}
	return f.insert(tx, client, files)
}

// insert inserts files, and returns them with their ids and times.
func (f *Files) insert(tx *gorm.DB, client string, files []file.File) ([]file.File, error) {
	created := slices.Clone(files)
	for i := range created {
		c := &created[i]
		c.CreatedAt, c.CreatedBy = tx.NowFunc(), client
		var err error
		c.ID, err = f.db.Insert(tx, "file", []string{"created_at", "created_by", "name", "size", "type", "sha256", "width", "height"},
			c.CreatedAt, c.CreatedBy, c.Name, c.Size, c.Type, c.Digest[:], c.Width, c.Height)
		if err != nil {
			return nil, err
		}
	}
	return created, nil
}

// setUnused sets the time since which bytes are unused, nil if they are used.
func (f *Files) setUnused(tx *gorm.DB, files []file.File, since any) error {
	digests := make([]file.Digest, 0, len(files))
	for _, one := range files {
		digests = append(digests, one.Digest)
	}
	sortDigests(digests)
	for _, digest := range slices.Compact(digests) {
		if _, err := f.db.Exec(tx, "UPDATE "+f.db.Table("blob")+" SET unused_since = ? WHERE sha256 = ?", since, digest[:]); err != nil {
			return err
		}
	}
	return nil
}

const fileColumns = "id, created_at, created_by, name, size, type, sha256, width, height"

// scanFile returns a file of the current row, which has columns before those of the file.
func scanFile(rows *sql.Rows, before ...any) (found file.File, ok bool, err error) {
	var id, size, width, height sql.NullInt64
	var createdAt sql.NullTime
	var createdBy, name, mediaType sql.NullString
	var digest []byte
	if err := rows.Scan(append(before, &id, &createdAt, &createdBy, &name, &size, &mediaType, &digest, &width, &height)...); err != nil || !id.Valid {
		return found, false, err
	}
	found = file.File{
		ID: uint64(id.Int64), Name: name.String, Size: size.Int64, Type: mediaType.String, Width: int(width.Int64), Height: int(height.Int64), // #nosec G115 -- ids are positive
		CreatedAt: createdAt.Time.UTC(), CreatedBy: createdBy.String,
	}
	copy(found.Digest[:], digest)
	return found, true, nil
}

// Get implements file.Store. Calls that wait at the same time share a query.
func (f *Files) Get(ctx context.Context, id uint64) (file.File, error) {
	if id > largestID {
		return file.File{}, errcode.New(errcode.FileNotFound)
	}
	found, ok, err := f.files.Get(ctx, id)
	if err == nil && !ok {
		err = errcode.New(errcode.FileNotFound)
	}
	return found, err
}

func (f *Files) read(ctx context.Context, ids []uint64) (map[uint64]file.File, error) {
	marks, values := database.In(ids)
	files := make(map[uint64]file.File, len(ids))
	return files, f.db.Query(ctx, "SELECT "+fileColumns+" FROM "+f.db.Table("file")+" WHERE id IN ("+marks+")", values, func(rows *sql.Rows) error {
		one, _, err := scanFile(rows)
		files[one.ID] = one
		return err
	})
}

// List implements file.Store. Calls that wait at the same time share a query.
func (f *Files) List(ctx context.Context, filter file.Filter, page file.Page) (*file.List, error) {
	found, _, err := f.lists.Get(ctx, filesKey{filter, page})
	return found, err
}

// list reads a page of files and their total, which is that of the usage, in one statement.
func (f *Files) list(ctx context.Context, key filesKey) (*file.List, error) {
	total := "SELECT COALESCE(SUM(files), 0) FROM " + f.db.Table("file_usage")
	page := statement{text: "SELECT " + fileColumns + " FROM " + f.db.Table("file") + " WHERE 1 = 1"}
	var values []any
	if key.CreatedBy != "" {
		total += " WHERE client = ?"
		values = append(values, key.CreatedBy)
		page.and("created_by = ?", key.CreatedBy)
	}
	if key.After > 0 {
		page.and("id < ?", key.After)
	}
	page.text += " ORDER BY id DESC LIMIT ? OFFSET ?"
	page.values = append(page.values, key.Limit+1, key.Offset)
	stmt := withColumns(statement{"(" + total + ") AS total", values}, page, " ORDER BY id DESC")
	list := &file.List{Files: []file.File{}}
	err := f.db.Query(ctx, stmt.text, stmt.values, func(rows *sql.Rows) error {
		one, ok, err := scanFile(rows, &list.Total)
		if ok {
			list.Files = append(list.Files, one)
		}
		return err
	})
	list.More = len(list.Files) > key.Limit
	list.Files = list.Files[:min(len(list.Files), key.Limit)]
	return list, err
}

// Delete implements file.Store.
func (f *Files) Delete(ctx context.Context, id uint64) error {
	if id > largestID {
		return errcode.New(errcode.FileNotFound)
	}
	return f.db.InTx(ctx, func(tx *gorm.DB) error {
		found, err := f.locked(tx, id)
		if err != nil {
			return err
		}
		if err := f.unused(tx, id); err != nil {
			return err
		}
		if _, err := f.db.Exec(tx, "DELETE FROM "+f.db.Table("file")+" WHERE id = ?", id); err != nil {
			return err
		}
		// Whether others have the same bytes is seen when they are collected.
		if err := f.setUnused(tx, []file.File{found}, tx.NowFunc()); err != nil {
			return err
		}
		return f.use(tx, found.CreatedBy, usage{-1, -found.Size})
	})
}

// locked returns a file, and locks it until the transaction ends: no article can get it as
// its cover meanwhile, and those that were getting it are committed.
func (f *Files) locked(tx *gorm.DB, id uint64) (found file.File, err error) {
	ok := false
	err = f.db.QueryIn(tx, "SELECT "+fileColumns+" FROM "+f.db.Table("file")+" WHERE id = ?"+forUpdate(f.db), []any{id}, func(rows *sql.Rows) (err error) {
		found, ok, err = scanFile(rows)
		return err
	})
	if err == nil && !ok {
		err = errcode.New(errcode.FileNotFound)
	}
	return found, err
}

// forUpdate returns the end of a query that locks its rows. On SQLite, a transaction of InTx
// has locked everything.
func forUpdate(db *database.DB) string {
	if db.Dialect() == database.SQLite {
		return ""
	}
	return " FOR UPDATE"
}

// unused returns an error if an article that is not deleted has the file as its cover.
func (f *Files) unused(tx *gorm.DB, id uint64) error {
	var articles []file.Article
	err := f.db.QueryIn(tx, "SELECT id, title FROM "+f.db.Indexed("article", "article_cover")+" WHERE cover_file_id = ? AND is_deleted = 0 ORDER BY id LIMIT ?",
		[]any{id, maxUsersShown + 1}, func(rows *sql.Rows) error {
			var a file.Article
			err := rows.Scan(&a.ID, &a.Title)
			articles = append(articles, a)
			return err
		})
	if err != nil || len(articles) == 0 {
		return err
	}
	return file.InUse(articles[:min(len(articles), maxUsersShown)], len(articles) > maxUsersShown)
}
