package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/bench/report"
	e2e "github.com/achilles-blog/achilles/test/e2e/report"
)

func sample() *report.Report {
	r := &report.Report{Articles: 100_000, Cores: 2, Seconds: 3, Rounds: 3, Rest: report.Rest{Resident: 41 << 20, CPUPercent: 0.5, ReadyMillis: 300}}
	add := func(articles int, target, request, phase string, rate, p50, cpu float64) {
		r.Rows = append(r.Rows, report.Row{Articles: articles, Target: target, Request: request, Phase: phase, Requests: 1, Rate: rate, P50: p50, CPU: cpu})
	}
	add(100_000, report.Gin, report.Get, report.Saturation, 30_000, 100, 15)
	add(100_000, report.Scaffold, report.Get, report.Saturation, 1500, 900, 300)
	add(100_000, report.Service, report.Get, report.Saturation, 15_000, 100, 31)
	add(100_000, report.Service, report.Get, report.Alone, 2000, 400, 31)
	add(100_000, report.Service, report.Search, report.Alone, 100, 8000, 31)
	add(1000, report.Service, report.First, report.Alone, 100, 1000, 31)
	add(1_000_000, report.Service, report.First, report.Alone, 100, 1600, 31)
	add(100_000, report.Scaffold, report.Top, report.Saturation, 6, 4_000_000, 1000)
	add(100_000, report.Service, report.Top, report.Saturation, 0, 0, 600)
	add(100_000, report.Service, report.Miss, report.Alone, 0, 0, 600)
	r.Rows[len(r.Rows)-2].Requests, r.Rows[len(r.Rows)-1].Requests = 0, 0 // nothing but 503
	add(100_000, report.Service, report.Get, report.Full, 15_500, 3000, 50)
	add(100_000, report.Service, report.Get, report.Overload, 13_950, 4000, 50)
	r.Rows[len(r.Rows)-1].FailedP99 = 50_100
	add(100_000, report.Service, report.Mixed, report.Saturation, 10_000, 3000, 50)
	add(100_000, report.Service, report.Mixed, report.Overload, 10_000, 4000, 50)
	r.Rows[len(r.Rows)-1].P99 = 1_200_000 // nothing is rejected
	add(100_000, report.Service, report.Others, report.Undisturbed, 200, 300, 50)
	r.Rows[len(r.Rows)-1].P99 = 1000
	add(100_000, report.Service, report.Others, report.Hostile, 200, 300, 50)
	r.Rows[len(r.Rows)-1].P99 = 2500
	r.Rollout = 1.4
	return r
}

func TestBars(t *testing.T) {
	results := map[string]string{}
	for _, b := range sample().Bars() {
		results[b.Name] = b.Got() + ", wanted " + b.Wanted() + ": " + b.Result()
	}
	for name, want := range map[string]string{
		"GET article, random: throughput, of gin":                                   "0.50, wanted ≥ 0.45: yes",
		"GET article, random: throughput, of the scaffold":                          "10 ×, wanted ≥ 10 ×: yes",
		"GET article, hot: throughput, of gin":                                      "–, wanted ≥ 0.60: not measured",
		"GET article, random: own CPU, of gin":                                      "2.1 ×, wanted ≤ 2.0 ×: **no**",
		"list, first page: p50 with 1,000,000 articles, of that with 1,000":         "1.6 ×, wanted ≤ 1.5 ×: **no**",
		"list, rare tag: p50 with 1,000,000 articles, of that with 1,000":           "–, wanted ≤ 1.5 ×: not measured",
		"list, most used tag: p50 with 1,000,000 articles, of that with 1,000":      "–, wanted ≤ 1.5 ×: not measured",
		"list, last page by cursor: p50, of page 1":                                 "–, wanted ≤ 1.5 ×: not measured",
		"title search: p50, of a single read":                                       "20 ×, wanted ≤ 20 ×: yes",
		"list, most used tag: throughput, of the scaffold":                          "0.00 ×, wanted ≥ 40 ×: **no**",
		"title search, no hit: p50, of a single read":                               "–, wanted ≤ 20 ×: not measured",
		"at rest: resident memory":                                                  "41 MiB, wanted ≤ 40 MiB: **no**",
		"exec to ready":                                                             "300 ms, wanted ≤ 300 ms: yes",
		"GET article, random: goodput at twice the saturating load, of the highest": "0.90, wanted ≥ 0.90: yes",
		"GET article, random: p99 of rejections at that load":                       "50.100 ms, wanted ≤ 50 ms: **no**",
		"95 % GET, 5 % POST: goodput at twice the saturating load, of the highest":  "1.0, wanted ≥ 0.90: yes",
		"95 % GET, 5 % POST: p99 of rejections at that load":                        "1,200 ms, wanted ≤ 50 ms: **no**",
		"single reads beside a hostile client: p99, of the undisturbed":             "2.5 ×, wanted ≤ 3.0 ×: yes",
		"reads during a rollout on a cluster: p99, of the steady":                   "1.4 ×, wanted ≤ 1.5 ×: yes",
	} {
		require.Equal(t, want, results[name], name)
	}
	require.Len(t, results, 30)
}

func TestReadRollout(t *testing.T) {
	dir := t.TempDir()
	r := sample()
	r.Rollout = 0
	require.NoError(t, r.ReadRollout(dir))
	require.Zero(t, r.Rollout, "there was no make e2e")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "e2e-report"), 0o755))
	path := filepath.Join(dir, "e2e-report", "report.json")
	text, err := json.Marshal(e2e.Report{Graceful: &e2e.Run{ReadP99Ratio: 1.2}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o644))
	require.NoError(t, r.ReadRollout(dir))
	require.InDelta(t, 1.2, r.Rollout, 0)
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o644))
	require.ErrorContains(t, r.ReadRollout(dir), path)
}

func TestMedian(t *testing.T) {
	require.InDelta(t, 1.8, report.Median([]report.Row{{Rate: 9}, {Rate: 1.5}, {Rate: 1.8}}, report.Rate).Rate, 0)
}

func TestOutputs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	require.NoError(t, sample().Write(path))
	r, err := report.Read(path)
	require.NoError(t, err)
	require.Equal(t, sample(), r)

	for name, write := range map[string]func(io.Writer) error{"text": r.Text, "markdown": r.Markdown} {
		var text bytes.Buffer
		require.NoError(t, write(&text), name)
		for _, want := range []string{"15,000", "exec to ready", "make e2e", "0.50"} {
			require.Contains(t, text.String(), want, name)
		}
	}
	for name, draw := range map[string]func(io.Writer) error{"throughput": r.Throughput, "growth": r.Growth} {
		var text bytes.Buffer
		require.NoError(t, draw(&text), name)
		decoder := xml.NewDecoder(&text)
		for err = nil; err == nil; _, err = decoder.Token() {
			continue
		}
		require.True(t, errors.Is(err, io.EOF), "%s: %v", name, err)
	}
}
