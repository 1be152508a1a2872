// Package bench_test measures the article service: make bench, and in a small form
// TestSlowdown, which is one of all tests.
package bench_test

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/test/bench/corpus"
	"github.com/achilles-blog/achilles/test/bench/load"
	"github.com/achilles-blog/achilles/test/bench/report"
	"github.com/achilles-blog/achilles/test/process"
)

var (
	out         = flag.String("bench.out", "", "file for the report in JSON; empty: don't run TestBench")
	check       = flag.String("bench.check", "", "file of the bounds that TestSlowdown holds; empty: don't run it")
	bin         = flag.String("bench.bin", "", "directory of the services' programs")
	sizes       = flag.String("bench.sizes", "100000", "numbers of articles, separated by commas; 100000, or else the last one, is compared with the ceilings")
	length      = flag.Duration("bench.length", 3*time.Second, "length of a measurement")
	rounds      = flag.Int("bench.rounds", 3, "measurements of each request at saturation, of which the median counts")
	connections = flag.Int("bench.connections", 32, "connections at saturation")
)

const (
	mainSize = 100_000
	warmUp   = 500 * time.Millisecond
	deepPage = 1000
	pageSize = 10
)

func TestBench(t *testing.T) {
	if *out == "" {
		t.Skip("run it with make bench")
	}
	r := &report.Report{Started: time.Now().UTC(), Go: runtime.Version(), Cores: runtime.NumCPU(), Seconds: length.Seconds(), Rounds: *rounds, Commit: head()}
	all := sizesOf(t)
	r.Articles = all[len(all)-1]
	if slices.Contains(all, mainSize) {
		r.Articles = mainSize
	}
	s := newSystem(t, filepath.Join(*bin, "tag"), filepath.Join(*bin, "article"))
	for _, n := range all {
		start := time.Now()
		d := s.load(t, n)
		fmt.Printf("%s articles loaded in %s\n", report.Number(n), time.Since(start).Round(time.Second))
		m := &measurement{d, r}
		if n != r.Articles {
			m.reads(t, d.scenarios(t))
			continue
		}
		m.rest(t)
		m.reads(t, slices.Concat(d.ceilings(t), d.scenarios(t)))
		m.writes(t)
		m.overload(t)
		m.fairness(t)
		r.Rest.Peak = resident(t, d.PID(), "VmHWM")
	}
	require.NoError(t, r.ReadRollout(*bin))
	require.NoError(t, r.Write(*out))
	require.NoError(t, r.Text(os.Stdout))
}

func sizesOf(t *testing.T) []int {
	t.Helper()
	var all []int
	for text := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		require.NoError(t, err, "-bench.sizes")
		require.Positive(t, n, "-bench.sizes")
		all = append(all, n)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// head returns the commit, or "".
func head() string {
	hash, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(hash))
}

// scenario is a request to one of the servers.
type scenario struct {
	target, request string
	server          server
	exchange        func() load.Exchange // of one connection
}

// ceilings returns what the service is compared with.
func (d *dataset) ceilings(t *testing.T) []scenario {
	t.Helper()
	same := filepath.Join(t.TempDir(), "body")
	body := d.body(t, articlePath(1))
	require.NoError(t, os.WriteFile(same, body, 0o600))
	random := randomIDs(d.articles)
	static := func() load.Exchange { return getArticle(random, sameBytes(body)) }
	scaffold := d.startCeiling(t, "scaffold", dsn(d.config))
	all := []scenario{
		{report.NetHTTP, report.Get, d.startCeiling(t, "nethttp", same), static},
		{report.Gin, report.Get, d.startCeiling(t, "gin", same), static},
		{report.Select, report.Get, d.startCeiling(t, "select", dsn(d.config)), func() load.Exchange { return getArticle(random, corpus.CheckContent) }},
		{report.Scaffold, report.Get, scaffold, func() load.Exchange { return getArticle(random, corpus.CheckArticle) }},
	}
	for _, list := range d.lists() {
		if slices.Contains([]string{report.First, report.Rare, report.Top}, list.request) {
			list.target, list.server = report.Scaffold, scaffold
			all = append(all, list)
		}
	}
	return all
}

// scenarios returns the reads of the service.
func (d *dataset) scenarios(t *testing.T) []scenario {
	t.Helper()
	get := connect(t, d.addr)
	tags, slugs := entityTagsAndSlugs(t, get, min(1000, d.articles))
	all := []scenario{
		d.get(d.server),
		{report.Service, report.Hot, d.server, func() load.Exchange { return getArticle(zipfIDs(d.articles), corpus.CheckArticle) }},
		{report.Service, report.NotModified, d.server, func() load.Exchange { return notModified(tags) }},
	}
	all = append(all, scenario{report.Service, report.Slug, d.server, func() load.Exchange { return getSlug(slugs) }})
	all = append(all, scenario{report.Service, report.RSS, d.server, getRSS})
	for _, other := range [][2]string{
		{report.Ordered, articlesPath + "?order_by=title"}, {report.TagCloud, articlesPath + "/tags"},
		{report.Changes, articlesPath + "/changes"},
	} {
		body := get(other[1]).Body
		all = append(all, scenario{report.Service, other[0], d.server, func() load.Exchange { return getSame(other[1], body) }})
	}
	return append(all, d.lists()...)
}

