package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// mostSamples are drawn across a chart; in longer runs a sample is several
// seconds.
const mostSamples = 720

// span is the time that a chart shows.
type span struct{ from, to time.Time }

// spanOf covers the run and all that happened in it, from a whole second on.
func spanOf(run *Run) span {
	var s span
	cover := func(t time.Time) {
		if !t.IsZero() && (s.from.IsZero() || t.Before(s.from)) {
			s.from = t
		}
		if t.After(s.to) {
			s.to = t
		}
	}
	cover(run.Started)
	cover(run.Finished)
	for _, p := range run.Timeline {
		cover(p.At)
		cover(p.At.Add(time.Second))
	}
	for _, e := range run.Events {
		cover(e.Start)
		cover(e.End)
	}
	s.from = s.from.Truncate(time.Second)
	return s
}

func (s span) length() time.Duration { return s.to.Sub(s.from) }

// x is where a time is in the chart.
func (s span) x(t time.Time) float64 {
	share := float64(t.Sub(s.from)) / float64(s.length())
	return round(plotLeft + (plotRight-plotLeft)*min(1, max(0, share)))
}

// step is the length of a sample.
func (s span) step() time.Duration {
	seconds := math.Ceil(s.length().Seconds() / mostSamples)
	return time.Duration(max(1, seconds)) * time.Second
}

// ticks are round times, a dozen at most.
func (s span) ticks() []tick {
	layout, step := "15:04", 24*time.Hour
	for _, d := range []time.Duration{time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute,
		5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour} {
		if s.length()/d <= 12 {
			step = d
			break
		}
	}
	if step < time.Minute {
		layout = "15:04:05"
	}
	var ticks []tick
	for t := s.from.Truncate(step); !t.After(s.to) && len(ticks) < 100; t = t.Add(step) {
		if !t.Before(s.from) {
			ticks = append(ticks, tick{At: s.x(t), Text: t.UTC().Format(layout)})
		}
	}
	return ticks
}

// sample is one or more seconds of a run.
type sample struct {
	from, to         time.Time
	requests, failed int
	// low and high are the requests in the quietest and the busiest second.
	low, high int
	// p50 is the mean of the seconds', weighted by their requests; p99 that of
	// the worst second.
	p50, p99 time.Duration
}

func (s sample) rate() float64 { return float64(s.requests) / s.to.Sub(s.from).Seconds() }

// sampled sums the seconds of a run up into at most mostSamples.
func sampled(timeline []Point, s span) []sample {
	step := s.step()
	samples := make([]sample, (s.length()+step-1)/step)
	for n := range samples {
		from := s.from.Add(time.Duration(n) * step)
		to := from.Add(step)
		if last := s.to.Add(time.Second - 1).Truncate(time.Second); to.After(last) {
			to = last
		}
		samples[n] = sample{from: from, to: to, low: math.MaxInt}
	}
	seconds := make([]int, len(samples))
	for _, p := range timeline {
		n := int(p.At.Sub(s.from) / step)
		samples[n].add(p)
		seconds[n]++
	}
	for n := range samples {
		if samples[n].missing(seconds[n]) {
			samples[n].low = 0
		}
	}
	return samples
}

func (s *sample) add(p Point) {
	if all := s.requests + p.Requests; all > 0 {
		s.p50 = time.Duration((float64(s.p50)*float64(s.requests) + float64(p.P50)*float64(p.Requests)) / float64(all))
	}
	s.requests += p.Requests
	s.failed += p.Failed
	s.low, s.high = min(s.low, p.Requests), max(s.high, p.Requests)
	s.p99 = max(s.p99, p.P99)
}

// missing tells whether there was a second without a point: without a request.
func (s *sample) missing(points int) bool { return points < int(s.to.Sub(s.from)/time.Second) }

// middle is where a sample is in the chart.
func (c *chart) middle(s sample) float64 { return c.span.x(s.from.Add(s.to.Sub(s.from) / 2)) }

// rateLane draws requests per second, and where a sample is several seconds
// also the range within it.
func (c *chart) rateLane(samples []sample, top float64) lane {
	l := newLane(top, laneHeight)
	most := 1
	for _, s := range samples {
		most = max(most, s.high)
	}
	step := roundStep(float64(most) / 3)
	limit := step * math.Ceil(float64(most)/step)
	y := func(rate float64) float64 { return round(l.Bottom - l.Height*rate/limit) }
	for at := 0.0; at <= limit; at += step {
		l.Ticks = append(l.Ticks, tick{At: y(at), Text: number(int(at))})
	}
	mean, low, high := make(line, 0, len(samples)), make(line, 0, len(samples)), make(line, 0, len(samples))
	for _, s := range samples {
		x := c.middle(s)
		mean = append(mean, point{x, y(s.rate())})
		low, high = append(low, point{x, y(float64(s.low))}), append(high, point{x, y(float64(s.high))})
	}
	l.Line, l.Fill = mean.path(), mean.down(l.Bottom)
	if c.Step > time.Second {
		l.Other = high.over(low)
	}
	return l
}

