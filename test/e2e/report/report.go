// Package report renders the results of the e2e test as JSON, as an HTML page, and as a
// summary for terminals.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

// Report is the report of a run of the e2e test.
type Report struct {
	// Mode is "short" or "soak".
	Mode              string
	Started, Finished time.Time
	// Environment describes the cluster and the machine.
	Environment []Fact
	// Results are the results of all checks, in order.
	Results []Result
	// Graceful is the run with graceful disturbances (G1), ReadOnly the run with
	// read-only mode, Crashes the run with kill -9 (G2). They are nil if they were not
	// run.
	Graceful, ReadOnly, Crashes *Run
	Controls                    []Control
	Monitoring                  *Monitoring
}

// Passed reports whether there are results and all have passed.
func (r *Report) Passed() bool { return len(r.Results) > 0 && r.passed() == len(r.Results) }

// WriteJSON writes the report as JSON. Durations are in nanoseconds.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("writing the report as JSON: %w", err)
	}
	return nil
}

// MaxReadP99Ratio is what Run.ReadP99Ratio should be at most.
const MaxReadP99Ratio = 1.5

// Fact is a row of a table.
type Fact struct{ Name, Value string }

// Result is the result of a check. Detail contains the numbers.
type Result struct {
	Name   string
	Passed bool
	Detail string
}

// Run is a load with its disturbances or crashes.
type Run struct {
	load.Count
	Started, Finished time.Time
	// Sources are the counts by source: ingress, node1…
	Sources map[string]load.Count
	// Timeline has a point per second.
	Timeline []Point
	Events   []Event
	// Pods are the pods that responded.
	Pods []Pod
	// Kinds counts the failures by kind. Failures are the first failures.
	Kinds    map[string]int
	Failures []load.Failure
	// Steady is the latency outside of events, Disturbed the latency during events.
	Steady, Disturbed Latency
	// SteadyReads is the latency of GET outside of events, RolloutReads that during
	// rollouts. ReadP99Ratio is the p99 during rollouts divided by the steady one, 0
	// if there is none.
	SteadyReads, RolloutReads Latency
	ReadP99Ratio              float64
	Ledger                    Ledger
	// Confidence is the upper bound of the failure rate with 95 % confidence:
	// 3 / requests if none failed (rule of three).
	Confidence float64
}

// Point is a second of a run.
type Point struct {
	At               time.Time
	Requests, Failed int
	P50, P99         time.Duration
}

// Event is a disturbance or a crash. Failed is the number of failed requests after it,
// Recovery the time until the last of them.
type Event struct {
	Name       string
	Start, End time.Time
	Crash      bool
	Rollout    bool // all pods of a service are replaced
	Failed     int
	Recovery   time.Duration
}

// Pod is a pod that responded.
type Pod struct {
	Name     string
	Requests int
	// From and To are the times of its first and last response. Seconds are the
	// responses of each second since From.
	From, To time.Time
	Seconds  []int
}

// Latency summarises the latencies of responses.
type Latency struct {
	Requests           int
	P50, P90, P99, Max time.Duration
}

// Ledger is the result of the comparison of the ledgers with the databases.
type Ledger struct {
	Sent, Acknowledged int
	// Lost writes were acknowledged, but are not stored. Duplicated writes are
	// stored more than once. Unexpected rows were never sent. Altered writes are
	// stored with other content than acknowledged.
	Lost, Duplicated, Unexpected, Altered int
	// Unanswered writes were sent, but not acknowledged. Applied of them are
	// stored.
	Unanswered, Applied int
	// ReadModelDiffers counts tags that differ in the article service's read
	// model.
	ReadModelDiffers int
	// CountersDiffer counts counters of articles that differ from the articles.
	CountersDiffer int
	// FeedDiffers counts articles of which changes are missing or doubled in the feed of
	// changes, and gaps in the feed.
	FeedDiffers int
	// Examples describe the first differences.
	Examples []string
}

// Exact reports whether every acknowledged write is stored once and unaltered, nothing
// unexpected is stored, the read model is complete, and the counters and the feed of
// changes are right.
func (l Ledger) Exact() bool {
	return l.Lost+l.Duplicated+l.Unexpected+l.Altered+l.ReadModelDiffers+l.CountersDiffer+l.FeedDiffers == 0
}

// Control is a negative control: a system with a fault that the e2e test must detect.
type Control struct {
	Name, Broken string
	// Detected reports whether the fault was detected, and How by which symptoms.
	Detected bool
	How      string
	Requests int
	Kinds    map[string]int
	Took     time.Duration
}

// Monitoring is the data of a real Prometheus about the run.
type Monitoring struct {
	Facts []Fact
	// Queries are the queries of the dashboard, with the number of series that
	// each returned.
	Queries []Query
}

// Query is a query of the dashboard.
type Query struct {
	Panel, Expr string
	Series      int
	Error       string
}
