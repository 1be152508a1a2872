package runner

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/test/e2e/load"
	"github.com/achilles-blog/achilles/test/e2e/report"
)

// mixes are the workers of the load through the ingress and of the load on each node.
type mixes struct {
	ingress, node load.Mix
	think         time.Duration
	// repeat is load.Config.Repeat.
	repeat bool
}

// traffic is the loads on a system, through the ingress and from every node.
type traffic struct {
	system  *system
	agents  *agents
	name    string
	ingress *load.Load
	began   time.Time

	mu     sync.Mutex
	events []report.Event
}

func startTraffic(ctx context.Context, s *system, a *agents, name string, m mixes) (*traffic, error) {
	token, err := s.token(ctx)
	if err != nil {
		return nil, err
	}
	t := &traffic{system: s, agents: a, name: name, began: time.Now()}
	config := load.Config{
		Run: name, Source: "ingress", Mix: m.ingress, Think: m.think, Token: token, Repeat: m.repeat, Loaded: s.loaded.articles,
		MaxDuration: s.window, HeaderTimeout: server.Default().ReadHeaderTimeout,
	}
	config.Tags, config.Articles = s.throughIngress(), s.throughIngress()
	config.Resources = s.resources(func(component) load.Endpoint { return s.throughIngress() })
	t.ingress = load.Start(config)
	config.Mix = m.node
	config.Tags, config.Articles = s.throughService(tag), s.throughService(article)
	config.Resources = s.resources(s.throughService)
	for node, client := range a.clients {
		config.Source = node
		if err := client.Start(ctx, name, config); err != nil {
			_, stopErr := t.stop(ctx)
			return nil, errors.Join(err, stopErr)
		}
	}
	return t, nil
}

// nudge announces a disturbance to all loads.
func (t *traffic) nudge(ctx context.Context) error {
	t.ingress.Nudge()
	var errs []error
	for _, client := range t.agents.clients {
		errs = append(errs, client.Nudge(ctx, t.name))
	}
	return errors.Join(errs...)
}

// setNodesToken changes the token of the loads on the nodes.
func (t *traffic) setNodesToken(ctx context.Context, token string) error {
	var errs []error
	for _, client := range t.agents.clients {
		errs = append(errs, client.SetToken(ctx, t.name, token))
	}
	return errors.Join(errs...)
}

// setReadOnly calls load.Load.SetReadOnly of all loads.
func (t *traffic) setReadOnly(ctx context.Context, on bool) error {
	t.ingress.SetReadOnly(on)
	var errs []error
	for _, client := range t.agents.clients {
		errs = append(errs, client.SetReadOnly(ctx, t.name, on))
	}
	return errors.Join(errs...)
}

// count returns the counts of all loads so far.
func (t *traffic) count(ctx context.Context) (load.Count, error) {
	total := t.ingress.Count()
	for _, client := range t.agents.clients {
		count, err := client.Count(ctx, t.name)
		if err != nil {
			return total, err
		}
		total = add(total, count)
	}
	return total, nil
}

func add(a, b load.Count) load.Count {
	return load.Count{
		Requests: a.Requests + b.Requests, Posts: a.Posts + b.Posts, Failed: a.Failed + b.Failed,
		Overloaded: a.Overloaded + b.Overloaded, Repeats: a.Repeats + b.Repeats, Replayed: a.Replayed + b.Replayed,
		Refused: a.Refused + b.Refused, Rejected: a.Rejected + b.Rejected, Connections: a.Connections + b.Connections, Reconnects: a.Reconnects + b.Reconnects,
	}
}

// during runs a function and records it as an event.
func (t *traffic) during(event report.Event, run func() error) error {
	event.Start = time.Now()
	err := run()
	event.End = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, event)
	return err
}

// stop stops all loads and returns their results.
func (t *traffic) stop(ctx context.Context) ([]load.Result, error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	var results []load.Result
	var errs []error
	for _, client := range t.agents.clients {
		all.Go(func() {
			result, err := client.Stop(ctx, t.name)
			mu.Lock()
			defer mu.Unlock()
			results, errs = append(results, result), append(errs, err)
		})
	}
	own := t.ingress.Stop()
	all.Wait()
	return append(results, own), errors.Join(errs...)
}

// summarise merges the results of the loads.
func (t *traffic) summarise(results []load.Result) *report.Run {
	run := &report.Run{
		Started: t.began, Finished: time.Now(), Sources: map[string]load.Count{}, Kinds: map[string]int{}, Events: t.events,
	}
	seconds := map[int64]*load.Second{}
	pods := map[string]map[int64]int{}
	for _, r := range results {
		run.Count = add(run.Count, r.Count)
		run.Sources[r.Source] = r.Count
		run.Failures = append(run.Failures, r.Failures...)
		for kind, n := range r.Kinds {
			run.Kinds[kind] += n
		}
		for at, second := range r.Seconds {
			merge(seconds, at, second)
		}
		for pod, counts := range r.Pods {
			for at, n := range counts {
				if pods[pod] == nil {
					pods[pod] = map[int64]int{}
				}
				pods[pod][at] += n
			}
		}
	}
	slices.SortFunc(run.Failures, func(a, b load.Failure) int { return a.At.Compare(b.At) })
	run.Timeline = timeline(seconds)
	run.Pods = podSeries(pods)
	run.Steady, run.Disturbed = latencies(seconds, run.Events)
	run.SteadyReads, run.RolloutReads = readLatencies(seconds, run.Events)
	if run.SteadyReads.Requests > 0 && run.RolloutReads.Requests > 0 {
		run.ReadP99Ratio = float64(run.RolloutReads.P99) / float64(run.SteadyReads.P99)
	}
	if run.Requests > 0 && run.Failed == 0 {
		run.Confidence = 3 / float64(run.Requests)
	}
	attribute(run)
	return run
}

