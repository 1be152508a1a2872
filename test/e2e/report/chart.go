package report

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The dimensions of a chart in the units of its viewBox: pixels on a wide screen.
const (
	plotLeft   = 130
	plotRight  = 1174
	plotTop    = 20
	axisHeight = 20
	// The range of the latency axis. Higher latencies are drawn at its top.
	minLatency = time.Millisecond
	maxLatency = 10 * time.Second
	// numberWidth is the width of the number of an event.
	numberWidth = 24
	// maxSamples is the maximum number of samples in a chart. In long runs a sample
	// is several seconds.
	maxSamples = 500
	// maxNamed is the maximum number of pods whose rows have names. The rows of more
	// pods share podsHeight.
	maxNamed    = 60
	rowHeight   = 10.0
	podsHeight  = 240.0
	groupHeight = 22
)

// chart is the data of the chart of a run.
type chart struct {
	Left, Right, Top float64
	// LanesBottom is the bottom of the lanes above the pods.
	LanesBottom, Bottom, Height float64
	RowHeight                   float64
	Lanes                       []lane
	Columns                     []column
	Events                      []mark
	Times                       []tick
	Groups                      []group
	Step                        time.Duration
}

// lane is a part of the chart with its own axis.
type lane struct {
	Name   string
	Ticks  []tick
	bottom float64
	height float64
}

// y returns the y coordinate of a share of the lane.
func (l lane) y(share float64) float64 { return round(l.bottom - l.height*share) }

// bar returns the rectangle between two shares of the lane.
func (l lane) bar(from, to float64) bar {
	height := max(1.5, l.height*(to-from))
	return bar{Y: round(l.bottom - l.height*from - height), Height: round(height)}
}

type bar struct{ Y, Height float64 }

type tick struct {
	At   float64
	Text string
}

// column is a sample in all lanes.
type column struct {
	X, Width              float64
	Title                 string
	Rate, Failed, Latency *bar
}

// mark is an event or a pod. Text is empty if there is no room for it.
type mark struct {
	X, Width, Y float64
	Text, Title string
}

// group is the pods of a workload.
type group struct {
	Name string
	Y    float64
	Pods []mark
}

// newChart returns the chart of a run, or nil if nothing was recorded.
func newChart(run *Run) *chart {
	s := spanOf(run)
	if s.length() <= 0 {
		return nil
	}
	c := &chart{Left: plotLeft, Right: plotRight, Top: plotTop, Step: s.step(), Times: s.ticks()}
	c.drawLanes(s, sampled(run.Timeline, s))
	c.drawEvents(s, run.Events)
	if len(run.Pods) > 0 {
		c.drawPods(s, run.Pods)
	}
	c.Height = c.Bottom + axisHeight
	return c
}

// LanesHeight and EventsHeight return the heights of the columns and of the events.
func (c *chart) LanesHeight() float64  { return c.LanesBottom - c.Top }
func (c *chart) EventsHeight() float64 { return c.Bottom - c.Top }

func (c *chart) drawLanes(s span, samples []sample) {
	rates, failures := 1.0, 0
	for _, each := range samples {
		rates, failures = max(rates, each.rate()), max(failures, each.failed)
	}
	rate := lane{Name: "Requests/s", bottom: plotTop + 100, height: 96}
	rate.Ticks = []tick{{rate.y(1), number(int(math.Ceil(rates)))}, {rate.bottom, "0"}}
	failed := lane{Name: "Failed", bottom: rate.bottom + 48, height: 28}
	failed.Ticks = []tick{{failed.y(1), number(failures)}, {failed.bottom, "0"}}
	if failures == 0 {
		failed.Ticks = []tick{{failed.y(0.5), "none"}}
	}
	latency := lane{Name: "Latency", bottom: failed.bottom + 112, height: 92}
	for d := maxLatency; d >= minLatency; d /= 10 {
		latency.Ticks = append(latency.Ticks, tick{latency.y(logShare(d)), duration(d)})
	}
	c.Lanes, c.LanesBottom, c.Bottom = []lane{rate, failed, latency}, latency.bottom, latency.bottom
	for _, each := range samples {
		column := column{X: s.x(each.from), Width: round(max(1, s.x(each.to)-s.x(each.from))), Title: each.String()}
		if each.requests > 0 {
			high, delay := rate.bar(0, each.rate()/rates), latency.bar(logShare(each.p50), logShare(each.p99))
			column.Rate, column.Latency = &high, &delay
		}
		if each.failed > 0 {
			high := failed.bar(0, float64(each.failed)/float64(failures))
			column.Failed = &high
		}
		c.Columns = append(c.Columns, column)
	}
}

// logShare returns the position of a latency on the logarithmic axis, from 0 to 1.
func logShare(d time.Duration) float64 {
	return min(1, max(0, math.Log(float64(d)/float64(minLatency))/math.Log(float64(maxLatency/minLatency))))
}

func (c *chart) drawEvents(s span, events []Event) {
	free := 0.0
	for n, e := range byStart(events) {
		m := s.mark(e.Start, e.end())
		m.Title = fmt.Sprintf("%d %s, %s, %s", n+1, brief(80, e.Name), clock(e.Start), duration(e.length()))
		if m.X >= free {
			m.Text, free = number(n+1), m.X+numberWidth
		}
		c.Events = append(c.Events, m)
	}
}

