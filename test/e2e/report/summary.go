package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Summary returns the report for a terminal.
func (r *Report) Summary() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	claim, numbers := r.headline()
	fmt.Fprintf(&b, "\n%s: %s\n\n", claim, numbers)
	for _, v := range r.Results {
		if v.Passed {
			line("  ok", "%s", brief(100, v.Name))
		} else {
			line("  FAILED", "%s: %s", brief(100, v.Name), brief(400, v.Detail))
		}
	}
	b.WriteString("\n")
	if run := r.Graceful; run != nil {
		run.summarise(line, "Graceful")
		line("", "%s.", run.Ledger.words())
		line("", "%s", run.confidence())
	}
	if run := r.ReadOnly; run != nil {
		run.summarise(line, "Read-only mode")
		line("", "%s", run.rejections())
	}
	if run := r.Crashes; run != nil {
		run.summarise(line, "Crashes")
		line("", "%s", run.damage())
	}
	if len(r.Controls) > 0 {
		line("Controls", "%s of %s negative controls detected", number(r.detected()), number(len(r.Controls)))
	}
	if m := r.Monitoring; m != nil {
		line("Monitoring", "%s of %s of the dashboard without data", number(len(m.withoutData())), count(len(m.Queries), "query"))
	}
	return b.String()
}

// summarise prints a run on a few lines.
func (r *Run) summarise(line func(name, format string, args ...any), name string) {
	line(name, "%s (%s POST) in %s, %s: %s failed, %s refused by GOAWAY", count(r.Requests, "request"), number(r.Posts),
		duration(r.Finished.Sub(r.Started)), count(len(r.Events), "event"), number(r.Failed), number(r.Refused))
	if r.Repeats > 0 {
		line("", "%s repeated with an Idempotency-Key, %s of them applied before", number(r.Repeats), number(r.Replayed))
	}
	line("", "steady p50 %s, p99 %s; disturbed p50 %s, p99 %s, slowest %s", duration(r.Steady.P50), duration(r.Steady.P99),
		duration(r.Disturbed.P50), duration(r.Disturbed.P99), duration(r.Disturbed.Max))
	if r.ReadP99Ratio > 0 {
		line("", "reads: steady p99 %s; during rollouts %s, which is %s (wanted: at most %s)", duration(r.SteadyReads.P99), duration(r.RolloutReads.P99),
			ratio(r.ReadP99Ratio), ratio(MaxReadP99Ratio))
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Kinds)) {
		line("", "failed: %s × %s", number(r.Kinds[kind]), brief(80, kind))
	}
}
