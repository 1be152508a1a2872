package store

import (
	"database/sql"
	"strings"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// keepCover locks the file that an article gets as its cover, so that it can't be deleted
// until the transaction ends. Without one, it does nothing. If there is no such file, the
// error is article.UnknownFile, and article.NoImage if it is no image.
func (s *Store) keepCover(tx *gorm.DB, id *uint64) error {
	if id == nil || *id == 0 {
		return nil
	}
	mediaType := ""
	if *id <= largestID {
		query := "SELECT type FROM " + s.db.Table("file") + " WHERE id = ?"
		if s.db.Dialect() != database.SQLite {
			query += " LOCK IN SHARE MODE"
		}
		if err := s.db.QueryIn(tx, query, []any{*id}, func(rows *sql.Rows) error { return rows.Scan(&mediaType) }); err != nil {
			return err
		}
	}
	switch {
	case mediaType == "":
		return article.UnknownFile(*id)
	case !strings.HasPrefix(mediaType, "image/"):
		return article.NoImage(*id, mediaType)
	default:
		return nil
	}
}
