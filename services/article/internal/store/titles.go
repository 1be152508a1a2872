package store

import (
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/search"
)

// titleEntry is an entry of the index of titles.
type titleEntry struct {
	gram []byte
	id   uint64
}

// titles returns the index that has the titles, with an alias.
func (s *Store) titles(alias string) string {
	return s.db.Indexed("article AS "+alias, "article_title")
}

// indexTitle changes the entries of an article from those of one title to those of
// another one. A title is "" if the article doesn't exist.
func (s *Store) indexTitle(tx *gorm.DB, id uint64, before, after string) error {
	if before == after {
		return nil
	}
	old, current := search.Grams(before), search.Grams(after)
	if _, err := s.removeEntries(tx, id, without(old, current)); err != nil {
		return err
	}
	added := without(current, old)
	_, err := s.addEntries(tx, appendEntries(make([]titleEntry, 0, len(added)), id, added))
	return err
}

func appendEntries(entries []titleEntry, id uint64, grams []string) []titleEntry {
	for _, gram := range grams {
		entries = append(entries, titleEntry{[]byte(gram), id})
	}
	return entries
}

// insertIgnore returns the beginning of an INSERT that leaves out rows whose keys exist.
func (s *Store) insertIgnore() string {
	if s.db.Dialect() == database.SQLite {
		return "INSERT OR IGNORE INTO "
	}
	return "INSERT IGNORE INTO "
}

// updateIgnore is like insertIgnore, for UPDATE: it leaves rows as they are that would get the
// key of another one.
func (s *Store) updateIgnore() string {
	if s.db.Dialect() == database.SQLite {
		return "UPDATE OR IGNORE "
	}
	return "UPDATE IGNORE "
}

// forUpdate returns the end of a query that locks the rows it reads until its transaction ends.
// On SQLite, a transaction that writes locks all.
func (s *Store) forUpdate() string {
	if s.db.Dialect() == database.SQLite {
		return ""
	}
	return " FOR UPDATE"
}

// addEntries inserts those of the entries that don't exist, and returns their number.
func (s *Store) addEntries(tx *gorm.DB, entries []titleEntry) (added int64, err error) {
	for chunk := range slices.Chunk(entries, chunkSize) {
		values := make([]any, 0, 2*len(chunk))
		for _, e := range chunk {
			values = append(values, e.id, e.gram)
		}
		done, err := s.db.Exec(tx, s.insertIgnore()+s.db.Table("article_gram")+" (article_id, gram) VALUES (?, ?)"+strings.Repeat(", (?, ?)", len(chunk)-1), values...)
		if err != nil {
			return 0, err
		}
		n, err := done.RowsAffected()
		if err != nil {
			return 0, err
		}
		added += n
	}
	return added, nil
}

// removeEntries deletes entries of an article, and returns the number of those that
// existed.
func (s *Store) removeEntries(tx *gorm.DB, id uint64, grams []string) (removed int64, err error) {
	if len(grams) == 0 {
		return 0, nil
	}
	keys := make([][]byte, 0, len(grams))
	for _, gram := range grams {
		keys = append(keys, []byte(gram))
	}
	done := tx.Exec("DELETE FROM "+s.db.Table("article_gram")+" WHERE article_id = ? AND gram IN ?", id, keys)
	return done.RowsAffected, done.Error
}
