package report

import (
	"cmp"
	_ "embed" // for the page
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

const (
	// maxFailures is the maximum number of failures on the page, maxText the maximum
	// length of a text.
	maxFailures = 50
	maxText     = 2000
	// maxEvents is the maximum number of events that are listed. More are grouped by
	// name.
	maxEvents = 30
)

//go:embed page.html
var pageHTML string

// WriteHTML writes the report as a self-contained HTML page.
func (r *Report) WriteHTML(w io.Writer) error {
	page, err := template.New("page").Funcs(template.FuncMap{
		"number": number, "count": count, "duration": duration, "clock": clock,
		"text": func(text string) string { return clip(maxText, text) },
		"date": func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
	}).Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("parsing the page of the report: %w", err)
	}
	if err := page.Execute(w, r.view()); err != nil {
		return fmt.Errorf("writing the page of the report: %w", err)
	}
	return nil
}

// view is the data of the page.
type view struct {
	Report         *Report
	Claim, Numbers string
	Good           bool
	Took           time.Duration
	Tiles          []tile
	Runs           []runView
	// WithoutData are the queries of the dashboard without data.
	WithoutData []Query
}

// tile is a key number.
type tile struct {
	Value, Name, Note string
	Bad               bool
}

// runView is the data of a run on the page.
type runView struct {
	Run             *Run
	ID, Title, Lead string
	Crash           bool
	Chart           *chart
	Events          []eventRow
	// Names are the events grouped by name, if there are many.
	Names  []nameRow
	First  []load.Failure
	Ledger []ledgerRow
	Words  string
}

type eventRow struct {
	Event
	Number, Requests int
	Took, P99        time.Duration
}

// nameRow summarises the events with the same name.
type nameRow struct {
	Name             string
	Times, Failed    int
	Longest, Slowest time.Duration
}

type ledgerRow struct {
	Name, Meaning string
	Count         int
	Bad           bool
}

func (r *Report) view() view {
	v := view{Report: r, Good: r.good(), Took: r.Finished.Sub(r.Started), Tiles: r.tiles()}
	v.Claim, v.Numbers = r.headline()
	if r.Graceful != nil {
		v.Runs = append(v.Runs, r.Graceful.view(runView{
			ID: "graceful", Title: "Graceful disturbances",
			Lead:  "Everything a platform does to a healthy system, under load. Clients don't retry, so every failure is counted.",
			Words: r.Graceful.confidence(),
		}))
	}
	if r.ReadOnly != nil {
		v.Runs = append(v.Runs, r.ReadOnly.view(runView{
			ID: "readonly", Title: "Read-only mode",
			Lead:  "Read-only mode is switched on and off under the same load. Writes are answered with 503 and Retry-After, everything else goes on.",
			Words: r.ReadOnly.rejections(),
		}))
	}
	if r.Crashes != nil {
		v.Runs = append(v.Runs, r.Crashes.view(runView{
			ID: "crashes", Title: "Crashes", Crash: true,
			Lead:  "kill -9 under the same load. Requests in progress may fail. Clients repeat each POST with its Idempotency-Key until it succeeds, and it must be stored exactly once.",
			Words: r.Crashes.damage(),
		}))
	}
	if r.Monitoring != nil {
		v.WithoutData = r.Monitoring.withoutData()
	}
	return v
}

// withoutData returns the queries that failed or returned no series.
func (m *Monitoring) withoutData() []Query {
	var queries []Query
	for _, q := range m.Queries {
		if q.Error != "" || q.Series == 0 {
			queries = append(queries, q)
		}
	}
	return queries
}

