package api_test

import (
	"context"
	"fmt"
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
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/services/article/docs"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
	"github.com/achilles-blog/achilles/services/article/migrations"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	articlesPath = "/api/v1/articles"
	epoch        = "the epoch of these tests"
	patience     = time.Minute
	mebibyte     = 1 << 20
)

// service is the real thing behind a real connection: router, rules, domain
// and database. Only the other service's feed is a stub.
type service struct {
	*apitest.Client // of the client "test", which may write
	anyone          *apitest.Client
	keySet          *auth.KeySet
	token           string // of the client "test", as Authorization has it
	handler         http.Handler
	store           *store.Store
	db              *database.DB
	logs            *observer.ObservedLogs
	// catchUp stands for the feed; nil brings nothing new.
	catchUp func(context.Context) error
	// caughtUp counts the calls of catchUp.
	caughtUp atomic.Int64
}

// unlimited allows what tests do, and says so in every answer.
func unlimited() ratelimit.Config {
	return ratelimit.Config{
		Enabled: true, ReadPerSecond: 1000, ReadBurst: 100_000, WritePerSecond: 1000, WriteBurst: 100_000, AuthPerMinute: 1000, AuthBurst: 100_000,
	}
}

// options are what a test wants to be otherwise.
type options struct {
	server          server.Config
	limits          ratelimit.Config
	maxContentBytes int
}

func start(t *testing.T, cfg database.Config, change ...func(*options)) *service {
	t.Helper()
	db := dbtest.Open(t, cfg)
	_, _, err := database.Migrate(t.Context(), db, migrations.All())
	require.NoError(t, err)
	return serve(t, db, change...)
}

func serve(t *testing.T, db *database.DB, change ...func(*options)) *service {
	t.Helper()
	o := options{server: server.Default(), limits: unlimited(), maxContentBytes: mebibyte}
	o.server.RequestTimeout = patience
	o.server.MaxBodyBytes = 7 * mebibyte
	for _, c := range change {
		c(&o)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	s := &service{store: store.New(db, time.Hour), db: db, logs: logs}
	engine, err := server.NewEngine(o.server, server.Deps{
		Log: zap.New(core), Metrics: metrics.New(buildinfo.Get()), Health: health.New(health.Default(), nil, zap.NewNop(), nil), Info: buildinfo.Get(),
	})
	require.NoError(t, err)
	binder, err := requests.NewBinder()
	require.NoError(t, err)
	s.keySet = apitest.KeySet(t)
	limits := ratelimit.New(o.limits, ratelimit.Options{Service: "article", Principal: func(c *gin.Context) string { return auth.PrincipalOf(c).AppKey }})
	(&api.API{
		Access:   []gin.HandlerFunc{auth.Authenticate(s.keySet), limits.ByMethod(), auth.RejectInvalidToken()},
		Articles: article.NewService(s.store, s.follow, o.maxContentBytes),
		Binder:   binder,
		Paging:   requests.Paging{DefaultSize: 10, MaxSize: 100},
	}).Register(engine)
	s.handler = engine
	s.anyone = apitest.New(t, engine, docs.OpenAPI)
	header := apitest.Token(t, s.keySet, "test", auth.ScopeWrite)
	s.token = header.Get("Authorization")
	s.Client = s.anyone.With(header)
	return s
}

func (s *service) follow(ctx context.Context) error {
	s.caughtUp.Add(1)
	if s.catchUp == nil {
		return nil
	}
	return s.catchUp(ctx)
}

// each runs a test against the service on each dialect, with the tags 1 to 30.
func each(t *testing.T, test func(t *testing.T, s *service)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		s.knows(t, 30)
		test(t, s)
	})
}

// embedded is the service on SQLite, for what no database has a part in.
func embedded(t *testing.T, change ...func(*options)) *service {
	t.Helper()
	s := start(t, dbtest.SQLite(t), change...)
	s.knows(t, 30)
	return s
}

// knows fills the tag read model with the ids 1 to n.
func (s *service) knows(t *testing.T, n uint64) {
	t.Helper()
	snapshot := tagfeed.Snapshot{Epoch: epoch, Sequence: n}
	for id := range n {
		snapshot.Tags = append(snapshot.Tags, tagfeed.Tag{ID: id + 1, Name: tagName(id + 1), State: 1})
	}
	require.NoError(t, s.store.Replace(t.Context(), tagfeed.Offset{}, snapshot))
}

func tagName(id uint64) string { return fmt.Sprintf("tag %d 🏷", id) }

// changes applies the next change to the read model.
func (s *service) changes(ctx context.Context, change tagfeed.Change) error {
	offset, err := s.store.Offset(ctx)
	if err != nil {
		return err
	}
	change.Sequence = offset.Sequence + 1
	return s.store.Apply(ctx, tagfeed.Changes{Epoch: epoch, Changes: []tagfeed.Change{change}, Last: change.Sequence})
}

// The envelopes, written out here as clients know them.
type (
	articleAnswer struct {
		Code int         `json:"code"`
		Msg  string      `json:"msg"`
		Data api.Article `json:"data"`
	}
	listAnswer struct {
		Code  int             `json:"code"`
		Msg   string          `json:"msg"`
		List  []api.Article   `json:"list"`
		Pager responses.Pager `json:"pager"`
	}
)

type fields map[string]any

// encodings are the two ways in which a client may write a body.
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

// formList writes the empty list as one empty value: a form has no other way.
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

// expect wants an answer with an article.
func (s *service) expect(t *testing.T, status int, c apitest.Case) api.Article {
	t.Helper()
	result := s.Do(t, c)
	require.Equal(t, status, result.Status, "%.500s", result.Body)
	var answer articleAnswer
	result.JSON(t, &answer)
	require.Zero(t, answer.Code)
	return answer.Data
}

// list allows for queries that the description does not, such as page=x.
func (s *service) list(t *testing.T, query string) listAnswer {
	t.Helper()
	result := s.Do(t, apitest.Case{Path: articlesPath + "?" + query, Invalid: true})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	var answer listAnswer
	result.JSON(t, &answer)
	return answer
}

// refuses expects an error of the given code, in Chinese, and exactly these
// details.
func (s *service) refuses(t *testing.T, c apitest.Case, code errcode.Code, details ...string) *apitest.Result {
	t.Helper()
	result := s.Do(t, c)
	requireProblem(t, result, code, code.Message("zh"), details...)
	return result
}

func requireProblem(t *testing.T, result *apitest.Result, code errcode.Code, message string, details ...string) {
	t.Helper()
	require.Equal(t, code.Status(), result.Status, "%s", result.Body)
	require.Equal(t, "application/json; charset=utf-8", result.Header.Get("Content-Type"))
	var problem responses.Problem
	result.JSON(t, &problem)
	if details == nil {
		details = []string{}
	}
	require.Equal(t, responses.Problem{Code: int(code), Msg: message, Details: details}, problem)
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
