package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // for --zone: images have no files of zones

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/pkg/client"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/issuer"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/exporter"
	"github.com/achilles-blog/achilles/services/article/internal/importer"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
	"github.com/achilles-blog/achilles/services/article/migrations"
)

const (
	// movingTimeout is the timeout of an operation of an import, which rather waits than fails.
	movingTimeout = 30 * time.Second
	// exportLimit is the maximum duration of an export into a folder.
	exportLimit = 6 * time.Hour
)

// importCommand returns the command that imports Markdown files.
func importCommand(bind command.Bind[Config]) *cobra.Command {
	cmd := &cobra.Command{
		Use: "import DIR", Short: "Import the Markdown files in DIR, of Hugo, Jekyll or Hexo, or a single file, as articles", Args: command.Arguments("DIR"),
		Long: "Import the Markdown files in DIR, of Hugo, Jekyll or Hexo, or a single file, as articles. What was imported before\n" +
			"and hasn't changed is left alone, so an import can be repeated, also after a crash. Import from the same folder each time.\n" +
			"Missing tags are created in the tag service at --tags, with the key set (Auth.KeysFile) and Feed.Token of the services;\n" +
			"without these, they are left out. The exit code is 0 if the blog has all that the files have, and 1 otherwise.",
	}
	m := mover{cmd: cmd}
	flags := cmd.Flags()
	flags.BoolVar(&m.dryRun, "dry-run", false, "print what would be done, and do nothing")
	flags.BoolVar(&m.force, "force", false, "overwrite articles that were changed in the blog, and create those again that were deleted there")
	flags.StringVar(&m.name, "name", "", "name of the folder, which tells its files from those of others (default the last part of its path)")
	flags.StringVar(&m.actor, "as", "import", "app key that articles are created by")
	flags.StringVar(&m.zone, "zone", "UTC", "time zone of dates without one, such as Asia/Shanghai or +08:00")
	flags.StringVar(&m.tags, "tags", "", "base `URL` of the tag service (default Feed.URL)")
	flags.StringVar(&m.report, "report", "", "`file` to write the result for each file to, as a line of JSON")
	return bind(cmd, func(config Config, args []string) error { return m.importFrom(cmd.Context(), config, args[0]) })
}

// exportCommand returns the command that writes Markdown files.
func exportCommand(bind command.Bind[Config]) *cobra.Command {
	cmd := &cobra.Command{
		Use: "export DIR", Short: "Write all articles into the empty or new folder DIR, as Markdown with front matter", Args: command.Arguments("DIR"),
		Long: "Write all articles into the empty or new folder DIR, as Markdown with front matter, as they are at one moment. The\n" +
			"command import reads them again. They include disabled articles, and the names of disabled tags. Files that articles\n" +
			"show or link to are in the folder files.",
	}
	return bind(cmd, func(config Config, args []string) error {
		config.Database.Timeout = movingTimeout
		return service.UseDatabase(cmd.Context(), config.Database, migrations.All(), func(db *database.DB) error {
			return withImages(cmd.Context(), config, db, "", func(files *images) error { return exportTo(cmd, config, db, files, args[0]) })
		})
	})
}

