package process_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// A POST that is repeated with its key until it succeeds is applied once, whether the
// kill happens before, during, or after the write.
func TestIdempotencyKeysUnderKills(t *testing.T) {
	t.Parallel()
	tagDatabase, articleDatabase := dbtest.MySQL(t), dbtest.MySQL(t)
	tags := newFleet(t, "tag", process.On(tagDatabase), 2)
	articles := newFleet(t, "article", process.Follow(articleDatabase, tags.addr()), 2)
	answer, err := process.Ask("POST", tags.url("/api/v1/tags"), newTag("of all articles"))
	require.NoError(t, err)
	require.Equal(t, 201, answer.Status, string(answer.Body))
	tagID := answer.ID()

	over := make(chan struct{})
	toTags := &repeaters{url: tags.url("/api/v1/tags"), over: over, body: func(name string) any { return newTag(name) }, done: map[uint64]string{}}
	toArticles := &repeaters{url: articles.url("/api/v1/articles"), over: over, body: func(name string) any { return newArticle(name, tagID) }, done: map[uint64]string{}}
	for n := range 8 {
		toTags.running.Go(func() { toTags.write(fmt.Sprint("worker ", n)) })
		toArticles.running.Go(func() { toArticles.write(fmt.Sprint("worker ", n)) })
	}
	const kills = 8
	for n := range kills {
		time.Sleep(rand.N(300 * time.Millisecond))
		[]*fleet{tags, articles}[n%2].crash(t, rand.N(2))
	}
	// Only a response that is lost after the write shows that the key has an effect.
	for f, r := range map[*fleet]*repeaters{tags: toTags, articles: toArticles} {
		process.Await(t, "a repeated write that had been applied", func() bool { f.dropNext.Store(true); return r.replays() > 0 })
	}
	close(over)
	for _, r := range []*repeaters{toTags, toArticles} {
		r.running.Wait()
		require.Empty(t, r.findings)
		t.Logf("%d kills; %d writes, %d repeated, %d of those had been applied", kills, len(r.done), r.repeated, r.replayed)
	}

	toTags.done[tagID] = "of all articles"
	toTags.requireExactly(t, tagDatabase, "SELECT id, name FROM blog_tag")
	toArticles.requireExactly(t, articleDatabase, "SELECT id, title AS name FROM blog_article")
	require.Equal(t, []int{len(toTags.done)}, rows[int](t, tagDatabase, "SELECT COUNT(*) FROM blog_tag_change"), "one change per tag")
	require.Equal(t, []int{len(toArticles.done)}, rows[int](t, articleDatabase, "SELECT COUNT(*) FROM blog_article_tag"))
}

// crash kills and restarts a replica.
func (f *fleet) crash(t *testing.T, i int) {
	t.Helper()
	f.kill(t, i)
	f.start(t, i)
	f.await(t, i)
}

// repeaters create objects. Each repeats a POST with an Idempotency-Key until it
// succeeds.
type repeaters struct {
	url  string
	body func(name string) any

	over    chan struct{}
	running sync.WaitGroup

	mu       sync.Mutex
	done     map[uint64]string
	repeated int // requests that were repeated
	replayed int // of these, requests that had been applied
	findings []string
}

// write creates objects until the end of the test. It repeats some requests although they
// succeeded.
func (r *repeaters) write(worker string) {
	for n := 0; ; n++ {
		name := fmt.Sprint(worker, " ", n)
		for !r.post(name, false) {
			time.Sleep(rand.N(50 * time.Millisecond))
		}
		for n%5 == 0 && !r.post(name, true) {
			time.Sleep(rand.N(50 * time.Millisecond))
		}
		select {
		case <-r.over:
			return
		default:
		}
	}
}

// post sends the request with this name, and reports whether it has succeeded. answered
// reports whether it had succeeded before.
func (r *repeaters) post(name string, answered bool) (succeeded bool) {
	answer, err := process.AskWith(http.Header{"Idempotency-Key": {name}}, "POST", r.url, r.body(name))
	replay, previous := answer.Header.Get("Idempotency-Replayed") == "true", ""
	if answered {
		previous = name
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil || answer.Status == 503 || strings.Contains(string(answer.Body), `"code":10000021,`):
		r.repeated++
		return false
	case answer.Status != 201 || r.done[answer.ID()] != previous || answered && !replay:
		r.findings = append(r.findings, fmt.Sprintf("%s: status %d, replay %t: %s", name, answer.Status, replay, answer.Body))
	case replay && !answered:
		r.replayed++
	}
	r.done[answer.ID()] = name
	return true
}

func (r *repeaters) replays() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replayed
}

// requireExactly requires that the table contains exactly the acknowledged rows, with
// their ids.
func (r *repeaters) requireExactly(t *testing.T, cfg database.Config, query string) {
	t.Helper()
	stored := rows[named](t, cfg, query)
	require.Len(t, stored, len(r.done))
	for _, row := range stored {
		require.Equal(t, r.done[row.ID], row.Name, "row %d", row.ID)
	}
}
