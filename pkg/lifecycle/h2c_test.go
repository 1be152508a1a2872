package lifecycle_test

import (
	"bytes"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
)

// h2Client sends and receives single frames of cleartext HTTP/2, without retries.
type h2Client struct {
	*http2.Framer
	t *testing.T
}

func dialH2(t *testing.T, addr string) *h2Client {
	t.Helper()
	c := mustDial(t, addr)
	_, err := c.Write([]byte(http2.ClientPreface))
	require.NoError(t, err)
	framer := http2.NewFramer(c, c.reader)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	require.NoError(t, framer.WriteSettings())
	return &h2Client{framer, t}
}

func (c *h2Client) post(stream uint32, body string) {
	c.t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "test"}, {":path", "/"}} {
		require.NoError(c.t, encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	require.NoError(c.t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true}))
	require.NoError(c.t, c.WriteData(stream, true, []byte(body)))
}

// until reads frames up to the end of stream. goAway is the last stream id of a
// GOAWAY frame, or nil if there was none.
func (c *h2Client) until(stream uint32) (status, body string, goAway *uint32) {
	c.t.Helper()
	for {
		frame, err := c.ReadFrame()
		require.NoError(c.t, err)
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				require.NoError(c.t, c.WriteSettingsAck())
			}
		case *http2.GoAwayFrame:
			require.Equal(c.t, http2.ErrCodeNo, f.ErrCode)
			last := f.LastStreamID
			goAway = &last
		case *http2.MetaHeadersFrame:
			status = f.PseudoValue("status")
			for _, field := range f.Fields {
				require.NotEqual(c.t, "connection", field.Name)
			}
			if f.StreamEnded() && f.StreamID == stream {
				return status, body, goAway
			}
		case *http2.DataFrame:
			body += string(f.Data())
			if f.StreamEnded() && f.StreamID == stream {
				return status, body, goAway
			}
		}
	}
}

func TestDrainOfCleartextHTTP2(t *testing.T) {
	slow(t)
	started, release := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	s := newService(t, lifecycle.Config{DrainDelay: pause, ShutdownTimeout: patience}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Proto != "HTTP/2.0" {
			panic("not HTTP/2: " + r.Proto)
		}
		if first.CompareAndSwap(false, true) {
			close(started)
			<-release
		}
		echo(w, r)
	}))
	c := dialH2(t, s.addr)
	c.post(1, "slow")
	await(t, "the request", started)
	s.start()
	s.signal()
	await(t, "the drain", s.Draining())
	// The drain does not close the connection: a second stream is answered, and
	// GOAWAY follows.
	c.post(3, "second")
	status, body, _ := c.until(3)
	require.Equal(t, "200", status)
	require.Equal(t, "second", body)
	close(release)
	status, body, _ = c.until(1)
	require.Equal(t, "200", status)
	require.Equal(t, "slow", body)
	require.NoError(t, s.wait(t))
}

func TestDrainSendsGOAWAYWithTheFirstAnswer(t *testing.T) {
	slow(t)
	s := newService(t, lifecycle.Config{DrainDelay: 2 * pause, ShutdownTimeout: patience}, http.HandlerFunc(echo))
	c := dialH2(t, s.addr)
	c.post(1, "before")
	_, _, goAway := c.until(1)
	require.Nil(t, goAway)
	s.start()
	s.signal()
	await(t, "the drain", s.Draining())
	begin := time.Now()
	c.post(3, "during")
	_, body, goAway := c.until(3)
	require.Equal(t, "during", body)
	for goAway == nil {
		frame, err := c.ReadFrame()
		require.NoError(t, err)
		if f, ok := frame.(*http2.GoAwayFrame); ok {
			goAway = &f.LastStreamID
		}
	}
	require.EqualValues(t, 3, *goAway, "it includes the answered stream")
	require.Less(t, time.Since(begin), pause, "it was sent with the response, not by Shutdown")
	require.NoError(t, s.wait(t))
}
