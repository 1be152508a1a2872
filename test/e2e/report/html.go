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
	// maxFailures are on the page, of each text at most maxText characters.
	maxFailures = 50
	maxText     = 2000
	// maxEvents are listed openly; more are summed up by name.
	maxEvents = 30
)

//go:embed page.html
var pageHTML string

// WriteHTML writes the report for people: one page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error {
	page, err := template.New("page").Funcs(template.FuncMap{
		"number": number, "count": count, "duration": duration, "clock": clock,
		"text": func(text string) string { return clip(maxText, text) },
		"date": func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
	}).Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("the page of the report: %w", err)
	}
	if err := page.Execute(w, r.view()); err != nil {
		return fmt.Errorf("writing the page of the report: %w", err)
	}
	return nil
}

// view is a report as the page shows it.
type view struct {
	Report         *Report
	Claim, Numbers string
	Good           bool
	Took           time.Duration
	Tiles          []tile
	Runs           []runView
	// Silent are the queries of the dashboard without data.
	Silent []Query
}

// tile is one number that matters.
type tile struct {
	Value, Name, Note string
	Bad               bool
}

// runView is a run as the page shows it.
type runView struct {
	Run             *Run
	ID, Title, Lead string
	Crash           bool
	Chart           *chart
	Events          []eventRow
	// Names sum up the events, if there are many.
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

// nameRow sums up the events of one name.
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
			Lead:  "Everything a platform does to a healthy system, under load. No client repeats a request, so every failure is counted.",
			Words: r.Graceful.confidence(),
		}))
	}
	if r.Crashes != nil {
		v.Runs = append(v.Runs, r.Crashes.view(runView{
			ID: "crashes", Title: "Crashes", Crash: true,
			Lead:  "kill -9 under the same load. Requests in flight may fail; clients repeat each POST under its Idempotency-Key until it is answered, and then it must be stored exactly once.",
			Words: r.Crashes.damage(),
		}))
	}
	if r.Monitoring != nil {
		v.Silent = r.Monitoring.silent()
	}
	return v
}

// silent are the queries that failed or found nothing.
func (m *Monitoring) silent() []Query {
	var silent []Query
	for _, q := range m.Queries {
		if q.Error != "" || q.Series == 0 {
			silent = append(silent, q)
		}
	}
	return silent
}

func (r *Report) tiles() []tile {
	run, things, note := r.Graceful, "Disturbances", "none was repeated"
	if run == nil && r.Crashes != nil {
		run, things, note = r.Crashes, "Crashes", number(r.Crashes.Repeats)+" repeated under their keys"
	}
	if run == nil {
		return nil
	}
	l := run.Ledger
	tiles := []tile{
		{Value: number(run.Requests), Name: "Requests", Note: number(run.Posts) + " of them POST"},
		{Value: number(run.Failed), Name: "Failed", Note: note, Bad: run.Failed > 0},
		{Value: number(len(run.Events)), Name: things, Note: "in " + duration(run.Finished.Sub(run.Started))},
		{Value: number(l.Acknowledged), Name: "Acknowledged writes", Note: fmt.Sprintf("%s lost, %s doubled", number(l.Lost), number(l.Doubled)), Bad: !l.Exact()},
		{Value: duration(run.Disturbed.P99), Name: "p99 when disturbed", Note: duration(run.Steady.P99) + " when steady"},
	}
	if len(r.Controls) > 0 {
		tiles = append(tiles, tile{
			Value: fmt.Sprintf("%d of %d", r.noticed(), len(r.Controls)), Name: "Negative controls", Note: "noticed",
			Bad: r.noticed() < len(r.Controls),
		})
	}
	return tiles
}

// view fills in what the page shows of the run.
func (r *Run) view(v runView) runView {
	v.Run, v.Chart, v.Events, v.Ledger = r, newChart(r), r.eventRows(), r.Ledger.rows()
	if len(v.Events) > maxEvents {
		v.Names = nameRows(r.Events)
	}
	v.First = r.Failures[:min(len(r.Failures), maxFailures)]
	return v
}

// eventRows have of each event what the seconds in which it fell saw.
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
		{Name: "Acknowledged", Count: l.Acknowledged, Meaning: "of " + number(l.Sent) + " that were sent"},
		{Name: "Lost", Count: l.Lost, Bad: l.Lost > 0, Meaning: "acknowledged and not stored"},
		{Name: "Doubled", Count: l.Doubled, Bad: l.Doubled > 0, Meaning: "stored more than once"},
		{Name: "Altered", Count: l.Wrong, Bad: l.Wrong > 0, Meaning: "stored with other content than was acknowledged"},
		{Name: "Strange", Count: l.Strange, Bad: l.Strange > 0, Meaning: "stored and never sent"},
		{Name: "Copies that differ", Count: l.CopyDiffers, Bad: l.CopyDiffers > 0, Meaning: "tags that differ in the article service"},
		{Name: "Unanswered", Count: l.Unanswered, Meaning: "sent and not acknowledged; " + number(l.Applied) + " of them are stored"},
	}
}
