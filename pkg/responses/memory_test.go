package responses_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// slowReader is a client that reads rate bytes a second, and whose connection has write
// deadlines.
type slowReader struct {
	*httptest.ResponseRecorder
	rate int

	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{}
}

func newSlowReader(rate int) *slowReader {
	return &slowReader{ResponseRecorder: httptest.NewRecorder(), rate: rate, changed: make(chan struct{})}
}

// SetWriteDeadline is called by http.ResponseController.
func (s *slowReader) SetWriteDeadline(deadline time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = deadline
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// Write implements http.ResponseWriter.
func (s *slowReader) Write(piece []byte) (int, error) {
	takes := time.Duration(1<<62 - 1)
	if s.rate > 0 {
		takes = time.Duration(len(piece)) * time.Second / time.Duration(s.rate)
	}
	read := time.After(takes)
	for {
		s.mu.Lock()
		deadline, changed := s.deadline, s.changed
		s.mu.Unlock()
		select {
		case <-read:
			return s.ResponseRecorder.Write(piece)
		case <-time.After(time.Until(deadline)):
			return 0, os.ErrDeadlineExceeded
		case <-changed:
		}
	}
}

// get returns the context of a request of a client that reads by writer.
func get(ctx context.Context, address string, writer http.ResponseWriter) *gin.Context {
	c := gin.CreateTestContextOnly(writer, gin.New())
	c.Request = httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	c.Request.RemoteAddr = address + ":1"
	return c
}

// respond answers with a number of bytes with memory, and returns how long that
// took, and the error.
func respond(c *gin.Context, memory *responses.Memory, size int) (time.Duration, error) {
	began := time.Now()
	reserved, err := memory.Reserve(c, int64(size))
	if err != nil {
		return time.Since(began), err
	}
	defer reserved.Release()
	responses.OK(c, strings.Repeat("x", size), reserved)
	if last := c.Errors.Last(); last != nil {
		err = last.Err
	}
	return time.Since(began), err
}

// newMemory returns memory whose clients are addresses, and its budget.
func newMemory(total int64) (*responses.Memory, *memory.Budget) {
	budget := memory.New(memory.Config{Use: "test", Total: total})
	return responses.NewMemory(budget, (*gin.Context).ClientIP), budget
}

func TestClientsThatDoNotRead(t *testing.T) {
	for _, c := range []struct {
		rate     int
		least    time.Duration
		most     time.Duration
		complete bool
	}{
		{0, 5 * time.Second, 5 * time.Second, false},
		{10, 5 * time.Second, 6 * time.Second, false},        // no piece within 5 s
		{10 << 10, 5 * time.Second, 10 * time.Second, false}, // below the minimum rate
		{100 << 10, 9 * time.Second, 11 * time.Second, true},
		{60 << 10, 15 * time.Second, 15 * time.Second, false}, // beyond the time of the whole response
	} {
		synctest.Test(t, func(t *testing.T) {
			request := get(t.Context(), "192.0.2.1", newSlowReader(c.rate))
			responses.WriteUntil(request, time.Now().Add(15*time.Second))
			memory, _ := newMemory(10 << 20)
			took, err := respond(request, memory, 1<<20)
			require.GreaterOrEqual(t, took, c.least, "%d", c.rate)
			require.LessOrEqual(t, took, c.most, "%d", c.rate)
			require.Equal(t, c.complete, err == nil, "%d: %v", c.rate, err)
			if !c.complete {
				require.ErrorIs(t, err, responses.ErrIncomplete)
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			}
		})
	}
}

// Clients that read slowly are cut off when others need their memory, and only then.
func TestSlowReadersDoNotStarveOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, budget := newMemory(5 << 20)
		var slow sync.WaitGroup
		cut := make(chan error, 4)
		for _, address := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"} {
			slow.Go(func() {
				_, err := respond(get(t.Context(), address, newSlowReader(50<<10)), memory, 1<<20)
				cut <- err
			})
			time.Sleep(time.Millisecond)
		}
		took, err := respond(get(t.Context(), "192.0.2.3", httptest.NewRecorder()), memory, 1<<20)
		require.NoError(t, err)
		require.InDelta(t, 2, took.Seconds(), 0.1, "until the first has been slow for 2 s")
		slow.Wait()
		dropped := 0
		for range 4 {
			if err := <-cut; err != nil {
				require.ErrorIs(t, err, responses.ErrIncomplete)
				dropped++
			}
		}
		require.Equal(t, 1, dropped)
		require.Zero(t, budget.Reserved())
	})
}

// heedless takes each part after a while, whatever its deadline is by then.
type heedless struct{ *httptest.ResponseRecorder }

func (h heedless) SetWriteDeadline(time.Time) error { return nil }

func (h heedless) Write(part []byte) (int, error) {
	time.Sleep(100 * time.Millisecond)
	return h.ResponseRecorder.Write(part)
}

// A response that is cut off between two parts ends as well.
func TestCutBetweenParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, budget := newMemory(2 << 20)
		cut := make(chan error)
		go func() {
			_, err := respond(get(t.Context(), "192.0.2.1", heedless{httptest.NewRecorder()}), memory, 1<<20)
			cut <- err
		}()
		synctest.Wait()
		took, err := respond(get(t.Context(), "192.0.2.2", httptest.NewRecorder()), memory, 1<<20)
		require.NoError(t, err)
		require.InDelta(t, 2, took.Seconds(), 0.2)
		require.ErrorIs(t, <-cut, responses.ErrIncomplete)
		require.Zero(t, budget.Reserved())
	})
}

var errBroken = errors.New("broken")

type broken struct{}

// MarshalJSON implements json.Marshaler.
func (broken) MarshalJSON() ([]byte, error) { return nil, errBroken }

// A value that can't be encoded is an internal error, or ends a response that has
// begun.
func TestEncodingFails(t *testing.T) {
	got := record("en", func(c *gin.Context) { responses.OK(c, broken{}, nil) })
	require.Equal(t, http.StatusInternalServerError, got.Code)
	require.Panics(t, func() {
		record("en", func(c *gin.Context) { responses.OK(c, []any{strings.Repeat("x", 1<<20), broken{}}, nil) })
	})
}

// Handlers that write by themselves don't wait longer for a client.
func TestWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := responses.Writer(get(t.Context(), "192.0.2.1", newSlowReader(0))).Write([]byte("x"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(began))
	})
}
