package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
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
	"github.com/achilles-blog/achilles/services/article/docs"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/blobs/blobstest"
	"github.com/achilles-blog/achilles/services/article/internal/file"
	"github.com/achilles-blog/achilles/services/article/internal/media"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
	"github.com/achilles-blog/achilles/services/article/internal/webfeed"
	"github.com/achilles-blog/achilles/services/article/migrations"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	articlesPath = "/api/v1/articles"
	epoch        = "the epoch of these tests"
	patience     = time.Minute
	mebibyte     = 1 << 20
)

// service is the API with its router, domain and database, behind a real
// connection. Only the feed of the tag service is a stub.
type service struct {
	*apitest.Client // of the client "test", which has the scope write
	anonymous       *apitest.Client
	keySet          *auth.KeySet
	token           string // the Authorization header of the client "test"
	handler         http.Handler
	store           *store.Store
	db              *database.DB
	logs            *observer.ObservedLogs
	feed            *article.Feed
	memory          *memory.Budget // of responses
	url             string
	spool           *memory.Budget // of uploads
	spoolDir        string
	storageDir      string // empty for another storage
	requestBytes    int64  // of an upload
	// catchUp stands for the feed. If nil, the feed has no new changes.
	catchUp func(context.Context) error
	// caughtUp counts the calls of catchUp.
	caughtUp atomic.Int64
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
	server          server.Config
	limits          ratelimit.Config
	maxContentBytes int
	memory          int64 // of responses
	maxBodyBytes    int64
	webFeeds        api.WebFeeds
	exports         api.ExportConfig
	storage         string // of files; empty for none
	fileBytes       int64
	requestFiles    int
	uploads         int
	downloads       int
	quota           file.Quota
	removePosition  bool
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
	o := options{server: server.Default(), limits: unlimited(), maxContentBytes: mebibyte, memory: 40 * mebibyte, maxBodyBytes: 7 * mebibyte, webFeeds: api.WebFeeds{Site: webfeed.Site{Title: "Achilles", Language: "zh-CN"}, Size: 20},
		exports: api.ExportConfig{Max: 2, Timeout: 10 * patience, Memory: 3 * mebibyte, Grace: time.Second},
		storage: blobstest.Directory(t), fileBytes: mebibyte, requestFiles: 10, uploads: 64, downloads: 256, quota: file.Quota{Files: 1000, Bytes: 1 << 30}}
	o.server.RequestTimeout = patience
	for _, c := range change {
		c(&o)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	s := &service{store: store.New(db, time.Hour), db: db, logs: logs, memory: memory.New(memory.Config{Use: "responses", Total: o.memory})}
	engine, err := server.NewEngine(settings.Fixed(o.server), server.Deps{
		Log: zap.New(core), Metrics: metrics.New(buildinfo.Get()), Health: health.New(health.Default(), nil, zap.NewNop(), nil), Info: buildinfo.Get(),
	})
	require.NoError(t, err)
	binder, err := requests.NewBinder()
	require.NoError(t, err)
	s.keySet = apitest.KeySet(t)
	principal := func(c *gin.Context) string { return auth.PrincipalOf(c).AppKey }
	limits := ratelimit.New(ratelimit.Deps{Service: "article", Principal: principal}, settings.Fixed(o.limits))
	s.feed = newFeed(t, s.store)
	(&api.API{
		Access:   []gin.HandlerFunc{server.LimitReads(o.server), auth.Authenticate(s.keySet), limits.ByMethod(), auth.RejectInvalidToken()},
		Articles: article.NewService(s.feed.Announcing(s.store), s.follow, o.maxContentBytes),
		Feed:     s.feed, Client: limits.Client,
		Binder: binder,
		Bodies: requests.NewBodies(memory.New(memory.Config{Use: "request_bodies", Total: 60 * mebibyte}), o.maxBodyBytes, limits.Client),
		Paging: settings.Constant(requests.Paging{DefaultSize: 10, MaxSize: 100, MaxOffset: 10_000}),
		Memory: responses.NewMemory(s.memory, limits.Client),

		LimitSearch: limits.Search(),
		LimitBatch:  limits.Batch(),
		Exports:     api.NewExports(o.exports),
		WebFeeds:    o.webFeeds,
	}).Register(engine)
	s.serveFiles(t, engine, o, limits, binder)
	s.handler = engine
	server := httptest.NewServer(engine)
	t.Cleanup(server.Close)
	s.url = server.URL
	s.anonymous = apitest.NewAt(t, server.URL, docs.OpenAPI)
	header := apitest.Token(t, s.keySet, "test", auth.ScopeWrite)
	s.token = header.Get("Authorization")
	s.Client = s.anonymous.With(header)
	return s
}

// serveFiles adds the routes of files.
func (s *service) serveFiles(t *testing.T, engine *gin.Engine, o options, limits *ratelimit.Limiter, binder *requests.Binder) {
	t.Helper()
	s.spoolDir, s.requestBytes = t.TempDir(), api.UploadBytes(int64(o.requestFiles)*o.fileBytes, o.requestFiles)
	s.spool = memory.New(memory.Config{Use: "files", Total: 4 * s.requestBytes})
	files := &api.Files{
		Access: []gin.HandlerFunc{server.LimitReads(o.server), auth.Authenticate(s.keySet), limits.ByMethod(), auth.RejectInvalidToken()},
		Binder: binder, Paging: settings.Constant(requests.Paging{DefaultSize: 10, MaxSize: 100, MaxOffset: 10_000}), Memory: responses.NewMemory(s.memory, limits.Client),
		Client: limits.Client, Spool: s.spool, RequestBytes: s.requestBytes, RequestFiles: o.requestFiles, Timeout: patience, Uploads: o.uploads, Downloads: o.downloads,
	}
	if o.storage != "" {
		s.storageDir = strings.TrimPrefix(o.storage, "file://")
		files.Service = file.NewService(store.NewFiles(s.db, time.Hour), blobstest.Open(t, o.storage), media.Inspector{}, file.Limits{
			SpoolDir: s.spoolDir, FileBytes: o.fileBytes, Pixels: 50_000_000, Quota: o.quota, Timeout: patience, RemovePosition: o.removePosition,
			Types: []string{"image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf", "text/plain"},
		})
	}
	files.Register(engine)
}

// host returns the address of the service.
func (s *service) host(t *testing.T) string {
	t.Helper()
	parsed, err := url.Parse(s.url)
	require.NoError(t, err)
	return parsed.Host
}

// reserve takes memory of responses, as the client "test".
func (s *service) reserve(t *testing.T, bytes int64) *memory.Reservation {
	t.Helper()
	reserved, err := s.memory.Reserve(t.Context(), "app:test", bytes, func() {})
	require.NoError(t, err)
	return reserved
}

// follow counts its calls and calls s.catchUp.
func (s *service) follow(ctx context.Context) error {
	s.caughtUp.Add(1)
	if s.catchUp == nil {
		return nil
	}
	return s.catchUp(ctx)
}

// each runs a test on each database, with the tags 1 to 30.
func each(t *testing.T, test func(t *testing.T, s *service)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		s.loadTags(t, 30)
		test(t, s)
	})
}

