package api_test

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/tag/docs"
	"github.com/achilles-blog/achilles/services/tag/internal/api"
	"github.com/achilles-blog/achilles/services/tag/internal/bootstrap"
	"github.com/achilles-blog/achilles/services/tag/internal/store"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
	"github.com/achilles-blog/achilles/services/tag/migrations"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	tagsPath = "/api/v1/tags"
	token    = "the services' token"
	patience = 20 * time.Second
)

// service is the API with its router, domain and database, behind a real
// connection.
type service struct {
	*apitest.Client // of the client "test", which has the scope write
	anonymous       *apitest.Client
	memory          *memory.Budget // of responses
	keySet          *auth.KeySet
	token           string // the Authorization header of the client "test"
	store           *store.Store
	db              *database.DB
	handler         http.Handler
	draining        chan struct{}
	// reads counts the completed reads of the feed.
	reads atomic.Int64
	logs  *observer.ObservedLogs
}

// unlimited returns limits that no test exceeds. They are enabled, so that every
// response has a RateLimit header.
func unlimited() ratelimit.Config {
	return ratelimit.Config{
		Enabled: true, ReadPerSecond: 1000, ReadBurst: 100_000, SearchPerSecond: 1000, SearchBurst: 100_000, WritePerSecond: 1000, WriteBurst: 100_000, AuthPerMinute: 1000, AuthBurst: 100_000,
	}
}

// options are the settings that a test can change.
type options struct {
	config bootstrap.Config
	// pollInterval is long by default, so that only the broadcaster can wake a
	// reader.
	pollInterval time.Duration
}

func start(t *testing.T, cfg database.Config, change ...func(*options)) *service {
	t.Helper()
	db := dbtest.Open(t, cfg)
	_, _, err := database.Migrate(t.Context(), db, migrations.All())
	require.NoError(t, err)
	return serve(t, db, change...)
}

// serve returns a service on an existing database, as another replica does.
func serve(t *testing.T, db *database.DB, change ...func(*options)) *service {
	t.Helper()
	o := options{config: bootstrap.Command().Defaults(), pollInterval: time.Minute}
	o.config.Feed.Token = token
	o.config.Limits = unlimited()
	for _, c := range change {
		c(&o)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	s := &service{store: store.New(db, time.Hour), db: db, draining: make(chan struct{}), logs: logs, memory: memory.New(memory.Config{Use: "responses", Total: 40 << 20})}
	engine, err := server.NewEngine(settings.Fixed(o.config.Server), server.Deps{
		Log: zap.New(core), Metrics: metrics.New(buildinfo.Get()), Health: health.New(health.Default(), nil, zap.NewNop(), nil), Info: buildinfo.Get(),
	})
	require.NoError(t, err)
	binder, err := requests.NewBinder()
	require.NoError(t, err)
	s.keySet = apitest.KeySet(t)
	principal := func(c *gin.Context) string { return auth.PrincipalOf(c).AppKey }
	limits := ratelimit.New(ratelimit.Deps{Service: "tag", Principal: principal}, settings.Fixed(o.config.Limits))
	watcher := changefeed.NewWatcher(changefeed.WatcherOptions{Head: s.store.LastChange, Interval: o.pollInterval, Draining: s.draining})
	dbtest.Work(t, watcher.Run)
	(&api.API{
		Access:     []gin.HandlerFunc{auth.Authenticate(s.keySet), limits.ByMethod(), auth.RejectInvalidToken()},
		Tags:       tag.NewService(countingStore{s.store, &s.reads}, watcher),
		Binder:     binder,
		Paging:     settings.Constant(requests.Paging{DefaultSize: o.config.App.DefaultPageSize, MaxSize: o.config.App.MaxPageSize, MaxOffset: o.config.App.MaxOffset}),
		Memory:     responses.NewMemory(s.memory, limits.Client),
		FeedAccess: auth.RequireServiceToken(o.config.Feed.Token, limits.Auth()), LimitSearch: limits.Search(), LimitBatch: limits.Batch(),
		Bodies: requests.NewBodies(memory.New(memory.Config{Use: "request_bodies", Total: api.MaxBatchMemory}), api.MaxBatchBytes, limits.Client),
	}).Register(engine)
	s.handler = engine
	s.anonymous = apitest.New(t, engine, docs.OpenAPI)
	header := apitest.Token(t, s.keySet, "test", auth.ScopeWrite)
	s.token = header.Get("Authorization")
	s.Client = s.anonymous.With(header)
	return s
}

// countingStore is a store that counts the reads of the feed.
type countingStore struct {
	*store.Store
	reads *atomic.Int64
}

func (s countingStore) Changes(ctx context.Context, after uint64, limit int) (tag.Changes, error) {
	defer s.reads.Add(1)
	return s.Store.Changes(ctx, after, limit)
}

func withToken(token settings.Secret) func(*options) {
	return func(o *options) { o.config.Feed.Token = token }
}

// The response bodies, repeated here because they are part of the API.
type (
	tagResponse struct {
		Code int     `json:"code"`
		Msg  string  `json:"msg"`
		Data api.Tag `json:"data"`
	}
	listResponse struct {
		Code  int             `json:"code"`
		Msg   string          `json:"msg"`
		List  []api.Tag       `json:"list"`
		Pager responses.Pager `json:"pager"`
	}
)

type fields map[string]any

// encodings are the two encodings of a request body.
var encodings = map[string]func(apitest.Case, fields) apitest.Case{
	"json": func(c apitest.Case, f fields) apitest.Case { c.JSON = f; return c },
	"form": func(c apitest.Case, f fields) apitest.Case {
		c.Form = url.Values{}
		for name, value := range f {
			switch value := value.(type) {
			case int:
				c.Form.Set(name, strconv.Itoa(value))
			case string:
				c.Form.Set(name, value)
			}
		}
		return c
	},
}

func eachEncoding(t *testing.T, test func(t *testing.T, encode func(apitest.Case, fields) apitest.Case)) {
	t.Helper()
	for name, encode := range encodings {
		t.Run(name, func(t *testing.T) { test(t, encode) })
	}
}

func at(id uint64) string { return tagsPath + "/" + strconv.FormatUint(id, 10) }

func in(language string) http.Header { return http.Header{"Locale": {language}} }

func (s *service) create(t *testing.T, f fields) api.Tag {
	t.Helper()
	return s.expectTag(t, http.StatusCreated, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: f})
}