func (r *Report) tiles() []tile {
	run, things, note := r.Graceful, "Disturbances", "no retries"
	if run == nil && r.Crashes != nil {
		run, things, note = r.Crashes, "Crashes", number(r.Crashes.Repeats)+" repeated with their keys"
	}
	if run == nil {
		return nil
	}
	l := run.Ledger
	tiles := []tile{
		{Value: number(run.Requests), Name: "Requests", Note: number(run.Posts) + " of them POST"},
		{Value: number(run.Failed), Name: "Failed", Note: note, Bad: run.Failed > 0},
		{Value: number(len(run.Events)), Name: things, Note: "in " + duration(run.Finished.Sub(run.Started))},
		{Value: number(l.Acknowledged), Name: "Acknowledged writes", Note: fmt.Sprintf("%s lost, %s duplicated", number(l.Lost), number(l.Duplicated)), Bad: !l.Exact()},
		{Value: duration(run.Disturbed.P99), Name: "p99 during events", Note: duration(run.Steady.P99) + " otherwise"},
	}
	if run.ReadP99Ratio > 0 {
		tiles = append(tiles, tile{Value: ratio(run.ReadP99Ratio), Name: "p99 of reads in rollouts", Note: "of the steady one, wanted: ≤ " + ratio(MaxReadP99Ratio)})
	}
	if len(r.Controls) > 0 {
		tiles = append(tiles, tile{
			Value: fmt.Sprintf("%d of %d", r.detected(), len(r.Controls)), Name: "Negative controls", Note: "detected",
			Bad: r.detected() < len(r.Controls),
		})
	}
	return tiles
}

// view adds the data of the run to v.
func (r *Run) view(v runView) runView {
	v.Run, v.Chart, v.Events, v.Ledger = r, newChart(r), r.eventRows(), r.Ledger.rows()
	if len(v.Events) > maxEvents {
		v.Names = nameRows(r.Events)
	}
	v.First = r.Failures[:min(len(r.Failures), maxFailures)]
	return v
}

// eventRows returns the events with the requests and the latency of their seconds.
func (r *Run) eventRows() []eventRow {
	rows := make([]eventRow, 0, len(r.Events))
	for n, e := range byStart(r.Events) {
		row := eventRow{Event: e, Number: n + 1, Took: e.length()}
		for _, p := range r.Timeline {
			if !p.At.Before(e.Start.Truncate(time.Second)) && !p.At.After(e.end()) {
				row.Requests += p.Requests
				row.P99 = max(row.P99, p.P99)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func nameRows(events []Event) []nameRow {
	byName := map[string]nameRow{}
	for _, e := range events {
		row := byName[e.Name]
		byName[e.Name] = nameRow{e.Name, row.Times + 1, row.Failed + e.Failed, max(row.Longest, e.length()), max(row.Slowest, e.Recovery)}
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b nameRow) int { return cmp.Compare(a.Name, b.Name) })
}

func (l Ledger) rows() []ledgerRow {
	return []ledgerRow{
		{Name: "Acknowledged", Count: l.Acknowledged, Meaning: "of " + number(l.Sent) + " sent"},
		{Name: "Lost", Count: l.Lost, Bad: l.Lost > 0, Meaning: "acknowledged, but not stored"},
		{Name: "Duplicated", Count: l.Duplicated, Bad: l.Duplicated > 0, Meaning: "stored more than once"},
		{Name: "Altered", Count: l.Altered, Bad: l.Altered > 0, Meaning: "stored with other content than acknowledged"},
		{Name: "Unexpected", Count: l.Unexpected, Bad: l.Unexpected > 0, Meaning: "stored, but never sent"},
		{Name: "Read model differs", Count: l.ReadModelDiffers, Bad: l.ReadModelDiffers > 0, Meaning: "tags that differ in the article service"},
		{Name: "Counters differ", Count: l.CountersDiffer, Bad: l.CountersDiffer > 0, Meaning: "totals of lists that are wrong"},
		{Name: "Feed differs", Count: l.FeedDiffers, Bad: l.FeedDiffers > 0, Meaning: "articles with missing or doubled changes"},
		{Name: "Unanswered", Count: l.Unanswered, Meaning: "sent, but not acknowledged; " + number(l.Applied) + " of them are stored"},
	}
}
