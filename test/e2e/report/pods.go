package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	// mostRows of pods are drawn; when there are more pods, one that begins
	// follows one that has ended in the same row.
	mostRows = 60
	// shades are how many there are for the load of a pod.
	shades      = 5
	groupHeight = 22
)

// podLanes has a row for each pod: when it answered, and how much.
type podLanes struct {
	Groups []*podGroup
	// Most is the load of the strongest shade, in requests per second.
	Most int
	// All is how many pods there are, Hidden how many of them are not drawn.
	All, Hidden int
	// Packed tells that rows hold several pods, one after the other.
	Packed bool
	Rows   int
	Bottom float64
}

// podGroup are the pods of one workload.
type podGroup struct {
	Name string
	Y    float64
	Hue  int
	Rows []*podRow
	name string
}

type podRow struct {
	Y    float64
	Name string
	Pods []podBar
	last time.Time
}

// podBar is a path for each shade of a pod's load, and a Pause for when it gave
// no answer.
type podBar struct {
	Title, Pause string
	Loads        []podLoad
}

type podLoad struct {
	Shade int
	Path  string
}

func (c *chart) podLanes(pods []Pod, top float64) podLanes {
	lanes := podLanes{All: len(pods), Packed: len(pods) > mostRows}
	most := 1.0
	for _, p := range pods {
		for _, load := range c.loads(p) {
			most = max(most, load.rate())
		}
	}
	lanes.Most = int(math.Ceil(most))
	for _, p := range slices.SortedFunc(slices.Values(pods), byWorkload) {
		if row := lanes.row(p); row != nil {
			row.last = p.end()
			row.Pods = append(row.Pods, c.podBar(p, most))
		} else {
			lanes.Hidden++
		}
	}
	lanes.place(top)
	return lanes
}

func byWorkload(a, b Pod) int {
	return cmp.Or(cmp.Compare(workload(a.Name), workload(b.Name)), a.From.Compare(b.From), cmp.Compare(a.Name, b.Name))
}

// workload is the name of a pod without what its ReplicaSet, and it or its
// StatefulSet, add to it.
func workload(pod string) string {
	name, id := cutLast(pod)
	if id != "" && strings.Trim(id, "0123456789") == "" {
		return name
	}
	if len(id) != 5 || !generated(id) {
		return pod
	}
	if before, hash := cutLast(name); len(hash) > 5 && generated(hash) {
		return before
	}
	return name
}

func cutLast(name string) (before, last string) {
	at := strings.LastIndexByte(name, '-')
	if at < 0 {
		return name, ""
	}
	return name[:at], name[at+1:]
}

// generated tells whether Kubernetes may have made a part of a name: it uses
// no letters that could make words.
func generated(part string) bool { return strings.Trim(part, "bcdfghjklmnpqrstvwxz2456789") == "" }

// end is when a pod had given its last answer: the second of it is over.
func (p Pod) end() time.Time {
	end := p.From.Truncate(time.Second).Add(time.Duration(len(p.Seconds)) * time.Second)
	if p.To.After(end) {
		return p.To
	}
	return end
}

// row returns the row of a pod, or nil when there is none left.
func (l *podLanes) row(p Pod) *podRow {
	name := workload(p.Name)
	var group *podGroup
	if n := len(l.Groups); n > 0 && l.Groups[n-1].name == name {
		group = l.Groups[n-1]
	}
	if group != nil && l.Packed {
		for _, row := range group.Rows {
			if !row.last.After(p.From) {
				return row
			}
		}
	}
	if l.Rows == mostRows {
		return nil
	}
	if group == nil {
		group = &podGroup{Name: brief(22, name), name: name, Hue: len(l.Groups) % 3}
		l.Groups = append(l.Groups, group)
	}
	row := &podRow{}
	if !l.Packed {
		row.Name = brief(19, strings.TrimPrefix(strings.TrimPrefix(p.Name, name), "-"))
	}
	group.Rows = append(group.Rows, row)
	l.Rows++
	return row
}

// place gives groups and rows their heights.
func (l *podLanes) place(top float64) {
	for _, group := range l.Groups {
		top += groupHeight
		group.Y = top - 6
		for _, row := range group.Rows {
			row.Y = top + rowHeight/2
			top += rowHeight
		}
	}
	l.Bottom = top + 4
}

// loadAt is the load of a pod in one step of the chart.
type loadAt struct {
	from, to         time.Time
	answers, seconds int
}

func (l loadAt) rate() float64 { return float64(l.answers) / float64(l.seconds) }

// loads sums the seconds of a pod up in the steps of the chart.
func (c *chart) loads(p Pod) []loadAt {
	var loads []loadAt
	first := p.From.Truncate(time.Second)
	for n, requests := range p.Seconds {
		at := first.Add(time.Duration(n) * time.Second)
		step := c.span.from.Add(at.Sub(c.span.from).Truncate(c.Step))
		if len(loads) == 0 || !loads[len(loads)-1].from.Equal(step) {
			loads = append(loads, loadAt{from: step, to: step.Add(c.Step)})
		}
		loads[len(loads)-1].answers += requests
		loads[len(loads)-1].seconds++
	}
	return loads
}

// podBar draws a pod at the height 0.
func (c *chart) podBar(p Pod, most float64) podBar {
	from, to := c.span.x(p.From), c.span.x(p.end())
	end := max(from+1, to-1) // a gap before the next in the row
	b := podBar{
		Title: fmt.Sprintf("%s: %s, %s to %s", brief(80, p.Name), count(p.Requests, "answer"), clock(p.From), clock(p.To)),
	}
	paths := [shades + 1]string{}
	loads := c.loads(p)
	for n := 0; n < len(loads); {
		shade, first := shadeOf(loads[n].rate(), most), loads[n]
		for n < len(loads) && shadeOf(loads[n].rate(), most) == shade {
			n++
		}
		left, right := max(from, c.span.x(first.from)), min(end, c.span.x(loads[n-1].to))
		if right > left {
			paths[shade] += stretch(left, right)
		}
	}
	b.Pause = paths[0]
	for shade, path := range paths {
		if shade > 0 && path != "" {
			b.Loads = append(b.Loads, podLoad{Shade: shade, Path: path})
		}
	}
	return b
}

func shadeOf(rate, most float64) int { return int(math.Ceil(shades * rate / most)) }

func stretch(from, to float64) string { return "M" + short(from) + " 0H" + short(to) }
