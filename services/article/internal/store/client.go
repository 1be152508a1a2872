package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/access"
)

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
	Scope      string
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

// Find returns the client and the hash of its secret.
func (c *Clients) Find(ctx context.Context, key string) (access.Client, access.Hash, error) {
	var row clientRow
	err := c.db.Read(ctx, func(db *gorm.DB) error { return db.Take(&row, "app_key = ?", key).Error })
	if errors.Is(err, database.ErrNotFound) {
		return access.Client{}, "", access.ErrUnknown
	}
	return row.client(), access.Hash(row.SecretHash), err
}

// List returns all clients, ordered by key.
func (c *Clients) List(ctx context.Context) ([]access.Client, error) {
	var rows []clientRow
	err := c.db.Read(ctx, func(db *gorm.DB) error { return db.Omit("secret_hash").Order("app_key").Find(&rows).Error })
	clients := make([]access.Client, 0, len(rows))
	for _, row := range rows {
		clients = append(clients, row.client())
	}
	return clients, err
}

// Rotate replaces the hash of the secret.
func (c *Clients) Rotate(ctx context.Context, key string, secret access.Hash) error {
	return c.changeOne(ctx, key, func(tx *gorm.DB) *gorm.DB { return tx.Update("secret_hash", string(secret)) })
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