// embedded returns a service on SQLite with the tags 1 to 30, for tests that do not
// depend on the database.
func embedded(t *testing.T, change ...func(*options)) *service {
	t.Helper()
	s := start(t, dbtest.SQLite(t), change...)
	s.loadTags(t, 30)
	return s
}

// loadTags fills the read model of the tags with the ids 1 to n.
func (s *service) loadTags(t *testing.T, n uint64) {
	t.Helper()
	snapshot := tagfeed.Snapshot{Epoch: epoch, Sequence: n}
	for id := range n {
		snapshot.Tags = append(snapshot.Tags, tagfeed.Tag{ID: id + 1, Name: tagName(id + 1), State: 1})
	}
	require.NoError(t, s.store.Replace(t.Context(), changefeed.Offset{}, snapshot))
}

func tagName(id uint64) string { return fmt.Sprintf("tag %d 🏷", id) }

// applyChange applies the change to the read model, with the next sequence number.
func (s *service) applyChange(ctx context.Context, change tagfeed.Change) error {
	offset, err := s.store.Offset(ctx)
	if err != nil {
		return err
	}
	change.Sequence = offset.Sequence + 1
	return s.store.Apply(ctx, tagfeed.Changes{Epoch: epoch, Changes: []tagfeed.Change{change}, Last: change.Sequence})
}

