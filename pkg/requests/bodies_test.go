package requests_test

import (
	"io"
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
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
)

const kib = 1 << 10

// bodyServer has a route for small and one for large bodies. The total is enough for
// 80 KiB, of which large ones can use 70, and a body has at most 32 KiB.
type bodyServer struct {
	*gin.Engine
	memory *memory.Budget
	// hold, if not nil, is called by the handler after it has read the body.
	hold func()
}

// newMemory returns memory for bodies of a total size.
func newMemory(total int64) *memory.Budget {
	return memory.New(memory.Config{Use: "test", Total: requests.BodyMemory(total)})
}

func newBodyServer(t *testing.T) *bodyServer {
	t.Helper()
	s := &bodyServer{Engine: gin.New(), memory: newMemory(80 * kib)}
	bodies := requests.NewBodies(s.memory, 32*kib, func(c *gin.Context) string { return c.GetHeader("Client") })
	binder := newBinder(t)
	read := func(c *gin.Context) {
		c.Request.Header.Set("Content-Type", asJSON)
		if err := binder.Body(c, &post{}); err != nil {
			responses.Error(c, err)
			return
		}
		if s.hold != nil {
			s.hold()
		}
		c.Status(http.StatusOK)
	}
	s.POST("/small", read)
	s.POST("/large", bodies.Large, read)
	return s
}

// deadlines is a response whose read deadline cuts the body.
type deadlines struct {
	*httptest.ResponseRecorder
	body *pausedBody
}

func (d deadlines) SetReadDeadline(time.Time) error {
	d.body.once.Do(func() { close(d.body.cut) })
	return nil
}

// pausedBody has 9 KiB, then nothing until it is cut or resumed.
type pausedBody struct {
	begun, resumed io.Reader
	cut, resume    chan struct{}
	once           sync.Once
}

func newPausedBody(rest int) *pausedBody {
	return &pausedBody{
		begun: text(9 * kib), resumed: strings.NewReader(strings.Repeat(" ", rest)),
		cut: make(chan struct{}), resume: make(chan struct{}),
	}
}

func (b *pausedBody) Read(p []byte) (int, error) {
	if n, err := b.begun.Read(p); err == nil {
		return n, nil
	}
	select {
	case <-b.cut:
		return 0, os.ErrDeadlineExceeded
	case <-b.resume:
		return b.resumed.Read(p)
	}
}

// post sends a body of the size as a client. A size of -1 means chunks.
func (s *bodyServer) post(path, client string, body io.Reader, size int64) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, path, body)
	request.ContentLength = size
	request.Header.Set("Client", client)
	recorder := httptest.NewRecorder()
	paused, _ := body.(*pausedBody)
	s.ServeHTTP(deadlines{recorder, paused}, request)
	return recorder
}

// text returns a valid body.
func text(size int) io.Reader {
	body := `{"title":"a"}`
	return strings.NewReader(body + strings.Repeat(" ", size-len(body)))
}

func TestBodyLimits(t *testing.T) {
	s := newBodyServer(t)
	for path, limit := range map[string]int{"/small": 8 * kib, "/large": 32 * kib} {
		for _, chunked := range []bool{false, true} {
			size := func(n int) int64 {
				if chunked {
					return -1
				}
				return int64(n)
			}
			require.Equal(t, 200, s.post(path, "a", text(limit), size(limit)).Code)
			require.Equal(t, 413, s.post(path, "a", text(limit+1), size(limit+1)).Code)
		}
		unread := text(limit + 1)
		s.post(path, "a", unread, int64(limit+1))
		rest, err := io.ReadAll(unread)
		require.NoError(t, err)
		require.Len(t, rest, limit+1, "refused before it is read")
	}
}

// One client can hold half of the total. All together can hold the total; what
// exceeds it waits, and gets 503 after 3 s.
func TestBodiesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBodyServer(t)
		holding := make(chan struct{})
		s.hold = func() { <-holding }
		var running sync.WaitGroup
		send := func(client string) {
			running.Go(func() { require.Equal(t, 200, s.post("/large", client, text(16*kib), 16*kib).Code) })
			synctest.Wait()
		}
		send("a")
		send("a")
		refused := s.post("/large", "a", text(16*kib), 16*kib)
		require.Equal(t, 503, refused.Code, "a holds its half")
		require.Equal(t, "1", refused.Header().Get("Retry-After"))
		send("b")
		send("c")
		start := time.Now()
		require.Equal(t, 503, s.post("/large", "d", text(16*kib), -1).Code)
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Equal(t, 503, s.post("/large", "d", text(17*kib), 17*kib).Code)
		s.hold = nil
		require.Equal(t, 200, s.post("/small", "d", text(8*kib), 8*kib).Code, "small bodies don't wait")
		require.Equal(t, 200, s.post("/large", "d", text(8*kib), 8*kib).Code)

		waiting := make(chan int)
		go func() { waiting <- s.post("/large", "d", text(17*kib), 17*kib).Code }()
		synctest.Wait()
		close(holding)
		require.Equal(t, 200, <-waiting)
		running.Wait()
		require.Zero(t, s.memory.Reserved())
	})
}

