// Package migrations holds the versioned schema of the article service in both
// dialects. A migration must be safe while the previous release still serves,
// and safe to repeat, because MySQL commits each DDL statement by itself.
package migrations

import (
	"embed"
	"io/fs"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/pkg/issuer"
)

//go:embed mysql/*.sql sqlite/*.sql
var files embed.FS

// All returns the migrations of the article service.
func All() database.Migrations {
	return database.Migrations{Service: "article", Files: files, Shared: map[int64]fs.FS{2: replay.Schema(), 3: issuer.Schema()}}
}
