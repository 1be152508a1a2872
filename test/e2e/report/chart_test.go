package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestChartEvents(t *testing.T) {
	r := fakeReport()
	graceful := parse(t, r).section(t, "graceful")
	events, labels, legend := graceful.elements("rect", "event"), graceful.elements("text", "label"), graceful.elements("ul", "legend")[0].elements("li", "")
	require.Len(t, events, len(r.Graceful.Events))
	require.Len(t, labels, len(r.Graceful.Events))
	s := spanOf(r.Graceful)
	for n, e := range r.Graceful.Events {
		x, width := events[n].number(t, "x"), events[n].number(t, "width")
		perSecond := (plotRight - plotLeft) / s.length().Seconds()
		require.InDelta(t, plotLeft+perSecond*e.Start.Sub(s.from).Seconds(), x, 0.1, e.Name)
		require.InDelta(t, plotLeft+perSecond*e.End.Sub(s.from).Seconds(), x+width, 0.2, e.Name)
		require.Equal(t, fmt.Sprint(n+1), labels[n].text())
		require.InDelta(t, x, labels[n].number(t, "x"), 0)
		require.Equal(t, fmt.Sprintf("%d %s", n+1, e.Name), legend[n].text())
	}
}

func TestChartColumns(t *testing.T) {
	r := failedReport()
	columns := parse(t, r).section(t, "graceful").elements("g", "column")
	require.Len(t, columns, len(r.Graceful.Timeline))
	most := 0
	for _, p := range r.Graceful.Timeline {
		most = max(most, p.Requests)
	}
	for n, p := range r.Graceful.Timeline {
		require.Equal(t, fmt.Sprintf("%s · %d requests/s · %d failed · p50 %s · p99 %s", clock(p.At), p.Requests, p.Failed, duration(p.P50), duration(p.P99)), columns[n].text())
		rate := columns[n].elements("rect", "rate")[0]
		require.InDelta(t, 96*float64(p.Requests)/float64(most), rate.number(t, "height"), 0.1)
		require.InDelta(t, plotTop+100, rate.number(t, "y")+rate.number(t, "height"), 0.2)
		require.Len(t, columns[n].elements("rect", "fail"), p.Failed)
	}
}

func TestChartOfALongRun(t *testing.T) {
	start := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	run := &Run{Started: start, Finished: start.Add(2 * time.Hour)}
	requests, failed := 0, 0
	for n := range 2 * 3600 {
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
	require.Len(t, samples, 480)
	for _, each := range samples {
		requests, failed = requests-each.requests, failed-each.failed
		require.InDelta(t, 3*time.Millisecond, each.p50, 10)
	}
	require.Zero(t, requests, "no request is lost")
	require.Zero(t, failed)
	worst := samples[4000/15]
	require.Equal(t, []any{3, 4 * time.Second}, []any{worst.failed, worst.p99}, "the worst second is kept")
	require.InDelta(t, 203, samples[0].rate(), 0.2)
	drawn := 0
	for _, column := range newChart(run).Columns {
		if column.Failed != nil {
			drawn++
		}
	}
	require.Equal(t, 1, drawn)
}

func TestChartLatency(t *testing.T) {
	start := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	c := newChart(&Run{Started: start, Finished: start.Add(4 * time.Second), Timeline: []Point{
		{At: start, Requests: 5, P50: 10 * time.Millisecond, P99: time.Second},
		{At: start.Add(2 * time.Second), Requests: 5, P50: time.Millisecond, P99: time.Minute},
	}})
	axis := map[string]float64{}
	for _, tick := range c.Lanes[2].Ticks {
		axis[tick.Text] = tick.At
	}
	for n, want := range map[int][2]string{0: {"1s", "10ms"}, 2: {"10s", "1ms"}} {
		drawn := c.Columns[n].Latency
		require.InDelta(t, axis[want[0]], drawn.Y, 0.1)
		require.InDelta(t, axis[want[1]], drawn.Y+drawn.Height, 0.1)
	}
	require.Nil(t, c.Columns[1].Latency, "a second without a response has no latency")
	require.Equal(t, "09:00:01 · 0 requests/s · 0 failed", c.Columns[1].Title)
}

func TestChartPods(t *testing.T) {
	for name, run := range map[string]*Run{"named": fakeReport().Graceful, "many": soakReport().Graceful} {
		t.Run(name, func(t *testing.T) {
			c, s := newChart(run), spanOf(run)
			require.Equal(t, []string{"achilles-article", "achilles-tag"}, []string{c.Groups[0].Name, c.Groups[1].Name})
			drawn, below := map[string]mark{}, 0.0
			for _, group := range c.Groups {
				for _, row := range group.Pods {
					require.Greater(t, row.Y, below)
					drawn[row.Title], below = row, row.Y
				}
			}
			require.Less(t, below, c.Bottom)
			require.Len(t, drawn, len(run.Pods))
			for _, p := range run.Pods {
				row, found := drawn[fmt.Sprintf("%s: %s, %s to %s", p.Name, count(p.Requests, "response"), clock(p.From), clock(p.To))]
				require.True(t, found, p.Name)
				require.InDelta(t, s.x(p.From), row.X, 0)
				require.InDelta(t, s.x(p.To), row.X+row.Width, 1.5)
				require.Equal(t, len(run.Pods) <= maxNamed, row.Text != "" && strings.HasSuffix(p.Name, row.Text))
			}
		})
	}
}

func TestWorkload(t *testing.T) {
	for pod, want := range map[string]string{
		"achilles-article-7d9f8b6c5d-x2x9k": "achilles-article",
		"achilles-tag-7d9f8b6c5-bcdfg":      "achilles-tag",
		"achilles-mariadb-0":                "achilles-mariadb-0",
		"":                                  "",
	} {
		require.Equal(t, want, workload(pod), pod)
	}
}