func (d *dataset) lists() []scenario {
	var all []scenario
	add := func(request string, f corpus.Filter, page int, query string) {
		want := corpus.Page(uint64(d.articles), f, page, pageSize) // #nosec G115 -- positive
		all = append(all, scenario{report.Service, request, d.server, func() load.Exchange { return getList(query, want) }})
	}
	add(report.First, corpus.Filter{}, 1, "page=1")
	add(report.Rare, corpus.Filter{TagID: corpus.RareTag}, 1, fmt.Sprintf("tag_id=%d", corpus.RareTag))
	add(report.Top, corpus.Filter{TagID: corpus.TopTag}, 1, fmt.Sprintf("tag_id=%d", corpus.TopTag))
	if d.articles >= deepPage*pageSize {
		add(report.Deep, corpus.Filter{}, deepPage, fmt.Sprintf("page=%d&page_size=%d", deepPage, pageSize))
	}
	beforeLast := cursor.List{Route: articlesPath, Order: "-id"}.New(cursor.Position{ID: pageSize + 1})
	add(report.Last, corpus.Filter{}, d.articles/pageSize, "after="+beforeLast)
	add(report.Search, corpus.Filter{Title: corpus.Canary}, 1, "title="+corpus.Canary)
	add(report.Frequent, corpus.Filter{Title: corpus.Guide}, 1, "title="+corpus.Guide)
	add(report.Miss, corpus.Filter{Title: corpus.NoTitle}, 1, "title="+corpus.NoTitle)
	for _, search := range [][2]string{
		{report.Word, corpus.Canary}, {report.TopWord, corpus.Guide}, {report.TwoWords, corpus.FrequentWords}, {report.ApartWords, corpus.ApartWords}, {report.NoWord, corpus.NoTitle},
	} {
		add(search[0], corpus.Filter{Words: search[1]}, 1, "q="+url.QueryEscape(search[1]))
	}
	return all
}

func (s scenario) workers(t *testing.T, n int) []load.Worker { return s.workersFrom(t, n, nil) }

// workersFrom returns workers that connect from addresses of this machine in turn.
func (s scenario) workersFrom(t *testing.T, n int, addresses []net.IP) []load.Worker {
	t.Helper()
	workers := make([]load.Worker, n)
	for i := range workers {
		var from net.IP
		if len(addresses) > 0 {
			from = addresses[i%len(addresses)]
		}
		conn := load.NewConn(from, s.server.addr, s.exchange())
		t.Cleanup(conn.Close)
		workers[i] = conn
	}
	return workers
}

// measurement adds rows to a report.
type measurement struct {
	*dataset
	report *report.Report
}

// reads measures each scenario at saturation, round by round, so that what disturbs the
// machine meets all of them, and then at half of that rate and alone.
func (m *measurement) reads(t *testing.T, all []scenario) {
	t.Helper()
	workers := make([][]load.Worker, len(all))
	for i, s := range all {
		workers[i] = s.workers(t, *connections)
	}
	m.phases(t, all, workers)
}

// writes measures the POSTs after the reads, because lists change with them.
func (m *measurement) writes(t *testing.T) {
	t.Helper()
	all, workers := m.posts(), [][]load.Worker(nil)
	for _, s := range all {
		workers = append(workers, s.workers(t, *connections))
	}
	all = append(all, scenario{target: report.Transaction, request: report.Post})
	m.phases(t, all, append(workers, m.bareTransactions(t, *connections)))
}

func (d *dataset) posts() []scenario {
	post := func(key bool) func() load.Exchange {
		return func() load.Exchange { return postArticle(d.articles, key) }
	}
	return []scenario{
		{report.Service, report.Post, d.server, post(false)},
		{report.Service, report.PostKey, d.server, post(true)},
		d.mixed(),
	}
}

func (d *dataset) get(from server) scenario {
	return scenario{report.Service, report.Get, from, func() load.Exchange { return getArticle(randomIDs(d.articles), corpus.CheckArticle) }}
}

func (d *dataset) mixed() scenario {
	return scenario{report.Service, report.Mixed, d.server, func() load.Exchange {
		return mixed(getArticle(randomIDs(d.articles), corpus.CheckArticle), postArticle(d.articles, false))
	}}
}

