package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

const (
	// exportIDs is the number of articles whose sizes are read at once.
	exportIDs = 200
	// exportRows and exportBytes are the number of articles that are read at once, and the size
	// of their contents, of which one may be larger.
	exportRows, exportBytes = 32, 1 << 20
)

// sized is an article with the size of its content in bytes.
type sized struct {
	id   uint64
	size int64
}

// Export implements article.Store.
func (s *Store) Export(ctx context.Context, viewer article.Viewer, after uint64, limit time.Duration, use func(article.Article) error) error {
	return s.db.LongSnapshot(ctx, limit, func(tx *gorm.DB) error {
		began, err := s.schedule(tx) // also begins the snapshot
		if err != nil {
			return err
		}
		for {
			next, err := s.exportedAfter(tx, viewer, began, after)
			if err != nil || len(next) == 0 {
				return err
			}
			for rest := next; len(rest) > 0; {
				n := exportedAtOnce(rest)
				if err := s.exportChunk(tx, began, rest[:n], use); err != nil {
					return err
				}
				rest = rest[n:]
			}
			after = next[len(next)-1].id
		}
	})
}

// exportedAfter returns the next articles behind an id that a viewer may see at the time of the
// schedule.
func (s *Store) exportedAfter(tx *gorm.DB, viewer article.Viewer, at schedule, after uint64) ([]sized, error) {
	if viewer == article.Authenticated {
		return s.exportedIn(tx, "article_is_deleted", "", after)
	}
	next, err := s.exportedIn(tx, "article_is_deleted_state", fmt.Sprintf("state = %d AND ", article.Enabled), after)
	if err != nil || !at.due() {
		return next, err
	}
	due, err := s.exportedIn(tx, "article_published", fmt.Sprintf("state = %d AND published_at <= %s AND ", article.Scheduled, s.moment(at.now.Time)), after)
	next = append(next, due...)
	slices.SortFunc(next, func(a, b sized) int { return cmp.Compare(a.id, b.id) })
	return next[:min(len(next), exportIDs)], err
}

// exportedIn returns the next articles behind an id that an index has under a condition.
func (s *Store) exportedIn(tx *gorm.DB, index, condition string, after uint64) (next []sized, err error) {
	query := "SELECT id, " + contentSize + " FROM " + s.db.Indexed("article", index) + " WHERE is_deleted = 0 AND " + condition + "id > ? ORDER BY id LIMIT ?"
	return next, s.db.QueryIn(tx, query, []any{min(after, largestID), exportIDs}, func(rows *sql.Rows) error {
		var one sized
		err := rows.Scan(&one.id, &one.size)
		next = append(next, one)
		return err
	})
}

// exportedAtOnce returns how many of the articles are read at once, at least one.
func exportedAtOnce(articles []sized) (n int) {
	var bytes int64
	for n < min(len(articles), exportRows) && (n == 0 || bytes+articles[n].size <= exportBytes) {
		bytes += articles[n].size
		n++
	}
	return n
}

// exportChunk reads articles as they are at the time of the schedule, and calls use for each of
// them, in the order of their ids.
func (s *Store) exportChunk(tx *gorm.DB, at schedule, chunk []sized, use func(article.Article) error) error {
	ids := make([]uint64, 0, len(chunk))
	for _, one := range chunk {
		ids = append(ids, one.id)
	}
	marks, values := database.In(ids)
	found := make([]article.Article, 0, len(ids))
	var row readRow // of each article in turn
	columns := row.columns()
	err := s.db.QueryIn(tx, "SELECT "+s.readColumns(s.moment(at.now.Time))+"content, "+s.tagsOf("a")+" FROM "+s.db.Table("article")+" AS a WHERE id IN ("+marks+")", values, func(rows *sql.Rows) error {
		if err := rows.Scan(columns...); err != nil {
			return err
		}
		tags, err := parseTags(row.tags.String)
		row.Content = row.text.String
		found = append(found, row.article(tags))
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b article.Article) int { return cmp.Compare(a.ID, b.ID) })
	for _, a := range found {
		if err := use(a); err != nil {
			return err
		}
	}
	return nil
}
