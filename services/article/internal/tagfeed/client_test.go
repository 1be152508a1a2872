package tagfeed_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/feedtest"
	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracetest"
	"github.com/achilles-blog/achilles/pkg/tracing"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

func TestClientReadsTheFeed(t *testing.T) {
	f := newFeed(t)
	f.put(1, "一 😀")
	f.Remove(1)
	f.put(2, "two")
	for name, base := range map[string]string{"plain": f.URL, "slash": f.URL + "/"} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, base, token, patience)
			changes, err := client.Changes(t.Context(), changefeed.Offset{}, 2, 0)
			require.NoError(t, err)
			require.Equal(t, tagfeed.Changes{Epoch: "first", Last: 3, Changes: []tagfeed.Change{
				{Sequence: 1, TagID: 1, Kind: changefeed.Put, Name: "一 😀", State: 1}, {Sequence: 2, TagID: 1, Kind: changefeed.Delete},
			}}, changes)
			snapshot, err := client.Snapshot(t.Context())
			require.NoError(t, err)
			require.Equal(t, tagfeed.Snapshot{Epoch: "first", Sequence: 3, Tags: []tagfeed.Tag{{ID: 2, Name: "two", State: 1}}}, snapshot)
		})
	}
}

func TestClientWaits(t *testing.T) {
	f := newFeed(t)
	client := newClient(t, f.URL, token, patience)
	var changes tagfeed.Changes
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		changes, err = client.Changes(t.Context(), changefeed.Offset{}, 10, 9*time.Second)
	}()
	require.Eventually(t, func() bool { return f.Count(changesPath) == 1 }, patience, time.Millisecond)
	f.put(1, "a")
	requireWithin(t, 5*time.Second, func() { <-done }) // the long poll would last nine
	require.NoError(t, err)
	require.Len(t, changes.Changes, 1)
	require.Equal(t, []string{"9"}, f.Waits())
}

func TestClientErrors(t *testing.T) {
	text := func(body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool { _, _ = io.WriteString(w, body); return true }
	}
	for name, c := range map[string]struct {
		instead func(http.ResponseWriter, *http.Request) bool
		want    string
	}{
		"wrong token, again": {feedtest.Status(http.StatusTooManyRequests), "the tag service rejects the token; give both services the same Feed.Token"},
		"wrong token":        {feedtest.Status(http.StatusUnauthorized), "the tag service rejects the token; give both services the same Feed.Token"},
		"unavailable":        {feedtest.Status(http.StatusServiceUnavailable), "the tag service answered 503 Service Unavailable"},
		"not found":          {feedtest.Status(http.StatusNotFound), "the tag service answered 404 Not Found"},
		"not JSON":           {text("<html>"), "reading the tag feed: "},
		"truncated":          {text(`{"data":{"epoch":"first","chan`), "reading the tag feed: "},
		"empty":              {text(""), "reading the tag feed: "},
		"other JSON":         {text(`{"status":"ok"}`), "check Feed.URL"},
		"no epoch":           {text(`{"data":{"changes":[],"tags":[],"last":0}}`), "check Feed.URL"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			f.Answer(c.instead)
			client := newClient(t, f.URL, token, patience)
			_, err := client.Changes(t.Context(), changefeed.Offset{}, 10, 0)
			require.ErrorContains(t, err, c.want)
			require.NotErrorIs(t, err, follow.ErrStartOver)
			require.NotContains(t, err.Error(), token.Reveal())
			_, err = client.Snapshot(t.Context())
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), token.Reveal())
		})
	}
}

func TestClientStartsOver(t *testing.T) {
	f := newFeed(t)
	f.put(1, "a")
	f.Trim()
	_, err := newClient(t, f.URL, token, patience).Changes(t.Context(), changefeed.Offset{}, 10, 0)
	require.ErrorIs(t, err, follow.ErrStartOver)
}

func TestClientWithTheWrongToken(t *testing.T) {
	f := newFeed(t)
	_, err := newClient(t, f.URL, "wrong", patience).Snapshot(t.Context())
	require.ErrorContains(t, err, "Feed.Token")
	require.NotContains(t, err.Error(), "wrong")
}

// The timeout applies to a service that accepts and does not answer, and to one
// that does not listen.
func TestClientIsBounded(t *testing.T) {
	hanging, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, hanging.Close()) }()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	for name, address := range map[string]string{"hanging": hanging.Addr().String(), "not listening": closed.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, "http://"+address, token, 100*time.Millisecond)
			dbtest.Within(t, 1500*time.Millisecond, func() {
				_, err := client.Changes(t.Context(), changefeed.Offset{}, 10, 0)
				require.Error(t, err)
				_, err = client.Snapshot(t.Context())
				require.Error(t, err)
			})
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := client.Changes(ctx, changefeed.Offset{}, 10, 9*time.Second)
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}

// A call within the trace of a request belongs to it. A call without one creates
// no spans.
func TestClientPropagatesTheTrace(t *testing.T) {
	f, collector := newFeed(t), tracetest.New(t)
	var received []string
	f.Hold(func(r *http.Request) { received = append(received, r.Header.Get("Traceparent")) })
	traces := tracing.New(settings.Fixed(tracing.Config{Endpoint: collector.URL, SampleRatio: 1}), "article", "v1", zap.NewNop())
	ctx, request := traces.Tracer().Start(t.Context(), "request")
	client := newClient(t, f.URL, token, patience)
	for _, ctx := range []context.Context{ctx, t.Context()} {
		_, err := client.Changes(ctx, changefeed.Offset{}, 10, 0)
		require.NoError(t, err)
	}
	request.End()
	require.NoError(t, traces.Close(t.Context()))
	spans := collector.Spans()
	require.Len(t, spans, 2)
	require.Equal(t, spans[1].ID, spans[0].Parent)
	require.Equal(t, []string{"00-" + spans[1].TraceID + "-" + spans[0].ID + "-01", ""}, received)
	require.NotContains(t, fmt.Sprint(spans), token.Reveal())
}
