package report

import (
	_ "embed" // for the plots
	"io"
	"math"
	"text/template"
)

//go:embed plots.svg
var plots string

// The dimensions of the plots, in the units of their viewBox.
const (
	plotWidth  = 820
	plotLeft   = 250
	plotRight  = 740
	barHeight  = 22
	growthTop  = 20
	growthHigh = 260
)

type point struct{ X, Y float64 }

type plotBar struct {
	Y, Width    float64
	Name, Value string
	Service     bool
}

type tick struct {
	At   float64
	Text string
}

type curve struct {
	Name   string
	Class  int
	Points []point
	End    point
}

type plot struct {
	Width, Left, Right, Top, Bottom, Height float64
	Bars                                    []plotBar
	Curves                                  []curve
	Xs, Ys                                  []tick
}

// Throughput writes an SVG of the verified requests per second.
func (r *Report) Throughput(w io.Writer) error {
	p := plot{Width: plotWidth, Left: plotLeft, Right: plotRight}
	most := 1.0
	for _, row := range r.Rows {
		if row.Articles == r.Articles && row.Phase == Saturation {
			most = max(most, row.Rate)
		}
	}
	for _, row := range r.Rows {
		if row.Articles != r.Articles || row.Phase != Saturation {
			continue
		}
		name := row.Request
		if row.Target != Service {
			name = row.Target + ": " + name
		}
		p.Bars = append(p.Bars, plotBar{
			Y: p.Height, Width: tenth(max(1, (plotRight-plotLeft)*row.Rate/most)), Name: name,
			Value: Number(int(row.Rate)), Service: row.Target == Service,
		})
		p.Height += barHeight
	}
	return p.write(w)
}

// Growth writes an SVG of the median latency by the number of articles, both logarithmic.
func (r *Report) Growth(w io.Writer) error {
	sizes := r.Sizes()
	p := plot{Width: plotWidth, Left: 60, Right: 600, Top: growthTop, Bottom: growthTop + growthHigh, Height: growthTop + growthHigh + 30}
	least, most := math.Log10(float64(sizes[0])), math.Log10(float64(sizes[len(sizes)-1]))
	x := func(size int) float64 {
		return tenth(p.Left + (p.Right-p.Left)*(math.Log10(float64(size))-least)/max(most-least, 0.1))
	}
	// From 0.1 ms to 10 s.
	y := func(us float64) float64 { return tenth(p.Bottom - growthHigh*min(1, max(0, (math.Log10(us)-2)/5))) }
	for _, size := range sizes {
		p.Xs = append(p.Xs, tick{x(size), Number(size)})
	}
	for at, text := range map[float64]string{1e2: "0.1 ms", 1e3: "1 ms", 1e4: "10 ms", 1e5: "100 ms", 1e6: "1 s", 1e7: "10 s"} {
		p.Ys = append(p.Ys, tick{y(at), text})
	}
	for n, request := range []string{Get, First, Rare, Top, Deep, Last, Search, Miss, TopWord} {
		c := curve{Name: request, Class: n}
		for _, size := range sizes {
			if row := r.Find(size, Service, request, Alone); row != nil && row.Requests > 0 {
				c.Points = append(c.Points, point{x(size), y(row.P50)})
			}
		}
		if len(c.Points) > 0 {
			c.End = point{p.Right + 12, p.Top + 16*float64(n) + 60}
			p.Curves = append(p.Curves, c)
		}
	}
	return p.write(w)
}

func (p plot) write(w io.Writer) error {
	return template.Must(template.New("plot").Funcs(template.FuncMap{"add": func(a, b float64) float64 { return tenth(a + b) }}).Parse(plots)).Execute(w, p)
}

func tenth(f float64) float64 { return math.Round(f*10) / 10 }
