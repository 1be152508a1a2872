package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// everyRoute is one request to each route that needs the database.
var everyRoute = []apitest.Case{
	{Method: http.MethodGet, Path: tagsPath},
	{Method: http.MethodGet, Path: tagsPath + "?name=a&state=1"},
	{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "new"}},
	{Method: http.MethodGet, Path: at(1)},
	{Method: http.MethodPut, Path: at(1), JSON: fields{"name": "other"}},
	{Method: http.MethodDelete, Path: at(1)},
	{Method: http.MethodGet, Path: changesPath, Header: authorized},
	{Method: http.MethodGet, Path: changesPath + "?wait=10&after=1", Header: authorized},
}

// unavailable expects 503 of each request, in each language, in good time.
func (s *service) unavailable(t *testing.T, requests ...apitest.Case) {
	t.Helper()
	languages := []string{"zh", "en", "zh_Hant_TW"}
	messages := []string{"服务暂时不可用, 请稍后重试", "temporarily unavailable, try again later", "服務暫時無法使用, 請稍後再試"}
	together(len(requests)*len(languages), func(i int) int {
		request, language := requests[i/len(languages)], i%len(languages)
		header := request.Header.Clone()
		if header == nil {
			header = http.Header{}
		}
		header.Set("locale", languages[language])
		request.Header = header
		var result *apitest.Result
		dbtest.Within(t, 2*time.Second, func() { result = s.Do(t, request) })
		problemOf(t, result, errcode.Unavailable, messages[language], nil)
		require.Equal(t, "1", result.Header.Get("Retry-After"))
		return result.Status
	})
}

// asInProduction is the service with the timeout that it has by default, on the
// same pool.
func (s *service) asInProduction(t *testing.T) *service {
	t.Helper()
	return serve(t, s.db.WithTimeout(database.Default().Timeout))
}

func (s *service) recovers(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		return s.Do(t, apitest.Case{Path: at(1)}).Status == http.StatusOK
	}, patience, 20*time.Millisecond)
	created := s.create(t, fields{"name": fmt.Sprint("after ", time.Now())})
	s.delete(t, created.ID)
}

func TestOutageOfTheDatabase(t *testing.T) {
	mysql := dbtest.NewMySQL(t)
	s := start(t, mysql.Config(t))
	hurried := s.asInProduction(t)
	s.create(t, fields{"name": "kept"})
	for _, outage := range []struct {
		about      string
		begin, end func(testing.TB)
	}{
		{"frozen", mysql.Pause, mysql.Resume},
		{"stopped", mysql.Stop, mysql.Start},
		{"killed", mysql.Kill, mysql.Start},
	} {
		t.Run(outage.about, func(t *testing.T) {
			outage.begin(t)
			hurried.unavailable(t, everyRoute...)
			// What needs no database is answered as ever.
			s.refuses(t, apitest.Case{Path: tagsPath + "/x", Invalid: true}, errcode.InvalidParams, `id 必须是正整数: "x"`)
			require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Path: "/healthz", Undescribed: true}).Status)
			outage.end(t)
			s.recovers(t)
			require.Equal(t, "kept", s.get(t, 1).Name)
		})
	}
}

// Many clients at once do not queue up for a database that is not there.
func TestOutageUnderLoad(t *testing.T) {
	mysql := dbtest.NewMySQL(t)
	cfg := mysql.Config(t)
	s := start(t, cfg)
	s.create(t, fields{"name": "kept"})
	hurried := s.asInProduction(t)
	mysql.Pause(t)
	defer mysql.Resume(t)
	var statuses []int
	dbtest.Within(t, 3*time.Second, func() { // all of them together, on a busy machine
		statuses = together(3*cfg.MaxOpenConns, func(i int) int { return hurried.Do(t, everyRoute[i%2*2]).Status })
	})
	require.Equal(t, map[int]int{http.StatusServiceUnavailable: 3 * cfg.MaxOpenConns}, count(statuses))
}

// Writes that wait for another's lock give up in time, and reads do not wait.
func TestWritesBehindALock(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes seconds")
	}
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		s.create(t, fields{"name": "kept"})
		other := dbtest.Open(t, cfg)
		release := dbtest.Hold(t, other, "UPDATE "+other.Table("tag_sequence")+" SET value = value")
		cfg.Timeout = database.Default().Timeout
		serve(t, dbtest.Open(t, cfg)).unavailable(t, everyRoute[2], everyRoute[4], everyRoute[5])
		require.Equal(t, "kept", s.get(t, 1).Name)
		require.Len(t, s.list(t, "").List, 1)
		require.Len(t, s.changes(t, "").Changes, 1)
		require.Len(t, s.snapshot(t).Tags, 1)
		release()
		s.recovers(t)
	})
}

// Before the migration there are no tables: that is a fault of the operator's,
// told as an internal error, with nothing of SQL in the answer.
func TestMissingTables(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := serve(t, dbtest.Open(t, cfg))
		for i, code := range []errcode.Code{
			errcode.ListTagsFailed, errcode.ListTagsFailed, errcode.CreateTagFailed, errcode.GetTagFailed,
			errcode.UpdateTagFailed, errcode.DeleteTagFailed, errcode.Internal,
		} {
			s.refuses(t, everyRoute[i], code)
			lines := s.logs.FilterMessage("request").All()
			require.Contains(t, lines[len(lines)-1].ContextMap()["error"], "blog_tag", "the log tells what the answer keeps")
		}
	})
}
