package report

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestChartHasABandForEachEvent(t *testing.T) {
	r := fakeReport()
	graceful := parse(t, r).section(t, "graceful")
	bands := graceful.elements("rect", "band")
	labels := graceful.elements("text", "label")
	require.Len(t, bands, len(r.Graceful.Events))
	require.Len(t, labels, len(r.Graceful.Events))
	s := spanOf(r.Graceful)
	for n, e := range r.Graceful.Events {
		x, width := bands[n].number(t, "x"), bands[n].number(t, "width")
		require.InDelta(t, plotLeft+1006*e.Start.Sub(s.from).Seconds()/s.length().Seconds(), x, 0.1, e.Name)
		require.InDelta(t, plotLeft+1006*e.End.Sub(s.from).Seconds()/s.length().Seconds(), x+width, 0.2, e.Name)
		require.Equal(t, fmt.Sprintf("%d %s", n+1, e.Name), labels[n].text())
		require.True(t, strings.HasPrefix(bands[n].text(), fmt.Sprintf("%d %s, %s, ", n+1, e.Name, clock(e.Start))), bands[n].text())
	}
}

func TestChartTellsTheNumbersOfEachSecond(t *testing.T) {
	r := noticedReport().Graceful
	columns := parse(t, noticedReport()).section(t, "graceful").elements("g", "column")
	require.Len(t, columns, len(r.Timeline), "a column for each second")
	for n, p := range r.Timeline {
		want := fmt.Sprintf("%s · %d requests/s · p50 %s · p99 %s · %d failed", clock(p.At), p.Requests, duration(p.P50), duration(p.P99), p.Failed)
		require.True(t, strings.HasPrefix(columns[n].text(), want), "%s: %s", want, columns[n].text())
	}
	require.Contains(t, columns[30].text(), "1 restart tag")
}

func TestChartRowsOfNames(t *testing.T) {
	run := &Run{}
	start := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	for n := range 100 {
		run.Events = append(run.Events, Event{Name: fmt.Sprintf("event %d", n%20), Start: start.Add(time.Duration(n) * time.Minute), End: start.Add(time.Duration(n)*time.Minute + 20*time.Second)})
	}
	c := newChart(run)
	require.Len(t, c.Bands, 100)
	require.Len(t, c.Marks, 100)
	require.Len(t, c.Labels, mostNames)
	require.Equal(t, "5 others", c.Labels[mostNames-1].Text)
}

func TestLongRunsAreSummedUp(t *testing.T) {
	start := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	run := &Run{Started: start, Finished: start.Add(3 * time.Hour)}
	requests, failed := 0, 0
	for n := range 3 * 3600 {
		p := Point{At: start.Add(time.Duration(n) * time.Second), Requests: 200 + n%7, P50: 3 * time.Millisecond, P99: 20 * time.Millisecond}
		switch n {
		case 4000:
			p.Failed, p.Requests, p.P99 = 3, 12, 4*time.Second
		case 4001:
			continue // a second without a request
		}
		requests, failed = requests+p.Requests, failed+p.Failed
		run.Timeline = append(run.Timeline, p)
	}
	s := spanOf(run)
	require.Equal(t, 15*time.Second, s.step())
	samples := sampled(run.Timeline, s)
	require.Len(t, samples, mostSamples)
	for _, each := range samples {
		requests, failed = requests-each.requests, failed-each.failed
		require.InDelta(t, 3*time.Millisecond, each.p50, 10)
	}
	require.Zero(t, requests, "none is lost in the sum")
	require.Zero(t, failed)
	worst := samples[4000/15]
	require.Equal(t, []any{3, 0, 206, 4 * time.Second}, []any{worst.failed, worst.low, worst.high, worst.p99}, "and nothing bad is averaged away")
	require.Equal(t, []any{0, 200, 206, 20 * time.Millisecond}, []any{samples[0].failed, samples[0].low, samples[0].high, samples[0].p99})
	require.InDelta(t, 203, samples[0].rate(), 0.2)
	require.Len(t, newChart(run).Fails.Bars, 1)
}

func TestLatencyLinesBreakWhereNothingIsAnswered(t *testing.T) {
	start := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	run := &Run{Started: start, Finished: start.Add(10 * time.Second)}
	for n := range 10 {
		if n != 4 && n != 8 {
			run.Timeline = append(run.Timeline, Point{At: start.Add(time.Duration(n) * time.Second), Requests: 5, P50: 2 * time.Millisecond, P99: 3 * time.Millisecond})
		}
	}
	c := newChart(run)
	require.Equal(t, 3, strings.Count(c.Delays.Line, "M"))
	require.True(t, strings.HasSuffix(c.Delays.Line, "h0"), "the last second is a dot: %s", c.Delays.Line)
	require.Equal(t, 1, strings.Count(c.Rate.Line, "M"), "the rate is zero there, which is a number")
	require.Contains(t, c.Columns[4].Text, "0 requests/s · 0 failed")
}

