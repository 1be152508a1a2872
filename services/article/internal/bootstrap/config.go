package bootstrap

import (
	"cmp"
	"errors"
	"time"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// Config holds the settings of the article service.
type Config struct {
	service.Config `mapstructure:",squash"`
	App            APIConfig
	Feed           FeedConfig
	Idempotency    replay.Config
}

// Validate reports values of different sections that cannot work together.
func (c Config) Validate() error {
	err := c.Config.Validate()
	if c.Feed.Timeout >= c.Server.RequestTimeout {
		err = errors.Join(err, settings.Invalid("Feed.Timeout", c.Feed.Timeout.String(),
			"less than Server.RequestTimeout ("+c.Server.RequestTimeout.String()+")"))
	}
	return err
}

// shared returns the settings that every service has. The default of
// Server.MaxBodyBytes depends on App.
func shared(c Config) service.Config {
	c.Server.MaxBodyBytes = cmp.Or(c.Server.MaxBodyBytes, c.App.maxBodyBytes())
	return c.Config
}

// APIConfig is the section App.
type APIConfig struct {
	DefaultPageSize int `mapstructure:"DefaultPageSize" usage:"page size if the request has none"`
	MaxPageSize     int `mapstructure:"MaxPageSize" usage:"maximum page size"`
	// MariaDB accepts 16 MiB in one packet by default, and escaping may double the
	// content.
	MaxContentBytes int `mapstructure:"MaxContentBytes" usage:"maximum size of an article's content, in bytes" validate:"min=1,max=7340032" allowed:"1 to 7340032 (7 MiB): the database takes no larger statement"`
}

// Validate reports page sizes that cannot work together.
func (c APIConfig) Validate() error {
	return c.paging().Validate()
}

func (c APIConfig) paging() requests.Paging {
	return requests.Paging{DefaultSize: c.DefaultPageSize, MaxSize: c.MaxPageSize}
}

// maxBodyBytes returns the maximum size of a request body. JSON may escape one byte
// of the content as six (\u0000), and the other fields are small.
func (c APIConfig) maxBodyBytes() int64 {
	return 6*int64(c.MaxContentBytes) + 64<<10
}

// FeedConfig is the section Feed, the feed of changes of the tag service.
type FeedConfig struct {
	URL       string          `mapstructure:"URL" usage:"base URL of the tag service, such as http://achilles-tag:8080" validate:"http_url" allowed:"the tag service's base URL, such as http://achilles-tag:8080"`
	Token     settings.Secret `mapstructure:"Token" usage:"token for the feed, the same as Feed.Token of the tag service"`
	TokenFile string          `mapstructure:"TokenFile" usage:"file that holds Token"`
	Wait      time.Duration   `mapstructure:"Wait" usage:"how long one read of the feed waits for a change, in whole seconds up to 10s"`
	Timeout   time.Duration   `mapstructure:"Timeout" usage:"how long the tag service may take to answer beyond Wait" validate:"min=100ms"`
}

// Validate reports a Wait that the tag service does not accept.
func (c FeedConfig) Validate() error {
	if c.Wait < time.Second || c.Wait > 10*time.Second || c.Wait%time.Second != 0 {
		return settings.Invalid("Wait", c.Wait.String(), "whole seconds from 1s to 10s")
	}
	return nil
}

// defaults returns settings with which the service runs on SQLite, without a
// configuration file.
func defaults() Config {
	config := Config{
		Config:      service.Default(),
		App:         APIConfig{DefaultPageSize: 10, MaxPageSize: 100, MaxContentBytes: 1 << 20},
		Idempotency: replay.Default(),
		Feed:        FeedConfig{URL: "http://127.0.0.1:8081", Wait: 10 * time.Second, Timeout: 1500 * time.Millisecond},
	}
	config.Database.DBType, config.Database.DBName = database.SQLite, "achilles_article"
	config.Server.HTTPPort, config.Server.AdminPort = 8082, 9082
	config.Log.LogFileName = "article"
	return config
}
