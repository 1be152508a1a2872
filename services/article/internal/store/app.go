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

// Apps is access.Store on MySQL, MariaDB or SQLite.
type Apps struct {
	db *database.DB
}

var _ access.Store = (*Apps)(nil)

// NewApps returns a store on an open database whose schema is current.
func NewApps(db *database.DB) *Apps {
	return &Apps{db: db}
}

type appRow struct {
	ID         uint64 `gorm:"primaryKey"`
	CreatedAt  time.Time
	CreatedBy  string
	UpdatedAt  time.Time
	UpdatedBy  string
	AppKey     string
	SecretHash string
	Scope      string
}

// TableName puts the configured prefix in front.
func (appRow) TableName(namer schema.Namer) string { return namer.TableName("app") }

func (r appRow) app() access.App {
	return access.App{Key: r.AppKey, Scopes: strings.Fields(r.Scope), CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}
}

// Add inserts an app.
func (a *Apps) Add(ctx context.Context, app access.App, secret access.Hash) error {
	row := appRow{AppKey: app.Key, SecretHash: string(secret), Scope: strings.Join(app.Scopes, " ")}
	err := a.db.InTx(ctx, func(tx *gorm.DB) error { return tx.Create(&row).Error })
	if errors.Is(err, database.ErrDuplicate) {
		return fmt.Errorf("%w: %w", access.ErrExists, err)
	}
	return err
}

// Find returns the app with its secret's hash.
func (a *Apps) Find(ctx context.Context, key string) (access.App, access.Hash, error) {
	var row appRow
	err := a.db.Read(ctx, func(db *gorm.DB) error { return db.Take(&row, "app_key = ?", key).Error })
	if errors.Is(err, database.ErrNotFound) {
		return access.App{}, "", access.ErrUnknown
	}
	return row.app(), access.Hash(row.SecretHash), err
}

// List returns all apps by their keys.
func (a *Apps) List(ctx context.Context) ([]access.App, error) {
	var rows []appRow
	err := a.db.Read(ctx, func(db *gorm.DB) error { return db.Omit("secret_hash").Order("app_key").Find(&rows).Error })
	apps := make([]access.App, 0, len(rows))
	for _, row := range rows {
		apps = append(apps, row.app())
	}
	return apps, err
}

// Rotate replaces the secret's hash.
func (a *Apps) Rotate(ctx context.Context, key string, secret access.Hash) error {
	return a.one(ctx, key, func(tx *gorm.DB) *gorm.DB { return tx.Update("secret_hash", string(secret)) })
}

// Remove deletes the app.
func (a *Apps) Remove(ctx context.Context, key string) error {
	return a.one(ctx, key, func(tx *gorm.DB) *gorm.DB { return tx.Delete(&appRow{}) })
}

// one changes the app with this key.
func (a *Apps) one(ctx context.Context, key string, change func(*gorm.DB) *gorm.DB) error {
	return a.db.InTx(ctx, func(tx *gorm.DB) error {
		done := change(tx.Model(&appRow{}).Where("app_key = ?", key))
		if done.Error == nil && done.RowsAffected == 0 {
			return access.ErrUnknown
		}
		return done.Error
	})
}
