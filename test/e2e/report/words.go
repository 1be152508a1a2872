package report

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// number writes a count with its thousands apart: 52,311.
func number(n int) string { return message.NewPrinter(language.English).Sprint(n) }

// count writes a number of things: "1 disturbance", "14 disturbances".
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

// duration writes the first two digits of a duration, and whole seconds of a
// longer one: 3.4ms, 120ms, 1.4s, 2m5s.
func duration(d time.Duration) string {
	unit := time.Nanosecond
	for unit < time.Second && d.Abs() >= 100*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}

// clock writes a time of the day, in UTC like everything on the page.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// clean makes a text from elsewhere harmless to show, on a terminal too:
// control characters and what is no UTF-8 become visible.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// clip is clean, and shortens a text to a number of characters; how much it has
// left out, it says.
func clip(most int, text string) string {
	runes := []rune(clean(text))
	if len(runes) <= most {
		return string(runes)
	}
	return fmt.Sprintf("%s… (%s more)", string(runes[:most]), count(len(runes)-most, "character"))
}

// brief is a clean text on one line, cut after a number of characters.
func brief(most int, text string) string {
	runes := []rune(strings.Join(strings.Fields(clean(text)), " "))
	if len(runes) <= most {
		return string(runes)
	}
	return string(runes[:most-1]) + "…"
}

// headline is the result in one glance: what is claimed, and the numbers that
// it rests on.
func (r *Report) headline() (claim, numbers string) {
	run := r.Graceful
	switch {
	case run != nil && run.Failed > 0:
		return "Clients noticed", fmt.Sprintf("%s of %s failed during %s", number(run.Failed),
			count(run.Requests, "request"), count(len(run.Events), "disturbance"))
	case len(r.Results) == 0:
		return "Failed", "there is no result"
	case !r.Passed():
		return "Failed", fmt.Sprintf("%s of %s failed", number(len(r.Results)-r.passed()), count(len(r.Results), "check"))
	case run != nil && run.Requests == 0:
		return "Failed", "no request was made"
	case run != nil:
		return "No client noticed", fmt.Sprintf("%s, 0 failed, %s", count(run.Requests, "request"), count(len(run.Events), "disturbance"))
	default:
		return "Passed", count(len(r.Results), "check")
	}
}

// good is Passed for a person: a run without a request shows nothing, and no
// result outweighs a failed request.
func (r *Report) good() bool {
	return r.Passed() && (r.Graceful == nil || r.Graceful.Requests > 0 && r.Graceful.Failed == 0)
}

// passed is the number of results that are good.
func (r *Report) passed() int {
	n := 0
	for _, result := range r.Results {
		if result.Passed {
			n++
		}
	}
	return n
}

// noticed is the number of negative controls that were noticed.
func (r *Report) noticed() int {
	n := 0
	for _, c := range r.Controls {
		if c.Noticed {
			n++
		}
	}
	return n
}

// confidence says in words what a run allows to say about the next one.
func (r *Run) confidence() string {
	if r.Failed > 0 {
		return r.failedShare() + ". That bounds nothing: the rule of three is for runs in which none fails."
	}
	if !(r.Confidence > 0 && r.Confidence < 1) {
		return "The run is too small to say anything about the rate of failures."
	}
	text := fmt.Sprintf("None of %s failed. With 95 %% certainty, at most 1 request in %s fails (%.3g %%): the rule of three, 3 / %s.",
		count(r.Requests, "request"), number(int(1/r.Confidence+1e-6)), 100*r.Confidence, number(r.Requests))
	if n := len(r.Events); n > 3 {
		text += fmt.Sprintf(" Requests under one disturbance are not independent of each other, so count the disturbances as well: none of %s"+
			" failed a request, so with the same certainty at most %.3g %% of such disturbances do.", number(n), 300/float64(n))
	}
	return text
}

// damage says in words what crashes did.
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
		text += fmt.Sprintf(". %s sent again under an Idempotency-Key; %s of them had been done the first time", count(r.Repeats, "request"), number(r.Replayed))
	}
	return fmt.Sprintf("%s. %s.", text, r.Ledger.words())
}

func (r *Run) failedShare() string {
	return fmt.Sprintf("%s of %s failed (%.3g %%)", number(r.Failed), count(r.Requests, "request"), 100*float64(r.Failed)/float64(max(1, r.Requests)))
}

func (l Ledger) words() string {
	return fmt.Sprintf("Of %s %s were lost, %s doubled, %s altered", count(l.Acknowledged, "acknowledged write"),
		number(l.Lost), number(l.Doubled), number(l.Wrong))
}
