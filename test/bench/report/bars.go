package report

import (
	"fmt"
	"math"
	"strconv"
)

// Bar is a bound of a figure. Figure is NaN if it was not measured.
type Bar struct {
	Name    string
	Figure  float64
	AtLeast bool // else at most
	Bound   float64
	Unit    string
}

// Measured reports whether there is a figure.
func (b Bar) Measured() bool { return !math.IsNaN(b.Figure) }

// Reached reports whether the figure was measured and within the bound.
func (b Bar) Reached() bool {
	return b.AtLeast && b.Figure >= b.Bound || !b.AtLeast && b.Figure <= b.Bound
}

// Result returns yes, no, or why there is no figure.
func (b Bar) Result() string {
	switch {
	case !b.Measured():
		return "not measured"
	case b.Reached():
		return "yes"
	}
	return "**no**"
}

// Wanted returns the bound as text.
func (b Bar) Wanted() string {
	return map[bool]string{true: "≥ ", false: "≤ "}[b.AtLeast] + b.text(b.Bound)
}

// Got returns the figure as text, with more digits if it misses the bound by less than
// is shown otherwise.
func (b Bar) Got() string {
	switch text := b.text(b.Figure); {
	case !b.Measured():
		return "–"
	case !b.Reached() && text == b.text(b.Bound):
		return strconv.FormatFloat(b.Figure, 'f', 3, 64) + b.Unit
	default:
		return text
	}
}

func (b Bar) text(figure float64) string { return significant(figure) + b.Unit }

// Bars returns the bars with the figures of the report.
func (r *Report) Bars() []Bar {
	rate := func(row *Row) float64 { return row.Rate }
	p50 := func(row *Row) float64 { return row.verified(row.P50) }
	cpu := func(row *Row) float64 { return row.verified(row.CPU) }
	n := r.Articles
	ratio := func(of func(*Row) float64, phase, target, request, otherTarget, otherRequest string) float64 {
		return divide(of, r.Find(n, target, request, phase), r.Find(n, otherTarget, otherRequest, phase))
	}
	bars := []Bar{
		{"GET article, random: throughput, of gin", ratio(rate, Saturation, Service, Get, Gin, Get), true, 0.45, ""},
		{"GET article, random: throughput, of the scaffold", ratio(rate, Saturation, Service, Get, Scaffold, Get), true, 10, " ×"},
		{"GET article, hot: throughput, of gin", ratio(rate, Saturation, Service, Hot, Gin, Get), true, 0.6, ""},
		{"GET article, random: own CPU, of gin", ratio(cpu, Saturation, Service, Get, Gin, Get), false, 2, " ×"},
	}
	for _, list := range []string{First, Rare, Top} {
		bars = append(bars, Bar{list + ": throughput, of the scaffold", ratio(rate, Saturation, Service, list, Scaffold, list), true, 40, " ×"})
	}
	sizes := r.Sizes()
	for _, list := range []string{First, Rare, Top} {
		small, large := math.NaN(), 0
		if len(sizes) > 1 {
			large = sizes[len(sizes)-1]
			small = divide(p50, r.Find(large, Service, list, Alone), r.Find(sizes[0], Service, list, Alone))
		}
		name := fmt.Sprintf("%s: p50 with %s articles, of that with %s", list, Number(1_000_000), Number(1000))
		if large > 0 {
			name = fmt.Sprintf("%s: p50 with %s articles, of that with %s", list, Number(large), Number(sizes[0]))
		}
		bars = append(bars, Bar{name, small, false, 1.5, " ×"})
	}
	for _, request := range []string{Get, Mixed} {
		goodput, rejections := r.overload(request)
		bars = append(bars,
			Bar{request + ": goodput at twice the saturating load, of the highest", goodput, true, 0.9, ""},
			Bar{request + ": p99 of rejections at that load", rejections, false, 50, " ms"})
	}
	p99 := func(row *Row) float64 { return row.verified(row.P99) }
	for _, request := range []string{Word, TopWord, TwoWords, ApartWords, NoWord} {
		bars = append(bars, Bar{request + ": p50, of a single read", ratio(p50, Alone, Service, request, Service, Get), false, 30, " ×"})
	}
	return append(bars,
		Bar{"single reads beside a hostile client: p99, of the undisturbed",
			divide(p99, r.Find(n, Service, Others, Hostile), r.Find(n, Service, Others, Undisturbed)), false, 3, " ×"},
		Bar{"list, page 1,000: p50, of page 1", ratio(p50, Alone, Service, Deep, Service, First), false, 3, " ×"},
		Bar{"list, last page by cursor: p50, of page 1", ratio(p50, Alone, Service, Last, Service, First), false, 1.5, " ×"},
		Bar{"title search: p50, of a single read", ratio(p50, Alone, Service, Search, Service, Get), false, 20, " ×"},
		Bar{"title search, half of all: p50, of a single read", ratio(p50, Alone, Service, Frequent, Service, Get), false, 20, " ×"},
		Bar{"title search, no hit: p50, of a single read", ratio(p50, Alone, Service, Miss, Service, Get), false, 20, " ×"},
		Bar{"POST article: throughput, of the bare transaction", ratio(rate, Saturation, Service, Post, Transaction, Post), true, 0.7, ""},
		Bar{"at rest: resident memory", float64(r.Rest.Resident) / (1 << 20), false, 40, " MiB"},
		Bar{"at rest: CPU, of a core", r.Rest.CPUPercent, false, 1, " %"},
		Bar{"exec to ready", r.Rest.ReadyMillis, false, 300, " ms"},
		Bar{"reads during a rollout on a cluster: p99, of the steady", r.rollout(), false, 1.5, " ×"},
	)
}

// overload returns the goodput at twice the saturating load, divided by the highest one,
// and after how many milliseconds the excess is rejected, or answered if none is.
func (r *Report) overload(request string) (goodput, rejections float64) {
	row := r.Find(r.Articles, Service, request, Overload)
	if row == nil {
		return math.NaN(), math.NaN()
	}
	highest := row.Rate
	for _, phase := range []string{Saturation, Full} {
		if other := r.Find(r.Articles, Service, request, phase); other != nil {
			highest = max(highest, other.Rate)
		}
	}
	rejections = row.FailedP99
	if rejections == 0 {
		rejections = row.P99
	}
	return row.Rate / highest, rejections / 1000
}

func (r *Report) rollout() float64 {
	if r.Rollout == 0 {
		return math.NaN()
	}
	return r.Rollout
}

func divide(of func(*Row) float64, a, b *Row) float64 {
	if a == nil || b == nil || of(b) == 0 {
		return math.NaN()
	}
	return of(a) / of(b)
}

// verified returns the figure, or NaN if no response was verified.
func (row *Row) verified(figure float64) float64 {
	if row.Requests == 0 {
		return math.NaN()
	}
	return figure
}
