package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// number writes a count with its thousands apart: 52,311.
func number(n int) string {
	digits := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}

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

// duration writes as much of a duration as a person wants to know: 850 µs,
// 3.4 ms, 120 ms, 1.4 s, 2 min 5 s, 3 h 2 min.
func duration(d time.Duration) string {
	if d < 0 {
		return "-" + duration(-max(d, -math.MaxInt64))
	}
	if d == 0 {
		return "0 s"
	}
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Microsecond, "µs"}, {time.Millisecond, "ms"}, {time.Second, "s"}} {
		limit, rounded := 1000*unit.size, d.Round(unit.size/10)
		if unit.size == time.Second {
			limit = time.Minute
		}
		if rounded >= limit {
			continue
		}
		if rounded >= 10*unit.size || rounded == 0 {
			rounded = d.Round(unit.size)
		}
		if rounded < limit {
			return strconv.FormatFloat(float64(rounded)/float64(unit.size), 'f', -1, 64) + " " + unit.name
		}
	}
	if rounded := d.Round(time.Second); rounded < time.Hour {
		return parts(rounded, time.Minute, "min", time.Second, "s")
	}
	return parts(d.Round(time.Minute), time.Hour, "h", time.Minute, "min")
}

func parts(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	text := fmt.Sprintf("%d %s", d/large, largeName)
	if rest := d % large / small; rest > 0 {
		text += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return text
}

// clock writes a time of the day, in UTC like everything on the page.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// percent writes a share with two digits that say something.
func percent(share float64) string {
	if share <= 0 || math.IsInf(share, 0) || math.IsNaN(share) {
		return "0 %"
	}
	digits := max(0, 1-int(math.Floor(math.Log10(share*100))))
	text := strconv.FormatFloat(share*100, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + " %"
}

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

// headline is the verdict in one glance: what is claimed, and the numbers that
// it rests on.
func (r *Report) headline() (claim, numbers string) {
	run := r.Graceful
	switch {
	case run != nil && run.Failed > 0:
		return "Clients noticed", fmt.Sprintf("%s of %s failed during %s", number(run.Failed),
			count(run.Requests, "request"), count(len(run.Events), "disturbance"))
	case len(r.Verdicts) == 0:
		return "Not proven", "no verdict was reached"
	case !r.Passed():
		return "Not proven", fmt.Sprintf("%s of %s failed", number(len(r.Verdicts)-r.reached()), count(len(r.Verdicts), "verdict"))
	case run != nil && run.Requests == 0:
		return "Not proven", "no request was made"
	case run != nil:
		return "No client noticed", fmt.Sprintf("%s, 0 failed, %s", count(run.Requests, "request"), count(len(run.Events), "disturbance"))
	default:
		return "Passed", fmt.Sprintf("%s of %s", number(r.reached()), count(len(r.Verdicts), "verdict"))
	}
}

// good is Passed for a person: a run without a request shows nothing, and no
// verdict may speak louder than a failed request.
func (r *Report) good() bool {
	return r.Passed() && (r.Graceful == nil || r.Graceful.Requests > 0 && r.Graceful.Failed == 0)
}

// reached is the number of verdicts that have passed.
func (r *Report) reached() int {
	n := 0
	for _, v := range r.Verdicts {
		if v.Passed {
			n++
		}
	}
	return n
}

// noticed is the number of controls that were.
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
	text := fmt.Sprintf("None of %s failed. With 95 %% certainty, at most 1 request in %s fails (%s): the rule of three, 3 / %s.",
		count(r.Requests, "request"), number(int(1/r.Confidence+1e-6)), percent(r.Confidence), number(r.Requests))
	if n := len(r.Events); n > 3 {
		text += fmt.Sprintf(" Requests under one disturbance are not independent of each other, so count the disturbances as well: none of %s"+
			" failed a request, so with the same certainty at most %s of such disturbances do.", number(n), percent(3/float64(n)))
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
	return fmt.Sprintf("%s of %s failed (%s)", number(r.Failed), count(r.Requests, "request"), percent(float64(r.Failed)/float64(max(1, r.Requests))))
}

func (l Ledger) words() string {
	return fmt.Sprintf("Of %s %s were lost, %s doubled, %s altered", count(l.Acknowledged, "acknowledged write"),
		number(l.Lost), number(l.Doubled), number(l.Wrong))
}
