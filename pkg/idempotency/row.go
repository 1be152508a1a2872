package idempotency

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// compressFrom is the size of a body from which on it is compressed, in bytes.
// It keeps an article's second copy small; and JSON may write one byte as six,
// which the servers' limit for one packet (16 MiB) would not let through.
const compressFrom = 4 << 10

type keyRow struct {
	ID          []byte `gorm:"primaryKey"`
	ExpiresAt   time.Time
	Fingerprint []byte
	Status      int
	Header      map[string]string `gorm:"serializer:json;not null"`
	Body        []byte
	Gzipped     bool
}

// TableName puts the configured prefix in front.
func (keyRow) TableName(namer schema.Namer) string { return namer.TableName("idempotency_key") }

func newRow(request Request, expiresAt time.Time) *keyRow {
	return &keyRow{ID: request.id(), ExpiresAt: expiresAt, Fingerprint: request.Fingerprint[:]}
}

// id is the row's: a key has no NUL, so no two pairs share one.
func (r Request) id() []byte {
	sum := sha256.Sum256([]byte(r.AppKey + "\x00" + r.Key))
	return sum[:]
}

// claim takes the key, or says by its error what became of the first request
// that did. It waits for one that is under way.
func (r *keyRow) claim(tx *gorm.DB) error {
	err := database.Classify(tx.Create(r).Error)
	if !errors.Is(err, database.ErrDuplicate) {
		return err
	}
	// Read without a lock: this is the transaction's first look at the data, and
	// the failed INSERT has left it a shared lock on the row. Repeats that all
	// asked for more would be deadlocked.
	var first keyRow
	if err := tx.Take(&first, "id = ?", r.ID).Error; err != nil {
		return err
	}
	switch {
	case !first.ExpiresAt.After(tx.NowFunc()):
		return tx.Select("*").Updates(r).Error // as if it had been swept
	case !bytes.Equal(first.Fingerprint, r.Fingerprint):
		return errcode.New(errcode.KeyReused, otherRequest)
	}
	return first.replayed()
}

func (r *keyRow) replayed() error {
	answer := Answer{Status: r.Status, Header: r.Header, Body: r.Body}
	if r.Gzipped {
		var err error
		if answer.Body, err = decompress(r.Body); err != nil {
			return fmt.Errorf("the answer kept for an Idempotency-Key cannot be read: %w", err)
		}
	}
	return &Replayed{Answer: answer}
}

// keep puts the answer beside the key that was claimed.
func (r *keyRow) keep(tx *gorm.DB, answer Answer) error {
	r.Status, r.Header, r.Body = answer.Status, answer.Header, answer.Body
	if r.Gzipped = len(answer.Body) >= compressFrom; r.Gzipped {
		var err error
		if r.Body, err = compress(answer.Body); err != nil {
			return err
		}
	}
	return tx.Select("status", "header", "body", "gzipped").Updates(r).Error
}

func compress(plain []byte) ([]byte, error) {
	var packed bytes.Buffer
	writer, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed) // the default can take 20 times as long, and others may wait
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