func (m *measurement) phases(t *testing.T, all []scenario, workers [][]load.Worker) {
	t.Helper()
	saturated := make([][]report.Row, len(all))
	for range *rounds {
		for i, s := range all {
			saturated[i] = append(saturated[i], m.measure(t, s, report.Saturation, workers[i], 0))
		}
	}
	for i, s := range all {
		median := report.Median(saturated[i], report.Rate)
		m.report.Rows = append(m.report.Rows, median)
		if half := median.Rate / 2; half > 1 {
			m.report.Rows = append(m.report.Rows, m.measure(t, s, report.Half, workers[i], half))
		}
		m.report.Rows = append(m.report.Rows, m.measure(t, s, report.Alone, workers[i][:1], 0))
	}
}

// measure runs a phase: in an open loop if offered, the requests per second, isn't 0.
func (m *measurement) measure(t *testing.T, s scenario, phase string, workers []load.Worker, offered float64) report.Row {
	t.Helper()
	if s.server.log != nil {
		require.NoError(t, s.server.log.Truncate(0))
	}
	run := func(length time.Duration) *load.Result {
		var result *load.Result
		var err error
		if offered > 0 {
			result, err = load.Open(t.Context(), workers, offered, length)
		} else {
			result, err = load.Closed(t.Context(), workers, length)
		}
		require.NoError(t, err, "%s of %s with %d articles", s.request, s.target, m.articles)
		return result
	}
	m.settle(t)
	run(warmUp)
	before := m.usage(t, s.server)
	result := run(*length)
	used := m.usage(t, s.server)
	row := report.Row{
		Articles: m.articles, Target: s.target, Request: s.request, Phase: phase, Connections: len(workers), Offered: offered,
		Requests: result.Requests, Rate: result.Rate(), Failed: map[string]int{}, FailedP99: float64(result.Rejections.ValueAtQuantile(99)),
		P50: float64(result.Latencies.ValueAtQuantile(50)), P99: float64(result.Latencies.ValueAtQuantile(99)),
		P999: float64(result.Latencies.ValueAtQuantile(99.9)),
	}
	answered := result.Requests
	for status, n := range result.Failed {
		row.Failed[strconv.Itoa(int(status))] = n
		answered += n
	}
	each := func(of func(usage) float64) float64 { return (of(used) - of(before)) / float64(max(1, answered)) }
	row.CPU = each(func(u usage) float64 { return u.server })
	row.Allocations = each(func(u usage) float64 { return u.allocations })
	row.Database = each(func(u usage) float64 { return u.database })
	row.Redis = each(func(u usage) float64 { return u.redis })
	row.Generator = each(func(u usage) float64 { return u.generator })
	fmt.Printf("%-24s %-22s %-10s %9s req/s\n", s.target, s.request, phase, report.Number(int(row.Rate)))
	return row
}

// settle waits, but not for long, until the database server has done with what an earlier
// measurement has left behind.
func (m *measurement) settle(t *testing.T) {
	t.Helper()
	const step = 100 * time.Millisecond
	for range 50 {
		before := cpuTime(t, m.databaseID)
		time.Sleep(step)
		if cpuTime(t, m.databaseID)-before <= step/5 {
			return
		}
	}
}

// usage is CPU time in microseconds, and allocations.
type usage struct{ server, database, redis, generator, allocations float64 }

func (m *measurement) usage(t *testing.T, s server) usage {
	t.Helper()
	micros := func(pid int) float64 { return float64(cpuTime(t, pid).Microseconds()) }
	u := usage{database: micros(m.databaseID), redis: micros(m.redisID), generator: micros(os.Getpid())}
	if s.Process != nil {
		u.server, u.allocations = micros(s.PID()), allocations(t, s.admin)
	}
	return u
}

func (d *dataset) body(t *testing.T, path string) []byte {
	t.Helper()
	answer, err := process.AskWith(process.Header(""), "GET", "http://"+d.addr+path, nil)
	require.NoError(t, err)
	return answer.Body
}

// rest measures the service without load.
func (m *measurement) rest(t *testing.T) {
	t.Helper()
	var starts []time.Duration
	for range 5 {
		s, took := serve(t, m.article, m.settings)
		s.stop(t)
		starts = append(starts, took)
	}
	slices.Sort(starts)
	m.report.Rest.ReadyMillis = float64(starts[len(starts)/2].Microseconds()) / 1000
	before := cpuTime(t, m.PID())
	time.Sleep(idle)
	m.report.Rest.CPUPercent = 100 * (cpuTime(t, m.PID()) - before).Seconds() / idle.Seconds()
	m.report.Rest.Resident = resident(t, m.PID(), "VmRSS")
	program, err := os.ReadFile(m.article)
	require.NoError(t, err)
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	_, err = io.Copy(w, bytes.NewReader(program))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	m.report.Rest.Program, m.report.Rest.Compressed = int64(len(program)), int64(compressed.Len())
}

// idle is for how long the service is observed without load.
const idle = 10 * time.Second
