package report

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

// fake makes up runs that look like real ones, the same for the same seed.
type fake struct {
	*rand.Rand
	run   *Run
	alive map[string][]*Pod
	all   []*Pod
	at    time.Time
}

const perSecond = 78

func newFake(seed uint64) *fake {
	f := &fake{Rand: rand.New(rand.NewPCG(seed, seed)), at: time.Date(2026, 5, 4, 9, 30, 12, 0, time.UTC), alive: map[string][]*Pod{}} //nolint:gosec // made up
	f.run = &Run{Started: f.at, Sources: map[string]load.Count{}, Kinds: map[string]int{}}
	return f
}

// fakeReport is a short run in which everything went well.
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
		Environment: []Fact{
			{"Kubernetes", "v1.36.0"}, {"Helm", "v4.0.1+g12500dd"}, {"Nodes", "node1, node2"}, {"Processors here", "2"},
			{"Go", "go1.26.8"}, {"Database server", "11.8.3-MariaDB-0+deb13u1"},
		},
		Monitoring: &Monitoring{Facts: []Fact{{"Requests counted by the clients", "50,772"}, {"Requests counted by the pods", "50,641 (99.74 %)"}, {"Pods that came and went", "43"}}},
	}
	for n := range 24 {
		r.Monitoring.Queries = append(r.Monitoring.Queries, Query{
			Panel: fmt.Sprintf("Panel %d", n+1), Series: 2 + n%5,
			Expr: `histogram_quantile(0.99, sum by (le, route) (rate(achilles_http_request_duration_seconds_bucket{job="achilles"}[1m])))`,
		})
	}
	r.controls()
	g, l := r.Graceful, r.Graceful.Ledger
	r.Verdicts = append([]Verdict{
		{"helm test passes", true, "Succeeded"},
		{"POST /auth gives a token", true, "for an app of the article service's database, by key 2026-05-04"},
		{"Access, repeats and versions hold through the ingress", true, "44 requests"},
		{"Limits hold across replicas", true, "of 15 requests for a token from one address, over 2 pods, 5 were looked at where 5 may be, and the others told when to come again"},
		{"G1: no client notices a graceful event", true, fmt.Sprintf("%d requests, %d of them POST, through %d disturbances; 0 failed, and none was repeated by anybody", g.Requests, g.Posts, len(g.Events))},
		{"G1: every acknowledged write is there exactly once", true, fmt.Sprintf("%d acknowledged, 0 lost, 0 doubled, 0 altered, 0 strange; the articles' copy of the tags differs in 0", l.Acknowledged)},
		{"G1: at least half of the requests are POST", true, fmt.Sprintf("%d of %d", g.Posts, g.Requests)},
		{"G1: enough was tried", true, fmt.Sprintf("%d requests of 50000, %d disturbances of 10", g.Requests, len(g.Events))},
		{"G1: a key rotation refuses no token", true, "of 49120 requests after the first of 1 new keys 0 were answered 401; without a restart each of up to 4 pods had read it after 3.1 s at most"},
		{"Prometheus scrapes every pod", true, "4 targets up, 4 pods"},
		{"No counter is lost", true, "the pods, most of which are gone, have told Prometheus of 50641 requests; the clients made 50772"},
		{"Every drain is visible", true, "43 pods went, the drain of 0 of them was not seen"},
		{"No alert fires in graceful events", true, "0 alerts"},
		{"Every query of the dashboard has data", true, "24 queries, 0 without data"},
		{"G2: no acknowledged write is lost or doubled by a crash", true, "8 crashes by kill -9; of the acknowledged writes 0 were lost, 0 doubled, 0 altered; 0 were applied without having been acknowledged"},
		{"G2: with its key every write is acknowledged in the end", true, fmt.Sprintf("of %d writes 0 were given up; 0 of these are there all the same", crashes.run.Ledger.Sent)},
		{"G2: the system recovers by itself", true, "0 requests failed after everything was back"},
	}, r.Verdicts...)
	return r
}

