package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

// fake generates runs that look like real ones, from a seed.
type fake struct {
	*rand.Rand
	run   *Run
	alive map[string][]*Pod
	all   []*Pod
	at    time.Time
}

const perSecond = 78

var services = []string{"achilles-tag", "achilles-article"}

func newFake(seed uint64) *fake {
	f := &fake{Rand: rand.New(rand.NewPCG(seed, seed)), at: time.Date(2026, 5, 4, 9, 30, 12, 0, time.UTC), alive: map[string][]*Pod{}} //nolint:gosec // made up
	f.run = &Run{Started: f.at, Kinds: map[string]int{}}
	return f
}

// fakeReport returns the report of a short run without failures.
func fakeReport() *Report {
	graceful := newFake(1)
	graceful.scale(2)
	graceful.pass(10)
	for _, name := range []string{
		"restart tag", "restart article", "restart both", "restart during a restart", "helm upgrade: configuration", "scale up to 4", "scale down to 2",
		"helm upgrade: new schema", "helm rollback", "drain node1", "drain node2", "scale down to 1", "restart of single replicas", "scale up to 2",
	} {
		graceful.disturb(name)
		graceful.pass(2)
	}
	crashes := newFake(2)
	crashes.scale(2)
	crashes.pass(3)
	for range 2 {
		for _, name := range []string{"kill -9 a tag pod", "kill -9 an article pod", "kill -9 the database server", "kill -9 Redis"} {
			crashes.crash(name)
		}
	}
	crashes.pass(5)
	r := &Report{
		Mode: "short", Started: graceful.run.Started.Add(-90 * time.Second), Finished: graceful.at.Add(290 * time.Second),
		Graceful: graceful.finish(), Crashes: crashes.finish(),
		Environment: []Fact{{"Kubernetes", "v1.36.0"}, {"Nodes", "node1, node2"}},
		Monitoring:  &Monitoring{Facts: []Fact{{"Requests counted by the clients", "50,772"}}},
	}
	for n := range 24 {
		r.Monitoring.Queries = append(r.Monitoring.Queries, Query{
			Panel: fmt.Sprintf("Panel %d", n+1), Series: 2 + n%5,
			Expr: `histogram_quantile(0.99, sum by (le, route) (rate(achilles_http_request_duration_seconds_bucket{job="achilles"}[1m])))`,
		})
	}
	for _, name := range []string{"helm test passes", "POST /auth gives a token", "Authentication, idempotency and versions work through the ingress",
		"Replicas share the rate limits", "G1: no client notices a graceful event", "G1: every acknowledged write is stored exactly once"} {
		r.Results = append(r.Results, Result{name, true, "of 14571 acknowledged writes 0 were lost, 0 duplicated, 0 altered"})
	}
	for _, broken := range []string{"exits at SIGTERM, no preStop", "a grace period shorter than the timeouts", "writes some articles twice", "SetKeepAlivesEnabled(false)"} {
		c := Control{Name: "short-name", Broken: broken, Detected: true, How: "detected in 6114 requests, 31 × connection refused", Requests: 6114, Took: 31 * time.Second}
		r.Controls = append(r.Controls, c)
		r.Results = append(r.Results, Result{"Negative control: " + c.Broken, true, c.How})
	}
	return r
}

// soakReport returns the report of three hours with 300 disturbances.
func soakReport() *Report {
	f := newFake(3)
	f.scale(2)
	for n := range 300 {
		f.disturb([]string{"restart both", "restart tag", "restart article", "helm rollback", "restart during a restart", "drain node1"}[n%6])
		f.pass(4)
	}
	r := fakeReport()
	r.Mode, r.Graceful, r.Finished = "soak", f.finish(), f.at
	return r
}

// scale starts or stops pods until each service has the given number.
func (f *fake) scale(replicas int) {
	for _, service := range services {
		for len(f.alive[service]) < replicas {
			f.start(service)
		}
		f.alive[service] = f.alive[service][len(f.alive[service])-replicas:]
	}
}

