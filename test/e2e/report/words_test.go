package report

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                             "0s",
		850 * time.Microsecond:        "850µs",
		999600 * time.Nanosecond:      "1ms",
		3449 * time.Microsecond:       "3.4ms",
		12400 * time.Microsecond:      "12ms",
		412 * time.Millisecond:        "410ms",
		1449 * time.Millisecond:       "1.4s",
		23300 * time.Millisecond:      "23s",
		time.Minute - time.Nanosecond: "1m0s",
		125400 * time.Millisecond:     "2m5s",
		3*time.Hour + 2*time.Minute:   "3h2m0s",
		-1400 * time.Millisecond:      "-1.4s",
	} {
		require.Equal(t, want, duration(d), d.String())
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 3_000_000: "3,000,000", -1234: "-1,234"} {
		require.Equal(t, want, number(n))
	}
	require.Equal(t, []string{"1 crash", "2 crashes", "0 requests", "1 query", "2,000 queries"},
		[]string{count(1, "crash"), count(2, "crash"), count(0, "request"), count(1, "query"), count(2000, "query")})
}

func TestClip(t *testing.T) {
	require.Equal(t, "日本… (1 character more)", clip(2, "日本語"))
	require.Equal(t, "日本語", clip(3, "日本語"))
	require.Equal(t, "日…", brief(2, "日本語"))
	require.Equal(t, "a b", brief(3, " a\n\tb "))
	require.Equal(t, "a\uFFFD[2Jb\uFFFD\n", clean("a\x1b[2Jb\xff\n"))
}

func TestHeadline(t *testing.T) {
	good, bad := []Result{{Passed: true}}, []Result{{Passed: true}, {}}
	run := func(requests, failed int) *Run {
		return &Run{Count: load.Count{Requests: requests, Failed: failed}, Events: make([]Event, 14)}
	}
	for _, row := range []struct {
		report Report
		want   string
	}{
		{Report{Results: good, Graceful: run(52311, 0)}, "No client noticed: 52,311 requests, 0 failed, 14 disturbances"},
		{Report{Results: bad, Graceful: run(52311, 3)}, "Clients noticed: 3 of 52,311 requests failed during 14 disturbances"},
		{Report{Results: good, Graceful: run(52311, 3)}, "Clients noticed: 3 of 52,311 requests failed during 14 disturbances"},
		{Report{Results: bad, Graceful: run(52311, 0)}, "Failed: 1 of 2 checks failed"},
		{Report{Results: good, Graceful: run(0, 0)}, "Failed: no request was sent"},
		{Report{Graceful: run(52311, 0)}, "Failed: there are no results"},
		{Report{}, "Failed: there are no results"},
		{Report{Results: good, Crashes: run(900, 3)}, "Passed: 1 check"},
	} {
		claim, numbers := row.report.headline()
		require.Equal(t, row.want, claim+": "+numbers)
		require.Equal(t, strings.HasPrefix(row.want, "No client") || claim == "Passed", row.report.good())
	}
}

func TestConfidenceInWords(t *testing.T) {
	r := &Run{Count: load.Count{Requests: 52311}, Confidence: 3.0 / 52311, Events: make([]Event, 14)}
	require.Contains(t, r.confidence(), "With 95 % confidence, at most 1 request in 17,437 fails (0.00573 %; rule of three: 3 / 52,311).")
	require.Contains(t, r.confidence(), "no request failed during any of 14, so with the same confidence at most 21.4 % of disturbances fail a request.")
	r.Events = nil
	require.NotContains(t, r.confidence(), "disturbance")
	r.Failed, r.Confidence = 3, 0
	require.Contains(t, r.confidence(), "3 of 52,311 requests failed (0.00573 %)")
	require.NotContains(t, r.confidence(), "certainty")
	for _, none := range []float64{0, 1, 3, math.Inf(1), math.NaN()} {
		require.Contains(t, (&Run{Confidence: none}).confidence(), "too small")
	}
}

func TestSummary(t *testing.T) {
	text := fakeReport().Summary()
	require.Contains(t, text, "No client noticed: 24,235 requests, 0 failed, 14 disturbances\n")
	require.NotContains(t, text, "FAILED")
	require.Less(t, strings.Count(text, "\n"), 50)

	text = failedReport().Summary()
	require.Contains(t, text, "Clients noticed: 2 of 24,235 requests failed")
	require.Contains(t, text, "FAILED    G1: no client notices a graceful event: 2 failed\n")
	require.Contains(t, text, "failed: 1 × status 503")
	require.Contains(t, text, "Of 14,541 acknowledged writes 1 were lost")
	require.Contains(t, text, "Controls    3 of 4 negative controls detected")
	require.Contains(t, text, "1 of 24 queries")

	text = fill(failedReport(), hostile).Summary()
	for _, letter := range text {
		require.True(t, letter == '\n' || letter >= ' ' && letter != 0x202e, "%q reaches the terminal", letter)
	}
	for name, r := range reports() {
		require.NotEmpty(t, r.Summary(), name)
	}
}

func TestJSONIsComplete(t *testing.T) {
	for name, r := range reports() {
		if name == "hostile" {
			continue // JSON has no place for invalid UTF-8
		}
		var b bytes.Buffer
		require.NoError(t, r.WriteJSON(&b), name)
		got := &Report{}
		decoder := json.NewDecoder(&b)
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(got), name)
		require.Equal(t, r, got, name)
	}
}