// The response bodies, repeated here because they are part of the API.
type (
	articleResponse struct {
		Code int         `json:"code"`
		Msg  string      `json:"msg"`
		Data api.Article `json:"data"`
	}
	listResponse struct {
		Code  int             `json:"code"`
		Msg   string          `json:"msg"`
		List  []api.Article   `json:"list"`
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
			case []int:
				c.Form[name] = formList(value)
			default:
				c.Form.Set(name, fmt.Sprint(value))
			}
		}
		return c
	},
}

// formList encodes an empty list as one empty value, because a form has no other
// encoding of it.
func formList(ids []int) []string {
	if len(ids) == 0 {
		return []string{""}
	}
	texts := make([]string, 0, len(ids))
	for _, id := range ids {
		texts = append(texts, strconv.Itoa(id))
	}
	return texts
}

func eachEncoding(t *testing.T, test func(t *testing.T, encode func(apitest.Case, fields) apitest.Case)) {
	t.Helper()
	for name, encode := range encodings {
		t.Run(name, func(t *testing.T) { test(t, encode) })
	}
}

func at(id uint64) string { return articlesPath + "/" + strconv.FormatUint(id, 10) }

func stateOf(id uint64) string { return at(id) + "/state" }

func in(language string) http.Header { return http.Header{"Locale": {language}} }

func (s *service) create(t *testing.T, f fields) api.Article {
	t.Helper()
	return s.expect(t, http.StatusCreated, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: f})
}

func (s *service) put(t *testing.T, id uint64, f fields) api.Article {
	t.Helper()
	return s.expect(t, http.StatusOK, apitest.Case{Method: http.MethodPut, Path: at(id), JSON: f})
}

func (s *service) get(t *testing.T, id uint64) api.Article {
	t.Helper()
	return s.expect(t, http.StatusOK, apitest.Case{Path: at(id)})
}

func (s *service) delete(t *testing.T, id uint64) {
	t.Helper()
	result := s.Do(t, apitest.Case{Method: http.MethodDelete, Path: at(id)})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
}

// expect sends the request and requires a response with the status and an article.
func (s *service) expect(t *testing.T, status int, c apitest.Case) api.Article {
	t.Helper()
	result := s.Do(t, c)
	require.Equal(t, status, result.Status, "%.500s", result.Body)
	var response articleResponse
	result.JSON(t, &response)
	require.Zero(t, response.Code)
	return response.Data
}

// list returns a list. The query may be invalid by the OpenAPI document, such as
// page=x.
func (s *service) list(t *testing.T, query string) listResponse {
	t.Helper()
	result := s.Do(t, apitest.Case{Path: articlesPath + "?" + query, Invalid: true})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	var response listResponse
	result.JSON(t, &response)
	return response
}

// requireError sends the request and requires an error with the code, its message
// in Chinese, and the details.
func (s *service) requireError(t *testing.T, c apitest.Case, code errcode.Code, details ...string) *apitest.Result {
	t.Helper()
	result := s.Do(t, c)
	apitest.RequireProblem(t, result, code, code.Message("zh"), details...)
	return result
}

func titles(list []api.Article) []string {
	found := make([]string, 0, len(list))
	for _, a := range list {
		found = append(found, a.Title)
	}
	return found
}

func tagIDs(a api.Article) []uint64 {
	ids := make([]uint64, 0, len(a.Tags))
	for _, tag := range a.Tags {
		ids = append(ids, tag.ID)
	}
	return ids
}

func pointer[T any](v T) *T { return &v }
