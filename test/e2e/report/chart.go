package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// The measures of a chart in the units of its viewBox: pixels on a wide screen.
const (
	chartWidth = 1200
	plotLeft   = 150
	plotRight  = 1156

	laneHeight   = 104
	failedHeight = 44
	quietHeight  = 14 // of the lane of failures when there are none
	laneGap      = 18
	labelHeight  = 16
	rowHeight    = 14
	axisHeight   = 22
	// letter is the width of a letter of a label in a wide font.
	letter = 6.9
	// labelGap is between a label and the line of its event.
	labelGap = 4
)

const (
	// mostLabels events have a label each; more of them share a row with those
	// of the same name, of which there are at most mostNames.
	mostLabels = 40
	mostNames  = 16
)

// chart is a run in time, ready to be drawn.
type chart struct {
	Width, Height int
	// Left and Right are the ends of the plot, Top and Bottom those of the
	// bands.
	Left, Right         int
	Top, Bottom         float64
	Step                time.Duration
	Bands               []band
	Labels              []label
	Marks               []bar
	Rate, Fails, Delays lane
	Columns             []column
	Times               []tick
	Pods                podLanes

	span span
}

// band is an event across all lanes.
type band struct {
	bar
	Number int
}

// label names an event, whose line it hangs on, or a row of them.
type label struct {
	X, Y, Line   float64
	End          bool // X is where the label ends
	Number, Text string
	Crash        bool
}

// bar is a rectangle.
type bar struct {
	X, Y, Width, Height float64
	Crash               bool
	Title               string
}

// lane is a part of the chart with an axis of its own.
type lane struct {
	Left, Right         int
	Top, Height, Bottom float64
	Ticks               []tick
	// Fill, Line and Other are paths.
	Fill, Line, Other string
	Bars              []bar
	// LineEnd and OtherEnd are the heights of the lines' names.
	LineEnd, OtherEnd float64
}

func newLane(top, height float64) lane {
	return lane{Left: plotLeft, Right: plotRight, Top: top, Height: height, Bottom: top + height}
}

// tick is a text on an axis.
type tick struct {
	At   float64
	Text string
}

// column is what a reader who points at a moment is told.
type column struct {
	X, Width float64
	Text     string
}

// newChart draws a run, or returns nil when there is nothing to draw.
func newChart(run *Run) *chart {
	s := spanOf(run)
	if s.from.IsZero() || s.length() <= 0 {
		return nil
	}
	c := &chart{Width: chartWidth, Left: plotLeft, Right: plotRight, span: s}
	events, samples, step := byStart(run.Events), sampled(run.Timeline, s), s.step()
	c.Step = step
	c.Top = c.nameEvents(events)
	c.Rate = c.rateLane(samples, c.Top+laneGap/2)
	c.Fails = c.failsLane(samples, c.Rate.Bottom+laneGap)
	c.Delays = c.delaysLane(samples, c.Fails.Bottom+laneGap)
	c.Columns = c.columns(samples, events)
	c.Times = s.ticks()
	c.Bottom = c.Delays.Bottom
	if len(run.Pods) > 0 {
		c.Pods = c.podLanes(run.Pods, c.Bottom+axisHeight)
		c.Bottom = c.Pods.Bottom
	}
	c.Bands = c.bands(events)
	c.Height = int(math.Ceil(c.Bottom)) + axisHeight
	return c
}

// PlotHeight is the height of the lanes above the pods.
func (c *chart) PlotHeight() float64 { return c.Delays.Bottom - c.Top }

// Caption explains what cannot be seen.
func (c *chart) Caption() string {
	text := "Latency is on a logarithmic scale. Each point is one second."
	if c.Step > time.Second {
		text = fmt.Sprintf("Latency is on a logarithmic scale. Each point is %s: the mean rate, with the range from the quietest second to the busiest,"+
			" the mean of the p50 of its seconds, and the p99 of the worst of them.", duration(c.Step))
	}
	switch pods := c.Pods; {
	case pods.Packed:
		text += fmt.Sprintf(" The %s that answered share %s, where one follows another", count(pods.All, "pod"), count(pods.Rows, "row"))
		if pods.Hidden > 0 {
			text += fmt.Sprintf("; %s of them are not shown", number(pods.Hidden))
		}
	case pods.All > 0:
		text += " Each pod that answered has a row"
	default:
		return text
	}
	return fmt.Sprintf("%s: the stronger the colour, the more answers, up to %s per second.", text, number(c.Pods.Most))
}

