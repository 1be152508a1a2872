package report

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                "0 s",
		300 * time.Nanosecond:            "0.3 µs",
		850 * time.Microsecond:           "850 µs",
		999600 * time.Nanosecond:         "1 ms",
		3449 * time.Microsecond:          "3.4 ms",
		12 * time.Millisecond:            "12 ms",
		12400 * time.Microsecond:         "12 ms",
		999400 * time.Microsecond:        "999 ms",
		999600 * time.Microsecond:        "1 s",
		1449 * time.Millisecond:          "1.4 s",
		23300 * time.Millisecond:         "23 s",
		59700 * time.Millisecond:         "1 min",
		125 * time.Second:                "2 min 5 s",
		3599700 * time.Millisecond:       "1 h",
		3*time.Hour + 2*time.Minute:      "3 h 2 min",
		3*time.Hour + 59*time.Second*61:  "4 h",
		-1400 * time.Millisecond:         "-1.4 s",
		time.Duration(math.MinInt64):     "-2562047 h 47 min",
		26*time.Hour + 30*time.Second:    "26 h 1 min",
		100*time.Hour + 100*time.Second:  "100 h 2 min",
		9960 * time.Microsecond:          "10 ms",
		time.Second - time.Nanosecond:    "1 s",
		time.Minute - time.Nanosecond:    "1 min",
		10*time.Second - time.Nanosecond: "10 s",
	} {
		require.Equal(t, want, duration(d), d.String())
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 52311: "52,311", 3_000_000: "3,000,000", -1234: "-1,234"} {
		require.Equal(t, want, number(n))
	}
	for share, want := range map[float64]string{0: "0 %", 1: "100 %", 0.21428: "21 %", 3.0 / 52311: "0.0057 %", 1e-6: "0.0001 %", 0.5: "50 %", math.NaN(): "0 %"} {
		require.Equal(t, want, percent(share))
	}
	require.Equal(t, []string{"1 crash", "2 crashes", "0 requests", "1 query", "2,000 queries"},
		[]string{count(1, "crash"), count(2, "crash"), count(0, "request"), count(1, "query"), count(2000, "query")})
}

func TestTextsAreCutWhereTheySaySo(t *testing.T) {
	require.Equal(t, "日本… (1 character more)", clip(2, "日本語"))
	require.Equal(t, "日本語", clip(3, "日本語"))
	require.Equal(t, "日…", brief(2, "日本語"))
	require.Equal(t, "a b", brief(3, " a\n\tb "))
	require.Equal(t, "a\uFFFD[2Jb\uFFFD\n", clean("a\x1b[2Jb\xff\n"))
}

func TestHeadline(t *testing.T) {
	good, bad := []Verdict{{Passed: true}}, []Verdict{{Passed: true}, {}}
	run := func(requests, failed int) *Run {
		return &Run{Count: load.Count{Requests: requests, Failed: failed}, Events: make([]Event, 14)}
	}
	for _, row := range []struct {
		report Report
		want   string
	}{
		{Report{Verdicts: good, Graceful: run(52311, 0)}, "No client noticed: 52,311 requests, 0 failed, 14 disturbances"},
		{Report{Verdicts: bad, Graceful: run(52311, 3)}, "Clients noticed: 3 of 52,311 requests failed during 14 disturbances"},
		{Report{Verdicts: good, Graceful: run(52311, 3)}, "Clients noticed: 3 of 52,311 requests failed during 14 disturbances"},
		{Report{Verdicts: bad, Graceful: run(52311, 0)}, "Not proven: 1 of 2 verdicts failed"},
		{Report{Verdicts: good, Graceful: run(0, 0)}, "Not proven: no request was made"},
		{Report{Graceful: run(52311, 0)}, "Not proven: no verdict was reached"},
		{Report{}, "Not proven: no verdict was reached"},
		{Report{Verdicts: good, Crashes: run(900, 3)}, "Passed: 1 of 1 verdict"},
	} {
		claim, numbers := row.report.headline()
		require.Equal(t, row.want, claim+": "+numbers)
		require.Equal(t, strings.HasPrefix(row.want, "No client") || claim == "Passed", row.report.good())
	}
}

func TestConfidenceInWords(t *testing.T) {
	r := &Run{Count: load.Count{Requests: 52311}, Confidence: 3.0 / 52311, Events: make([]Event, 14)}
	require.Contains(t, r.confidence(), "With 95 % certainty, at most 1 request in 17,437 fails (0.0057 %): the rule of three, 3 / 52,311.")
	require.Contains(t, r.confidence(), "none of 14 failed a request, so with the same certainty at most 21 % of such disturbances do.")
	r.Events = nil
	require.NotContains(t, r.confidence(), "disturbance")
	r.Failed, r.Confidence = 3, 0
	require.Contains(t, r.confidence(), "3 of 52,311 requests failed (0.0057 %)")
	require.NotContains(t, r.confidence(), "certainty")
	for _, none := range []float64{0, 1, 3, math.Inf(1), math.NaN()} {
		require.Contains(t, (&Run{Confidence: none}).confidence(), "too small")
	}
}

func TestSummary(t *testing.T) {
	text := fakeReport().Summary()
	require.Contains(t, text, "No client noticed: 24,286 requests, 0 failed, 14 disturbances\n")
	require.NotContains(t, text, "FAILED")
	for line := range strings.Lines(text) {
		require.Less(t, len([]rune(line)), 116, line)
	}
	require.Less(t, strings.Count(text, "\n"), 50)

	text = noticedReport().Summary()
	require.Contains(t, text, "Clients noticed: 2 of 24,286 requests failed")
	require.Contains(t, text, "FAILED    G1: no client notices a graceful event: 2 failed\n")
	require.Contains(t, text, "failed: 1 × status 503")
	require.Contains(t, text, "Of 14,571 acknowledged writes 1 were lost")
	require.Contains(t, text, "Controls    8 of 9 noticed")
	require.Contains(t, text, "1 of 24 queries")

	text = fill(noticedReport(), hostile).Summary()
	for _, letter := range text {
		require.True(t, letter == '\n' || letter >= ' ' && letter != 0x202e, "%q reaches the terminal", letter)
	}
	for name, r := range reports() {
		require.NotEmpty(t, r.Summary(), name)
	}
}

func TestJSONKeepsEverything(t *testing.T) {
	for name, r := range reports() {
		if name == "hostile" {
			continue // JSON has no place for what is no UTF-8
		}
		var b bytes.Buffer
		require.NoError(t, r.WriteJSON(&b), name)
		got, err := ReadJSON(&b)
		require.NoError(t, err, name)
		require.Equal(t, r, got, name)
	}
	for _, text := range []string{"", "{", `{"Verdict": []}`, `[1]`, `{"Mode": 1}`} {
		_, err := ReadJSON(strings.NewReader(text))
		require.ErrorContains(t, err, "report.json of a new run", text)
	}
}
