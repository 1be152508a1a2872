package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// rollout says where the figure comes from that this benchmark doesn't measure.
const rollout = "The p99 of reads during a rollout is measured on a cluster, by make e2e; it is that of bin/e2e-report if there is one."

// headings of the columns of a measurement.
var headings = []string{"request", "served by", "load", "req/s", "of gin", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs", "allocs", "db CPU µs", "client CPU µs", "failed"}

// cells returns the columns of a measurement. All CPU is for a request.
func (r *Report) cells(row Row) []string {
	gin := "–"
	if other := r.Find(r.Articles, Gin, Get, Saturation); other != nil && row.Phase == Saturation && other.Rate > 0 {
		gin = significant(row.Rate / other.Rate)
	}
	millis := func(us float64) string { return significant(us / 1000) }
	return []string{
		row.Request, row.Target, row.Phase, Number(int(row.Rate)), gin, millis(row.P50), millis(row.P99), millis(row.P999),
		Number(int(row.CPU)), Number(int(row.Allocations)), Number(int(row.Database)), Number(int(row.Generator)), failures(row),
	}
}

func failures(row Row) string {
	var all []string
	for status, n := range row.Failed {
		all = append(all, fmt.Sprintf("%s of %s", Number(n), status))
	}
	slices.Sort(all)
	if row.FailedP99 > 0 {
		all = append(all, "p99 "+significant(row.FailedP99/1000)+" ms")
	}
	return strings.Join(all, ", ")
}

// Text writes the tables for a terminal.
func (r *Report) Text(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(cells ...string) { _, _ = fmt.Fprintln(table, strings.Join(cells, "\t")) }
	for _, size := range r.Sizes() {
		_, _ = fmt.Fprintf(table, "\n%s articles\n", Number(size))
		line(headings...)
		for _, row := range r.Rows {
			if row.Articles == size {
				line(r.cells(row)...)
			}
		}
	}
	_, _ = fmt.Fprintf(table, "\n%s\n\n", r.rest())
	line("bar", "figure", "wanted", "reached")
	for _, b := range r.Bars() {
		line(b.Name, b.Got(), b.Wanted(), strings.Trim(b.Result(), "*"))
	}
	_, _ = fmt.Fprintf(table, "\n%s\n", rollout)
	return table.Flush()
}

func (r *Report) rest() string {
	mib := func(bytes int64) string { return significant(float64(bytes)/(1<<20)) + " MiB" }
	return fmt.Sprintf("At rest the service has %s resident and takes %s %% of a core; its peak under load is %s. It is ready %s ms after exec. Its program has %s, %s compressed.",
		mib(r.Rest.Resident), significant(r.Rest.CPUPercent), mib(r.Rest.Peak), significant(r.Rest.ReadyMillis), mib(r.Rest.Program), mib(r.Rest.Compressed))
}

// Markdown writes the tables of docs/performance.md.
func (r *Report) Markdown(w io.Writer) error {
	var text strings.Builder
	line := func(cells ...string) { fmt.Fprintf(&text, "| %s |\n", strings.Join(cells, " | ")) }
	rule := func(columns, left int) {
		text.WriteString("|" + strings.Repeat("---|", left) + strings.Repeat("--:|", columns-left) + "\n")
	}
	fmt.Fprintf(&text, "Measured on %s with %d cores, %s%s: %s s for each measurement, the median of %d.\n\n",
		r.Started.UTC().Format("2 January 2006"), r.Cores, r.Go, commit(r.Commit), significant(r.Seconds), r.Rounds)
	line("bar", "figure", "wanted", "reached")
	rule(4, 1)
	for _, b := range r.Bars() {
		line(b.Name, b.Got(), b.Wanted(), b.Result())
	}
	fmt.Fprintf(&text, "\n%s\n\n%s\n\n### %s articles\n\n", rollout, r.rest(), Number(r.Articles))
	line(headings...)
	rule(len(headings), 3)
	for _, row := range r.Rows {
		if row.Articles == r.Articles {
			line(r.cells(row)...)
		}
	}
	if sizes := r.Sizes(); len(sizes) > 1 {
		text.WriteString("\n### Growth\n\np50 in milliseconds, one request at a time, by the number of articles:\n\n")
		r.growth(sizes, line, rule)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func (r *Report) growth(sizes []int, line func(...string), rule func(int, int)) {
	head := []string{"request"}
	for _, size := range sizes {
		head = append(head, Number(size))
	}
	line(head...)
	rule(len(head), 1)
	for _, request := range []string{Get, First, Rare, Top, Deep, Last, Search, Miss, TopWord} {
		cells := []string{request}
		for _, size := range sizes {
			cell := "–"
			if row := r.Find(size, Service, request, Alone); row != nil && row.Requests > 0 {
				cell = significant(row.P50 / 1000)
			}
			cells = append(cells, cell)
		}
		line(cells...)
	}
}

func commit(hash string) string {
	if hash == "" {
		return ""
	}
	return ", commit " + hash
}

// Number returns n with commas.
func Number(n int) string {
	text := strconv.Itoa(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// significant returns a number with two digits, or as an integer.
func significant(f float64) string {
	switch {
	case f >= 10:
		return Number(int(f + 0.5))
	case f >= 1:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}
