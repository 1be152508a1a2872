// Package report holds the results of a run of the e2e test: as JSON for
// programs, as one page of HTML and a summary for people.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

// Report is one run.
type Report struct {
	// Mode is "short" or "soak".
	Mode              string
	Started, Finished time.Time
	// Environment are facts about where it ran, in order.
	Environment []Fact
	// Results in the order in which they were reached. A run has passed if all
	// have.
	Results []Result
	// Graceful is the run under graceful disturbances (G1), Crashes the one
	// under kill -9 (G2). Either may be absent.
	Graceful, Crashes *Run
	Controls          []Control
	Monitoring        *Monitoring
}

// Passed reports whether there are results, and all of them are good.
func (r *Report) Passed() bool { return len(r.Results) > 0 && r.passed() == len(r.Results) }

// WriteJSON writes the report for programs; durations are in nanoseconds.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("writing the report as JSON: %w", err)
	}
	return nil
}

// Fact is one line of a table.
type Fact struct{ Name, Value string }

// Result is the outcome of one check. Why says in a sentence what was counted.
type Result struct {
	Name   string
	Passed bool
	Why    string
}

// Run is one load with its disturbances.
type Run struct {
	load.Count
	Started, Finished time.Time
	// Sources counts the requests by the way they took: ingress, node1…
	Sources map[string]load.Count
	// Timeline has a point for each second.
	Timeline []Point
	Events   []Event
	// Pods has the answers of each pod.
	Pods []Pod
	// Kinds counts the failures by kind, Failures are the first of them.
	Kinds    map[string]int
	Failures []load.Failure
	// Steady is the latency in seconds without a disturbance, Disturbed that
	// in the others.
	Steady, Disturbed Latency
	Ledger            Ledger
	// Confidence is the highest rate of failures that the run does not rule
	// out with 95 % certainty: 3 / requests when none failed (rule of three).
	Confidence float64
}

// Point is one second of a run.
type Point struct {
	At               time.Time
	Requests, Failed int
	P50, P99         time.Duration
}

// Event is a disturbance or a crash. Recovery is, for a crash, the time from
// it to the last failed request that followed; Failed how many there were.
type Event struct {
	Name       string
	Start, End time.Time
	Crash      bool
	Failed     int
	Recovery   time.Duration
}

// Pod is one pod that answered, and how many requests in each second.
type Pod struct {
	Name     string
	Requests int
	// From and To are the times of its first and last answer; Seconds has the
	// answers of each second from From on.
	From, To time.Time
	Seconds  []int
}

// Latency summarises answers.
type Latency struct {
	Requests           int
	P50, P90, P99, Max time.Duration
}

// Ledger compares what was sent and acknowledged with what the databases hold.
type Ledger struct {
	Sent, Acknowledged int
	// Lost were acknowledged and are not there, Doubled are there more than
	// once, Strange are there and were never sent, Wrong are there with other
	// content than what was acknowledged.
	Lost, Doubled, Strange, Wrong int
	// Unanswered were sent without an acknowledgement; Applied of them are
	// there all the same.
	Unanswered, Applied int
	// CopyDiffers counts the tags in which the articles' copy differs from the
	// tags.
	CopyDiffers int
	// Examples are the first of all of these, for a person to follow up.
	Examples []string
}

// Exact reports whether every acknowledged write is there once, and nothing else
// but what was sent.
func (l Ledger) Exact() bool {
	return l.Lost+l.Doubled+l.Strange+l.Wrong+l.CopyDiffers == 0
}

// Control is a negative control: a system that is broken on purpose, which the
// e2e test has to notice.
type Control struct {
	Name, Broken string
	// Noticed tells whether it did; How says by what.
	Noticed  bool
	How      string
	Requests int
	Kinds    map[string]int
	Took     time.Duration
}

// Monitoring is what a real Prometheus saw of the run.
type Monitoring struct {
	Facts []Fact
	// Queries are those of the dashboard, with the number of series that each
	// returned.
	Queries []Query
}

// Query is one query of the dashboard.
type Query struct {
	Panel, Expr string
	Series      int
	Error       string
}
