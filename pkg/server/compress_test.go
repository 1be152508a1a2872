package server_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
)

const (
	smallText = "small"
	largeText = "large enough to be compressed "
)

func compressible(e *gin.Engine) {
	large := strings.Repeat(largeText, 2000)
	object := func(text string) gin.HandlerFunc {
		return func(c *gin.Context) { responses.Object(c, responses.ETag{Version: "1", Shape: "s"}, text, nil) }
	}
	for path, handler := range map[string]gin.HandlerFunc{
		"/large": object(large), "/small": object(smallText),
		"/bounds/1023": func(c *gin.Context) { c.String(http.StatusOK, strings.Repeat("x", 1023)) },
		"/bounds/1024": func(c *gin.Context) { c.String(http.StatusOK, strings.Repeat("x", 1024)) },
		"/pieces": func(c *gin.Context) {
			for range 2000 {
				_, _ = c.Writer.WriteString(largeText)
			}
		},
		"/typed/pieces": func(c *gin.Context) {
			c.Header("Content-Type", "text/plain")
			for range 2000 {
				_, _ = c.Writer.WriteString(largeText)
			}
		},
		"/flushed": func(c *gin.Context) {
			c.Header("Content-Type", "text/plain")
			_, _ = c.Writer.WriteString("a")
			c.Writer.Flush()
			_, _ = c.Writer.WriteString(large)
		},
		"/encoded": func(c *gin.Context) {
			c.Header("Content-Encoding", "br")
			c.String(http.StatusOK, large)
		},
		"/image":   func(c *gin.Context) { c.Data(http.StatusOK, "image/png", []byte(large)) },
		"/length":  func(c *gin.Context) { c.Header("Content-Length", "60000"); c.String(http.StatusOK, large) },
		"/nothing": func(c *gin.Context) { c.Status(http.StatusNoContent) },
		"/panic": func(c *gin.Context) {
			c.Header("Content-Type", "text/plain")
			_, _ = c.Writer.WriteString("a")
			panic("x")
		},
		"/late/panic": func(c *gin.Context) {
			c.Header("Content-Type", "text/plain")
			_, _ = c.Writer.WriteString(large)
			panic("x")
		},
		"/error": func(c *gin.Context) {
			responses.Error(c, errcode.New(errcode.NotFound))
			responses.Error(c, errcode.New(errcode.Internal)) // too late
		},
	} {
		e.GET(path, handler)
		e.HEAD(path, handler)
	}
}

// plain returns the body of a response without its encoding.
func plain(t *testing.T, answer result) string {
	t.Helper()
	var reader io.Reader = strings.NewReader(answer.body)
	var err error
	switch answer.Header.Get("Content-Encoding") {
	case "gzip":
		reader, err = gzip.NewReader(reader)
	case "zstd":
		var decoder *zstd.Decoder
		decoder, err = zstd.NewReader(reader)
		t.Cleanup(decoder.Close)
		reader = decoder
	}
	require.NoError(t, err)
	text, err := io.ReadAll(reader)
	require.NoError(t, err)
	return string(text)
}

func TestAcceptEncoding(t *testing.T) {
	f := start(t, server.Default(), compressible)
	for accept, want := range map[string]string{
		"": "", "identity": "", "gzip": "gzip", "GZIP": "gzip", "x-gzip": "gzip", "zstd": "zstd", "gzip, zstd": "zstd", "gzip, deflate, br, zstd": "zstd",
		"br": "", "deflate": "", "*": "zstd", "*;q=0": "", "gzip;q=0": "", "gzip;q=0, *": "zstd", "gzip;q=1.0, zstd;q=0.9": "gzip",
		"zstd;q=0.5,gzip;q=0.5": "zstd", "zstd;q=0.000, gzip;q=0.001": "gzip", "zstd; q=0.2 , gzip ; Q=0.4": "gzip", "identity;q=1, gzip;q=0.5": "",
		"identity;q=0, gzip": "gzip", "identity;q=0.5, gzip;q=1": "gzip", "gzip;q=x": "", "gzip;q=2": "", "gzip;q=NaN": "", ",,": "", ";q=1": "", "gzip;q=-1": "",
	} {
		answer := f.do(http.MethodGet, "/large", "", "Accept-Encoding", accept)
		require.Equal(t, http.StatusOK, answer.StatusCode)
		require.Equal(t, want, answer.Header.Get("Content-Encoding"), "%q", accept)
		require.Contains(t, answer.Header.Values("Vary"), "Accept-Encoding")
		require.Equal(t, `"1.s.zh"`, answer.Header.Get("ETag"))
		require.Contains(t, plain(t, answer), strings.Repeat(largeText, 2000))
		if want != "" {
			require.Less(t, len(answer.body), 2000, accept)
		}
	}
}

