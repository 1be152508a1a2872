package process_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

func TestBuildInfo(t *testing.T) {
	each(t, func(t *testing.T, program string, settings process.Settings) {
		process.Migrate(t, program, settings)
		type stamp struct {
			Version   string `json:"version"`
			Commit    string `json:"commit"`
			BuildTime string `json:"build_time"`
			GoVersion string `json:"go_version"`
		}
		decoded := func(text string) (s stamp) {
			require.NoError(t, json.Unmarshal([]byte(text), &s), text)
			return s
		}
		p, exit := process.Run(t, program, nil, "version", "--json")
		require.Zero(t, exit)
		want := decoded(p.Stdout())
		require.Equal(t, stamp{process.Version, process.Commit, process.BuildTime, want.GoVersion}, want)
		require.Regexp(t, `^go1\.\d+`, want.GoVersion)

		p, exit = process.Run(t, program, nil, "version")
		require.Zero(t, exit)
		require.Equal(t, fmt.Sprintf("%s %s (commit %s, built %s, %s)\n",
			filepath.Base(program), want.Version, want.Commit, want.BuildTime, want.GoVersion), p.Stdout())

		service := process.Serve(t, program, settings)
		require.Equal(t, want, decoded(string(ask(t, service, "GET", "/version", nil).Body)))
		first, _, _ := strings.Cut(service.Stdout(), "\n")
		require.Equal(t, want, decoded(first))
		require.Contains(t, first, `"msg":"starting"`)
		require.Contains(t, scrape(t, service), fmt.Sprintf("achilles_build_info{build_time=%q,commit=%q,go_version=%q,version=%q} 1\n",
			want.BuildTime, want.Commit, want.GoVersion, want.Version))
	})
}

// Texts that must not appear in any output.
const (
	secretPassword = "distinctive-password"
	secretToken    = "distinctive-token-of-32-characters"
	secretQuery    = "distinctive-query"
	secretBody     = "distinctive-body"
)

func TestOutputContainsNoSecrets(t *testing.T) {
	admin := dbtest.MySQL(t)
	accounts := dbtest.Open(t, admin).SQL()
	execute := func(statement string) {
		_, err := accounts.ExecContext(context.WithoutCancel(t.Context()), statement)
		require.NoError(t, err)
	}
	const drop = "DROP USER IF EXISTS secretive@'%'" // of an interrupted run
	execute(drop)
	t.Cleanup(func() { execute(drop) })
	execute("CREATE USER secretive@'%' IDENTIFIED BY '" + secretPassword + "'")
	execute("GRANT ALL ON *.* TO secretive@'%'")
	var printed []*process.Process
	more := process.Settings{"Feed.Token": secretToken, "Log.Level": "debug"}
	account := func(on process.Settings) process.Settings {
		return on.With(more).With(process.Settings{"Database.Username": "secretive", "Database.Password": secretPassword})
	}
	tagProgram, articleProgram := process.Service(t, "tag"), process.Service(t, "article")
	tagSettings := account(process.On(admin))
	tag := process.Ready(t, tagProgram, tagSettings)
	articleSettings := account(process.Follow(dbtest.MySQL(t), tag.Addr(t)))
	article := process.Ready(t, articleProgram, articleSettings)
	printed = append(printed, tag, article)

	for _, request := range []struct {
		server       *process.Process
		method, path string
		body         any
		status       int
	}{
		{tag, "POST", "/api/v1/tags?q=" + secretQuery, newTag(secretBody), 201},
		{tag, "POST", "/api/v1/tags?q=" + secretQuery, newTag(secretBody), 409},
		{tag, "POST", "/api/v1/tags", map[string]any{"name": map[string]any{secretBody: secretBody}}, 400},
		{tag, "GET", "/api/v1/tags?name=" + secretQuery, nil, 200},
		{tag, "GET", "/api/v1/tags?state=" + secretQuery, nil, 400},
		{tag, "GET", "/api/v1/tags/" + secretQuery, nil, 400},
		{tag, "GET", "/" + secretQuery, nil, 404},
		{tag, "GET", "/internal/v1/tag-changes?token=" + secretQuery, nil, 401},
		{article, "POST", "/api/v1/articles?q=" + secretQuery, newArticle(secretBody), 201},
		{article, "POST", "/api/v1/articles?q=" + secretQuery, newArticle(secretBody, 999), 400},
		{article, "GET", "/api/v1/articles?title=" + secretQuery, nil, 200},
		{article, "PUT", "/api/v1/articles/1?id=" + secretQuery, newArticle(secretBody), 200},
		{article, "POST", "/auth?app_secret=" + secretQuery, map[string]any{"app_key": secretBody, "app_secret": secretBody}, 401},
	} {
		answer := ask(t, request.server, request.method, request.path, request.body)
		require.Equal(t, request.status, answer.Status, "%s %s: %s", request.method, request.path, answer.Body)
		require.NotContains(t, string(answer.Body), secretToken)
		require.NotContains(t, string(answer.Body), process.Token())
	}
	requireRequestLines(t, tag)

	// A wrong password is a secret too, and so is one in a flag, a file or an invalid
	// setting.
	wrong := process.Serve(t, tagProgram, tagSettings.With(process.Settings{"Database.Password": secretPassword + "-wrong"}))
	wrong.AwaitLog(t, "start condition not met")
	printed = append(printed, wrong)
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("Database:\n  Password: "+secretPassword+"\n  Pasword: "+secretPassword+"\n"), 0o600))
	for _, args := range [][]string{
		{"serve", "--help"}, {"migrate", "--help"}, {"help", "serve"}, {"version"},
		{"serve", "--config=" + file},
		{"serve", "--database.password=" + secretPassword, "--server.httpport=high"},
		{"serve", "--database.pasword=" + secretPassword},
		{"serve", secretPassword}, {"migrate", "--database.password", secretPassword, secretPassword},
	} {
		for program, on := range map[string]process.Settings{tagProgram: tagSettings, articleProgram: articleSettings} {
			p, _ := process.Run(t, program, on, args...)
			printed = append(printed, p)
		}
	}
	for _, p := range []*process.Process{article, tag} {
		p.Signal(t, sigterm)
		require.Zero(t, p.Exit(t), p.Stderr())
	}
	for _, p := range printed {
		text := p.Stdout() + p.Stderr()
		require.NotEmpty(t, text)
		for _, secret := range []string{secretPassword, secretToken, secretQuery, secretBody, process.Token()} {
			require.NotContains(t, text, secret)
		}
	}
}

