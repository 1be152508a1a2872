package bench_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/achilles-blog/achilles/test/bench/report"
	"github.com/achilles-blog/achilles/test/process"
)

const (
	checkSize   = 2000
	checkLength = time.Second
	checkRounds = 3
)

// bound is the most that a request may take.
type bound struct {
	CPU         float64 // of the service, in relation to that of bare gin in the same run
	Allocations float64 // heap objects
}

// TestSlowdown fails if a request takes clearly more than bounds.yaml allows. CPU time and
// allocations are steadier than throughput on a busy machine; of several rounds
// the cheapest counts, because others can only add to it.
func TestSlowdown(t *testing.T) {
	if *check == "" {
		t.Skip("run it with make bench-check")
	}
	text, err := os.ReadFile(*check)
	require.NoError(t, err)
	bounds := map[string]bound{}
	require.NoError(t, yaml.Unmarshal(text, &bounds))
	*length, *rounds, *connections = checkLength, checkRounds, 8

	d := newSystem(t, process.Release(t, "tag"), process.Release(t, "article")).load(t, checkSize)
	m := &measurement{d, &report.Report{Articles: checkSize}}
	rows := map[string]report.Row{}
	m.cheapest(t, bounds, rows, slices.Concat(d.ceilings(t), d.scenarios(t)))
	m.cheapest(t, bounds, rows, m.posts()) // last, because lists change with them
	gin := rows[report.Gin+": "+report.Get]
	require.Positive(t, gin.CPU)
	for request, most := range bounds {
		row, measured := rows[report.Service+": "+request]
		if !measured {
			t.Errorf("%s names %q, which is no request of the benchmark", *check, request)
			continue
		}
		ratio := row.CPU / gin.CPU
		t.Logf("%-24s %5.1f × the CPU of gin (at most %.1f), %5.0f allocations (at most %.0f)", request, ratio, most.CPU, row.Allocations, most.Allocations)
		if ratio > most.CPU || row.Allocations > most.Allocations {
			t.Errorf("%s has become slower: %.1f × the CPU of gin, at most %.1f; %.0f allocations, at most %.0f. Find out why (make bench, pprof); if it is meant, change %s.",
				request, ratio, most.CPU, row.Allocations, most.Allocations, *check)
		}
	}
}

// cheapest adds the cheapest measurement of gin and of each request that has a bound.
func (m *measurement) cheapest(t *testing.T, bounds map[string]bound, rows map[string]report.Row, all []scenario) {
	t.Helper()
	all = slices.DeleteFunc(all, func(s scenario) bool {
		_, bounded := bounds[s.request]
		return !bounded || s.target != report.Service && s.target != report.Gin
	})
	for range checkRounds {
		for _, s := range all {
			name, row := s.target+": "+s.request, m.measure(t, s, report.Saturation, s.workers(t, *connections), 0)
			if least, seen := rows[name]; !seen || row.CPU < least.CPU {
				rows[name] = row
			}
		}
	}
}