func merge(seconds map[int64]*load.Second, at int64, second *load.Second) {
	if seconds[at] == nil {
		seconds[at] = &load.Second{Latency: map[int]int{}, Reads: map[int]int{}}
	}
	seconds[at].Requests += second.Requests
	seconds[at].Failed += second.Failed
	for bucket, n := range second.Latency {
		seconds[at].Latency[bucket] += n
	}
	for bucket, n := range second.Reads {
		seconds[at].Reads[bucket] += n
	}
}

func timeline(seconds map[int64]*load.Second) []report.Point {
	points := make([]report.Point, 0, len(seconds))
	for at, second := range seconds {
		points = append(points, report.Point{
			At: time.Unix(at, 0).UTC(), Requests: second.Requests, Failed: second.Failed,
			P50: quantile(second.Latency, 0.5), P99: quantile(second.Latency, 0.99),
		})
	}
	slices.SortFunc(points, func(a, b report.Point) int { return a.At.Compare(b.At) })
	return points
}

func podSeries(pods map[string]map[int64]int) []report.Pod {
	series := make([]report.Pod, 0, len(pods))
	for name, counts := range pods {
		pod := report.Pod{Name: name}
		first, last := int64(0), int64(0)
		for at := range counts {
			if first == 0 || at < first {
				first = at
			}
			last = max(last, at)
		}
		pod.From, pod.To = time.Unix(first, 0).UTC(), time.Unix(last, 0).UTC()
		for at := first; at <= last; at++ {
			pod.Seconds = append(pod.Seconds, counts[at])
			pod.Requests += counts[at]
		}
		series = append(series, pod)
	}
	slices.SortFunc(series, func(a, b report.Pod) int { return a.From.Compare(b.From) })
	return series
}

func latencies(seconds map[int64]*load.Second, events []report.Event) (steady, disturbed report.Latency) {
	steadyBuckets, disturbedBuckets := map[int]int{}, map[int]int{}
	for at, second := range seconds {
		into := steadyBuckets
		if slices.ContainsFunc(events, func(e report.Event) bool { return contains(e, at) }) {
			into = disturbedBuckets
		}
		for bucket, n := range second.Latency {
			into[bucket] += n
		}
	}
	return latency(steadyBuckets), latency(disturbedBuckets)
}

func contains(e report.Event, second int64) bool {
	return e.Start.Unix() <= second && second <= e.End.Unix()
}

// readLatencies returns the latency of GET outside of all events and during rollouts.
func readLatencies(seconds map[int64]*load.Second, events []report.Event) (steady, rollout report.Latency) {
	steadyBuckets, rolloutBuckets := map[int]int{}, map[int]int{}
	for at, second := range seconds {
		into := steadyBuckets
		for _, e := range events {
			if contains(e, at) {
				into = nil
				if e.Rollout {
					into = rolloutBuckets
					break
				}
			}
		}
		if into == nil {
			continue
		}
		for bucket, n := range second.Reads {
			into[bucket] += n
		}
	}
	return latency(steadyBuckets), latency(rolloutBuckets)
}

func latency(buckets map[int]int) report.Latency {
	l := report.Latency{P50: quantile(buckets, 0.5), P90: quantile(buckets, 0.9), P99: quantile(buckets, 0.99), Max: quantile(buckets, 1)}
	for _, n := range buckets {
		l.Requests += n
	}
	return l
}

// quantile returns the q-quantile of latencies.
func quantile(buckets map[int]int, q float64) time.Duration {
	total, order := 0, make([]int, 0, len(buckets))
	for bucket, n := range buckets {
		total += n
		order = append(order, bucket)
	}
	slices.Sort(order)
	seen := 0
	for _, bucket := range order {
		seen += buckets[bucket]
		if float64(seen) >= q*float64(total) {
			return load.BucketLatency(bucket)
		}
	}
	return 0
}

// attribute counts the failures after each event until the next one.
func attribute(run *report.Run) {
	slices.SortFunc(run.Events, func(a, b report.Event) int { return a.Start.Compare(b.Start) })
	for i := range run.Events {
		event := &run.Events[i]
		until := run.Finished
		if i+1 < len(run.Events) {
			until = run.Events[i+1].Start
		}
		for _, point := range run.Timeline {
			if point.Failed > 0 && point.At.Unix() >= event.Start.Unix() && point.At.Unix() < until.Unix() {
				event.Failed += point.Failed
				event.Recovery = point.At.Add(time.Second).Sub(event.Start)
			}
		}
	}
}
