package process_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// A batch that is killed in the middle and repeated with its key creates each object once, of
// both kinds and on both databases.
func TestBatchesUnderKills(t *testing.T) {
	for _, atomic := range []bool{false, true} {
		dbtest.Each(t, func(t *testing.T, cfg database.Config) {
			service := process.Service(t, "tag")
			settings := process.On(cfg).With(process.Settings{"Limits.Enabled": "false"})
			tag := process.Ready(t, service, settings)
			db := dbtest.Open(t, cfg).SQL()
			count := func() (n int) {
				require.NoError(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM blog_tag").Scan(&n))
				return n
			}
			const batches, size = 6, 100
			resumed, replayed := 0, 0
			for n := range batches {
				var tags []map[string]any
				for i := range size {
					tags = append(tags, map[string]any{"name": fmt.Sprintf("%d %d", n, i)})
				}
				body := map[string]any{"atomic": atomic, "tags": tags}
				send := func() (process.Answer, error) {
					return process.AskWith(http.Header{"Idempotency-Key": {fmt.Sprint("batch ", n)}}, "POST", tag.URL(t, "/api/v1/tags/batch"), body)
				}
				killed := make(chan error, 1)
				go func() { _, err := send(); killed <- err }()
				before := n * size
				process.Await(t, "the batch to begin", func() bool {
					return atomic || count() > before+rand.IntN(size/2)
				})
				if atomic {
					time.Sleep(rand.N(100 * time.Millisecond)) // at any time
				}
				tag.Kill()
				err := <-killed
				there := count() - before
				require.True(t, !atomic || there == 0 || there == size, "all or nothing: %d", there)
				if err != nil && there < size {
					resumed++
				}
				tag = process.Ready(t, service, settings)
				answer, err := send()
				require.NoError(t, err)
				replayed += requireCreated(t, answer, atomic)
			}
			require.Equal(t, []int{batches * size, batches * size}, rows[int](t, cfg, "SELECT COUNT(*) FROM blog_tag UNION ALL SELECT COUNT(*) FROM blog_tag_change"), "one change per tag")
			t.Logf("atomic %t: %d of %d batches were cut off, %d tags were there already", atomic, resumed, batches, replayed)
		})
	}
}

// requireCreated requires that a batch has all of its tags, and returns the number of those
// that were there already.
func requireCreated(t *testing.T, answer process.Answer, atomic bool) (replayed int) {
	t.Helper()
	if atomic {
		require.Equal(t, http.StatusCreated, answer.Status, string(answer.Body))
		return 0
	}
	require.Equal(t, http.StatusOK, answer.Status, string(answer.Body))
	var response struct {
		Data struct {
			Failed  int
			Results []struct{ Replayed bool }
		}
	}
	require.NoError(t, json.Unmarshal(answer.Body, &response))
	require.Zero(t, response.Data.Failed, string(answer.Body))
	for _, one := range response.Data.Results {
		if one.Replayed {
			replayed++
		}
	}
	return replayed
}
