package report

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// number formats a number with thousands separators: 52,311.
func number(n int) string { return message.NewPrinter(language.English).Sprint(n) }

// count formats a number of things: "1 disturbance", "14 disturbances".
func count(n int, thing string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case strings.HasSuffix(thing, "y"):
		return number(n) + " " + strings.TrimSuffix(thing, "y") + "ies"
	case strings.HasSuffix(thing, "sh"):
		return number(n) + " " + thing + "es"
	default:
		return number(n) + " " + thing + "s"
	}
}

// duration formats a duration with two or three digits: 3.4ms, 120ms, 1.4s, 2m5s.
func duration(d time.Duration) string {
	unit := time.Nanosecond
	for unit < time.Second && d.Abs() >= 100*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}

// ratio formats a multiple: 1.2 ×.
func ratio(r float64) string { return fmt.Sprintf("%.1f ×", r) }

// clock formats a time of day in UTC.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// clean replaces control characters and invalid UTF-8, so that untrusted text is safe to
// show in a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// clip cleans a text and shortens it to a number of characters. It appends how many it
// has removed.
func clip(limit int, text string) string {
	runes := []rune(clean(text))
	if len(runes) <= limit {
		return string(runes)
	}
	return fmt.Sprintf("%s… (%s more)", string(runes[:limit]), count(len(runes)-limit, "character"))
}

// brief cleans a text, joins its lines, and shortens it to a number of characters.
func brief(limit int, text string) string {
	runes := []rune(strings.Join(strings.Fields(clean(text)), " "))
	if len(runes) <= limit {
		return string(runes)
	}
	return string(runes[:limit-1]) + "…"
}

// headline returns the overall result and its numbers.
func (r *Report) headline() (claim, numbers string) {
	run := r.Graceful
	switch {
	case run != nil && run.Failed > 0:
		return "Clients noticed", fmt.Sprintf("%s of %s failed during %s", number(run.Failed),
			count(run.Requests, "request"), count(len(run.Events), "disturbance"))
	case len(r.Results) == 0:
		return "Failed", "there are no results"
	case !r.Passed():
		return "Failed", fmt.Sprintf("%s of %s failed", number(len(r.Results)-r.passed()), count(len(r.Results), "check"))
	case run != nil && run.Requests == 0:
		return "Failed", "no request was sent"
	case run != nil:
		return "No client noticed", fmt.Sprintf("%s, 0 failed, %s", count(run.Requests, "request"), count(len(run.Events), "disturbance"))
	default:
		return "Passed", count(len(r.Results), "check")
	}
}

// rejections describes what read-only mode has rejected.
func (r *Run) rejections() string {
	return fmt.Sprintf("%s rejected by read-only mode, %d of them stored.", count(r.Rejected, "write"), r.Ledger.Applied)
}

// good reports whether the headline is positive: all checks passed, and requests were
// sent and none failed in the graceful run.
func (r *Report) good() bool {
	return r.Passed() && (r.Graceful == nil || r.Graceful.Requests > 0 && r.Graceful.Failed == 0)
}

// passed returns the number of passed checks.
func (r *Report) passed() int {
	n := 0
	for _, result := range r.Results {
		if result.Passed {
			n++
		}
	}
	return n
}

// detected returns the number of detected negative controls.
func (r *Report) detected() int {
	n := 0
	for _, c := range r.Controls {
		if c.Detected {
			n++
		}
	}
	return n
}

// confidence describes the bound of the failure rate.
func (r *Run) confidence() string {
	if r.Failed > 0 {
		return r.failedShare() + ". The rule of three only applies to runs without failures."
	}
	if !(r.Confidence > 0 && r.Confidence < 1) {
		return "The run is too small to bound the failure rate."
	}
	text := fmt.Sprintf("None of %s failed. With 95 %% confidence, at most 1 request in %s fails (%.3g %%; rule of three: 3 / %s).",
		count(r.Requests, "request"), number(int(1/r.Confidence+1e-6)), 100*r.Confidence, number(r.Requests))
	if n := len(r.Events); n > 3 {
		text += fmt.Sprintf(" Requests during a disturbance are not independent, so the same applies to disturbances: no request failed during any of %s,"+
			" so with the same confidence at most %.3g %% of disturbances fail a request.", number(n), 300/float64(n))
	}
	return text
}

// damage describes the effects of crashes.
func (r *Run) damage() string {
	text := fmt.Sprintf("%s, in %s", r.failedShare(), count(len(r.Events), "crash"))
	slowest := Event{}
	for _, e := range r.Events {
		if e.Failed > 0 && e.Recovery > slowest.Recovery {
			slowest = e
		}
	}
	if slowest.Recovery > 0 {
		text += fmt.Sprintf("; the slowest recovery took %s (%s)", duration(slowest.Recovery), brief(60, slowest.Name))
	}
	if r.Repeats > 0 {
		text += fmt.Sprintf(". %s repeated with an Idempotency-Key; %s of them had been applied before", count(r.Repeats, "request"), number(r.Replayed))
	}
	return fmt.Sprintf("%s. %s.", text, r.Ledger.words())
}

func (r *Run) failedShare() string {
	return fmt.Sprintf("%s of %s failed (%.3g %%)", number(r.Failed), count(r.Requests, "request"), 100*float64(r.Failed)/float64(max(1, r.Requests)))
}

func (l Ledger) words() string {
	return fmt.Sprintf("Of %s %s were lost, %s duplicated, %s altered", count(l.Acknowledged, "acknowledged write"),
		number(l.Lost), number(l.Duplicated), number(l.Altered))
}
