package runner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/e2e/load"
	"github.com/achilles-blog/achilles/test/e2e/report"
)

const began = 1_000_000

func second(requests, failed int, latencies ...time.Duration) *load.Second {
	s := &load.Second{Requests: requests, Failed: failed, Latency: map[int]int{}, Reads: map[int]int{}}
	for _, latency := range latencies {
		s.Latency[load.Bucket(latency)]++
	}
	return s
}

func at(seconds int) time.Time { return time.Unix(began+int64(seconds), 0).UTC() }

// The results of two loads are merged, and failures are attributed to the previous event.
func TestSummarise(t *testing.T) {
	events := []report.Event{
		{Name: "later", Start: at(4), End: at(5)},
		{Name: "earlier", Start: at(1), End: at(2)},
	}
	results := []load.Result{
		{
			Source: "ingress", Count: load.Count{Requests: 8, Posts: 5, Failed: 1, Overloaded: 1, Repeats: 4, Replayed: 2, Refused: 2, Connections: 3, Reconnects: 1},
			Kinds:   map[string]int{"timeout": 1},
			Seconds: map[int64]*load.Second{began: second(2, 0, time.Millisecond, time.Millisecond), began + 4: second(6, 1, 10*time.Millisecond)},
			Pods:    map[string]map[int64]int{"b": {began + 4: 2}, "a": {began: 1, began + 3: 4}},
			Failures: []load.Failure{
				{Kind: "timeout", At: at(4)},
			},
		},
		{
			Source: "node1", Count: load.Count{Requests: 4, Posts: 1, Failed: 2, Connections: 1},
			Kinds:   map[string]int{"timeout": 1, "other": 1},
			Seconds: map[int64]*load.Second{began: second(1, 0, time.Millisecond), began + 3: second(3, 2, 100*time.Millisecond)},
			Pods:    map[string]map[int64]int{"a": {began: 1}},
			Failures: []load.Failure{
				{Kind: "other", At: at(3)},
			},
		},
	}
	run := (&traffic{began: at(0), events: events}).summarise(results)

	require.Equal(t, load.Count{Requests: 12, Posts: 6, Failed: 3, Overloaded: 1, Repeats: 4, Replayed: 2, Refused: 2, Connections: 4, Reconnects: 1}, run.Count)
	require.Equal(t, map[string]int{"timeout": 2, "other": 1}, run.Kinds)
	require.Equal(t, []string{"other", "timeout"}, []string{run.Failures[0].Kind, run.Failures[1].Kind})
	require.Zero(t, run.Confidence, "requests failed")

	require.Len(t, run.Timeline, 3)
	require.Equal(t, []int{3, 3, 6}, []int{run.Timeline[0].Requests, run.Timeline[1].Requests, run.Timeline[2].Requests})
	require.Equal(t, at(3), run.Timeline[1].At)

	require.Equal(t, []report.Pod{
		{Name: "a", Requests: 6, From: at(0), To: at(3), Seconds: []int{2, 0, 0, 4}},
		{Name: "b", Requests: 2, From: at(4), To: at(4), Seconds: []int{2}},
	}, run.Pods)

	require.Equal(t, 4, run.Steady.Requests)
	require.Equal(t, 1, run.Disturbed.Requests)
	require.InEpsilon(t, time.Millisecond, run.Steady.P50, 0.05)
	require.InEpsilon(t, 100*time.Millisecond, run.Steady.Max, 0.05)
	require.InEpsilon(t, 10*time.Millisecond, run.Disturbed.P99, 0.05)

	require.Equal(t, "earlier", run.Events[0].Name)
	require.Equal(t, 2, run.Events[0].Failed)
	require.Equal(t, 3*time.Second, run.Events[0].Recovery)
	require.Equal(t, 1, run.Events[1].Failed)
	require.Equal(t, time.Second, run.Events[1].Recovery)
}

// Reads are compared by whether a rollout is in progress. Those during other events count
// for neither.
func TestReads(t *testing.T) {
	reads := func(latencies ...time.Duration) *load.Second {
		s := second(1, 0)
		for _, latency := range latencies {
			s.Reads[load.Bucket(latency)]++
		}
		return s
	}
	run := (&traffic{began: at(0), events: []report.Event{
		{Name: "restart", Rollout: true, Start: at(1), End: at(2)}, {Name: "drain", Start: at(4), End: at(5)},
	}}).summarise([]load.Result{
		{Seconds: map[int64]*load.Second{began: reads(10 * time.Millisecond), began + 2: reads(14 * time.Millisecond)}},
		{Seconds: map[int64]*load.Second{began + 1: reads(10 * time.Millisecond), began + 5: reads(time.Second)}},
	})
	require.Equal(t, 1, run.SteadyReads.Requests)
	require.Equal(t, 2, run.RolloutReads.Requests)
	require.InDelta(t, 1.4, run.ReadP99Ratio, 0.1)
	require.Zero(t, (&traffic{}).summarise(nil).ReadP99Ratio)
}

func TestConfidenceWithoutFailures(t *testing.T) {
	run := (&traffic{}).summarise([]load.Result{{Count: load.Count{Requests: 3_000_000}}})
	require.InEpsilon(t, 1e-6, run.Confidence, 1e-9)
}

func TestQuantile(t *testing.T) {
	buckets := map[int]int{load.Bucket(time.Millisecond): 98, load.Bucket(time.Second): 2}
	require.InEpsilon(t, time.Millisecond, quantile(buckets, 0.98), 0.05)
	require.InEpsilon(t, time.Second, quantile(buckets, 0.99), 0.05)
	require.Zero(t, quantile(nil, 0.5))
}