// exportTo writes all articles into a folder, with the files that they name.
func exportTo(cmd *cobra.Command, config Config, db *database.DB, files *images, folder string) error {
	report := reporting(cmd.ErrOrStderr())
	e := exporter.Exporter{
		Articles: article.NewService(store.New(db, 0), nil, config.App.MaxContentBytes), Files: files, Limit: exportLimit,
		Progress: func(done int) { report(fmt.Sprintf("exported %d articles", done)) },
		Note:     func(file, text string) { _, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s: note: %s\n", file, text) },
	}
	n, err := e.Run(cmd.Context(), folder)
	if err != nil {
		return reasonOf(err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "Exported %d articles to %s.\n", n, folder)
	return err
}

// reasonOf returns the cause of an error that clients of the API are told to try again after.
func reasonOf(err error) error {
	var coded *errcode.Error
	if errors.As(err, &coded) && coded.Cause != nil {
		return fmt.Errorf("%w: %w", err, coded.Cause)
	}
	return err
}

// mover is an import.
type mover struct {
	cmd                             *cobra.Command
	dryRun, force                   bool
	name, actor, zone, tags, report string

	lines      io.Writer // of the report, nil for none
	failed     error     // to write to it
	counts     map[article.Outcome]int
	incomplete int
}

func (m *mover) importFrom(ctx context.Context, config Config, path string) error {
	zone, err := parseZone(m.zone)
	if err != nil {
		return err
	}
	folder, only, err := open(path)
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	if m.name == "" {
		m.name = filepath.Base(folder.Name())
	}
	if m.report != "" {
		file, err := os.Create(m.report)
		if err != nil {
			return fmt.Errorf("--report: %w", err)
		}
		defer func() { _ = file.Close() }()
		m.lines = file
	}
	config.Database.Timeout = movingTimeout
	return service.UseDatabase(ctx, config.Database, migrations.All(), func(db *database.DB) error {
		i, err := m.importer(config, store.New(db, config.Idempotency.Retention))
		if err != nil {
			return err
		}
		i.Zone = zone
		return withImages(ctx, config, db, m.actor, func(files *images) error {
			if files.files != nil {
				i.Files = files
			}
			return m.summary(i.Run(ctx, folder.FS(), only))
		})
	})
}

var offset = regexp.MustCompile(`^[+-]\d{2}:?\d{2}$`)

func parseZone(name string) (*time.Location, error) {
	if offset.MatchString(name) {
		for _, layout := range []string{"-07:00", "-0700"} {
			if at, err := time.Parse(layout, name); err == nil {
				_, seconds := at.Zone()
				return time.FixedZone("", seconds), nil
			}
		}
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil, fmt.Errorf("--zone %q is not known: write a name such as Asia/Shanghai, or an offset such as +08:00", name)
	}
	return zone, nil
}

// open opens a folder, or that of a file with the name of the file in it.
func open(path string) (folder *os.Root, only string, err error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, "", err
	}
	info, err := os.Stat(absolute)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", fmt.Errorf("there is no folder or file %s", path)
	case err != nil:
		return nil, "", err
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil, "", fmt.Errorf("%s is neither a folder nor a regular file", path)
	case !info.IsDir():
		absolute, only = filepath.Split(absolute)
		absolute = filepath.Clean(absolute)
	}
	folder, err = os.OpenRoot(absolute)
	return folder, only, err
}

// importer returns the importer, which works on the database with the rules of the service.
func (m *mover) importer(config Config, stored *store.Store) (*importer.Importer, error) {
	binder, err := requests.NewBinder()
	if err != nil {
		return nil, err
	}
	tags, err := newTags(config, stored, binder, m.tags)
	if err != nil {
		return nil, err
	}
	if !validActor.MatchString(m.actor) {
		return nil, fmt.Errorf("--as must consist of 1 to 64 letters, digits, '.', '_' or '-'")
	}
	m.counts = map[article.Outcome]int{}
	report := reporting(m.cmd.ErrOrStderr())
	return &importer.Importer{
		Articles:   article.NewImports(article.NewService(stored, tags.catchUp, config.App.MaxContentBytes), stored),
		Tags:       tags,
		Normalize:  func(draft article.Draft) (article.Draft, error) { return api.Normalize(binder, draft) },
		IsAddress:  func(path string) bool { _, ok := api.ParseDownloadPath(path); return ok },
		MaxContent: config.App.MaxContentBytes, Name: m.name, Actor: m.actor, Force: m.force, DryRun: m.dryRun,
		Report:   m.print,
		Progress: func(done, of int) { report(fmt.Sprintf("imported %d of %d files", done, of)) },
	}, nil
}

var validActor = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// print prints what a person should know of a result, and adds it to the report.
func (m *mover) print(result importer.Result) {
	m.counts[result.Outcome]++
	if result.Incomplete() {
		m.incomplete++
	}
	line := func(what, text string) {
		_, _ = fmt.Fprintln(m.cmd.OutOrStdout(), command.Printable(fmt.Sprintf("%s: %s: %s", result.File, what, text)))
	}
	if result.Reason != "" {
		line(string(result.Outcome), result.Reason)
	}
	for _, text := range result.LeftOut {
		line("left out", text)
	}
	for _, text := range result.Notes {
		line("note", text)
	}
	if m.lines != nil && m.failed == nil {
		m.failed = json.NewEncoder(m.lines).Encode(result)
	}
}

