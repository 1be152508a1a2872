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

// databaseRequests has a request for each route that needs the database.
var databaseRequests = []apitest.Case{
	{Method: http.MethodGet, Path: tagsPath},
	{Method: http.MethodGet, Path: tagsPath + "?name=a&state=1"},
	{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "new"}},
	{Method: http.MethodGet, Path: at(1)},
	{Method: http.MethodPut, Path: at(1), JSON: fields{"name": "other"}},
	{Method: http.MethodDelete, Path: at(1)},
	{Method: http.MethodGet, Path: changesPath, Header: authorized},
	{Method: http.MethodGet, Path: changesPath + "?wait=10&after=1", Header: authorized},
}

// requireUnavailable sends each request in each language and requires a 503 within 2 s.
func (s *service) requireUnavailable(t *testing.T, requests ...apitest.Case) {
	t.Helper()
	languages := []string{"zh", "en", "zh_Hant_TW"}
	messages := []string{"服务暂时不可用, 请稍后重试", "temporarily unavailable, try again later", "服務暫時無法使用, 請稍後再試"}
	concurrently(len(requests)*len(languages), func(i int) int {
		request, language := requests[i/len(languages)], i%len(languages)
		header := request.Header.Clone()
		if header == nil {
			header = http.Header{}
		}
		header.Set("locale", languages[language])
		request.Header = header
		var result *apitest.Result
		dbtest.Within(t, 2*time.Second, func() { result = s.Do(t, request) })
		requireProblem(t, result, errcode.Unavailable, messages[language], nil)
		require.Equal(t, "1", result.Header.Get("Retry-After"))
		return result.Status
	})
}

// withDefaultTimeout returns the service with the default timeout of the
// database, on the same pool.
func (s *service) withDefaultTimeout(t *testing.T) *service {
	t.Helper()
	return serve(t, s.db.WithTimeout(database.Default().Timeout))
}

// waitForRecovery waits until reads succeed, and requires that writes succeed too.
func (s *service) waitForRecovery(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		return s.Do(t, apitest.Case{Path: at(1)}).Status == http.StatusOK
	}, patience, 20*time.Millisecond)
	created := s.create(t, fields{"name": fmt.Sprint("after ", time.Now())})
	s.delete(t, created.ID)
}

func TestDatabaseOutage(t *testing.T) {
	mysql := dbtest.NewMySQL(t)
	s := start(t, mysql.Config(t))
	quick := s.withDefaultTimeout(t)
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
			quick.requireUnavailable(t, databaseRequests...)
			// Requests that need no database succeed.
			s.requireError(t, apitest.Case{Path: tagsPath + "/x", Invalid: true}, errcode.InvalidParams, `id 必须是正整数: "x"`)
			require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Path: "/healthz", Undescribed: true}).Status)
			outage.end(t)
			s.waitForRecovery(t)
			require.Equal(t, "kept", s.get(t, 1).Name)
		})
	}
}

// Concurrent requests do not wait for each other while the database is unavailable.
func TestDatabaseOutageUnderLoad(t *testing.T) {
	mysql := dbtest.NewMySQL(t)
	cfg := mysql.Config(t)
	s := start(t, cfg)
	s.create(t, fields{"name": "kept"})
	quick := s.withDefaultTimeout(t)
	mysql.Pause(t)
	defer mysql.Resume(t)
	var statuses []int
	dbtest.Within(t, 3*time.Second, func() { // for all of them, on a busy machine
		statuses = concurrently(3*cfg.MaxOpenConns, func(i int) int { return quick.Do(t, databaseRequests[i%2*2]).Status })
	})
	require.Equal(t, map[int]int{http.StatusServiceUnavailable: 3 * cfg.MaxOpenConns}, count(statuses))
}

// Writes that wait for a lock fail after the timeout. Reads do not wait.
func TestWritesWaitingForLock(t *testing.T) {
	if testing.Short() {
		t.Skip("slow test, skipped with -short")
	}
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		s.create(t, fields{"name": "kept"})
		other := dbtest.Open(t, cfg)
		release := dbtest.Hold(t, other, "UPDATE "+other.Table("tag_sequence")+" SET value = value")
		cfg.Timeout = database.Default().Timeout
		serve(t, dbtest.Open(t, cfg)).requireUnavailable(t, databaseRequests[2], databaseRequests[4], databaseRequests[5])
		require.Equal(t, "kept", s.get(t, 1).Name)
		require.Len(t, s.list(t, "").List, 1)
		require.Len(t, s.changes(t, "").Changes, 1)
		require.Len(t, s.snapshot(t).Tags, 1)
		release()
		s.waitForRecovery(t)
	})
}

// Without tables, before the migration, the response is an internal error without
// SQL. The log has the details.
func TestMissingTables(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := serve(t, dbtest.Open(t, cfg))
		for i, code := range []errcode.Code{
			errcode.ListTagsFailed, errcode.ListTagsFailed, errcode.CreateTagFailed, errcode.GetTagFailed,
			errcode.UpdateTagFailed, errcode.DeleteTagFailed, errcode.Internal,
		} {
			s.requireError(t, databaseRequests[i], code)
			lines := s.logs.FilterMessage("request").All()
			require.Contains(t, lines[len(lines)-1].ContextMap()["error"], "blog_tag", "the log names the table")
		}
	})
}
