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

// maxWait is how long a client may wait for its 503.
const maxWait = 2 * time.Second

func TestDatabaseOutages(t *testing.T) {
	server := dbtest.NewMySQL(t)
	s := start(t, server.Config(t))
	quick := serve(t, s.db.WithTimeout(database.Default().Timeout)) // on the same pool
	s.loadTags(t, 3)
	existing := s.create(t, fields{"title": "existing", "tag_ids": []int{1}})
	for _, outage := range []struct {
		name       string
		begin, end func(testing.TB)
	}{
		{"stopped", server.Stop, server.Start}, {"killed", server.Kill, server.Start}, {"paused", server.Pause, server.Resume},
	} {
		t.Run(outage.name, func(t *testing.T) {
			before := s.get(t, existing.ID)
			outage.begin(t)
			for name, c := range map[string]apitest.Case{
				"list":   {Path: articlesPath + "?tag_id=1"},
				"get":    {Path: at(existing.ID)},
				"post":   {Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "lost", "tag_ids": []int{1, 2}}},
				"put":    {Method: http.MethodPut, Path: at(existing.ID), JSON: fields{"title": "lost", "tag_ids": []int{99}}},
				"patch":  {Method: http.MethodPatch, Path: stateOf(existing.ID), JSON: fields{"state": 0}},
				"delete": {Method: http.MethodDelete, Path: at(existing.ID)},
			} {
				t.Run(name, func(t *testing.T) {
					var result *apitest.Result
					dbtest.Within(t, maxWait, func() { result = quick.requireError(t, c, errcode.Unavailable) })
					require.Equal(t, "1", result.Header.Get("Retry-After"))
					require.NotContains(t, string(result.Body), server.Addr())
				})
			}
			outage.end(t)
			require.Eventually(t, func() bool { return s.Do(t, apitest.Case{Path: at(existing.ID)}).Status == http.StatusOK }, patience, 10*time.Millisecond)
			require.Equal(t, before, s.get(t, existing.ID), "failed writes change nothing")
			require.Equal(t, []uint64{2}, tagIDs(s.put(t, existing.ID, fields{"tag_ids": []int{2}})))
			require.Equal(t, []uint64{1}, tagIDs(s.put(t, existing.ID, fields{"tag_ids": []int{1}})))
			require.Equal(t, []string{"existing"}, titles(s.list(t, "").List))
		})
	}
}

// After RequestTimeout, the SQL statement is canceled and the error is a timeout of
// the request, not an unavailable database. pkg/database tests the details.
func TestRequestTimeout(t *testing.T) {
	cfg := dbtest.MySQL(t)
	s := start(t, cfg)
	quick := serve(t, s.db, func(o *options) { o.server.RequestTimeout = 300 * time.Millisecond })
	s.loadTags(t, 3)
	created := s.create(t, fields{"title": "a"})
	// Another transaction locks the row.
	release := dbtest.Hold(t, s.db, fmt.Sprintf("SELECT id FROM blog_article WHERE id = %d FOR UPDATE", created.ID))
	dbtest.Within(t, maxWait, func() {
		quick.requireError(t, apitest.Case{Method: http.MethodPut, Path: at(created.ID), JSON: fields{"title": "b"}}, errcode.Timeout)
	})
	release()
	require.Equal(t, "a", s.get(t, created.ID).Title)
}