func (f *fake) start(service string) {
	p := &Pod{Name: fmt.Sprintf("%s-%09x-%05x", service, f.IntN(1<<36), f.IntN(1<<20)), From: f.at}
	f.alive[service], f.all = append(f.alive[service], p), append(f.all, p)
}

// disturb replaces all pods one by one, or changes their number.
func (f *fake) disturb(name string) {
	start, replicas := f.at.Add(300*time.Millisecond), len(f.alive["achilles-tag"])
	if _, err := fmt.Sscanf(name[max(0, len(name)-4):], "to %d", &replicas); err == nil {
		f.scale(replicas)
		f.pass(11)
	} else {
		for range replicas {
			for _, service := range services {
				f.start(service)
			}
			f.pass(5)
			f.scale(replicas)
			f.pass(7)
		}
	}
	f.run.Events = append(f.run.Events, Event{Name: name, Start: start, End: f.at.Add(-400 * time.Millisecond)})
}

// crash makes requests fail for a second, except for Redis.
func (f *fake) crash(name string) {
	e := Event{Name: name, Crash: true, Start: f.at.Add(150 * time.Millisecond)}
	f.pass(2)
	if name != "kill -9 Redis" {
		e.Failed, e.Recovery = 8+f.IntN(8), f.at.Sub(e.Start)
		f.run.Timeline[len(f.run.Timeline)-1].Failed = e.Failed
	}
	f.run.Failed += e.Failed
	f.run.Kinds["connection refused"] += e.Failed
	for range e.Failed {
		f.run.Failures = append(f.run.Failures, load.Failure{
			At: f.at.Add(-time.Second), Worker: "fresh1", Method: "POST", Path: "/api/v1/articles", Kind: "connection refused",
			Error: "dial tcp 10.0.1.14:8080: connect: connection refused", Latency: 1400 * time.Microsecond, Source: "node1",
		})
	}
	f.pass(6)
	e.End = f.at
	f.run.Events = append(f.run.Events, e)
}

// pass adds seconds to the run.
func (f *fake) pass(seconds int) {
	for range seconds {
		requests := perSecond + int(9*math.Sin(float64(f.at.Unix())/17)) + f.IntN(15) - 7
		p50, p99 := time.Duration(2900+f.IntN(900))*time.Microsecond, time.Duration(11+f.IntN(9))*time.Millisecond
		f.run.Timeline = append(f.run.Timeline, Point{At: f.at, Requests: requests, P50: p50, P99: p99})
		for _, service := range services {
			for _, p := range f.alive[service] {
				n := requests / 2 / len(f.alive[service])
				p.Seconds, p.Requests, p.To = append(p.Seconds, n), p.Requests+n, f.at
			}
		}
		f.run.Requests += requests
		f.at = f.at.Add(time.Second)
	}
}

// finish computes the totals of the run.
func (f *fake) finish() *Run {
	r := f.run
	r.Finished = f.at
	r.Posts, r.Refused, r.Connections, r.Reconnects = r.Requests*3/5, 17, r.Requests/5, 61
	if r.Failed > 0 {
		r.Repeats, r.Replayed = r.Failed, r.Failed/9
	}
	r.Sources = map[string]load.Count{"ingress": r.Count}
	r.Ledger = Ledger{Sent: r.Posts, Acknowledged: r.Posts}
	if r.Failed == 0 {
		r.Confidence = 3 / float64(r.Requests)
	}
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	r.Steady = Latency{Requests: r.Requests / 4, P50: 3100 * time.Microsecond, P90: 8400 * time.Microsecond, P99: ms(17), Max: ms(61)}
	r.Disturbed = Latency{Requests: r.Requests * 3 / 4, P50: 3300 * time.Microsecond, P90: 9200 * time.Microsecond, P99: ms(34), Max: ms(412)}
	r.SteadyReads, r.RolloutReads, r.ReadP99Ratio = r.Steady, r.Disturbed, 2
	r.RolloutReads.Requests /= 3
	for _, p := range f.all {
		r.Pods = append(r.Pods, *p)
	}
	return r
}
