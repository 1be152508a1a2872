package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/blobs"
	"github.com/achilles-blog/achilles/services/article/internal/file"
	"github.com/achilles-blog/achilles/services/article/internal/media"
	"github.com/achilles-blog/achilles/services/article/internal/store"
)

// FilesConfig is the section Files: where uploaded files are stored, and their limits.
type FilesConfig struct {
	URL             string        `mapstructure:"URL" usage:"where files are stored: file:///DIRECTORY, which all replicas must share, or s3://BUCKET?region=REGION, with &endpoint=https://HOST&use_path_style=true for an S3-compatible storage; empty: no files. Credentials of S3 come from where the AWS SDK looks, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"`
	MaxFileBytes    int64         `mapstructure:"MaxFileBytes" usage:"maximum size of a file, in bytes" validate:"min=1,max=1073741824" allowed:"1 to 1073741824 (1 GiB)"`
	MaxRequestFiles int           `mapstructure:"MaxRequestFiles" usage:"maximum number of files in an upload" validate:"min=1,max=100" allowed:"1 to 100"`
	MaxRequestBytes int64         `mapstructure:"MaxRequestBytes" usage:"maximum size of all files in an upload together, in bytes"`
	MaxClientFiles  int64         `mapstructure:"MaxClientFiles" usage:"maximum number of files that a client may have stored" validate:"min=1" allowed:"1 or more"`
	MaxClientBytes  int64         `mapstructure:"MaxClientBytes" usage:"maximum size of all files of a client together, in bytes"`
	MaxPixels       int64         `mapstructure:"MaxPixels" usage:"maximum number of pixels of an image, its width times its height" validate:"min=1" allowed:"1 or more"`
	Types           []string      `mapstructure:"Types" usage:"media types of files that are accepted; the content decides, not the name" validate:"min=1" allowed:"media types such as image/png"`
	RemovePosition  bool          `mapstructure:"RemovePosition" usage:"whether the position at which a photo was taken is removed from EXIF and XMP of a JPEG, PNG or WebP; extended XMP, raw profiles in texts of a PNG, and what follows the image, such as the video of a motion photo, are removed with it"`
	SpoolDir        string        `mapstructure:"SpoolDir" usage:"directory of files while they are received; empty: that of the system for temporary files"`
	SpoolBytes      int64         `mapstructure:"SpoolBytes" usage:"space in bytes that all files may take there at once, half of it for one client; what exceeds it waits for up to 3 s and then gets 503"`
	Timeout         time.Duration `mapstructure:"Timeout" usage:"how long an upload or a download may take" validate:"min=1s,max=10m" allowed:"1s to 10m"`
	MaxUploads      int           `mapstructure:"MaxUploads" usage:"maximum number of uploads at once, a quarter of them of one client; more wait for up to 1 s and then get 503" validate:"min=1" allowed:"1 or more"`
	MaxDownloads    int           `mapstructure:"MaxDownloads" usage:"maximum number of downloads at once, an eighth of them of one client, three quarters of all clients without a token; more wait for up to 1 s and then get 503" validate:"min=1" allowed:"1 or more"`
	CollectAfter    time.Duration `mapstructure:"CollectAfter" usage:"time after which the bytes of deleted files and of interrupted uploads are removed from the storage"`
	CollectInterval time.Duration `mapstructure:"CollectInterval" usage:"time between two looks for such bytes" validate:"min=1s" allowed:"at least 1s"`
}

func defaultFiles() FilesConfig {
	const mebibyte = 1 << 20
	return FilesConfig{
		MaxFileBytes: 10 * mebibyte, MaxRequestFiles: 10, MaxRequestBytes: 50 * mebibyte, MaxClientFiles: 10_000, MaxClientBytes: 10 << 30, MaxPixels: 50_000_000,
		Types:      []string{"image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf", "text/plain"},
		SpoolBytes: 256 * mebibyte, Timeout: time.Minute, MaxUploads: 64, MaxDownloads: 256, CollectAfter: time.Hour, CollectInterval: 10 * time.Minute,
	}
}

// collectFactor is how many timeouts of an upload bytes must have been unused at least before
// they are collected: clocks of replicas differ, and an upload may begin anew.
const collectFactor = 4