func TestPodsHaveARowEach(t *testing.T) {
	r := fakeReport().Graceful
	lanes := newChart(r).Pods
	require.Equal(t, []any{len(r.Pods), len(r.Pods), 0, false}, []any{lanes.All, lanes.Rows, lanes.Hidden, lanes.Packed})
	require.Equal(t, []string{"achilles-article", "achilles-tag"}, []string{lanes.Groups[0].Name, lanes.Groups[1].Name})
	c := newChart(r)
	for _, group := range lanes.Groups {
		for _, row := range group.Rows {
			require.Len(t, row.Pods, 1)
			for _, p := range r.Pods {
				if p.Name == group.Name+"-"+row.Name {
					require.Contains(t, row.Pods[0].Title, fmt.Sprintf("%s: %s, %s to %s", p.Name, count(p.Requests, "answer"), clock(p.From), clock(p.To)))
					require.True(t, strings.HasPrefix(row.Pods[0].Loads[0].Path, "M"))
					left, _ := extent(t, row.Pods[0])
					require.InDelta(t, c.span.x(p.From), left, 0.1)
				}
			}
		}
	}
}

// extent is where the drawing of a pod begins and ends.
func extent(t *testing.T, b podBar) (left, right float64) {
	t.Helper()
	left = math.Inf(1)
	for _, load := range b.Loads {
		for part := range strings.SplitSeq(load.Path[1:], "M") {
			var from, to float64
			_, err := fmt.Sscanf(part, "%g 0H%g", &from, &to)
			require.NoError(t, err, part)
			left, right = min(left, from), max(right, to)
		}
	}
	return left, right
}

func TestManyPodsShareRows(t *testing.T) {
	for _, row := range []struct{ pods, together, rows, hidden int }{
		{60, 60, 60, 0}, {61, 1, 1, 0}, {1200, 4, 4, 0}, {80, 80, 60, 20}, {600, 100, 60, 240},
	} {
		start := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
		run := &Run{}
		for n := range row.pods {
			// As many as are together begin at once, and end before the next do.
			from := start.Add(time.Duration(n/row.together) * 10 * time.Second)
			run.Pods = append(run.Pods, Pod{Name: fmt.Sprintf("achilles-tag-%d", n), From: from, To: from.Add(8 * time.Second), Requests: 18, Seconds: []int{2, 2, 2, 2, 2, 2, 2, 2, 2}})
		}
		run.Started, run.Finished = start, start.Add(time.Duration(row.pods/row.together+1)*10*time.Second)
		c := newChart(run)
		require.Equal(t, []int{row.pods, row.rows, row.hidden}, []int{c.Pods.All, c.Pods.Rows, c.Pods.Hidden}, "%+v", row)
		drawn := 0
		for _, each := range c.Pods.Groups[0].Rows {
			end := 0.0
			for _, p := range each.Pods {
				left, right := extent(t, p)
				require.Less(t, end, left, "pods in a row do not overlap")
				end, drawn = right, drawn+1
			}
		}
		require.Equal(t, row.pods-row.hidden, drawn)
		if row.hidden > 0 {
			require.Contains(t, c.Caption(), fmt.Sprintf("%d of them are not shown", row.hidden))
		}
	}
}

func TestLoadOfAPodIsAShade(t *testing.T) {
	start := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	run := &Run{Started: start, Finished: start.Add(10 * time.Second), Pods: []Pod{
		{Name: "achilles-tag-7d9f8b6c5-x2x9k", From: start, To: start.Add(9 * time.Second), Seconds: []int{10, 10, 5, 1, 0, 0, 10, 2, 2, 2}},
	}}
	c := newChart(run)
	pod := c.Pods.Groups[0].Rows[0].Pods[0]
	got := map[int]string{}
	for _, load := range pod.Loads {
		got[load.Shade] = load.Path
	}
	x := func(second int) string { return short(c.span.x(start.Add(time.Duration(second) * time.Second))) }
	require.Equal(t, map[int]string{
		5: "M" + x(0) + " 0H" + x(2) + "M" + x(6) + " 0H" + x(7),
		3: "M" + x(2) + " 0H" + x(3),
		1: "M" + x(3) + " 0H" + x(4) + "M" + x(7) + " 0H1155", // but for the gap
	}, got)
	require.Equal(t, "M"+x(4)+" 0H"+x(6), pod.Pause)
	require.Equal(t, 10, c.Pods.Most)
}

func TestWorkloadOfAPod(t *testing.T) {
	for pod, want := range map[string]string{
		"achilles-article-7d9f8b6c5d-x2x9k": "achilles-article",
		"achilles-tag-7d9f8b6c5-bcdfg":      "achilles-tag",
		"achilles-mariadb-0":                "achilles-mariadb",
		"agent-x2x9k":                       "agent",
		"achilles-article-x2x9k":            "achilles-article",
		"achilles":                          "achilles",
		"achilles-tag":                      "achilles-tag",
		"":                                  "",
	} {
		require.Equal(t, want, workload(pod), pod)
	}
}
