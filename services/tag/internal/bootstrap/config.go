package bootstrap

import (
	"errors"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// Config holds the settings of the tag service.
type Config struct {
	service.Config `mapstructure:",squash"`
	App            APIConfig
	Feed           FeedConfig
	Idempotency    replay.Config
}

// Validate reports values of different sections that cannot work together.
func (c Config) Validate() error {
	errs := []error{c.Config.Validate()}
	for _, r := range resources() {
		errs = append(errs, c.Server.CheckResponse("App.MaxPageSize", c.App.MaxPageSize, r.pageMemory(c.App.MaxPageSize)))
	}
	return errors.Join(errs...)
}

func shared(c Config) service.Config { return c.Config }

func (c Config) paging() requests.Paging { return c.App.paging() }

// APIConfig is the section App.
type APIConfig struct {
	DefaultPageSize int `mapstructure:"DefaultPageSize" usage:"page size if the request has none" live:"true"`
	MaxPageSize     int `mapstructure:"MaxPageSize" usage:"maximum page size" live:"true"`
	MaxOffset       int `mapstructure:"MaxOffset" usage:"number of rows before a page, at most: a database reads them for each page" live:"true"`
}

// Validate reports page sizes that cannot work together.
func (c APIConfig) Validate() error {
	return c.paging().Validate()
}

func (c APIConfig) paging() requests.Paging {
	return requests.Paging{DefaultSize: c.DefaultPageSize, MaxSize: c.MaxPageSize, MaxOffset: c.MaxOffset}
}

// FeedConfig is the section Feed, the feed of changes that other services read.
type FeedConfig struct {
	Token             settings.Secret `mapstructure:"Token" usage:"token that readers of the feed must send, at least 32 characters; empty: all are rejected" validate:"omitempty,min=32" allowed:"at least 32 characters, as openssl rand -hex 32 prints them"`
	TokenFile         string          `mapstructure:"TokenFile" usage:"file that holds Token"`
	changefeed.Config `mapstructure:",squash"`
}

// defaults returns settings with which the service runs on SQLite, without a
// configuration file.
func defaults() Config {
	config := Config{
		Config:      service.Default(),
		App:         APIConfig{DefaultPageSize: 10, MaxPageSize: 100, MaxOffset: 10_000},
		Idempotency: replay.Default(),
		Feed:        FeedConfig{Config: changefeed.Default()},
	}
	config.Database.DBType, config.Database.DBName = database.SQLite, "achilles_tag"
	config.Server.HTTPPort, config.Server.AdminPort = 8081, 9081
	config.Log.LogFileName = "tag"
	return config
}
