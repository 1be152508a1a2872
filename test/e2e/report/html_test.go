package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

// page is a parsed HTML page.
type page struct{ *html.Node }

// source returns the HTML page of a report.
func source(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, r.WriteHTML(&b))
	return b.String()
}

func parse(t *testing.T, r *Report) page {
	t.Helper()
	root, err := html.Parse(strings.NewReader(source(t, r)))
	require.NoError(t, err)
	return page{root}
}

// elements returns the elements with a tag and a class. Either may be empty.
func (p page) elements(tag, class string) []page {
	var found []page
	for n := range p.Descendants() {
		if n.Type == html.ElementNode && (tag == "" || n.Data == tag) &&
			(class == "" || slices.Contains(strings.Fields(page{n}.attribute("class")), class)) {
			found = append(found, page{n})
		}
	}
	return found
}

// section returns the section with an id.
func (p page) section(t *testing.T, id string) page {
	t.Helper()
	for _, s := range p.elements("section", "") {
		if s.attribute("id") == id {
			return s
		}
	}
	t.Fatalf("the page has no section %q", id)
	return page{}
}

func (p page) attribute(name string) string {
	for _, a := range p.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// text returns the visible text with collapsed white space.
func (p page) text() string {
	var b strings.Builder
	for n := range p.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			b.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (p page) number(t *testing.T, name string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(p.attribute(name), 64)
	require.NoError(t, err, "%s of %s", name, p.Data)
	return n
}

// cells returns the texts of a table by row.
func (p page) cells(class string) [][]string {
	var rows [][]string
	for _, table := range p.elements("table", class) {
		for _, row := range table.elements("tr", "") {
			var cells []string
			for n := range row.ChildNodes() {
				if n.Type == html.ElementNode {
					cells = append(cells, page{n}.text())
				}
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

// failedReport returns the report of a run with two failed requests.
func failedReport() *Report {
	r := fakeReport()
	g := r.Graceful
	g.Failed, g.Kinds, g.Confidence = 2, map[string]int{"connection reset": 1, "status 503": 1}, 0
	g.Timeline[40].Failed, g.Timeline[41].Failed, g.Events[1].Failed = 1, 1, 2
	for n, kind := range []string{"connection reset", "status 503"} {
		g.Failures = append(g.Failures, load.Failure{
			At: g.Timeline[40+n].At, Worker: "idle3", Method: "POST", Path: "/api/v1/tags", Kind: kind, Error: kind + ": what the service said",
			Pod: "achilles-tag-7d9f8b6c5-x2x9k", Connection: 412, Latency: 3 * time.Millisecond, Source: "ingress",
		})
	}
	g.Ledger.Lost, g.Ledger.Examples = 1, []string{"tag g1/ingress/idle3/17 was acknowledged as 4711, but does not exist"}
	r.Results[4] = Result{Name: "G1: no client notices a graceful event", Detail: "2 failed"}
	r.Controls[3].Detected, r.Controls[3].How = false, "NOT detected in 6114 requests"
	r.Monitoring.Queries[5] = Query{Panel: "Broken panel", Expr: "sum(", Error: "parse error: unclosed left parenthesis"}
	return r
}

// reports returns all kinds of reports.
func reports() map[string]*Report {
	noGraceful, noCrashes, onlyResult := fakeReport(), fakeReport(), &Report{Results: []Result{{Name: "helm test passes", Passed: true}}}
	noGraceful.Graceful, noCrashes.Crashes, noCrashes.Monitoring, noCrashes.Controls = nil, nil, nil, nil
	moment := time.Unix(1_800_000_000, 0).UTC()
	return map[string]*Report{
		"short": fakeReport(), "soak": soakReport(), "failed": failedReport(), "hostile": fill(failedReport(), hostile),
		"no graceful run": noGraceful, "only the graceful run": noCrashes, "one result": onlyResult, "empty": {},
		"empty runs": {Graceful: &Run{}, Crashes: &Run{Events: []Event{{}}}, Monitoring: &Monitoring{}},
		"instant": {Graceful: &Run{Started: moment, Finished: moment.Add(time.Millisecond), Events: []Event{{Name: "e", Start: moment}},
			Timeline: []Point{{At: moment, Requests: 1, P50: 1, P99: 1}}, Pods: []Pod{{Name: "pod", From: moment, To: moment}}}},
	}
}

const hostile = `</title></style></pre><script>alert(1)</script><img src=x onerror="alert('2')"> {{.}} & "` + "\x1b[31m\x00\u202e\xff"

// fill sets all texts of a report.
func fill(r *Report, text string) *Report {
	fillValue(reflect.ValueOf(r).Elem(), text)
	return r
}

func fillValue(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		if !v.IsNil() {
			fillValue(v.Elem(), text)
		}
	case reflect.Slice:
		for n := range v.Len() {
			fillValue(v.Index(n), text)
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for n, key := range keys {
			value := v.MapIndex(key)
			v.SetMapIndex(key, reflect.Value{})
			v.SetMapIndex(reflect.ValueOf(fmt.Sprint(n, text)), value)
		}
	case reflect.Struct:
		for n := range v.NumField() {
			if v.Field(n).CanSet() {
				fillValue(v.Field(n), text)
			}
		}
	}
}

// An HTML parser repairs errors. There are none if a strict parser finds the same
// elements.
func TestPageIsWellFormed(t *testing.T) {
	for name, r := range reports() {
		t.Run(name, func(t *testing.T) {
			text := source(t, r)
			for _, wrong := range []string{"ZgotmplZ", "NaN", "Inf"} {
				require.NotContains(t, text, wrong)
			}
			var written, parsed []string
			decoder := xml.NewDecoder(strings.NewReader(text))
			for {
				token, err := decoder.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				if element, ok := token.(xml.StartElement); ok {
					written = append(written, element.Name.Local)
				}
			}
			for _, element := range parse(t, r).elements("", "") {
				parsed = append(parsed, element.Data)
			}
			require.Equal(t, written, parsed)
		})
	}
}

func TestPageIsSelfContained(t *testing.T) {
	for name, r := range reports() {
		t.Run(name, func(t *testing.T) {
			p := parse(t, r)
			for _, element := range p.elements("", "") {
				require.NotContains(t, []string{"script", "img", "iframe", "object", "embed", "base", "form", "use", "image", "a"}, element.Data)
				for _, a := range element.Attr {
					require.False(t, strings.HasPrefix(a.Key, "on"), a.Key)
					require.NotContains(t, a.Val, "//", "%s of %s", a.Key, element.Data)
					if a.Key == "href" {
						require.Equal(t, "data:,", a.Val)
					}
				}
			}
			for _, style := range p.elements("style", "") {
				require.NotContains(t, style.FirstChild.Data, "url(")
				require.NotContains(t, style.FirstChild.Data, "@import")
			}
		})
	}
}

// Texts of the report are escaped.
func TestPageEscapes(t *testing.T) {
	shape := func(r *Report) (tags []string) {
		for _, element := range parse(t, r).elements("", "") {
			tags = append(tags, element.Data+"."+element.attribute("class"))
		}
		return tags
	}
	require.Equal(t, shape(fill(failedReport(), "harmless")), shape(fill(failedReport(), hostile)))

	for _, sign := range []string{"\x1b", "\u202e"} {
		require.NotContains(t, source(t, fill(failedReport(), hostile)), sign, "%q", sign)
	}
	failure := parse(t, fill(failedReport(), hostile)).section(t, "graceful").elements("div", "failure")[0]
	require.Contains(t, failure.text(), `</title></style></pre><script>alert(1)</script><img src=x onerror="alert('2')"> {{.}} & "`+"\uFFFD[31m\uFFFD\uFFFD\uFFFD")
}

func TestPageOfASuccess(t *testing.T) {
	r := fakeReport()
	p := parse(t, r)
	require.Equal(t, "No client noticed", p.elements("h1", "")[0].text())
	require.Contains(t, p.elements("title", "")[0].text(), "24,235 requests, 0 failed, 14 disturbances")
	require.Len(t, p.elements("li", "passed"), len(r.Results))
	for n, result := range p.elements("li", "passed") {
		require.Contains(t, result.text(), r.Results[n].Name)
		require.Contains(t, result.text(), r.Results[n].Detail)
	}
	require.Empty(t, p.elements("li", "failed"))

	require.Contains(t, p.elements("ul", "tiles")[0].text(), "p99 of reads in rollouts 2.0 × of the steady one, wanted: ≤ 1.5 ×")

	graceful := p.section(t, "graceful")
	require.Equal(t, "none", graceful.elements("p", "none")[0].text())
	require.Empty(t, graceful.elements("", "failure"))
	require.Empty(t, graceful.elements("", "fail"), "no failures in the chart")
	require.Empty(t, graceful.elements("tr", "alarm"))
	all, posts := number(r.Graceful.Requests), number(r.Graceful.Posts)
	require.Equal(t, [][]string{
		{"", "responses", "p50", "p90", "p99", "slowest"},
		{"Steady", number(r.Graceful.Requests / 4), "3.1ms", "8.4ms", "17ms", "61ms"},
		{"During disturbances", number(r.Graceful.Requests * 3 / 4), "3.3ms", "9.2ms", "34ms", "410ms"},
		{"Reads, steady", number(r.Graceful.Requests / 4), "3.1ms", "8.4ms", "17ms", "61ms"},
		{"Reads during rollouts", number(r.Graceful.Requests * 3 / 4 / 3), "3.3ms", "9.2ms", "34ms", "410ms"},
	}, graceful.cells("latency"))
	counts := []string{all, posts, "0", "17", number(r.Graceful.Connections), "61"}
	require.Equal(t, [][]string{append([]string{"ingress"}, counts...), append([]string{"All"}, counts...)}, graceful.cells("sources")[1:])
	require.Equal(t, []string{"Acknowledged", posts, "of " + posts + " sent"}, graceful.cells("ledger")[1])
	require.Contains(t, graceful.elements("p", "words")[0].text(), "at most 1 request in 8,078 fails (0.0124 %; rule of three: 3 / 24,235)")

	events := graceful.cells("events")
	require.Len(t, events, 1+len(r.Graceful.Events))
	require.Equal(t, []string{"6", "scale up to 4", "09:32:32", "10s", "924", "0", "19ms"}, events[6])
	require.Equal(t, []string{"exits at SIGTERM, no preStop short-name", "detected", r.Controls[0].How, "6,114", "31s"}, p.section(t, "controls").cells("controls")[1])
	require.Contains(t, p.section(t, "monitoring").text(), "All 24 have data.")
	require.Equal(t, []string{"Kubernetes", "v1.36.0"}, p.section(t, "environment").cells("facts")[0])
}

func TestPageOfCrashes(t *testing.T) {
	r := fakeReport()
	crashes := parse(t, r).section(t, "crashes")
	require.Contains(t, crashes.elements("p", "words")[0].text(),
		fmt.Sprintf("%d of 5,835 requests failed (1.11 %%), in 8 crashes; the slowest recovery took 1.9s (kill -9 a tag pod). "+
			"%[1]d requests repeated with an Idempotency-Key; %[2]d of them had been applied before. Of 3,501 acknowledged writes 0 were lost", r.Crashes.Failed, r.Crashes.Replayed))
	sources := crashes.cells("sources")
	require.Equal(t, []string{"reopened", "repeated", "applied before"}, sources[0][6:])
	require.Equal(t, []string{"All", "61", strconv.Itoa(r.Crashes.Failed), strconv.Itoa(r.Crashes.Failed / 9)}, append(sources[2][:1:1], sources[2][6:]...))
	events := crashes.cells("events")
	require.Equal(t, []string{"#", "crash", "at", "requests", "failed", "recovered after"}, events[0])
	for n, e := range r.Crashes.Events {
		want := "nothing failed"
		if e.Failed > 0 {
			want = duration(e.Recovery)
		}
		require.Equal(t, []string{e.Name, strconv.Itoa(e.Failed), want}, []string{events[n+1][1], events[n+1][4], events[n+1][5]})
	}
	require.Len(t, crashes.elements("div", "failure"), maxFailures)
	require.Contains(t, crashes.text(), fmt.Sprintf("The first 50 of %d", r.Crashes.Failed))
}

func TestPageOfAFailure(t *testing.T) {
	p := parse(t, failedReport())
	require.Equal(t, "Clients noticed", p.elements("h1", "")[0].text())
	require.Equal(t, "headline bad", p.elements("div", "headline")[0].attribute("class"))
	require.Len(t, p.elements("li", "failed"), 1)
	require.Equal(t, "G1: no client notices a graceful event failed 2 failed", p.elements("li", "failed")[0].text())

	graceful := p.section(t, "graceful")
	require.Empty(t, graceful.elements("p", "none"))
	require.Equal(t, [][]string{{"kind", "requests"}, {"connection reset", "1"}, {"status 503", "1"}}, graceful.cells("kinds"))
	require.Len(t, graceful.elements("rect", "fail"), 2)
	failures := graceful.elements("div", "failure")
	require.Len(t, failures, 2)
	require.Equal(t, "09:30:53 · status 503 · POST /api/v1/tags · ingress, idle3, connection 412 · achilles-tag-7d9f8b6c5-x2x9k · after 3ms status 503: what the service said",
		failures[1].text())
	var alarms []string
	for _, row := range p.elements("tr", "alarm") {
		alarms = append(alarms, row.elements("th", "")[0].text())
	}
	require.Equal(t, []string{"Lost", "restart article", "SetKeepAlivesEnabled(false) short-name", "Broken panel", "Broken panel"}, alarms,
		"the ledger, the event, the control, and the query in both lists")
	require.Contains(t, graceful.text(), "does not exist")
	require.Equal(t, "NOT detected", p.section(t, "controls").cells("controls")[4][1])
	require.Contains(t, p.section(t, "monitoring").text(), "1 of 24 queries without data")
}

func TestAbsentPartsAreOmitted(t *testing.T) {
	all := reports()
	for name, want := range map[string][]string{
		"short":                 {"graceful", "crashes", "controls", "monitoring", "environment"},
		"no graceful run":       {"crashes", "controls", "monitoring", "environment"},
		"only the graceful run": {"graceful", "environment"},
		"empty":                 nil,
	} {
		var sections []string
		for _, s := range parse(t, all[name]).elements("section", "") {
			sections = append(sections, s.attribute("id"))
		}
		require.Equal(t, want, sections, name)
	}
	require.Contains(t, parse(t, &Report{}).text(), "There are no results")
}

func TestPageSize(t *testing.T) {
	const limit = 2 << 20
	r := soakReport()
	require.Greater(t, len(r.Graceful.Timeline), 7000)
	require.Greater(t, len(r.Graceful.Pods), 1000)
	require.Less(t, len(source(t, r)), limit)
	p := parse(t, r).section(t, "graceful")
	require.LessOrEqual(t, len(p.elements("g", "column")), maxSamples)
	require.Len(t, p.elements("rect", "event"), 300)
	require.Len(t, p.cells("names"), 1+6, "grouped by name")
	require.Len(t, p.cells("events"), 1+300)

	for range 1000 {
		r.Crashes.Failures = append(r.Crashes.Failures, load.Failure{Kind: strings.Repeat("k", 1<<13), Error: strings.Repeat("<", 1<<13)})
	}
	r.Crashes.Failures = r.Crashes.Failures[len(r.Crashes.Failures)-1000:]
	require.Less(t, len(source(t, r)), limit)
	require.Contains(t, source(t, r), "(6,192 characters more)")
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }

var errBroken = errors.New("broken pipe")

func TestWritingReportsErrors(t *testing.T) {
	require.ErrorIs(t, fakeReport().WriteHTML(brokenPipe{}), errBroken)
	require.ErrorIs(t, fakeReport().WriteJSON(brokenPipe{}), errBroken)
}
