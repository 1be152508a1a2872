package replay

import (
	"bytes"
	"embed"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

//go:embed mysql.sql sqlite.sql
var files embed.FS

// Schema returns the table of this package, for database.Migrations.Shared.
func Schema() fs.FS { return files }

type keyRow struct {
	ID          []byte `gorm:"primaryKey"`
	ExpiresAt   time.Time
	Fingerprint []byte
	Object      []byte
}

// TableName implements gorm's TablerWithNamer.
func (keyRow) TableName(namer schema.Namer) string { return namer.TableName("idempotency_key") }

func newRow(key idempotency.Key, expiresAt time.Time) *keyRow {
	id := key.ID()
	return &keyRow{ID: id[:], ExpiresAt: expiresAt, Fingerprint: key.Fingerprint[:]}
}

// claim inserts the row. If the key is there already, it returns the stored row,
// or an error if that is of another request. It waits for a transaction that has
// claimed the key and is still running.
func (r *keyRow) claim(db *database.DB, tx *gorm.DB) (stored *keyRow, err error) {
	_, err = db.Insert(tx, "idempotency_key", []string{"id", "expires_at", "fingerprint"}, r.ID, r.ExpiresAt, r.Fingerprint)
	err = database.Classify(err)
	if !errors.Is(err, database.ErrDuplicate) {
		return nil, err
	}
	// Read without a lock: the failed INSERT has left a shared lock on the row, and
	// concurrent repeats that asked for an exclusive one would deadlock.
	stored = &keyRow{}
	if err := tx.Take(stored, "id = ?", r.ID).Error; err != nil {
		return nil, err
	}
	switch {
	case !stored.ExpiresAt.After(tx.NowFunc()):
		return nil, tx.Select("*").Updates(r).Error // as if it had been swept
	case !bytes.Equal(stored.Fingerprint, r.Fingerprint):
		return nil, errcode.New(errcode.KeyReused, errcode.Text{
			ZH:       "请原样重发第一个请求, 或为新的请求使用新的 Idempotency-Key",
			EN:       "repeat the first request unchanged, or use a new Idempotency-Key",
			ZHHantTW: "請原樣重送第一個請求, 或為新的請求使用新的 Idempotency-Key",
		})
	}
	return stored, nil
}

// store saves the object beside the key that was claimed. gob takes less memory than
// JSON, which may escape one byte as six (\u0000), and releases may differ in their
// fields as well.
func (r *keyRow) store(db *database.DB, tx *gorm.DB, object any) error {
	var encoded bytes.Buffer
	if err := gob.NewEncoder(&encoded).Encode(object); err != nil {
		return fmt.Errorf("store what a request has created: %w", err)
	}
	_, err := db.Exec(tx, "UPDATE "+db.Table("idempotency_key")+" SET object = ? WHERE id = ?", encoded.Bytes(), r.ID)
	return err
}

// decode decodes the stored object into the value that object points to.
func (r *keyRow) decode(object any) error {
	if err := gob.NewDecoder(bytes.NewReader(r.Object)).Decode(object); err != nil {
		return fmt.Errorf("read the object stored under an Idempotency-Key: %w", err)
	}
	return nil
}
