package bootstrap

import (
	"errors"
	"fmt"
	"time"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/article/internal/api"
)

// Config holds the settings of the article service.
type Config struct {
	service.Config `mapstructure:",squash"`
	App            APIConfig
	Site           SiteConfig
	Feed           FeedConfig
	Files          FilesConfig
	Idempotency    replay.Config
}

// Validate reports values of different sections that cannot work together.
func (c Config) Validate() error {
	err := c.Config.Validate()
	if c.Feed.Timeout >= c.Server.RequestTimeout {
		err = errors.Join(err, settings.Invalid("Feed.Timeout", c.Feed.Timeout.String(),
			"less than Server.RequestTimeout ("+c.Server.RequestTimeout.String()+")"))
	}
	if n := c.App.MaxExports; n > 1 && n > c.Database.MaxOpenConns/4 {
		err = errors.Join(err, settings.Invalid("App.MaxExports", fmt.Sprint(n), fmt.Sprintf("at most a quarter of Database.MaxOpenConns (%d)", c.Database.MaxOpenConns)))
	}
	return errors.Join(err,
		c.Files.checkDrain(c.Server),
		c.Server.CheckResponse("App.MaxContentBytes", c.App.MaxContentBytes, api.WriteMemory(int64(c.App.MaxContentBytes))),
		c.Server.CheckResponse("Site.FeedSize", c.Site.FeedSize, api.WebFeedMemory(c.Site.FeedSize)),
		c.Server.CheckResponse("App.MaxPageSize", c.App.MaxPageSize, max(api.PageMemory(c.App.MaxPageSize), api.FilePageMemory(c.App.MaxPageSize))))
}

func shared(c Config) service.Config { return c.Config }

func (c Config) paging() requests.Paging { return c.App.paging() }

// APIConfig is the section App.
type APIConfig struct {
	DefaultPageSize int `mapstructure:"DefaultPageSize" usage:"page size if the request has none" live:"true"`
	MaxPageSize     int `mapstructure:"MaxPageSize" usage:"maximum page size" live:"true"`
	MaxOffset       int `mapstructure:"MaxOffset" usage:"number of rows before a page, at most: a database reads them for each page" live:"true"`
	// MariaDB accepts 16 MiB in one packet by default, and escaping may double the
	// content.
	MaxContentBytes int           `mapstructure:"MaxContentBytes" usage:"maximum size of an article's content, in bytes" validate:"min=1,max=7340032" allowed:"1 to 7340032 (7 MiB): the database takes no larger statement"`
	MaxBodyMemory   int64         `mapstructure:"MaxBodyMemory" usage:"memory in bytes that the bodies of all requests may take at once, 3.5 times the size of each above 8 KiB; what exceeds it waits for up to 3 s and then gets 503" validate:"min=1048576" allowed:"1048576 (1 MiB) or more"`
	MaxExports      int           `mapstructure:"MaxExports" usage:"number of exports that run at once, one of each client, and as many more of clients without a token; each takes a database connection, and those beyond get 503; 0: exports are off" validate:"min=0,max=100" allowed:"0 to 100, and if it is more than 1 at most a quarter of Database.MaxOpenConns"`
	ExportTimeout   time.Duration `mapstructure:"ExportTimeout" usage:"maximum duration of an export, during which the database keeps former versions of rows; a client goes on with another one" validate:"min=1s,max=1h" allowed:"1s to 1h"`
	PurgeAfter      time.Duration `mapstructure:"PurgeAfter" usage:"time after which the rows of deleted articles are removed for good, 0 for never" validate:"eq=0|min=1m" allowed:"0 for never, or at least 1m"`
}

// Validate reports values that cannot work together.
func (c APIConfig) Validate() error {
	err := c.paging().Validate()
	if need := requests.BodyMemory(c.maxBodyBytes()); need > memory.ClientShare(c.MaxBodyMemory) {
		err = errors.Join(err, settings.Invalid("MaxBodyMemory", fmt.Sprint(c.MaxBodyMemory), fmt.Sprintf(
			"at least %d: a client may hold half of it, and one body with a content of App.MaxContentBytes (%d) takes up to %d", 2*need, c.MaxContentBytes, need)))
	}
	return err
}

func (c APIConfig) paging() requests.Paging {
	return requests.Paging{DefaultSize: c.DefaultPageSize, MaxSize: c.MaxPageSize, MaxOffset: c.MaxOffset}
}

// maxBodyBytes returns the maximum size of a request body. JSON may escape one byte
// of the content as six (\u0000), and the other fields are small.
func (c APIConfig) maxBodyBytes() int64 {
	return 6*int64(c.MaxContentBytes) + 64<<10
}

// exports returns the configuration of exports. When the service begins to stop, they end within
// half of the time that requests have to finish.
func (c Config) exports(draining <-chan struct{}) api.ExportConfig {
	return api.ExportConfig{
		Max: c.App.MaxExports, Timeout: c.App.ExportTimeout, Memory: api.ExportMemory(c.App.MaxContentBytes),
		Draining: draining, Grace: c.Server.ShutdownTimeout / 2,
	}
}

// FeedConfig is the section Feed: how the service follows the feed of changes of the tag
// service, and how it keeps its own.
type FeedConfig struct {
	URL               string          `mapstructure:"URL" usage:"base URL of the tag service, such as http://achilles-tag:8080" validate:"http_url" allowed:"the tag service's base URL, such as http://achilles-tag:8080"`
	Token             settings.Secret `mapstructure:"Token" usage:"token for the feed, at least 32 characters, the same as Feed.Token of the tag service" validate:"omitempty,min=32" allowed:"at least 32 characters, as openssl rand -hex 32 prints them"`
	TokenFile         string          `mapstructure:"TokenFile" usage:"file that holds Token"`
	Wait              time.Duration   `mapstructure:"Wait" usage:"how long one read of the feed waits for a change, in whole seconds up to 10s"`
	Timeout           time.Duration   `mapstructure:"Timeout" usage:"how long the tag service may take to answer beyond Wait" validate:"min=100ms"`
	changefeed.Config `mapstructure:",squash"`
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
		App:         APIConfig{DefaultPageSize: 10, MaxPageSize: 100, MaxOffset: 10_000, MaxContentBytes: 1 << 20, MaxBodyMemory: 50 << 20, MaxExports: 1, ExportTimeout: 2 * time.Minute},
		Idempotency: replay.Default(),
		Site:        SiteConfig{Title: "Achilles", Language: "zh-CN", FeedSize: 20},
		Files:       defaultFiles(),
		Feed:        FeedConfig{URL: "http://127.0.0.1:8081", Wait: 10 * time.Second, Timeout: 1500 * time.Millisecond, Config: changefeed.Default()},
	}
	config.Database.DBType, config.Database.DBName = database.SQLite, "achilles_article"
	config.Server.HTTPPort, config.Server.AdminPort = 8082, 9082
	config.Log.LogFileName = "article"
	return config
}