// summary prints the numbers of files with each outcome. It returns an error unless the blog has
// all that the files have.
func (m *mover) summary(err error) error {
	head := "Imported"
	if m.dryRun {
		head = "This would be"
	}
	_, _ = fmt.Fprintf(m.cmd.OutOrStdout(), "%s: %d created, %d updated, %d unchanged; %d invalid, %d edited in the blog, %d deleted there; %d skipped, %d vanished.\n", head,
		m.counts[article.Created], m.counts[article.Updated], m.counts[article.Unchanged], m.counts[importer.Invalid], m.counts[article.Edited], m.counts[article.Deleted],
		m.counts[importer.Skipped], m.counts[importer.Vanished])
	switch {
	case err != nil:
		return fmt.Errorf("the import has ended early, and can be repeated: %w", reasonOf(err))
	case m.failed != nil:
		return fmt.Errorf("--report: %w", m.failed)
	case m.incomplete > 0:
		return fmt.Errorf("of %d files something was left out, see above", m.incomplete)
	}
	return nil
}

// tags finds tags in the read model, and creates missing ones in the tag service.
type tags struct {
	store  *store.Store
	binder *requests.Binder
	auth   auth.Config
	url    string
	missed string // why tags can't be created, "" if they can
	// catchUp brings the read model up to date.
	catchUp func(context.Context) error
}

func newTags(config Config, stored *store.Store, binder *requests.Binder, url string) (*tags, error) {
	t := &tags{store: stored, binder: binder, auth: config.Auth, url: url, catchUp: func(context.Context) error { return nil }}
	if url == "" {
		t.url = config.Feed.URL
	}
	switch {
	case config.Auth.KeysFile == "":
		t.missed = "there is no such tag; set Auth.KeysFile to the key set of the services, so that it can be created"
	case config.Feed.Token == "":
		t.missed = "there is no such tag; set Feed.Token to that of the services, so that it can be created"
	}
	if t.missed != "" {
		return t, nil
	}
	feed := tagfeed.NewClient(t.url, config.Feed.Token, config.Feed.Timeout)
	follower, err := follow.NewFollower(feed, stored, follow.Options{
		Name: "tag", Wait: config.Feed.Wait, CatchUpTimeout: movingTimeout, Ready: func() {}, Log: zap.NewNop(),
	}, prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	t.catchUp = follower.CatchUp
	return t, nil
}

// Find implements importer.Tags.
func (t *tags) Find(ctx context.Context, name string) (uint64, error) {
	found, err := t.store.TagNamed(ctx, name)
	var coded *errcode.Error
	if errors.As(err, &coded) && coded.Code == errcode.TagNotFound {
		return 0, nil
	}
	return found.ID, err
}

// Check implements importer.Tags.
func (t *tags) Check(name string) error {
	if t.missed != "" {
		return fmt.Errorf("%s: %w", t.missed, importer.ErrNoTag)
	}
	err := api.CheckTagName(t.binder, name)
	var coded *errcode.Error
	if !errors.As(err, &coded) {
		return err
	}
	var details []string
	for _, one := range coded.Details {
		details = append(details, one.In("en"))
	}
	return noTag(details)
}

// noTag returns the error of a tag that can't have its name.
func noTag(details []string) error {
	return fmt.Errorf("%s: %w", strings.Join(details, "; "), importer.ErrNoTag)
}

// Create implements importer.Tags, for names that Check accepts. If somebody else creates the tag at the same time, it is that
// one.
func (t *tags) Create(ctx context.Context, name string, hidden bool) (uint64, error) {
	// Signed for each call: an import may last longer than a token.
	token, err := issuer.Sign(t.auth, "import", []string{auth.ScopeWrite})
	if err != nil {
		return 0, err
	}
	api, err := client.New(client.Config{URL: t.url, Token: token})
	if err != nil {
		return 0, fmt.Errorf("--tags: %w", err)
	}
	defer api.Close()
	state := client.Enabled
	if hidden {
		state = client.Disabled
	}
	created, err := api.CreateTag(ctx, client.NewTag{Name: name, State: &state})
	var answer *client.Error
	switch {
	case errors.Is(err, client.TagNameExists):
		return existing(ctx, api, name)
	case errors.As(err, &answer) && answer.Code == client.InvalidParams:
		return 0, noTag(answer.Details)
	case err != nil:
		return 0, fmt.Errorf("creating the tag %q at %s: %w; check --tags", name, t.url, err)
	}
	return created.ID, nil
}

// existing returns the tag with a name that the tag service has.
func existing(ctx context.Context, api *client.Client, name string) (uint64, error) {
	for found, err := range api.Tags(ctx, client.TagFilter{Name: name}) {
		return found.ID, err
	}
	return 0, fmt.Errorf("the tag %q is there and isn't; import again", name)
}