// requireRequestLines requires that each request has one line in the log, with exactly
// the expected fields.
func requireRequestLines(t *testing.T, p *process.Process) {
	t.Helper()
	conn, err := process.Dial(p.Addr(t))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	ids := map[string]int{}
	for n := range 20 {
		answer, err := conn.Ask("GET", "/api/v1/tags/"+fmt.Sprint(n+1)+"?q="+secretQuery, nil)
		require.NoError(t, err)
		ids[answer.Header.Get("X-Request-ID")] = 0
	}
	require.Len(t, ids, 20)
	awaitLineOf(t, p, ask(t, p, "GET", "/nowhere", nil))
	known := regexp.MustCompile(`^(level|ts|msg|service|method|route|status|duration|bytes|client|app_key|request_id|code|error)$`)
	for _, line := range p.Log("request") {
		if _, ours := ids[fmt.Sprint(line["request_id"])]; !ours {
			continue
		}
		ids[fmt.Sprint(line["request_id"])]++
		for key := range line {
			require.Regexp(t, known, key)
		}
		require.Equal(t, "GET", line["method"])
		require.Equal(t, "/api/v1/tags/:id", line["route"])
		require.Contains(t, []any{200.0, 404.0}, line["status"])
		require.Equal(t, "127.0.0.1", line["client"])
		require.Equal(t, process.AppKey, line["app_key"])
		require.Positive(t, line["bytes"])
		require.Positive(t, line["duration"])
		require.Equal(t, "tag", line["service"])
	}
	for id, lines := range ids {
		require.Equal(t, 1, lines, "request %s", id)
	}
}

// awaitLineOf waits until the line of a request, and so those of all earlier requests,
// were logged.
func awaitLineOf(t *testing.T, p *process.Process, answer process.Answer) {
	t.Helper()
	mark := `"request_id":"` + answer.Header.Get("X-Request-ID") + `"`
	process.Await(t, "the line of a request", func() bool { return strings.Contains(p.Stdout(), mark) })
}

func TestLogLevelReload(t *testing.T) {
	each(t, func(t *testing.T, program string, settings process.Settings) {
		process.Migrate(t, program, settings)
		file := filepath.Join(t.TempDir(), "config.yaml")
		write := func(text string) { // atomically, like editors and Kubernetes do
			require.NoError(t, os.WriteFile(file+".new", []byte(text), 0o600))
			require.NoError(t, os.Rename(file+".new", file))
		}
		write("Log:\n  Level: info\n")
		p := process.Start(t, program, settings, "serve", "--config", file)
		p.Addr(t)
		write("Log:\n  Level: debug\n")
		require.True(t, containsText(p.AwaitLog(t, "settings read again")["changed"], "Log.Level", "debug"))

		write("Log:\n  Level: loud\n")
		line := p.AwaitLog(t, "the changed settings are not used")
		require.True(t, containsText(line["error"], "Log.Level", "loud"), line)
		write("Log: [\n")
		process.Await(t, "the file to be rejected", func() bool { return len(p.Log("the changed settings are not used")) > 1 })
		require.False(t, p.Ended())
		p.Signal(t, syscall.SIGTERM)
		require.Zero(t, p.Exit(t))
		require.NotEmpty(t, p.Log("running a stop hook"), "a line of level debug: the level is unchanged")
	})
}
