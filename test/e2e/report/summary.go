package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Summary is the report for a terminal.
func (r *Report) Summary() string {
	var b strings.Builder
	say := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	claim, numbers := r.headline()
	fmt.Fprintf(&b, "\n%s: %s\n\n", claim, numbers)
	for _, v := range r.Results {
		if v.Passed {
			say("  ok", "%s", brief(100, v.Name))
		} else {
			say("  FAILED", "%s: %s", brief(100, v.Name), brief(400, v.Why))
		}
	}
	b.WriteString("\n")
	if run := r.Graceful; run != nil {
		run.summarise(say, "Graceful")
		say("", "%s.", run.Ledger.words())
		say("", "%s", run.confidence())
	}
	if run := r.Crashes; run != nil {
		run.summarise(say, "Crashes")
		say("", "%s", run.damage())
	}
	if len(r.Controls) > 0 {
		say("Controls", "%s of %s negative controls noticed", number(r.noticed()), number(len(r.Controls)))
	}
	if m := r.Monitoring; m != nil {
		say("Monitoring", "%s of %s of the dashboard without data", number(len(m.silent())), count(len(m.Queries), "query"))
	}
	return b.String()
}

// summarise says what a run saw, in a few lines.
func (r *Run) summarise(say func(name, format string, args ...any), name string) {
	say(name, "%s (%s POST) in %s, %s: %s failed, %s refused by GOAWAY", count(r.Requests, "request"), number(r.Posts),
		duration(r.Finished.Sub(r.Started)), count(len(r.Events), "event"), number(r.Failed), number(r.Refused))
	if r.Repeats > 0 {
		say("", "%s repeated under an Idempotency-Key, %s of them done before", number(r.Repeats), number(r.Replayed))
	}
	say("", "steady p50 %s, p99 %s; disturbed p50 %s, p99 %s, slowest %s", duration(r.Steady.P50), duration(r.Steady.P99),
		duration(r.Disturbed.P50), duration(r.Disturbed.P99), duration(r.Disturbed.Max))
	for _, kind := range slices.Sorted(maps.Keys(r.Kinds)) {
		say("", "failed: %s × %s", number(r.Kinds[kind]), brief(80, kind))
	}
}
