package store

import (
	"context"
	"database/sql"
	"time"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/services/article/internal/article"
)

var _ article.ImportStore = (*Store)(nil)

// maxSources is the maximum number of sources with one digest that are read.
const maxSources = 100

// Sources implements article.ImportStore.
func (s *Store) Sources(ctx context.Context, prefix string) ([]article.Source, error) {
	return s.sources(ctx, " WHERE i.source >= ? AND i.source < ? ORDER BY i.source", prefix, prefix+"\U0010ffff")
}

// SourcesOf implements article.ImportStore.
func (s *Store) SourcesOf(ctx context.Context, digest string) ([]article.Source, error) {
	return s.sources(ctx, " WHERE i.digest = ? ORDER BY i.source LIMIT ?", digest, maxSources)
}

func (s *Store) sources(ctx context.Context, condition string, values ...any) (found []article.Source, err error) {
	query := "SELECT i.source, i.digest, i.article_id, i.revision, COALESCE(a.revision, 0) FROM " + s.db.Table("import") + " AS i LEFT JOIN " +
		s.db.Table("article") + " AS a ON a.id = i.article_id AND a.is_deleted = 0" + condition
	return found, s.db.Query(ctx, query, values, func(rows *sql.Rows) error {
		var one article.Source
		err := rows.Scan(&one.Name, &one.Digest, &one.ArticleID, &one.Revision, &one.Current)
		found = append(found, one)
		return err
	})
}

// Import implements article.ImportStore.
func (s *Store) Import(ctx context.Context, file article.Import) (done article.Imported, err error) {
	// Not in the transaction: it must not take its snapshot before it waits for another import.
	known, err := s.sources(ctx, " WHERE i.source = ?", file.Source)
	if err != nil {
		return done, err
	}
	file.CreatedAt, file.UpdatedAt = passed(file.CreatedAt), passed(file.UpdatedAt)
	err = s.db.InTx(ctx, func(tx *gorm.DB) error {
		source, err := s.lockSource(tx, file, len(known) > 0)
		if err != nil {
			return err
		}
		before, err := s.lockImported(tx, &source)
		if err != nil {
			return err
		}
		done = article.Imported{Outcome: source.Outcome(file.Digest, file.Force), ArticleID: source.ArticleID}
		var written article.Article
		switch done.Outcome {
		case article.Created:
			written, err = s.importNew(tx, file)
		case article.Updated:
			written, err = s.importAgain(tx, file, before)
		default:
			return nil
		}
		if err != nil {
			return err
		}
		done.ArticleID, done.Slug = written.ID, written.Slug
		_, err = s.db.Exec(tx, "UPDATE "+s.db.Table("import")+" SET updated_at = ?, digest = ?, article_id = ?, revision = ? WHERE source = ?",
			tx.NowFunc(), file.Digest, written.ID, written.Revision, file.Source)
		return err
	})
	return done, s.unknownTags(ctx, tagIDs(file.Draft), err)
}

// lockSource returns what was imported from a file, and locks it until the transaction ends.
// Unless it is known to exist, lockSource inserts it: an import of the same file that runs at the
// same time waits for that, and locking a row that doesn't exist would lock the gap around it.
func (s *Store) lockSource(tx *gorm.DB, file article.Import, known bool) (found article.Source, err error) {
	table, now := s.db.Table("import"), tx.NowFunc()
	if file.Former != "" && !known {
		known, err = one(s.db.Exec(tx, s.updateIgnore()+table+" SET source = ?, updated_at = ? WHERE source = ? AND digest = ?", file.Source, now, file.Former, file.Digest))
		if err != nil {
			return found, err
		}
	}
	if !known {
		if _, err := s.db.Exec(tx, s.insertIgnore()+table+" (source, created_at, updated_at, digest, article_id, revision) VALUES (?, ?, ?, '', 0, 0)", file.Source, now, now); err != nil {
			return found, err
		}
	}
	return found, s.db.QueryIn(tx, "SELECT source, digest, article_id, revision FROM "+table+" WHERE source = ?"+s.forUpdate(), []any{file.Source}, func(rows *sql.Rows) error {
		return rows.Scan(&found.Name, &found.Digest, &found.ArticleID, &found.Revision)
	})
}

// lockImported locks the article of a source, sets source.Current, and returns it; a zero row if
// it is deleted.
func (s *Store) lockImported(tx *gorm.DB, source *article.Source) (row articleRow, err error) {
	if source.ArticleID == 0 {
		return row, nil
	}
	err = s.db.QueryIn(tx, "SELECT id, revision, created_at, updated_at FROM "+s.db.Table("article")+" WHERE id = ? AND is_deleted = 0"+s.forUpdate(), []any{source.ArticleID}, func(rows *sql.Rows) error {
		return rows.Scan(&row.ID, &row.Revision, &row.CreatedAt, &row.UpdatedAt)
	})
	source.Current = row.Revision
	return row, err
}

// importNew creates the article of a file.
func (s *Store) importNew(tx *gorm.DB, file article.Import) (article.Article, error) {
	created, err := s.createIn(tx, []article.Draft{file.Draft}, whole)
	if err != nil {
		return article.Article{}, err
	}
	if err := s.announceNew(tx, created); err != nil {
		return article.Article{}, err
	}
	if file.UpdatedAt.IsZero() {
		file.UpdatedAt = file.CreatedAt
	}
	return created[0], s.setTimes(tx, created[0], file)
}

// importAgain changes the article of a file.
func (s *Store) importAgain(tx *gorm.DB, file article.Import, before articleRow) (article.Article, error) {
	updated, err := s.updateIn(tx, before.ID, file.Draft, nil)
	if err != nil {
		return updated, err
	}
	moved := differs(file.CreatedAt, before.CreatedAt) || differs(file.UpdatedAt, before.UpdatedAt)
	if moved && updated.Revision == before.Revision {
		updated.Revision++
		if err := s.addChange(tx, before.ID, updated.State, updated.State); err != nil {
			return updated, err
		}
	}
	return updated, s.setTimes(tx, updated, file)
}

// passed returns a time that has passed, and the zero time for one that is still to come.
func passed(at time.Time) time.Time {
	if at.After(time.Now()) {
		return time.Time{}
	}
	return at
}

// differs reports whether a time that is given is another one than is stored.
func differs(given, stored time.Time) bool {
	return !given.IsZero() && !given.Truncate(time.Millisecond).Equal(stored)
}

// setTimes sets the times of an article that the file gives, and its revision.
func (s *Store) setTimes(tx *gorm.DB, a article.Article, file article.Import) error {
	set, values := "revision = ?", []any{a.Revision}
	if !file.CreatedAt.IsZero() {
		set, values = set+", created_at = ?", append(values, file.CreatedAt)
	}
	if !file.UpdatedAt.IsZero() {
		set, values = set+", updated_at = ?", append(values, file.UpdatedAt)
	}
	_, err := s.db.Exec(tx, "UPDATE "+s.db.Table("article")+" SET "+set+" WHERE id = ?", append(values, a.ID)...)
	return err
}
