package load_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/achilles-blog/achilles/test/bench/load"
)

type worker func() error

func (w worker) Do() error { return w() }

func workers(n int, w worker) []load.Worker {
	all := make([]load.Worker, n)
	for i := range all {
		all[i] = w
	}
	return all
}

func TestClosedCountsVerifiedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		result, err := load.Closed(t.Context(), workers(4, func() error {
			time.Sleep(10 * time.Millisecond)
			if n.Add(1)%4 == 0 {
				return load.Status(503)
			}
			return nil
		}), time.Second)
		require.NoError(t, err)
		require.InDelta(t, 300, result.Requests, 8)
		require.InDelta(t, 100, result.Failed[503], 8)
		require.InDelta(t, 300, result.Rate(), 10)
		require.InDelta(t, 10_000, result.Latencies.ValueAtQuantile(50), 50)
		require.EqualValues(t, result.Requests, result.Latencies.TotalCount())
	})
}

func TestWrongAnswerEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong, start := errors.New("wrong"), time.Now()
		_, err := load.Closed(t.Context(), workers(2, func() error { time.Sleep(time.Millisecond); return wrong }), time.Hour)
		require.ErrorIs(t, err, wrong)
		require.Less(t, time.Since(start), time.Minute)
	})
}

// One answer takes half a second: the requests that were due meanwhile are late.
func TestOpenMeasuresFromWhenARequestWasDue(t *testing.T) {
	var n atomic.Int64
	result, err := load.Open(t.Context(), workers(1, func() error {
		if n.Add(1) == 1 {
			time.Sleep(500 * time.Millisecond)
		}
		return nil
	}), 100, time.Second)
	require.NoError(t, err)
	require.Equal(t, int64(100), n.Load())
	require.GreaterOrEqual(t, result.Latencies.ValueAtQuantile(70), int64(200_000))
}

type get struct{ path, want string }

func (g get) Append(to []byte) []byte {
	return append(to, "GET "+g.path+" HTTP/1.1\r\nHost: test\r\n\r\n"...)
}

func (g get) Check(response *fasthttp.Response) error {
	if response.StatusCode() != http.StatusOK {
		return load.Status(response.StatusCode())
	}
	if string(response.Body()) != g.want {
		return errors.New("got " + string(response.Body()))
	}
	return nil
}

func TestConn(t *testing.T) {
	var conns atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/chunked":
			_, _ = w.Write([]byte("a"))
			w.(http.Flusher).Flush()
			_, _ = w.Write([]byte("b"))
		case "/close":
			w.Header().Set("Connection", "close")
			_, _ = w.Write([]byte("c"))
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/unchanged":
			w.WriteHeader(http.StatusNotModified)
		}
	}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { conns.Add(1); return ctx }
	server.Start()
	defer server.Close()
	do := func(g get, times int) error {
		c := load.NewConn(nil, server.Listener.Addr().String(), g)
		defer c.Close()
		var err error
		for range times {
			err = errors.Join(err, c.Do())
		}
		return err
	}
	require.NoError(t, do(get{"/chunked", "ab"}, 3))
	require.EqualValues(t, 1, conns.Load())
	require.NoError(t, do(get{"/close", "c"}, 3))
	require.EqualValues(t, 4, conns.Load())
	require.Equal(t, load.Status(503).Error(), do(get{"/busy", ""}, 1).Error())
	require.Equal(t, load.Status(304).Error()+"\n"+load.Status(304).Error(), do(get{"/unchanged", ""}, 2).Error())
	require.ErrorContains(t, do(get{"/chunked", "other"}, 1), "got ab")
}