// controls adds the controls with their verdicts.
func (r *Report) controls() {
	for _, c := range []Control{
		{Name: "exit-no-prestop", Broken: "exits at SIGTERM, no preStop", Kinds: map[string]int{"connection refused": 31, "connection reset": 12}},
		{Name: "shutdown-no-prestop", Broken: "http.Server.Shutdown at once, no preStop", Kinds: map[string]int{"connection refused": 22, "closed without an answer": 4}},
		{Name: "exit-behind-prestop", Broken: "exits at SIGTERM, behind the preStop", Kinds: map[string]int{"closed without an answer": 5}},
		{Name: "keepalives-off", Broken: "SetKeepAlivesEnabled(false) in place of the header", Kinds: map[string]int{"connection reset": 2}},
		{Name: "short-grace", Broken: "a grace period shorter than the windows", Kinds: map[string]int{"connection reset": 3}},
		{Name: "ready-too-early", Broken: "counts as ready before it serves", Kinds: map[string]int{"status 502": 88, "connection refused": 140}},
		{Name: "drops-writes", Broken: "acknowledges some writes and drops them"},
		{Name: "writes-twice", Broken: "writes some articles twice"},
		{Name: "forgets-keys", Broken: "loses some answers, and does again what is repeated under its key"},
	} {
		c.Noticed, c.Requests, c.Took = true, 6114, 31*time.Second
		c.How = fmt.Sprintf("noticed in %d requests", c.Requests)
		for _, kind := range slices.Sorted(maps.Keys(c.Kinds)) {
			c.How += fmt.Sprintf(", %d × %s", c.Kinds[kind], kind)
		}
		r.Controls = append(r.Controls, c)
		r.Verdicts = append(r.Verdicts, Verdict{"Control: " + c.Broken, true, c.How})
	}
}

// soakReport is three hours with 300 disturbances.
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

// scale starts or stops pods until each service has that many.
func (f *fake) scale(replicas int) {
	for _, service := range []string{"achilles-tag", "achilles-article"} {
		for len(f.alive[service]) < replicas {
			f.start(service)
		}
		f.alive[service] = f.alive[service][len(f.alive[service])-replicas:]
	}
}

func (f *fake) start(service string) {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	word := func(n int) string {
		text := ""
		for range n {
			text += string(letters[f.IntN(len(letters))])
		}
		return text
	}
	p := &Pod{Name: service + "-" + word(9) + "-" + word(5), From: f.at}
	f.alive[service], f.all = append(f.alive[service], p), append(f.all, p)
}

// disturb replaces all pods, one after the other.
func (f *fake) disturb(name string) {
	start := f.at.Add(300 * time.Millisecond)
	replicas := len(f.alive["achilles-tag"])
	switch name {
	case "scale up to 4":
		replicas = 4
	case "scale up to 2", "scale down to 2":
		replicas = 2
	case "scale down to 1":
		replicas = 1
	}
	if name[0] == 's' {
		f.pass(4)
		f.scale(replicas)
		f.pass(7)
	} else {
		for range replicas {
			for _, service := range []string{"achilles-tag", "achilles-article"} {
				if name != "restart tag" || service == "achilles-tag" {
					f.start(service)
				}
			}
			f.pass(5)
			f.scale(replicas)
			f.pass(7)
		}
	}
	f.run.Events = append(f.run.Events, Event{Name: name, Start: start, End: f.at.Add(-400 * time.Millisecond)})
}

