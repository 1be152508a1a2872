package server

import (
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/achilles-blog/achilles/pkg/responses"
)

const (
	// compressFrom is the size in bytes from which a response is compressed.
	compressFrom = 1 << 10
	// maxCompressors is the number of responses that are compressed at once, by each
	// method. An encoder has up to a megabyte of memory. Others are sent as they are.
	maxCompressors = 8
	zstdWindow     = 64 << 10
)

// The methods of Config.Compression.
const (
	zstdMethod = "zstd"
	gzipMethod = "gzip"
)

// compressor is an encoder that can be used again.
type compressor interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// compressors are the encoders of one method. Those in the channel are free; nil
// stands for one that is not made yet.
type compressors struct {
	name   string
	free   chan compressor
	create func() (compressor, error)
}

func newCompressors(name string, create func() (compressor, error)) *compressors {
	all := &compressors{name: name, free: make(chan compressor, maxCompressors), create: create}
	for range maxCompressors {
		all.free <- nil
	}
	return all
}

// take returns an encoder that writes to w, or nil if all are in use.
func (c *compressors) take(w io.Writer) compressor {
	select {
	case encoder := <-c.free:
		if encoder == nil {
			var err error
			if encoder, err = c.create(); err != nil {
				c.free <- nil
				return nil
			}
		}
		encoder.Reset(w)
		return encoder
	default:
		return nil
	}
}

func (c *compressors) put(encoder compressor) {
	encoder.Reset(io.Discard) // lets go of the response
	c.free <- encoder
}

// encoders has the compressors of each method.
type encoders map[string]*compressors

func newEncoders() encoders {
	return encoders{
		zstdMethod: newCompressors(zstdMethod, func() (compressor, error) {
			return zstd.NewWriter(io.Discard, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
				zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
		}),
		gzipMethod: newCompressors(gzipMethod, func() (compressor, error) { return gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) }),
	}
}

// compress compresses responses by a method of Config.Compression, as the client accepts it.
// Responses without a body or below 1 KB, responses that are encoded already, and those with
// types that don't shrink, or with Cache-Control: no-transform, are sent as they are. The entity tag stays: it names the
// version of the object, and there are no ranges.
func (e encoders) compress(cfg Config) (gin.HandlerFunc, error) {
	var methods []*compressors // the preferred one first
	for _, name := range cfg.Compression {
		methods = append(methods, e[name])
	}
	if methods == nil {
		return func(*gin.Context) {}, nil
	}
	return func(c *gin.Context) {
		plain := c.Writer
		plain.Header().Add("Vary", "Accept-Encoding")
		method := accepted(c.Request.Header["Accept-Encoding"], methods)
		if method == nil || c.Request.Method == http.MethodHead {
			return
		}
		w := &compressingWriter{ResponseWriter: plain, method: method}
		c.Writer = w
		completed := false
		defer func() {
			c.Writer = plain // recovery must not write to w
			w.end(completed)
		}()
		c.Next()
		completed = true
	}, nil
}

// accepted returns the method that the client prefers (RFC 9110, 12.5.3), nil for
// none. Among equals, the first of methods is taken.
func accepted(lines []string, methods []*compressors) (best *compressors) {
	if len(lines) == 0 {
		return nil
	}
	if len(lines) == 1 && !strings.ContainsAny(lines[0], ";*-") { // as most clients send it
		return firstNamed(lines[0], methods)
	}
	weights := responses.Weights(lines)
	if old, named := weights["x-gzip"]; named {
		weights["gzip"] = max(weights["gzip"], old)
	}
	highest := 0.0
	for _, method := range methods {
		w, named := weights[method.name]
		if !named {
			w = weights["*"]
		}
		if w > highest && w >= weights["identity"] { // anything is better than no preference
			best, highest = method, w
		}
	}
	return best
}

// firstNamed returns the first of methods that a line without weights names.
func firstNamed(line string, methods []*compressors) *compressors {
	for _, method := range methods {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(name, " \t"), method.name) {
				return method
			}
		}
	}
	return nil
}

// compressingWriter holds back the first bytes of a response, until it is clear whether
// it is large enough to be compressed.
type compressingWriter struct {
	gin.ResponseWriter
	method  *compressors
	held    []byte
	decided bool
	encoder compressor // nil if the response is sent as it is
}

// Unwrap is for http.ResponseController.
func (w *compressingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write implements http.ResponseWriter.
func (w *compressingWriter) Write(data []byte) (int, error) {
	if !w.decided {
		if len(w.held)+len(data) < compressFrom && w.compressible() {
			w.held = append(w.held, data...)
			return len(data), nil
		}
		if err := w.decide(len(w.held)+len(data) >= compressFrom); err != nil {
			return 0, err
		}
	}
	if w.encoder != nil {
		return w.encoder.Write(data)
	}
	return w.ResponseWriter.Write(data)
}

// WriteString implements io.StringWriter.
func (w *compressingWriter) WriteString(text string) (int, error) { return w.Write([]byte(text)) }

// Written implements gin.ResponseWriter.
func (w *compressingWriter) Written() bool { return len(w.held) > 0 || w.ResponseWriter.Written() }

// WriteHeaderNow implements gin.ResponseWriter.
func (w *compressingWriter) WriteHeaderNow() {
	_ = w.decide(false)
	w.ResponseWriter.WriteHeaderNow()
}

// Flush implements http.Flusher.
func (w *compressingWriter) Flush() {
	_ = w.decide(false)
	if w.encoder != nil {
		_ = w.encoder.Flush()
	}
	w.ResponseWriter.Flush()
}

// compressible reports whether the response may be compressed.
func (w *compressingWriter) compressible() bool {
	header, status := w.Header(), w.Status()
	if w.ResponseWriter.Written() || header.Get("Content-Encoding") != "" || header.Get("Content-Range") != "" ||
		strings.Contains(header.Get("Cache-Control"), "no-transform") || status < http.StatusOK || status == http.StatusNoContent || status == http.StatusPartialContent || status == http.StatusNotModified {
		return false
	}
	kind, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml") ||
		slices.Contains([]string{"application/json", "application/javascript", "application/yaml", "application/xml", "application/x-ndjson"}, kind)
}

// decide sends what was held back, compressed if it may be and an encoder is free.
func (w *compressingWriter) decide(large bool) error {
	if w.decided {
		return nil
	}
	w.decided = true
	if large && w.compressible() {
		w.encoder = w.method.take(w.ResponseWriter)
	}
	to := io.Writer(w.ResponseWriter)
	if w.encoder != nil {
		w.Header().Set("Content-Encoding", w.method.name)
		w.Header().Del("Content-Length")
		to = w.encoder
	}
	held := w.held
	w.held = nil
	if len(held) == 0 {
		return nil
	}
	_, err := to.Write(held)
	return err
}

// end completes the response and gives back the encoder. A response that was not
// completed, because of a panic, is not ended, so that the client notices.
func (w *compressingWriter) end(completed bool) {
	if completed {
		_ = w.decide(false)
	}
	if w.encoder == nil {
		return
	}
	if completed {
		_ = w.encoder.Close()
	}
	w.method.put(w.encoder)
	w.encoder = nil
}
