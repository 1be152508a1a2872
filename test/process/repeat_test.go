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

// Whoever repeats a POST under its key until there is an answer has written
// once, wherever a kill falls: before the write, in it, or between the write
// and its answer.
func TestKeyedWritesAreThereOnceWhateverIsKilled(t *testing.T) {
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
	// Only an answer that is lost after the write shows that the key counts: the
	// other writes would be there once anyway.
	for f, r := range map[*fleet]*repeaters{tags: toTags, articles: toArticles} {
		process.Await(t, "a write that was done, and sent again", func() bool { f.swallow.Store(true); return r.replays() > 0 })
	}
	close(over)
	for _, r := range []*repeaters{toTags, toArticles} {
		r.running.Wait()
		require.Empty(t, r.findings)
		t.Logf("%d kills; %d writes, %d sent again, %d of those had been done", kills, len(r.done), r.again, r.replayed)
	}

	toTags.done[tagID] = "of all articles"
	toTags.requireExactly(t, tagDatabase, "SELECT id, name FROM blog_tag")
	toArticles.requireExactly(t, articleDatabase, "SELECT id, title AS name FROM blog_article")
	require.Equal(t, []int{len(toTags.done)}, rows[int](t, tagDatabase, "SELECT COUNT(*) FROM blog_tag_change"), "one change for each tag")
	require.Equal(t, []int{len(toArticles.done)}, rows[int](t, articleDatabase, "SELECT COUNT(*) FROM blog_article_tag"))
}

// crash kills a replica in the middle of its work and starts it again.
func (f *fleet) crash(t *testing.T, i int) {
	t.Helper()
	f.kill(t, i)
	f.start(t, i)
	f.await(t, i)
}

// repeaters create objects, each by a POST with a key of its own, which they
// repeat until they are told that it is done.
type repeaters struct {
	url  string
	body func(name string) any

	over    chan struct{}
	running sync.WaitGroup

	mu       sync.Mutex
	done     map[uint64]string
	again    int // requests that were repeated for want of an answer
	replayed int // of those, the ones that had been done
	findings []string
}

// write goes on until it is over, and then until the last one is answered. Some
// requests are sent once more, although they were answered.
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

// post sends the request of that name, for which there may have been an answer,
// and tells whether nothing is left to repeat.
func (r *repeaters) post(name string, answered bool) (settled bool) {
	answer, err := process.AskWith(http.Header{"Idempotency-Key": {name}}, "POST", r.url, r.body(name))
	replay, wasDone := answer.Header.Get("Idempotency-Replayed") == "true", ""
	if answered {
		wasDone = name
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil || answer.Status == 503 || strings.Contains(string(answer.Body), `"code":10000021,`):
		r.again++
		return false
	case answer.Status != 201 || r.done[answer.ID()] != wasDone || answered && !replay:
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

// requireExactly checks that the table has what was acknowledged, under the id
// that was said, and nothing else.
func (r *repeaters) requireExactly(t *testing.T, cfg database.Config, query string) {
	t.Helper()
	stored := rows[named](t, cfg, query)
	require.Len(t, stored, len(r.done))
	for _, row := range stored {
		require.Equal(t, r.done[row.ID], row.Name, "row %d", row.ID)
	}
}
