package store

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/services/article/internal/search"
)

const (
	// sortedEntries is the number of entries that Reindex sorts before it inserts them: it
	// then changes the pages of the index one after another.
	sortedEntries = 500_000
	// readAtOnce is the number of titles or entries that it reads at a time, and
	// lockedAtOnce the number of entries whose articles it locks.
	readAtOnce, lockedAtOnce = 5000, 1000
)

// Reindex compares the index of titles with the titles, adds the entries that are missing
// and removes those that are wrong. Writes go on in the meantime: those of the same
// articles wait for moments.
func (s *Store) Reindex(ctx context.Context) (added, removed int64, err error) {
	if added, err = s.addMissing(ctx); err != nil {
		return added, 0, err
	}
	removed, err = s.removeWrong(ctx)
	return added, removed, err
}

func (s *Store) addMissing(ctx context.Context) (added int64, err error) {
	for last, more := uint64(0), true; more; {
		titles, entries := map[uint64]string{}, []titleEntry(nil)
		for more && len(entries) < sortedEntries {
			var rows []articleRow
			if err := s.db.Read(ctx, func(db *gorm.DB) error {
				return db.Raw("SELECT a.id, a.title FROM "+s.titles("a")+" WHERE a.is_deleted = 0 AND a.id > ? ORDER BY a.id LIMIT ?", last, readAtOnce).Scan(&rows).Error
			}); err != nil {
				return added, err
			}
			for _, row := range rows {
				last = row.ID
				titles[row.ID] = row.Title
				entries = appendEntries(entries, row.ID, search.Grams(row.Title))
			}
			more = len(rows) == readAtOnce
		}
		slices.SortFunc(entries, func(a, b titleEntry) int { return cmp.Or(bytes.Compare(a.gram, b.gram), cmp.Compare(a.id, b.id)) })
		n, err := s.withTitles(ctx, entries, func(tx *gorm.DB, entries []titleEntry, current map[uint64]string) (int64, error) {
			return s.addEntries(tx, slices.DeleteFunc(entries, func(e titleEntry) bool {
				title := current[e.id]
				return title != titles[e.id] && !slices.Contains(search.Grams(title), string(e.gram))
			}))
		})
		if added += n; err != nil {
			return added, err
		}
	}
	return added, nil
}

func (s *Store) removeWrong(ctx context.Context) (removed int64, err error) {
	last := titleEntry{gram: []byte{}}
	for {
		entries, wrong, err := s.nextEntries(ctx, "c.gram = ? AND c.article_id > ?", last.gram, last.id)
		if err == nil && len(entries) == 0 {
			entries, wrong, err = s.nextEntries(ctx, "c.gram > ?", last.gram)
		}
		if err != nil || len(entries) == 0 {
			return removed, err
		}
		last = entries[len(entries)-1]
		n, err := s.withTitles(ctx, wrong, s.removeIfWrong)
		if removed += n; err != nil {
			return removed, err
		}
	}
}

// nextEntries returns the next entries that meet a condition, and those whose gram the title
// doesn't contain.
func (s *Store) nextEntries(ctx context.Context, condition string, values ...any) (entries, wrong []titleEntry, err error) {
	var rows []struct {
		Gram      []byte
		ArticleID uint64
		Title     string // "" if the article is deleted
	}
	err = s.db.Read(ctx, func(db *gorm.DB) error {
		return db.Raw("SELECT c.gram, c.article_id, COALESCE(a.title, '') AS title FROM "+s.db.Table("article_gram")+" AS c LEFT JOIN "+s.titles("a")+
			" ON a.is_deleted = 0 AND a.id = c.article_id WHERE "+condition+" ORDER BY c.gram, c.article_id LIMIT ?", append(values, readAtOnce)...).Scan(&rows).Error
	})
	for _, row := range rows {
		entries = append(entries, titleEntry{row.Gram, row.ArticleID})
		if !strings.Contains(search.Fold(row.Title), string(row.Gram)) {
			wrong = append(wrong, entries[len(entries)-1])
		}
	}
	return entries, wrong, err
}

// removeIfWrong deletes those of the entries whose gram the current title doesn't contain.
func (s *Store) removeIfWrong(tx *gorm.DB, entries []titleEntry, current map[uint64]string) (removed int64, err error) {
	for _, e := range entries {
		if strings.Contains(search.Fold(current[e.id]), string(e.gram)) {
			continue
		}
		n, err := s.removeEntries(tx, e.id, []string{string(e.gram)})
		if err != nil {
			return 0, err
		}
		removed += n
	}
	return removed, nil
}

// withTitles calls change with some of the entries at a time, in transactions that lock
// their articles, and with the titles of those that exist. It returns the sum of what
// change returns.
func (s *Store) withTitles(ctx context.Context, entries []titleEntry, change func(*gorm.DB, []titleEntry, map[uint64]string) (int64, error)) (sum int64, err error) {
	for chunk := range slices.Chunk(entries, lockedAtOnce) {
		ids := make([]uint64, 0, len(chunk))
		for _, e := range chunk {
			ids = append(ids, e.id)
		}
		var n int64
		if err := s.db.InTx(ctx, func(tx *gorm.DB) error {
			var rows []articleRow
			if err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Select("id", "title").Where("id IN ?", ids).Find(&rows).Error; err != nil {
				return err
			}
			titles := make(map[uint64]string, len(rows))
			for _, row := range rows {
				titles[row.ID] = row.Title
			}
			n, err = change(tx, slices.Clone(chunk), titles)
			return err
		}); err != nil {
			return sum, err
		}
		sum += n
	}
	return sum, nil
}