func TestWhatIsCompressed(t *testing.T) {
	f := start(t, server.Default(), compressible)
	for path, want := range map[string]string{
		"/large": "gzip", "/small": "", "/bounds/1023": "", "/bounds/1024": "gzip", "/pieces": "", "/typed/pieces": "gzip", "/flushed": "",
		"/encoded": "br", "/image": "", "/length": "gzip", "/nothing": "", "/error": "", "/unknown": "", "/version": "",
	} {
		with := f.do(http.MethodGet, path, "", "Accept-Encoding", "gzip")
		without := f.do(http.MethodGet, path, "")
		require.Equal(t, without.StatusCode, with.StatusCode, path)
		require.Equal(t, want, with.Header.Get("Content-Encoding"), path)
		if want == "gzip" {
			require.Empty(t, with.Header.Get("Content-Length"), path)
		}
		require.Equal(t, without.body, plain(t, with), path)
		require.Contains(t, with.Header.Values("Vary"), "Accept-Encoding", path)
		require.Contains(t, without.Header.Values("Vary"), "Accept-Encoding", path)
	}
	require.Equal(t, http.StatusNotFound, f.do(http.MethodGet, "/error", "", "Accept-Encoding", "gzip").StatusCode)
	require.Equal(t, http.StatusInternalServerError, f.do(http.MethodGet, "/panic", "", "Accept-Encoding", "gzip").StatusCode)
}

// HEAD and 304 have the header fields of the GET, apart from those that depend on the
// body.
func TestHeadersOfCompressedResponses(t *testing.T) {
	f := start(t, server.Default(), compressible)
	for _, path := range []string{"/large", "/small"} {
		for _, accept := range []string{"gzip", "zstd", "identity"} {
			get := f.do(http.MethodGet, path, "", "Accept-Encoding", accept)
			head := f.do(http.MethodHead, path, "", "Accept-Encoding", accept)
			unchanged := f.do(http.MethodGet, path, "", "Accept-Encoding", accept, "If-None-Match", get.Header.Get("ETag"))
			require.Equal(t, http.StatusNotModified, unchanged.StatusCode)
			for _, other := range []result{head, unchanged} {
				require.Empty(t, other.body)
				require.Empty(t, other.Header.Get("Content-Encoding"))
				for _, name := range []string{"ETag", "Cache-Control", "Vary"} {
					require.Equal(t, get.Header.Values(name), other.Header.Values(name), name)
				}
			}
			require.Equal(t, get.Header.Get("Content-Type"), head.Header.Get("Content-Type"))
		}
	}
}

// A response that a panic cuts off is not ended as if it were complete.
func TestCompressedResponseIsCutOff(t *testing.T) {
	f := start(t, server.Default(), compressible)
	_, reader := f.raw(t, "GET /late/panic HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return // nothing was sent
	}
	_, err = io.ReadAll(response.Body)
	require.Error(t, err)
	require.NoError(t, response.Body.Close())
}

// The number of encoders is bounded: other responses are not compressed.
func TestEncodersAreBounded(t *testing.T) {
	release := make(chan struct{})
	var begun sync.WaitGroup
	f := start(t, server.Default(), func(e *gin.Engine) {
		compressible(e)
		e.GET("/held", func(c *gin.Context) {
			c.String(http.StatusOK, strings.Repeat("x", 2000))
			begun.Done()
			<-release
		})
	})
	var held sync.WaitGroup
	begun.Add(8)
	for range 8 {
		held.Go(func() {
			answer := f.do(http.MethodGet, "/held", "", "Accept-Encoding", "gzip")
			if answer.Header.Get("Content-Encoding") != "gzip" || plain(t, answer) != strings.Repeat("x", 2000) {
				t.Errorf("header %v", answer.Header)
			}
		})
	}
	begun.Wait()
	require.Empty(t, f.do(http.MethodGet, "/large", "", "Accept-Encoding", "gzip").Header.Get("Content-Encoding"))
	require.Equal(t, "zstd", f.do(http.MethodGet, "/large", "", "Accept-Encoding", "zstd").Header.Get("Content-Encoding"))
	close(release)
	held.Wait()
	for range 20 { // each encoder is used again
		answer := f.do(http.MethodGet, "/large", "", "Accept-Encoding", "gzip")
		require.Equal(t, "gzip", answer.Header.Get("Content-Encoding"))
		require.True(t, bytes.Contains([]byte(plain(t, answer)), []byte(largeText)))
	}
}