// byStart returns the events in the order in which they began.
func byStart(events []Event) []Event {
	return slices.SortedStableFunc(slices.Values(events), func(a, b Event) int { return a.Start.Compare(b.Start) })
}

// end is when an event was over; one without an end is a moment.
func (e Event) end() time.Time {
	if e.End.Before(e.Start) {
		return e.Start
	}
	return e.End
}

func (e Event) length() time.Duration { return e.end().Sub(e.Start) }

// bar is where an event is, from left to right.
func (c *chart) bar(e Event, y, height float64) bar {
	from, to := c.span.x(e.Start), c.span.x(e.end())
	return bar{
		X: from, Width: round(max(1.5, to-from)), Y: round(y), Height: round(height), Crash: e.Crash,
		Title: fmt.Sprintf("%s, %s, %s", brief(80, e.Name), clock(e.Start), duration(e.length())),
	}
}

func (c *chart) bands(events []Event) []band {
	bands := make([]band, 0, len(events))
	for n, e := range events {
		bands = append(bands, band{bar: c.bar(e, c.Top, c.Bottom-c.Top), Number: n + 1})
	}
	return bands
}

// nameEvents places the names of the events below the line for what the reader
// points at, and returns where the lanes may begin.
func (c *chart) nameEvents(events []Event) float64 {
	if len(events) > mostLabels {
		return c.nameRows(events, labelHeight)
	}
	return c.nameEach(events, labelHeight)
}

// nameEach gives each event a label that covers no other.
func (c *chart) nameEach(events []Event, top float64) float64 {
	var ends []float64 // of the last label in each row
	for n, e := range events {
		l := label{Line: c.span.x(e.Start), Number: strconv.Itoa(n + 1), Text: brief(34, e.Name), Crash: e.Crash}
		width := labelGap + letter*float64(len(l.Number)+1+len([]rune(l.Text)))
		from, to := l.Line, l.Line+width
		l.X = round(from + labelGap)
		if to > chartWidth {
			from, to = l.Line-width, l.Line
			l.X, l.End = round(to-labelGap), true
		}
		row := slices.IndexFunc(ends, func(end float64) bool { return end+letter < from })
		if row < 0 {
			row, ends = len(ends), append(ends, 0)
		}
		ends[row] = to
		l.Y = top + float64(row+1)*labelHeight - 4
		c.Labels = append(c.Labels, l)
	}
	return top + float64(len(ends)*labelHeight)
}

// nameRows gives each name a row in which its events are marked, the most
// frequent first; the last row is for the names that have none of their own.
func (c *chart) nameRows(events []Event, top float64) float64 {
	times := map[string]int{}
	for _, e := range events {
		times[e.Name]++
	}
	names := slices.SortedFunc(maps.Keys(times), func(a, b string) int {
		return cmp.Or(times[b]-times[a], cmp.Compare(a, b))
	})
	rows := map[string]float64{}
	for n, name := range names {
		rows[name] = top + float64(min(n, mostNames-1)*rowHeight)
		text := brief(20, name)
		if n == mostNames-1 && len(names) > mostNames {
			text = fmt.Sprintf("%d others", len(names)-n)
		}
		if n < mostNames {
			c.Labels = append(c.Labels, label{X: plotLeft - 8, Y: rows[name] + rowHeight - 4, End: true, Text: text})
		}
	}
	for _, e := range events {
		c.Marks = append(c.Marks, c.bar(e, rows[e.Name]+2, rowHeight-4))
	}
	return top + float64(min(len(names), mostNames)*rowHeight)
}

func round(x float64) float64 { return math.Round(x*10) / 10 }
