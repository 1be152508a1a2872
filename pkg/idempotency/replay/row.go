package replay

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// compressFrom is the size in bytes from which an object is stored compressed.
// JSON may escape one byte as six (\u0000), which would exceed the largest packet
// that a server accepts (16 MiB).
const compressFrom = 4 << 10

type keyRow struct {
	ID          []byte `gorm:"primaryKey"`
	ExpiresAt   time.Time
	Fingerprint []byte
	Object      []byte
	Gzipped     bool
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
func (r *keyRow) claim(tx *gorm.DB) (stored *keyRow, err error) {
	err = database.Classify(tx.Create(r).Error)
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

// store saves the object beside the key that was claimed.
func (r *keyRow) store(tx *gorm.DB, object any) (err error) {
	if r.Object, err = json.Marshal(object); err != nil {
		return fmt.Errorf("store what a request has created: %w", err)
	}
	if r.Gzipped = len(r.Object) >= compressFrom; r.Gzipped {
		if r.Object, err = compress(r.Object); err != nil {
			return err
		}
	}
	return tx.Select("object", "gzipped").Updates(r).Error
}

// decode decodes the stored object into the value that object points to.
func (r *keyRow) decode(object any) (err error) {
	encoded := r.Object
	if r.Gzipped {
		encoded, err = decompress(encoded)
	}
	if err == nil {
		err = json.Unmarshal(encoded, object)
	}
	if err != nil {
		return fmt.Errorf("read the object stored under an Idempotency-Key: %w", err)
	}
	return nil
}

func compress(plain []byte) ([]byte, error) {
	var packed bytes.Buffer
	writer, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed) // the default can take 20 times as long while others wait
	if err != nil {
		return nil, err
	}
	if _, err := writer.Write(plain); err != nil {
		return nil, err
	}
	err = writer.Close()
	return packed.Bytes(), err
}

func decompress(packed []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}