// Validate reports values that cannot work together.
func (c FilesConfig) Validate() error {
	var errs []error
	check := func(ok bool, key string, got any, allowed string) {
		if !ok {
			errs = append(errs, settings.Invalid(key, fmt.Sprint(got), allowed))
		}
	}
	if c.URL != "" {
		err := blobs.Check(c.URL)
		check(err == nil, "URL", redacted(c.URL), fmt.Sprintf("file:///DIRECTORY, or s3://BUCKET?OPTIONS (%v)", err))
	}
	check(c.MaxRequestBytes >= c.MaxFileBytes, "MaxRequestBytes", c.MaxRequestBytes, fmt.Sprintf("at least MaxFileBytes (%d)", c.MaxFileBytes))
	check(c.MaxClientBytes >= c.MaxFileBytes, "MaxClientBytes", c.MaxClientBytes, fmt.Sprintf("at least MaxFileBytes (%d)", c.MaxFileBytes))
	need := 2 * api.UploadBytes(c.MaxRequestBytes, c.MaxRequestFiles)
	check(c.SpoolBytes >= need, "SpoolBytes", c.SpoolBytes, fmt.Sprintf("at least %d: a client may take half of it, and one upload up to MaxRequestBytes (%d)", need, c.MaxRequestBytes))
	check(c.CollectAfter >= collectFactor*c.Timeout, "CollectAfter", c.CollectAfter, fmt.Sprintf("at least %d times Timeout (%s), so that no upload takes longer", collectFactor, c.Timeout))
	for _, one := range c.Types {
		kind, sub, ok := strings.Cut(one, "/")
		check(ok && kind != "" && sub != "" && !strings.ContainsAny(one, " ;,*") && one == strings.ToLower(one), "Types", one, "media types such as image/png, in lower case and without parameters")
	}
	return errors.Join(errs...)
}

// redacted returns an address without a password.
func redacted(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return "an address"
	}
	return parsed.Redacted()
}

// checkDrain returns an error if a transfer may outlast a shutdown.
func (c FilesConfig) checkDrain(s server.Config) error {
	if need := c.Timeout + server.TransferMargin; c.URL != "" && s.ShutdownTimeout < need {
		return settings.Invalid("Server.ShutdownTimeout", s.ShutdownTimeout.String(),
			fmt.Sprintf("at least %s: a file that is being sent or received takes up to Files.Timeout (%s), and must not be cut off by a shutdown", need, c.Timeout))
	}
	return nil
}

func (c FilesConfig) limits() file.Limits {
	return file.Limits{
		SpoolDir: c.SpoolDir, FileBytes: c.MaxFileBytes, Pixels: c.MaxPixels, Types: slices.Clone(c.Types), RemovePosition: c.RemovePosition,
		Quota: file.Quota{Files: c.MaxClientFiles, Bytes: c.MaxClientBytes}, Timeout: c.Timeout,
	}
}

// checkSpool returns an error if files can't be received.
func (c FilesConfig) checkSpool() error {
	probe, err := os.CreateTemp(c.SpoolDir, "achilles-file-*")
	if err == nil {
		err = errors.Join(probe.Close(), os.Remove(probe.Name()))
	}
	if err != nil {
		return settings.Invalid("Files.SpoolDir", c.SpoolDir, fmt.Sprintf("a directory that the service can write to, such as a volume (%v)", err))
	}
	return nil
}

// open returns the service of files, and their storage, which must be closed. It needs
// Files.URL.
func (c FilesConfig) open(ctx context.Context, stored file.Store) (*file.Service, *blobs.Blobs, error) {
	opened, err := blobs.Open(ctx, c.URL)
	if err != nil {
		return nil, nil, settings.Invalid("Files.URL", redacted(c.URL), fmt.Sprintf("a storage that can be used (%v)", err))
	}
	return file.NewService(stored, opened, media.Inspector{}, c.limits()), opened, nil
}

// lost returns an error if the storage lacks bytes of files.
func (c FilesConfig) lost(ctx context.Context, db *database.DB, report func(string)) (err error) {
	if c.URL == "" {
		return nil
	}
	files := store.NewFiles(db, 0)
	_, opened, err := c.open(ctx, files)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	return files.Lost(ctx, opened, report)
}

// newFiles returns the handlers of files, and starts the collection of bytes that are
// unused.
func newFiles(base *service.Service, live *settings.Live[Config], binder *requests.Binder) (*api.Files, error) {
	config := live.Now()
	c := config.Files
	spool := memory.New(memory.Config{Use: "files", Total: c.SpoolBytes})
	base.Metrics.Registry().MustRegister(spool)
	handlers := &api.Files{
		Binder: binder, Paging: settings.Map(live, Config.paging), Memory: base.Responses, Access: base.Access(), Client: base.Limits.Client, Spool: spool,
		RequestBytes: api.UploadBytes(c.MaxRequestBytes, c.MaxRequestFiles), RequestFiles: c.MaxRequestFiles, Timeout: c.Timeout, Uploads: c.MaxUploads, Downloads: c.MaxDownloads,
	}
	if c.URL == "" {
		return handlers, nil
	}
	if err := c.checkSpool(); err != nil {
		return nil, err
	}
	files, opened, err := c.open(context.Background(), store.NewFiles(base.DB, config.Idempotency.Retention))
	if err != nil {
		return nil, err
	}
	handlers.Service = files
	base.Process.OnStop("files", service.StopTimeout, func(context.Context) error { return opened.Close() })
	base.Health.Observe("files", opened.Ping)
	collector := store.Collector{DB: base.DB, Blobs: opened, After: c.CollectAfter, Interval: c.CollectInterval, Log: base.Log}
	base.Process.Go("collector of files", collector.Run)
	return handlers, nil
}