// An upload may be slow unless others wait for its memory for more than 2 s.
func TestSlowUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBodyServer(t)
		upload := func(client string) (*pausedBody, chan int) {
			body, code := newPausedBody(23*kib), make(chan int, 1)
			go func() { code <- s.post("/large", client, body, 32*kib).Code }()
			synctest.Wait()
			return body, code
		}
		first, slow := upload("a")
		time.Sleep(10 * time.Second)
		close(first.resume)
		require.Equal(t, 200, <-slow, "nobody waited")

		_, oldest := upload("a")
		time.Sleep(5 * time.Second)
		second, young := upload("b")
		require.Equal(t, 200, s.post("/large", "c", text(17*kib), 17*kib).Code)
		require.Equal(t, 408, <-oldest, "cut at once")
		close(second.resume)
		require.Equal(t, 200, <-young)

		one, codeOfOne := upload("a")
		other, codeOfOther := upload("b")
		start := time.Now()
		require.Equal(t, 200, s.post("/large", "c", text(17*kib), 17*kib).Code)
		require.Equal(t, 2*time.Second, time.Since(start), "by then they are slow")
		synctest.Wait()
		close(one.resume)
		close(other.resume)
		require.Contains(t, []int{<-codeOfOne, <-codeOfOther}, 408, "at least one was cut")
	})
}

// A client that has sent only the beginning of its bodies holds nothing.
func TestSilentUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBodyServer(t)
		silent := make([]*pausedBody, 20)
		var running sync.WaitGroup
		for i := range silent {
			silent[i] = newPausedBody(0)
			silent[i].begun = text(8 * kib)
			running.Go(func() { s.post("/large", "a", silent[i], 32*kib) })
		}
		synctest.Wait()
		start := time.Now()
		require.Equal(t, 200, s.post("/large", "a", text(32*kib), 32*kib).Code)
		require.Zero(t, time.Since(start), "it didn't wait")
		for i := range silent {
			close(silent[i].resume)
		}
		running.Wait()
	})
}

// Over real connections, of both protocols, an upload that stalls ends when another
// needs its memory.
func TestStalledConnection(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			binder := newBinder(t)
			total := newMemory(300 * kib) // of which no body here may use what is kept for small reservations
			bodies := requests.NewBodies(total, 192*kib, func(c *gin.Context) string { return c.GetHeader("Client") })
			engine := gin.New()
			engine.POST("/", bodies.Large, func(c *gin.Context) {
				if err := binder.Body(c, &post{}); err != nil {
					responses.Error(c, err)
					return
				}
				c.String(http.StatusOK, c.Request.Proto)
			})
			server := httptest.NewUnstartedServer(engine)
			server.EnableHTTP2 = protocol == "HTTP/2.0"
			server.StartTLS()
			defer server.Close()
			send := func(client string, body io.Reader, size int64) (*http.Response, error) {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
				require.NoError(t, err)
				request.ContentLength = size
				request.Header = http.Header{"Client": {client}, "Content-Type": {asJSON}}
				return server.Client().Do(request)
			}
			reader, writer := io.Pipe()
			slow := make(chan int, 1)
			go func() {
				response, err := send("slow", reader, 150*kib)
				if err != nil { // the connection was closed while the client was still sending
					slow <- 408
					return
				}
				_ = response.Body.Close()
				slow <- response.StatusCode
			}()
			_, err := io.Copy(writer, text(30*kib))
			require.NoError(t, err)
			require.Eventually(t, func() bool { return total.Reserved() == requests.BodyMemory(150*kib) }, time.Minute, time.Millisecond)
			body := `{"title":"a"` + strings.Repeat(" ", 135*kib) + "}"
			require.Eventually(t, func() bool {
				response, err := send("good", strings.NewReader(body), int64(len(body)))
				if err != nil {
					return false
				}
				defer func() { _ = response.Body.Close() }()
				proto, err := io.ReadAll(response.Body)
				return err == nil && response.StatusCode == http.StatusOK && string(proto) == protocol
			}, time.Minute, time.Millisecond)
			_ = writer.Close()
			require.Equal(t, 408, <-slow)
		})
	}
}
