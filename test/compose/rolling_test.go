package compose_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// fleet are the replicas of a service behind the gateway.
type fleet struct {
	*gateway
	name, program string
	settings      process.Settings
	replicas      map[string]*process.Process // by address
}

func newFleet(t *testing.T, g *gateway, name string, settings process.Settings, addrs ...string) *fleet {
	t.Helper()
	f := &fleet{
		gateway: g, name: name, program: process.Service(t, name), replicas: map[string]*process.Process{},
		settings: settings.With(process.Settings{"Server.HttpPort": fmt.Sprint(g.ports[name]), "Server.DrainDelay": "5s"}),
	}
	process.Migrate(t, f.program, f.settings)
	for _, addr := range addrs {
		f.start(t, addr)
	}
	return f
}

// start starts a replica and returns when the proxy uses it, for which roll.sh
// has a pause. Docker's DNS has its address from the beginning; a proxy that
// trusts every name gets it when the replica is ready.
func (f *fleet) start(t *testing.T, addr string) {
	t.Helper()
	f.replicas[addr] = process.Serve(t, f.program, f.settings.With(process.Settings{"Server.Host": addr}))
	if !f.trusts {
		f.add(f.name, addr)
	}
	f.replicas[addr].AwaitReady(t)
	if f.trusts {
		f.add(f.name, addr)
	}
	f.awaitServing(t, f.name, addr)
}

// start starts a replica of each service.
func start(t *testing.T, addr string, fleets ...*fleet) {
	t.Helper()
	for _, f := range fleets {
		f.start(t, addr)
	}
}

// stop stops a replica of each service. Docker's DNS has its address until it
// has ended.
func stop(t *testing.T, addr string, fleets ...*fleet) {
	t.Helper()
	for _, f := range fleets {
		f.replicas[addr].Signal(t, syscall.SIGTERM)
	}
	for _, f := range fleets {
		require.Zero(t, f.replicas[addr].Exit(t))
		f.remove(f.name, addr)
	}
}

// writers create objects without ever repeating a request, on connections
// that they keep, and on new ones.
type writers struct {
	addr, path string
	body       func(name string) any
	running    sync.WaitGroup
	over       atomic.Bool

	mu    sync.Mutex
	acked []string
	lost  []error
}

func (f *fleet) write(clients int, body func(name string) any) *writers {
	w := &writers{addr: f.addr, path: "/api/v1/" + f.name + "s", body: body}
	for client := range clients {
		w.running.Go(func() { w.client(client) })
	}
	return w
}

func (w *writers) client(id int) {
	var conn *process.Conn
	for n := 0; !w.over.Load(); n++ {
		var err error
		if conn == nil {
			if conn, err = process.Dial(w.addr); err != nil {
				w.note("", err)
				continue
			}
		}
		name := fmt.Sprintf("client %d request %d", id, n)
		answer, err := conn.Ask("POST", w.path, w.body(name))
		if err == nil && answer.Status != 201 {
			err = fmt.Errorf("status %d: %s", answer.Status, answer.Body)
		}
		w.note(name, err)
		if err != nil || answer.Closing || id%2 == 1 {
			_ = conn.Close()
			conn = nil
		}
		time.Sleep(rand.N(20 * time.Millisecond))
	}
	if conn != nil {
		_ = conn.Close()
	}
}

func (w *writers) note(name string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.lost = append(w.lost, err)
		return
	}
	w.acked = append(w.acked, name)
}

func (w *writers) end() {
	w.over.Store(true)
	w.running.Wait()
}

// requireOnce checks that the table has what was acknowledged, once, and
// nothing else.
func (w *writers) requireOnce(t *testing.T, cfg database.Config, query string) {
	t.Helper()
	var stored []string
	require.NoError(t, dbtest.Open(t, cfg).Gorm(t.Context()).Raw(query).Scan(&stored).Error)
	slices.Sort(stored)
	slices.Sort(w.acked)
	require.NotEmpty(t, stored)
	require.Equal(t, w.acked, stored)
}

func newTag(name string) any      { return map[string]any{"name": name} }
func newArticle(title string) any { return map[string]any{"title": title} }

// The steps of roll.sh lose no request, and neither does the restart of one of
// two replicas; the restart of a single replica loses some.
func TestReplicasAreReplacedBehindTheGateway(t *testing.T) {
	g := newGateway(t)
	tagDatabase, articleDatabase := dbtest.MySQL(t), dbtest.MySQL(t)
	tags := newFleet(t, g, "tag", process.On(tagDatabase), "127.0.0.2", "127.0.0.3")
	feed := fmt.Sprintf("127.0.0.2:%d", g.ports["tag"])
	articles := newFleet(t, g, "article", process.Follow(articleDatabase, feed), "127.0.0.2", "127.0.0.3")

	tagWriters, articleWriters := tags.write(6, newTag), articles.write(6, newArticle)
	start(t, "127.0.0.4", tags, articles)
	start(t, "127.0.0.5", tags, articles)
	for _, addr := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		stop(t, addr, tags, articles)
	}
	start(t, "127.0.0.4", tags, articles)
	tagWriters.end()
	articleWriters.end()
	require.Empty(t, tagWriters.lost)
	require.Empty(t, articleWriters.lost)
	tagWriters.requireOnce(t, tagDatabase, "SELECT name FROM blog_tag")
	articleWriters.requireOnce(t, articleDatabase, "SELECT title FROM blog_article")
	t.Logf("%d tags and %d articles, none lost", len(tagWriters.acked), len(articleWriters.acked))

	tags.replicas["127.0.0.5"].Kill()
	alone := tags.write(2, func(name string) any { return newTag("alone " + name) })
	stop(t, "127.0.0.4", tags)
	tags.start(t, "127.0.0.4")
	alone.end()
	require.NotEmpty(t, alone.lost, "this test would not see a lost request")
}
