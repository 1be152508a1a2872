package process_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// maxUnavailableTime is the maximum duration of a 503 response. It is less than the
// request timeout.
const maxUnavailableTime = 12 * time.Second

// request is a request to the API.
type request struct {
	server       *process.Process
	method, path string
	body         any
}

// unavailable returns an error unless the request is answered 503 with Retry-After in
// time.
func (r request) unavailable(url string) error {
	began := time.Now()
	answer, err := process.Ask(r.method, url, r.body)
	if err != nil {
		return err
	}
	var problem struct{ Code int }
	after, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
	if took := time.Since(began); took > maxUnavailableTime || answer.Status != 503 || after < 1 || answer.JSON(&problem) != nil || problem.Code != 10000014 {
		return fmt.Errorf("%s %s: status %d after %s, Retry-After %d: %s", r.method, r.path, answer.Status, took, after, answer.Body)
	}
	return nil
}

// requireUnavailable sends concurrent requests to all routes.
func requireUnavailable(t *testing.T, tag, article *process.Process) {
	t.Helper()
	requests := []request{
		{tag, "GET", "/api/v1/tags", nil},
		{tag, "GET", "/api/v1/tags/1", nil},
		{tag, "POST", "/api/v1/tags", newTag("lost")},
		{tag, "PUT", "/api/v1/tags/1", newTag("lost")},
		{tag, "DELETE", "/api/v1/tags/1", nil},
		{article, "GET", "/api/v1/articles", nil},
		{article, "GET", "/api/v1/articles/1", nil},
		{article, "POST", "/api/v1/articles", newArticle("lost")},
		{article, "PUT", "/api/v1/articles/1", newArticle("lost")},
		{article, "DELETE", "/api/v1/articles/1", nil},
	}
	results := make(chan error, len(requests))
	for _, r := range requests {
		url := r.server.URL(t, r.path)
		go func() { results <- r.unavailable(url) }()
	}
	for range requests {
		require.NoError(t, <-results)
	}
}

func requireWorking(t *testing.T, tag, article *process.Process, name string) {
	t.Helper()
	process.Await(t, "writes to work", func() bool {
		return ask(t, tag, "GET", "/api/v1/tags", nil).Status == 200 && ask(t, article, "GET", "/api/v1/articles", nil).Status == 200
	})
	id := create(t, tag, "/api/v1/tags", newTag(name))
	create(t, article, "/api/v1/articles", newArticle(name, id))
}

func TestDatabaseOutages(t *testing.T) {
	tagProgram, articleProgram := process.Service(t, "tag"), process.Service(t, "article")
	server := dbtest.NewMySQL(t)
	tagDatabase, articleDatabase := server.Config(t), server.Config(t)
	production := process.Settings{"Database.Timeout": "1500ms", "Health.CheckInterval": "500ms"}
	tagSettings := process.On(tagDatabase).With(production)

	server.Stop(t)
	tag := process.Serve(t, tagProgram, tagSettings)
	articleSettings := process.Follow(articleDatabase, tag.Addr(t)).With(production)
	article := process.Serve(t, articleProgram, articleSettings)
	services := []*process.Process{tag, article}
	status := func(p *process.Process, path string) int { return ask(t, p, "GET", path, nil).Status }

	// The database is unavailable at the start: the services are alive, but not ready.
	for _, p := range services {
		p.AwaitLog(t, "up")
		p.AwaitLog(t, "start condition not met")
		require.Equal(t, 200, status(p, "/healthz"))
		require.Equal(t, 503, status(p, "/readyz"))
	}
	requireUnavailable(t, tag, article)

	// The database is available, but not migrated.
	server.Start(t)
	for _, p := range services {
		process.Await(t, "the log to mention the schema", func() bool {
			lines := p.Log("start condition not met")
			return len(lines) > 0 && containsText(lines[len(lines)-1]["error"], "schema", "migrate")
		})
		require.Equal(t, 503, status(p, "/readyz"))
	}
	process.Migrate(t, tagProgram, tagSettings)
	process.Migrate(t, articleProgram, articleSettings)
	for _, p := range services {
		p.AwaitReady(t)
	}
	requireWorking(t, tag, article, "after the start")

	for name, outage := range map[string]struct {
		begin, end func(testing.TB)
		reason     string
	}{
		"killed": {server.Kill, server.Start, "connection refused"}, "paused": {server.Pause, server.Resume, "timeout"},
	} {
		outage.begin(t)
		requireUnavailable(t, tag, article)
		for _, p := range services {
			require.Equal(t, 200, status(p, "/healthz"), name)
			require.Equal(t, 200, status(p, "/readyz"), name)
			process.Await(t, "the gauge to fall", func() bool { return metric(t, p, `achilles_dependency_up{dependency="database"}`) == 0 })
			process.Await(t, "the reason "+outage.reason, func() bool {
				return strings.Contains(string(ask(t, p, "GET", "/readyz?full=1", nil).Body), `"database":"`+outage.reason+`"`)
			})
			require.Equal(t, 200, status(p, "/readyz"), name)
		}
		requireUnavailable(t, tag, article)
		outage.end(t)
		requireWorking(t, tag, article, "after it was "+name)
		for _, p := range services {
			process.Await(t, "the gauge to rise", func() bool { return metric(t, p, `achilles_dependency_up{dependency="database"}`) == 1 })
			require.False(t, p.Ended(), name)
		}
	}
	lost := rows[int](t, tagDatabase, "SELECT COUNT(*) FROM blog_tag WHERE name = 'lost'")
	require.Equal(t, []int{0}, lost, "requests that were answered 503 were not applied")

	// The services still stop gracefully.
	for _, p := range []*process.Process{article, tag} {
		p.Signal(t, sigterm)
		require.Zero(t, p.Exit(t), p.Stderr())
	}
}

// An outage does not affect the shutdown.
func TestSIGTERMDuringOutage(t *testing.T) {
	program := process.Service(t, "tag")
	server := dbtest.NewMySQL(t)
	p := process.Ready(t, program, process.On(server.Config(t)).With(process.Settings{"Database.Timeout": "1500ms"}))
	server.Pause(t)
	p.Signal(t, sigterm)
	require.Zero(t, p.Exit(t), p.Stderr())
	server.Resume(t)
}
