package load

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// podHeader contains the name of the pod; see the setting Server.ServedBy.
const podHeader = "X-Served-By"

// maxFailures is the maximum number of failures in a Result. All are counted.
const maxFailures = 1000

var (
	errTruncated = errors.New("the response is truncated")
	// errRefused is not a failure: according to the protocol the server has not
	// processed the request, and clients may retry it. It is counted separately.
	errRefused = errors.New("refused by GOAWAY, not processed")
	// errReadOnly is not a failure in read-only mode, which SetReadOnly announces.
	errReadOnly = errors.New("rejected in read-only mode, not processed")
)

type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// Result is the result of a load.
type Result struct {
	Count
	Source string
	// Seconds are the requests by the Unix second of their end.
	Seconds map[int64]*Second
	// Pods counts the responses of each pod by second.
	Pods map[string]map[int64]int
	// Kinds counts the failures by kind. Failures are the first failures.
	Kinds    map[string]int
	Failures []Failure
	// Writers are the ledgers by worker.
	Writers map[string]*Writer
}

// Count are the counts of a load.
type Count struct {
	Requests, Posts, Failed int
	// Overloaded counts the failed requests that the service answered with 408,
	// 503 or 504.
	Overloaded int
	// Refused counts HTTP/2 requests that the server has not processed. They are
	// not failed.
	Refused int
	// Rejected counts the writes that the services rejected in read-only mode, as
	// announced by SetReadOnly. They are not failed.
	Rejected int
	// Repeats counts requests repeated with their Idempotency-Key. Replayed of
	// them had been applied before.
	Repeats, Replayed int
	// Connections counts opened connections. Reconnects of them replaced idle
	// connections that the server had closed.
	Connections, Reconnects int
}

// Second is a second of a load.
type Second struct {
	Requests, Failed int
	// Latency counts the responses by Bucket, Reads those to GET.
	Latency, Reads map[int]int
}

// Failure is a failed request.
type Failure struct {
	At                   time.Time
	Worker, Method, Path string
	Kind, Error          string
	Pod                  string
	Connection           uint64
	Latency              time.Duration
	Source               string
}

// perOctave is the number of buckets between a latency and its double.
const perOctave = 8

// Bucket returns the bucket of a latency. Each bucket is 9 % wider than the previous.
func Bucket(d time.Duration) int {
	return int(math.Round(perOctave * math.Log2(max(1, float64(d.Microseconds())))))
}

// BucketLatency returns the latency in the middle of a bucket.
func BucketLatency(bucket int) time.Duration {
	return time.Duration(math.Exp2(float64(bucket)/perOctave) * float64(time.Microsecond))
}

type recorder struct {
	mu  sync.Mutex
	all Result
}

func newRecorder(source string) *recorder {
	return &recorder{all: Result{
		Source: source, Seconds: map[int64]*Second{}, Pods: map[string]map[int64]int{},
		Kinds: map[string]int{}, Writers: map[string]*Writer{},
	}}
}

func (r *recorder) writer(name string) *Writer {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &Writer{}
	r.all.Writers[name] = w
	return w
}

func (r *recorder) reconnected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.Reconnects++
}

func (r *recorder) count() Count {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.Count
}

func (r *recorder) result() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}

// record records a request. Its latency does not include the time of a slow upload.
func (r *recorder) record(worker string, sent request, got answer, err error) {
	now := time.Now()
	latency := max(0, now.Sub(got.began)-sent.uploadTime)
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(err, errRefused) {
		r.all.Refused++
		return
	}
	r.all.Requests++
	if sent.method == http.MethodPost {
		r.all.Posts++
	}
	if sent.again {
		r.all.Repeats++
	}
	if got.replayed {
		r.all.Replayed++
	}
	r.all.Connections = max(r.all.Connections, int(got.conn)) // #nosec G115 -- a count of connections
	second := r.second(now)
	second.Requests++
	second.Latency[Bucket(latency)]++
	if sent.method == http.MethodGet {
		second.Reads[Bucket(latency)]++
	}
	if got.pod != "" && err == nil {
		if r.all.Pods[got.pod] == nil {
			r.all.Pods[got.pod] = map[int64]int{}
		}
		r.all.Pods[got.pod][now.Unix()]++
	}
	if errors.Is(err, errReadOnly) {
		r.all.Rejected++
		return
	}
	if err != nil {
		r.fail(now, worker, sent, got, kind(err), err.Error(), latency)
	}
}

// wrong records a response with the right status and the wrong content.
func (r *recorder) wrong(worker string, got answer, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.fail(now, worker, request{}, got, "wrong content", why, now.Sub(got.began))
}

func (r *recorder) fail(now time.Time, worker string, sent request, got answer, kind, text string, latency time.Duration) {
	r.all.Failed++
	r.second(now).Failed++
	r.all.Kinds[kind]++
	if overload(kind) {
		r.all.Overloaded++
	}
	if len(r.all.Failures) < maxFailures {
		r.all.Failures = append(r.all.Failures, Failure{
			At: now, Worker: worker, Method: sent.method, Path: sent.path, Kind: kind, Error: text,
			Pod: got.pod, Connection: got.conn, Latency: latency, Source: r.all.Source,
		})
	}
}

func (r *recorder) second(now time.Time) *Second {
	s := r.all.Seconds[now.Unix()]
	if s == nil {
		s = &Second{Latency: map[int]int{}, Reads: map[int]int{}}
		r.all.Seconds[now.Unix()] = s
	}
	return s
}

// overload reports whether a failure is a timeout within the service, which also happens
// on an overloaded machine.
func overload(kind string) bool {
	return slices.Contains([]string{"status 408 by the service", "status 503 by the service", "status 504 by the service"}, kind)
}

func kind(err error) string {
	var status *statusError
	var timeout net.Error
	switch {
	case errors.As(err, &status) && strings.HasPrefix(status.body, `{"code":`):
		return fmt.Sprintf("status %d by the service", status.status)
	case errors.As(err, &status):
		return fmt.Sprintf("status %d by a proxy", status.status)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, errTruncated):
		return "response truncated"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed without a response"
	default:
		return "other"
	}
}
