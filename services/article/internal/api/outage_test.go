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

// promised is how soon a client has its 503.
const promised = 2 * time.Second

func TestDatabaseOutages(t *testing.T) {
	server := dbtest.NewMySQL(t)
	s := start(t, server.Config(t))
	hurried := serve(t, s.db.WithTimeout(database.Default().Timeout)) // on the same pool
	s.knows(t, 3)
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
					dbtest.Within(t, promised, func() { result = hurried.refuses(t, c, errcode.Unavailable) })
					require.Equal(t, "1", result.Header.Get("Retry-After"))
					require.NotContains(t, string(result.Body), server.Addr())
				})
			}
			outage.end(t)
			require.Eventually(t, func() bool { return s.Do(t, apitest.Case{Path: at(existing.ID)}).Status == http.StatusOK }, patience, 10*time.Millisecond)
			require.Equal(t, before, s.get(t, existing.ID), "what was refused was done")
			require.Equal(t, []uint64{2}, tagIDs(s.put(t, existing.ID, fields{"tag_ids": []int{2}})))
			require.Equal(t, []uint64{1}, tagIDs(s.put(t, existing.ID, fields{"tag_ids": []int{1}})))
			require.Equal(t, []string{"existing"}, titles(s.list(t, "").List))
		})
	}
}

// A request that runs out of time is not the database's fault, and its
// deadline reaches the SQL: see pkg/database for the rest.
func TestRequestTimeout(t *testing.T) {
	cfg := dbtest.MySQL(t)
	s := start(t, cfg)
	hurried := serve(t, s.db, func(o *options) { o.server.RequestTimeout = 300 * time.Millisecond })
	s.knows(t, 3)
	created := s.create(t, fields{"title": "a"})
	// Somebody holds the row.
	release := dbtest.Hold(t, s.db, fmt.Sprintf("SELECT id FROM blog_article WHERE id = %d FOR UPDATE", created.ID))
	dbtest.Within(t, promised, func() {
		hurried.refuses(t, apitest.Case{Method: http.MethodPut, Path: at(created.ID), JSON: fields{"title": "b"}}, errcode.Timeout)
	})
	release()
	require.Equal(t, "a", s.get(t, created.ID).Title)
}
