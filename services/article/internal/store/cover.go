package store

import (
	"database/sql"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// keepCover locks the file that an article gets as its cover, so that it can't be deleted
// until the transaction ends. Without one, it does nothing. If there is no such file, the
// error is article.UnknownFile.
func (s *Store) keepCover(tx *gorm.DB, id *uint64) error {
	if id == nil || *id == 0 {
		return nil
	}
	found := false
	if *id <= largestID {
		query := "SELECT 1 FROM " + s.db.Table("file") + " WHERE id = ?"
		if s.db.Dialect() != database.SQLite {
			query += " LOCK IN SHARE MODE"
		}
		if err := s.db.QueryIn(tx, query, []any{*id}, func(*sql.Rows) error { found = true; return nil }); err != nil {
			return err
		}
	}
	if !found {
		return article.UnknownFile(*id)
	}
	return nil
}