// failsLane draws failed requests in each sample; without any it is a quiet
// line.
func (c *chart) failsLane(samples []sample, top float64) lane {
	most := 0
	for _, s := range samples {
		most = max(most, s.failed)
	}
	if most == 0 {
		return newLane(top, quietHeight)
	}
	l := newLane(top, failedHeight)
	l.Ticks = []tick{{At: l.Top, Text: number(most)}, {At: l.Bottom, Text: "0"}}
	for _, s := range samples {
		if s.failed == 0 {
			continue
		}
		from, to := c.span.x(s.from), c.span.x(s.to)
		height := round(max(2, l.Height*float64(s.failed)/float64(most)))
		l.Bars = append(l.Bars, bar{X: from, Width: round(max(1.5, to-from)), Y: round(l.Bottom - height), Height: height})
	}
	return l
}

// delaysLane draws p50 and p99 on a logarithmic axis.
func (c *chart) delaysLane(samples []sample, top float64) lane {
	l := newLane(top, laneHeight)
	least, most := time.Duration(math.MaxInt64), time.Duration(0)
	for _, s := range samples {
		if s.requests > 0 {
			least, most = min(least, max(s.p50, time.Microsecond)), max(most, s.p50, s.p99)
		}
	}
	if most == 0 {
		return l
	}
	limits := logLimits(least, most)
	low, high := math.Log(float64(limits[0])), math.Log(float64(limits[len(limits)-1]))
	y := func(d time.Duration) float64 {
		return round(l.Bottom - l.Height*(math.Log(float64(max(d, limits[0])))-low)/(high-low))
	}
	for _, d := range limits {
		l.Ticks = append(l.Ticks, tick{At: y(d), Text: duration(d)})
	}
	// A second without an answer has no latency: the lines break there.
	var half, most99 line
	var lines, others, fills strings.Builder
	flush := func() {
		lines.WriteString(half.path())
		others.WriteString(most99.path())
		fills.WriteString(most99.over(half))
		half, most99 = nil, nil
	}
	for _, s := range samples {
		if s.requests == 0 {
			flush()
			continue
		}
		x := c.middle(s)
		half, most99 = append(half, point{x, y(s.p50)}), append(most99, point{x, y(s.p99)})
		l.LineEnd, l.OtherEnd = y(s.p50), y(s.p99)
	}
	flush()
	l.Line, l.Other, l.Fill = lines.String(), others.String(), fills.String()
	l.LineEnd = max(l.LineEnd, l.OtherEnd+12) // two names need two lines
	return l
}

// columns tell of each sample in a line.
func (c *chart) columns(samples []sample, events []Event) []column {
	columns := make([]column, 0, len(samples))
	for _, s := range samples {
		text := fmt.Sprintf("%s · %s requests/s", clock(s.from), number(int(math.Round(s.rate()))))
		if s.requests > 0 {
			text += fmt.Sprintf(" · p50 %s · p99 %s", duration(s.p50), duration(s.p99))
		}
		text += fmt.Sprintf(" · %s failed", number(s.failed))
		if names := during(s, events); names != "" {
			text += " · " + names
		}
		from := c.span.x(s.from)
		columns = append(columns, column{X: from, Width: round(c.span.x(s.to) - from), Text: text})
	}
	return columns
}

// during names the events in a sample.
func during(s sample, events []Event) string {
	var names []string
	for n, e := range events {
		if e.Start.Before(s.to) && !e.end().Before(s.from) {
			names = append(names, strconv.Itoa(n+1)+" "+e.Name)
		}
	}
	return brief(70, strings.Join(names, ", "))
}

// roundStep is the next of 1, 2, 5, 10, 20, 50…
func roundStep(x float64) float64 {
	size := math.Pow(10, math.Floor(math.Log10(max(1, x))))
	for _, factor := range []float64{1, 2, 5} {
		if x <= factor*size {
			return factor * size
		}
	}
	return 10 * size
}

// logLimits are 10, 100, 1000… times a microsecond around what is to be shown.
func logLimits(least, most time.Duration) []time.Duration {
	at := time.Microsecond
	for at*10 <= least {
		at *= 10
	}
	limits := []time.Duration{at}
	for at < most || len(limits) == 1 {
		at *= 10
		limits = append(limits, at)
	}
	return limits
}

type point struct{ x, y float64 }

type line []point

// path is the line as the d of an SVG path; a line of one point is a dot.
func (l line) path() string {
	if len(l) == 1 {
		return l.from("M") + "h0"
	}
	return l.from("M")
}

// down is the area between the line and the bottom.
func (l line) down(bottom float64) string {
	if len(l) == 0 {
		return ""
	}
	return l.path() + "V" + short(bottom) + "H" + short(l[0].x) + "Z"
}

// over is the area between the line and another one below.
func (l line) over(below line) string {
	if len(l) == 0 {
		return ""
	}
	back := make(line, 0, len(below))
	for n := range below {
		back = append(back, below[len(below)-1-n])
	}
	return l.path() + back.from("L") + "Z"
}

func (l line) from(first string) string {
	var d strings.Builder
	for n, p := range l {
		if n == 0 {
			d.WriteString(first)
		} else {
			d.WriteString("L")
		}
		d.WriteString(short(p.x) + " " + short(p.y))
	}
	return d.String()
}

func short(x float64) string { return strconv.FormatFloat(round(x), 'f', -1, 64) }