// crash lets requests fail for a moment.
func (f *fake) crash(name string) {
	e := Event{Name: name, Crash: true, Start: f.at.Add(150 * time.Millisecond)}
	f.pass(1)
	if name != "kill -9 Redis" {
		for range 1 + f.IntN(2) {
			f.fail(3 + f.IntN(12))
		}
		e.Recovery = f.at.Sub(e.Start)
	}
	for n := len(f.run.Timeline) - 1; n >= 0 && f.run.Timeline[n].At.After(e.Start); n-- {
		e.Failed += f.run.Timeline[n].Failed
	}
	f.pass(6)
	e.End = f.at
	f.run.Events = append(f.run.Events, e)
}

func (f *fake) fail(n int) {
	f.pass(1)
	f.run.Timeline[len(f.run.Timeline)-1].Failed = n
	f.run.Failed += n
	f.run.Kinds["connection refused"] += n
	for range n {
		f.run.Failures = append(f.run.Failures, load.Failure{
			At: f.at.Add(-time.Second), Worker: "fresh1", Method: "POST", Path: "/api/v1/articles", Kind: "connection refused",
			Error: "dial tcp 10.0.1.14:8080: connect: connection refused", Pod: "", Connection: uint64(f.IntN(9000)), Latency: 1400 * time.Microsecond, Source: "node1", //nolint:gosec // made up
		})
	}
}

// pass lets seconds pass.
func (f *fake) pass(seconds int) {
	for range seconds {
		requests := perSecond + int(9*math.Sin(float64(f.at.Unix())/17)) + f.IntN(15) - 7
		p50 := time.Duration(2900+f.IntN(900)) * time.Microsecond
		p99 := time.Duration(11+f.IntN(9)) * time.Millisecond
		for _, pods := range f.alive {
			if len(pods) > 2 {
				p99 += time.Duration(f.IntN(25)) * time.Millisecond
			}
		}
		f.run.Timeline = append(f.run.Timeline, Point{At: f.at, Requests: requests, P50: p50, P99: p99})
		for service, share := range map[string]float64{"achilles-tag": .36, "achilles-article": .64} {
			for _, p := range f.alive[service] {
				n := int(float64(requests) * share / float64(len(f.alive[service])))
				p.Seconds, p.Requests, p.To = append(p.Seconds, n), p.Requests+n, f.at
			}
		}
		f.run.Requests += requests
		f.at = f.at.Add(time.Second)
	}
}

// finish sums the run up.
func (f *fake) finish() *Run {
	r := f.run
	r.Finished = f.at
	r.Posts, r.Refused, r.Connections, r.Reconnects = r.Requests*3/5, 17, r.Requests/5, 61
	if r.Failed > 0 {
		r.Repeats, r.Replayed = r.Failed, r.Failed/9
	}
	left := r.Count
	for _, name := range []string{"node1", "node2"} {
		c := load.Count{Requests: r.Requests / 4, Posts: r.Posts / 4, Refused: 8, Connections: r.Connections / 4, Reconnects: 20, Repeats: r.Repeats / 4, Replayed: r.Replayed / 4}
		r.Sources[name] = c
		left.Requests, left.Posts, left.Refused = left.Requests-c.Requests, left.Posts-c.Posts, left.Refused-c.Refused
		left.Connections, left.Reconnects = left.Connections-c.Connections, left.Reconnects-c.Reconnects
		left.Repeats, left.Replayed = left.Repeats-c.Repeats, left.Replayed-c.Replayed
	}
	r.Sources["ingress"] = left
	r.Ledger = Ledger{Sent: r.Posts, Acknowledged: r.Posts}
	if r.Failed == 0 {
		r.Confidence = 3 / float64(r.Requests)
	}
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	r.Steady = Latency{Requests: r.Requests / 4, P50: 3100 * time.Microsecond, P90: 8400 * time.Microsecond, P99: ms(17), Max: ms(61)}
	r.Disturbed = Latency{Requests: r.Requests * 3 / 4, P50: 3300 * time.Microsecond, P90: 9200 * time.Microsecond, P99: ms(34), Max: ms(412)}
	for _, p := range f.all {
		r.Pods = append(r.Pods, *p)
	}
	return r
}