// drawPods draws a row for each pod, from its first to its last response.
func (c *chart) drawPods(s span, pods []Pod) {
	row, named := rowHeight, len(pods) <= maxNamed
	if !named {
		row = podsHeight / float64(len(pods))
	}
	c.RowHeight = round(max(0.5, 0.8*row))
	byWorkload := map[string][]Pod{}
	var names []string
	for _, p := range pods {
		name := workload(p.Name)
		if byWorkload[name] == nil {
			names = append(names, name)
		}
		byWorkload[name] = append(byWorkload[name], p)
	}
	slices.Sort(names)
	c.Bottom += axisHeight
	for _, name := range names {
		c.Bottom += groupHeight
		g := group{Name: brief(22, name), Y: c.Bottom - 7}
		slices.SortStableFunc(byWorkload[name], func(a, b Pod) int { return a.From.Compare(b.From) })
		for _, p := range byWorkload[name] {
			m := s.mark(p.From, p.To)
			m.Y = round(c.Bottom)
			m.Title = fmt.Sprintf("%s: %s, %s to %s", brief(80, p.Name), count(p.Requests, "response"), clock(p.From), clock(p.To))
			if named {
				m.Text = brief(20, strings.TrimPrefix(p.Name, name+"-"))
			}
			g.Pods = append(g.Pods, m)
			c.Bottom += row
		}
		c.Groups = append(c.Groups, g)
	}
	c.Bottom = round(c.Bottom + 4)
}

var generatedName = regexp.MustCompile(`^(.+)-[a-z0-9]{6,10}-[a-z0-9]{5}$`)

// workload returns the name of the Deployment of a pod.
func workload(pod string) string { return generatedName.ReplaceAllString(pod, "$1") }

// byStart returns the events ordered by start.
func byStart(events []Event) []Event {
	return slices.SortedStableFunc(slices.Values(events), func(a, b Event) int { return a.Start.Compare(b.Start) })
}

// end returns the end of an event, or its start if it has no end.
func (e Event) end() time.Time {
	if e.End.Before(e.Start) {
		return e.Start
	}
	return e.End
}

func (e Event) length() time.Duration { return e.end().Sub(e.Start) }

// span is the time span of a chart.
type span struct{ from, to time.Time }

// spanOf returns the time span of a run with all its events, from a whole second.
func spanOf(run *Run) span {
	times := []time.Time{run.Started, run.Finished}
	for _, p := range run.Timeline {
		times = append(times, p.At, p.At.Add(time.Second))
	}
	for _, e := range run.Events {
		times = append(times, e.Start, e.End)
	}
	times = slices.DeleteFunc(times, time.Time.IsZero)
	if len(times) == 0 {
		return span{}
	}
	return span{slices.MinFunc(times, time.Time.Compare).Truncate(time.Second), slices.MaxFunc(times, time.Time.Compare)}
}

func (s span) length() time.Duration { return s.to.Sub(s.from) }

// x returns the x coordinate of a time.
func (s span) x(t time.Time) float64 {
	share := float64(t.Sub(s.from)) / float64(s.length())
	return round(plotLeft + (plotRight-plotLeft)*min(1, max(0, share)))
}

func (s span) mark(from, to time.Time) mark {
	return mark{X: s.x(from), Width: round(max(1.5, s.x(to)-s.x(from)))}
}

// step returns the length of a sample in whole seconds.
func (s span) step() time.Duration {
	return time.Duration(max(1, math.Ceil(s.length().Seconds()/maxSamples))) * time.Second
}

// ticks returns at most a dozen round times.
func (s span) ticks() []tick {
	var step time.Duration
	for _, step = range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, s.length()} {
		if s.length() <= 12*step {
			break
		}
	}
	var ticks []tick
	for t := s.from.Add(step - 1).Truncate(step); !t.After(s.to); t = t.Add(step) {
		ticks = append(ticks, tick{s.x(t), clock(t)})
	}
	return ticks
}

// sample is one or more seconds of a run.
type sample struct {
	from, to         time.Time
	requests, failed int
	// p50 is the mean of the p50 of the seconds, weighted by their requests. p99 is
	// the p99 of the worst second.
	p50, p99 time.Duration
}

func (s sample) rate() float64 { return float64(s.requests) / s.to.Sub(s.from).Seconds() }

func (s sample) String() string {
	text := fmt.Sprintf("%s · %.0f requests/s · %s failed", clock(s.from), s.rate(), number(s.failed))
	if s.requests > 0 {
		text += fmt.Sprintf(" · p50 %s · p99 %s", duration(s.p50), duration(s.p99))
	}
	return text
}

// sampled groups the seconds of a run into at most maxSamples samples.
func sampled(timeline []Point, s span) []sample {
	step := s.step()
	samples := make([]sample, (s.length()+step-1)/step)
	for n := range samples {
		from := s.from.Add(time.Duration(n) * step)
		last := s.to.Add(time.Second - 1).Truncate(time.Second)
		samples[n].from, samples[n].to = from, from.Add(min(step, last.Sub(from)))
	}
	for _, p := range timeline {
		samples[p.At.Sub(s.from)/step].add(p)
	}
	return samples
}

func (s *sample) add(p Point) {
	if all := s.requests + p.Requests; all > 0 {
		s.p50 = time.Duration((float64(s.p50)*float64(s.requests) + float64(p.P50)*float64(p.Requests)) / float64(all))
	}
	s.requests += p.Requests
	s.failed += p.Failed
	s.p99 = max(s.p99, p.P99)
}

func round(x float64) float64 { return math.Round(x*10) / 10 }
