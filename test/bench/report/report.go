// Package report has the results of the benchmark, the bars that they are held against, and
// their tables and plots.
package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	e2e "github.com/achilles-blog/achilles/test/e2e/report"
)

// What is measured.
const (
	Service     = "article service"
	NetHTTP     = "net/http"
	Gin         = "gin"
	Select      = "gin, one prepared select"
	Scaffold    = "scaffold"
	Transaction = "bare transaction"
)

// The requests.
const (
	Get         = "GET article, random"
	Hot         = "GET article, hot (Zipf)"
	NotModified = "GET article, 304"
	First       = "list, first page"
	Rare        = "list, rare tag"
	Top         = "list, most used tag"
	Deep        = "list, page 1,000"
	Last        = "list, last page by cursor"
	Ordered     = "list, by title"
	TagCloud    = "tags with their articles"
	Changes     = "100 changes"
	RSS         = "RSS feed"
	Slug        = "GET article by slug"
	Search      = "title search"
	Frequent    = "title search, half of all"
	Miss        = "title search, no hit"
	Word        = "word search"
	TopWord     = "word search, half of all"
	TwoWords    = "word search, two frequent words"
	ApartWords  = "word search, two frequent words, no hit"
	NoWord      = "word search, no hit"
	Post        = "POST article"
	PostKey     = "POST article with key"
	Mixed       = "95 % GET, 5 % POST"
	Others      = "GET article, of others"
)

// The phases of a measurement: as fast as possible on a few connections, at half of that
// rate, one request at a time; at that rate and at twice of it on many connections; and at
// a low rate, without and beside a client that does its worst within the limits.
const (
	Saturation  = "saturation"
	Half        = "half"
	Alone       = "alone"
	Full        = "full"
	Overload    = "overload"
	Undisturbed = "undisturbed"
	Hostile     = "beside a hostile client"
)

// Row is one measurement. Times are in microseconds; CPU is for each answered request.
type Row struct {
	Articles    int     `json:"articles"`
	Target      string  `json:"target"`
	Request     string  `json:"request"`
	Phase       string  `json:"phase"`
	Connections int     `json:"connections"`
	Offered     float64 `json:"offered_per_second,omitempty"` // in an open loop
	// Requests were verified; Failed are others by status. FailedP99 is their latency.
	Requests    int            `json:"requests"`
	Failed      map[string]int `json:"failed,omitempty"`
	FailedP99   float64        `json:"failed_p99_us,omitempty"`
	Rate        float64        `json:"requests_per_second"`
	P50         float64        `json:"p50_us"`
	P99         float64        `json:"p99_us"`
	P999        float64        `json:"p999_us"`
	CPU         float64        `json:"cpu_us"`
	Allocations float64        `json:"allocations"`
	Database    float64        `json:"database_cpu_us"`
	Redis       float64        `json:"redis_cpu_us"`
	Generator   float64        `json:"generator_cpu_us"`
}

// Rest is the service without load, and its size.
type Rest struct {
	ReadyMillis float64 `json:"ready_ms"` // from exec to ready, median
	Resident    int64   `json:"resident_bytes"`
	Peak        int64   `json:"peak_resident_bytes"` // under load
	CPUPercent  float64 `json:"cpu_percent"`         // of a core
	Program     int64   `json:"program_bytes"`
	Compressed  int64   `json:"program_gzip_bytes"` // what an image has to transfer
}

// Report is the result of a run.
type Report struct {
	Started time.Time `json:"started"`
	Commit  string    `json:"commit,omitempty"`
	Go      string    `json:"go"`
	Cores   int       `json:"cores"`
	// Articles is the number of articles of all measurements but those of growth.
	Articles int     `json:"articles"`
	Seconds  float64 `json:"seconds"` // of a measurement
	Rounds   int     `json:"rounds"`  // of which the median counts
	Rows     []Row   `json:"rows"`
	Rest     Rest    `json:"rest"`
	// Rollout is the p99 of reads during rollouts divided by the steady one, from the
	// report of make e2e; 0 if there is none.
	Rollout float64 `json:"rollout_p99_ratio,omitempty"`
}

// Read reads the JSON of a report.
func Read(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the report of make bench: %w", err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &r, nil
}

// ReadRollout sets Rollout from the report of make e2e in the folder, if there is one.
func (r *Report) ReadRollout(dir string) error {
	path := filepath.Join(dir, "e2e-report", "report.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the report of make e2e: %w", err)
	}
	var measured e2e.Report
	if err := json.Unmarshal(text, &measured); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if measured.Graceful != nil {
		r.Rollout = measured.Graceful.ReadP99Ratio
	}
	return nil
}

// Write writes the report as JSON.
func (r *Report) Write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// Find returns a measurement, or nil.
func (r *Report) Find(articles int, target, request, phase string) *Row {
	n := slices.IndexFunc(r.Rows, func(row Row) bool {
		return row.Articles == articles && row.Target == target && row.Request == request && row.Phase == phase
	})
	if n < 0 {
		return nil
	}
	return &r.Rows[n]
}

// Sizes returns the numbers of articles in ascending order.
func (r *Report) Sizes() []int {
	var sizes []int
	for _, row := range r.Rows {
		sizes = append(sizes, row.Articles)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

// Median returns the measurement with the median figure, such as the rate.
func Median(rows []Row, figure func(Row) float64) Row {
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(figure(a), figure(b)) })
	return rows[len(rows)/2]
}

// Rate returns the rate of a measurement.
func Rate(row Row) float64 { return row.Rate }

// P99 returns the p99 of a measurement.
func P99(row Row) float64 { return row.P99 }
