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
	// mostFailures are on the page, of each text at most mostLetters.
	mostFailures = 50
	mostLetters  = 2000
	// mostEvents are listed openly; more are summed up by name.
	mostEvents = 30
)

//go:embed page.html
var pageHTML string

// WriteHTML writes the report for people: one page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error {
	page, err := template.New("page").Funcs(template.FuncMap{
		"number": number, "count": count, "duration": duration, "clock": clock,
		"text": func(text string) string { return clip(mostLetters, text) }, "ratio": ratio,
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
	// Thing is what its events are called.
	Thing   string
	Chart   *chart
	Events  []eventRow
	Names   []nameRow
	Sources []sourceRow
	Kinds   []kindRow
	First   []load.Failure
	Books   []bookRow
	Words   string
}

type eventRow struct {
	Event
	Number, Requests int
	Took, P99        time.Duration
}

// nameRow sums up the events of one name.
type nameRow struct {
	Name                   string
	Times, Failed          int
	Mean, Longest, Slowest time.Duration
}

type sourceRow struct {
	Name string
	load.Count
}

type kindRow struct {
	Name  string
	Times int
}

type bookRow struct {
	Name, Meaning string
	Count         int
	Bad           bool
}

func (r *Report) view() view {
	v := view{Report: r, Good: r.good(), Took: r.Finished.Sub(r.Started)}
	v.Claim, v.Numbers = r.headline()
	if r.Graceful != nil {
		v.Runs = append(v.Runs, r.Graceful.view(runView{
			ID: "graceful", Title: "Graceful disturbances", Thing: "disturbance",
			Lead: "Everything a platform does to a healthy system, under load. No client repeats a request, so whatever goes wrong is seen.",
		}))
	}
	if r.Crashes != nil {
		v.Runs = append(v.Runs, r.Crashes.view(runView{
			ID: "crashes", Title: "Crashes", Thing: "crash", Crash: true,
			Lead: "kill -9 under the same load. Requests that were under way may fail; their clients repeat each POST under its Idempotency-Key until it is answered, and then it has to be there, once.",
		}))
	}
	if r.Monitoring != nil {
		v.Silent = r.Monitoring.silent()
	}
	v.Tiles = r.tiles()
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
	run := r.Graceful
	if run == nil {
		run = r.Crashes
	}
	if run == nil {
		return nil
	}
	things, repeated := "Disturbances", "none was repeated"
	if run == r.Crashes {
		things, repeated = "Crashes", number(run.Repeats)+" repeated under their keys"
	}
	l := run.Ledger
	tiles := []tile{
		{Value: number(run.Requests), Name: "Requests", Note: number(run.Posts) + " of them POST"},
		{Value: number(run.Failed), Name: "Failed", Note: repeated, Bad: run.Failed > 0},
		{Value: number(len(run.Events)), Name: things, Note: "in " + duration(run.Finished.Sub(run.Started))},
		{Value: number(l.Acknowledged), Name: "Acknowledged writes", Note: fmt.Sprintf("%s lost, %s doubled", number(l.Lost), number(l.Doubled)), Bad: !l.Exact()},
		{Value: duration(run.Disturbed.P99), Name: "p99 when disturbed", Note: duration(run.Steady.P99) + " when steady"},
	}
	if len(r.Controls) > 0 {
		tiles = append(tiles, tile{
			Value: fmt.Sprintf("%d of %d", r.noticed(), len(r.Controls)), Name: "Controls noticed", Note: "broken on purpose",
			Bad: r.noticed() < len(r.Controls),
		})
	}
	return tiles
}

// view fills in what the page shows of the run.
func (r *Run) view(v runView) runView {
	v.Run, v.Chart = r, newChart(r)
	v.Events = r.eventRows()
	if len(v.Events) > mostEvents {
		v.Names = nameRows(r.Events)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Sources)) {
		v.Sources = append(v.Sources, sourceRow{Name: name, Count: r.Sources[name]})
	}
	v.Kinds = r.failedBy()
	v.First = r.Failures[:min(len(r.Failures), mostFailures)]
	v.Books = r.Ledger.rows()
	v.Words = r.confidence()
	if v.Crash {
		v.Words = r.damage()
	}
	return v
}

// failedBy has the kinds of failures, the most frequent first.
func (r *Run) failedBy() []kindRow {
	var kinds []kindRow
	for name, times := range r.Kinds {
		kinds = append(kinds, kindRow{Name: name, Times: times})
	}
	slices.SortFunc(kinds, func(a, b kindRow) int { return cmp.Or(b.Times-a.Times, cmp.Compare(a.Name, b.Name)) })
	return kinds
}

// eventRows tell of each event what the seconds in which it fell saw.
func (r *Run) eventRows() []eventRow {
	seconds := slices.SortedFunc(slices.Values(r.Timeline), func(a, b Point) int { return a.At.Compare(b.At) })
	rows := make([]eventRow, 0, len(r.Events))
	for n, e := range byStart(r.Events) {
		row := eventRow{Event: e, Number: n + 1, Took: e.length()}
		first, _ := slices.BinarySearchFunc(seconds, e.Start.Truncate(time.Second), func(p Point, t time.Time) int { return p.At.Compare(t) })
		for _, p := range seconds[first:] {
			if p.At.After(e.end()) {
				break
			}
			row.Requests += p.Requests
			row.P99 = max(row.P99, p.P99)
		}
		rows = append(rows, row)
	}
	return rows
}

func nameRows(events []Event) []nameRow {
	byName := map[string]nameRow{}
	for _, e := range events {
		row := byName[e.Name]
		row.Name = e.Name
		row.Times++
		row.Failed += e.Failed
		row.Mean += e.length() // the sum, for now
		row.Longest, row.Slowest = max(row.Longest, e.length()), max(row.Slowest, e.Recovery)
		byName[e.Name] = row
	}
	rows := slices.Collect(maps.Values(byName))
	for n := range rows {
		rows[n].Mean /= time.Duration(rows[n].Times)
	}
	slices.SortFunc(rows, func(a, b nameRow) int { return cmp.Or(b.Times-a.Times, cmp.Compare(a.Name, b.Name)) })
	return rows
}

func (l Ledger) rows() []bookRow {
	return []bookRow{
		{Name: "Acknowledged", Count: l.Acknowledged, Meaning: "of " + number(l.Sent) + " that were sent"},
		{Name: "Lost", Count: l.Lost, Bad: l.Lost > 0, Meaning: "acknowledged and not there"},
		{Name: "Doubled", Count: l.Doubled, Bad: l.Doubled > 0, Meaning: "there more than once"},
		{Name: "Altered", Count: l.Wrong, Bad: l.Wrong > 0, Meaning: "there with other content than was acknowledged"},
		{Name: "Strange", Count: l.Strange, Bad: l.Strange > 0, Meaning: "there and never sent"},
		{Name: "Copies that differ", Count: l.CopyDiffers, Bad: l.CopyDiffers > 0, Meaning: "tags that the article service has otherwise"},
		{Name: "Unanswered", Count: l.Unanswered, Meaning: "sent and not acknowledged; " + number(l.Applied) + " of them are there"},
	}
}

// ratio compares two durations: ×1.3.
func ratio(a, b time.Duration) string {
	if b <= 0 {
		return "–"
	}
	return fmt.Sprintf("×%.1f", float64(a)/float64(b))
}