func (s *service) delete(t *testing.T, id uint64) {
	t.Helper()
	require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Method: http.MethodDelete, Path: at(id)}).Status)
}

func (s *service) get(t *testing.T, id uint64) api.Tag {
	t.Helper()
	return s.expectTag(t, http.StatusOK, apitest.Case{Path: at(id)})
}

func (s *service) expectTag(t *testing.T, status int, c apitest.Case) api.Tag {
	t.Helper()
	result := s.Do(t, c)
	require.Equal(t, status, result.Status, "%s", result.Body)
	var response tagResponse
	result.JSON(t, &response)
	require.Zero(t, response.Code)
	return response.Data
}

func (s *service) list(t *testing.T, query string) listResponse {
	t.Helper()
	result := s.Do(t, apitest.Case{Path: tagsPath + "?" + query, Invalid: true})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	var response listResponse
	result.JSON(t, &response)
	return response
}

// requireError sends the request and requires an error with the code, its
// message in Chinese, and the details.
func (s *service) requireError(t *testing.T, c apitest.Case, code errcode.Code, details ...string) *apitest.Result {
	t.Helper()
	result := s.Do(t, c)
	requireProblem(t, result, code, "", details)
	return result
}

// statuses are repeated here because they are part of the API.
var statuses = map[errcode.Code]int{
	errcode.Internal: 500, errcode.ListTagsFailed: 500, errcode.CreateTagFailed: 500, errcode.UpdateTagFailed: 500,
	errcode.DeleteTagFailed: 500, errcode.GetTagFailed: 500,
	errcode.InvalidParams: 400, errcode.UnauthorizedInternal: 401, errcode.NotFound: 404, errcode.TagNotFound: 404,
	errcode.MethodNotAllowed: 405, errcode.TagNameExists: 409, errcode.ChangesTrimmed: 410, errcode.PreconditionFailed: 412, errcode.KeyReused: 422, errcode.TooLarge: 413,
	errcode.UnsupportedMediaType: 415, errcode.TooManyRequests: 429, errcode.Unavailable: 503,
}

// requireProblem requires an error response with the code, message and details.
// If message is empty, it is the one in Chinese.
func requireProblem(t *testing.T, result *apitest.Result, code errcode.Code, message string, details []string) {
	t.Helper()
	require.Equal(t, statuses[code], result.Status, "%s", result.Body)
	if message == "" {
		message = code.Message("zh")
	}
	apitest.RequireProblem(t, result, code, message, details...)
}

func codeOf(t *testing.T, result *apitest.Result) errcode.Code {
	t.Helper()
	var problem responses.Problem
	result.JSON(t, &problem)
	return errcode.Code(problem.Code)
}

func names(list []api.Tag) []string {
	found := make([]string, 0, len(list))
	for _, t := range list {
		found = append(found, t.Name)
	}
	return found
}
