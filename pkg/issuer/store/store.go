// Package store stores API clients in MySQL, MariaDB or SQLite.
package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/issuer/access"
)

//go:embed mysql.sql sqlite.sql
var files embed.FS

// Schema returns the table of this package, for database.Migrations.Shared.
func Schema() fs.FS { return files }

// Clients is an access.Store in MySQL, MariaDB or SQLite.
type Clients struct {
	db *database.DB
}

var _ access.Store = (*Clients)(nil)

// NewClients returns a store in db, whose schema must be current.
func NewClients(db *database.DB) *Clients {
	return &Clients{db: db}
}

type clientRow struct {
	ID         uint64 `gorm:"primaryKey"`
	CreatedAt  time.Time
	CreatedBy  string
	UpdatedAt  time.Time
	UpdatedBy  string
	AppKey     string
	SecretHash string
	FormerHash string // of the secret before the last rotation
	// FormerUntil is when the former secret ends. It is nil if there was no rotation.
	FormerUntil *time.Time
	Scope       string
}

// TableName returns the name of the table with the configured prefix.
func (clientRow) TableName(namer schema.Namer) string { return namer.TableName("client") }

func (r clientRow) client() access.Client {
	return access.Client{Key: r.AppKey, Scopes: strings.Fields(r.Scope), CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}
}

// Add inserts a client.
func (c *Clients) Add(ctx context.Context, client access.Client, secret access.Hash) error {
	row := clientRow{AppKey: client.Key, SecretHash: string(secret), Scope: strings.Join(client.Scopes, " ")}
	err := c.db.InTx(ctx, func(tx *gorm.DB) error { return tx.Create(&row).Error })
	if errors.Is(err, database.ErrDuplicate) {
		return fmt.Errorf("%w: %w", access.ErrExists, err)
	}
	return err
}

// hashes returns the hashes of the valid secrets, that of the current one first.
func (r clientRow) hashes(now time.Time) []access.Hash {
	if r.FormerUntil != nil && now.Before(*r.FormerUntil) {
		return []access.Hash{access.Hash(r.SecretHash), access.Hash(r.FormerHash)}
	}
	return []access.Hash{access.Hash(r.SecretHash)}
}

// Find returns the client and the hashes of its valid secrets.
func (c *Clients) Find(ctx context.Context, key string) (access.Client, []access.Hash, error) {
	var row clientRow
	err := c.db.Read(ctx, func(db *gorm.DB) error { return db.Take(&row, "app_key = ?", key).Error })
	if errors.Is(err, database.ErrNotFound) {
		return access.Client{}, nil, access.ErrUnknown
	}
	return row.client(), row.hashes(time.Now()), err
}

// List returns all clients, ordered by key.
func (c *Clients) List(ctx context.Context) ([]access.Client, error) {
	var rows []clientRow
	err := c.db.Read(ctx, func(db *gorm.DB) error {
		return db.Omit("secret_hash", "former_hash").Order("app_key").Find(&rows).Error
	})
	clients := make([]access.Client, 0, len(rows))
	for _, row := range rows {
		clients = append(clients, row.client())
	}
	return clients, err
}

// Rotate replaces the hash of the secret, and keeps the former one until formerUntil.
func (c *Clients) Rotate(ctx context.Context, key string, secret access.Hash, formerUntil time.Time) error {
	// gorm writes the columns in alphabetical order. MySQL assigns them in that order,
	// so former_hash gets the old secret_hash.
	changes := map[string]any{"former_hash": gorm.Expr("secret_hash"), "former_until": formerUntil.UTC(), "secret_hash": string(secret)}
	return c.changeOne(ctx, key, func(tx *gorm.DB) *gorm.DB { return tx.Updates(changes) })
}

// Remove deletes the client.
func (c *Clients) Remove(ctx context.Context, key string) error {
	return c.changeOne(ctx, key, func(tx *gorm.DB) *gorm.DB { return tx.Delete(&clientRow{}) })
}

// changeOne changes the client with this key.
func (c *Clients) changeOne(ctx context.Context, key string, change func(*gorm.DB) *gorm.DB) error {
	return c.db.InTx(ctx, func(tx *gorm.DB) error {
		done := change(tx.Model(&clientRow{}).Where("app_key = ?", key))
		if done.Error == nil && done.RowsAffected == 0 {
			return access.ErrUnknown
		}
		return done.Error
	})
}
