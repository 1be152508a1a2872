//go:build linux

// Package abuse throws hostile clients at the real programs, with default settings
// and the memory of a pod, while a well-behaved client measures.
package abuse_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/test/process"
)

// podMemory is the limit of the chart.
const podMemory = 256 << 20

// defaultDuration is that of each attack; ACHILLES_TEST_ABUSE is another.
const defaultDuration = 4 * time.Second

func TestMain(m *testing.M) { process.Main(m) }

// Whatever clients send, no service exceeds the memory of its pod, exits, or stops
// serving others.
func TestHostileClients(t *testing.T) {
	s := start(t, dbtest.MySQL)
	s.seed(t, 10, 100)
	good := s.behave(t)
	for _, attack := range attacks() {
		before := good.counts()
		ctx, cancel := context.WithTimeout(t.Context(), duration(t))
		s.attack(ctx, attack.crowds)
		cancel()
		during := good.counts().since(before)
		t.Logf("%-40s good client: %s; article service: %d MiB", attack.name, during, residentPeak(t, s.article)>>20)
		require.False(t, s.article.Ended() || s.tag.Ended(), "a service was killed: %s", attack.name)
		require.Positive(t, during.answered, "the well-behaved client was not served: %s", attack.name)
		require.Empty(t, during.failures, "the well-behaved client needs answers, even if they are 503: %s", attack.name)
	}
	counts := good.stop()
	t.Logf("%-40s good client: %s", "all", counts)
	require.Less(t, counts.unavailable, counts.answered/4, "503 must be rare for a well-behaved client")
	s.stop(t)
}

// One anonymous client sends the 50 requests a second that the limits allow, ten of them
// searches and lists with content, the others pages as deep as they go. Its requests are
// answered, and so are those of the others.
func TestOneClientWithinItsLimits(t *testing.T) {
	var cfg database.Config // of the article service, which is started last
	s := start(t, func(t testing.TB) database.Config {
		cfg = dbtest.MySQL(t)
		return cfg
	})
	s.seedRows(t, cfg, 20_000)
	good := s.behave(t)
	limits := ratelimit.Default()
	var hostile statuses
	ctx, cancel := context.WithTimeout(t.Context(), duration(t))
	defer cancel()
	s.attack(ctx, []crowd{{limits.ReadPerSecond, time.Second, worst(limits, &hostile)}})
	counts := good.stop()
	t.Logf("good client: %s; hostile client: %v", counts, hostile.counts())
	require.Less(t, hostile.counts()[503], hostile.counts()[200])
	require.Zero(t, hostile.counts()[429], "the hostile client must keep to its limits")
	require.Positive(t, counts.answered)
	require.Empty(t, counts.failures)
	require.Less(t, counts.unavailable, counts.answered/4)
	s.stop(t)
}

// stop requires both services to have kept within their memory, and to stop gracefully.
func (s *system) stop(t *testing.T) {
	t.Helper()
	for name, p := range map[string]*process.Process{"tag": s.tag, "article": s.article} {
		require.Less(t, residentPeak(t, p), podMemory, name)
		p.Signal(t, os.Interrupt)
		require.Zero(t, p.Exit(t), name)
	}
}

// system is both services, each with the memory of a pod.
type system struct {
	tag, article         *process.Process
	tagAddr, articleAddr string
	articleAdmin         string
	// hostile is the header of an attacker with a token of its own.
	hostile string
}

// start starts both services, each with a database of its own.
func start(t *testing.T, newDatabase func(testing.TB) database.Config) *system {
	t.Helper()
	return startWith(t, newDatabase, nil)
}

// startWith is like start, with more settings of the article service.
func startWith(t *testing.T, newDatabase func(testing.TB) database.Config, more process.Settings) *system {
	t.Helper()
	s := &system{hostile: authorization(t, "attacker")}
	settings := defaults(newDatabase(t))
	program := process.Release(t, "tag")
	process.Migrate(t, program, settings)
	s.tag = confined(t, program, settings, "serve")
	s.tag.AwaitReady(t)
	s.tagAddr = s.tag.Addr(t)
	settings = defaults(newDatabase(t)).With(process.Settings{"Feed.URL": "http://" + s.tagAddr}).With(more)
	program = process.Release(t, "article")
	process.Migrate(t, program, settings)
	s.article = confined(t, program, settings, "serve")
	s.article.AwaitReady(t)
	s.articleAddr, s.articleAdmin = s.article.Addr(t), s.article.AdminAddr(t)
	return s
}

// authorization returns the header of a client.
func authorization(t *testing.T, appKey string) string {
	t.Helper()
	token, err := process.Sign(process.KeysFile(), appKey)
	require.NoError(t, err)
	return "Authorization: Bearer " + token
}

// defaults returns the settings without which no service starts.
func defaults(cfg database.Config) process.Settings {
	all := process.On(cfg)
	needed := process.Settings{}
	for key, value := range all {
		section, _, _ := strings.Cut(key, ".")
		if section == "Database" || section == "Feed" || section == "Auth" || strings.HasSuffix(key, "Host") || strings.HasSuffix(key, "Port") {
			needed[key] = value
		}
	}
	delete(needed, "Database.Timeout")
	return needed
}

// seed creates articles of the largest size, and others of 50 KB.
func (s *system) seed(t *testing.T, large, others int) {
	t.Helper()
	header := process.Header(process.Token())
	for n := range large + others {
		size := 50 << 10
		if n < large {
			size = 1 << 20
		}
		body := map[string]any{"title": fmt.Sprintf("seed %d", n), "content": strings.Repeat("<", size)}
		process.Await(t, "an article to be created", func() bool { // beyond the limit of writes it is 429
			answer, err := process.AskWith(header, "POST", "http://"+s.articleAddr+"/api/v1/articles", body)
			require.NoError(t, err)
			return answer.Status == 201
		})
	}
}

// seedRows inserts small articles into the database of the article service.
func (s *system) seedRows(t *testing.T, cfg database.Config, count int) {
	t.Helper()
	db := dbtest.Open(t, cfg)
	require.NoError(t, db.Gorm(t.Context()).Exec("INSERT INTO blog_article (title, `desc`, cover_image_url, content, state, created_at, updated_at, published_at) "+
		fmt.Sprintf("SELECT REPEAT(CONCAT('title ', seq), 8), '', '', REPEAT('text ', 300), 1, NOW(3), NOW(3), NOW(3) FROM seq_1_to_%d", count)).Error)
}

// attack runs crowds of clients for a while.
func (s *system) attack(ctx context.Context, crowds []crowd) {
	var clients sync.WaitGroup
	for _, c := range crowds {
		for n := range c.size {
			clients.Go(func() {
				for ctx.Err() == nil {
					c.act(ctx, s, n)
					pause(ctx, c.pause)
				}
			})
		}
	}
	clients.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func duration(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("ACHILLES_TEST_ABUSE")
	if text == "" {
		return defaultDuration
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err, "ACHILLES_TEST_ABUSE is the duration of each attack, such as 30s")
	return d
}
