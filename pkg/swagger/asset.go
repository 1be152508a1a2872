package swagger

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/achilles-blog/achilles/pkg/responses"
)

// asset is a file that is kept and usually sent compressed.
type asset struct {
	contentType string
	gzipped     []byte
	// plain returns the content. It is in memory once, from its first use on: each
	// response would need a decompressor.
	plain func() []byte
	// version is in the URLs with which the page refers to its assets, which
	// therefore never change.
	version string
}

func newAsset(contentType string, gzipped []byte) asset {
	sum := sha256.Sum256(gzipped)
	return asset{
		contentType: contentType, gzipped: gzipped, version: hex.EncodeToString(sum[:8]),
		plain: sync.OnceValue(func() []byte { return decompress(gzipped) }),
	}
}

// compress returns content in gzip format.
func compress(content []byte) []byte {
	var buffer bytes.Buffer
	w, _ := gzip.NewWriterLevel(&buffer, gzip.BestCompression) // the level is valid
	_, _ = w.Write(content)                                    // a buffer takes everything
	_ = w.Close()
	return buffer.Bytes()
}

// decompress returns the content of a file of this program in gzip format.
func decompress(gzipped []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(gzipped))
	if err != nil {
		return nil
	}
	content, _ := io.ReadAll(r)
	return content
}

// ServeHTTP implements http.Handler.
func (a asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", contentSecurityPolicy)
	header.Set("Content-Type", a.contentType)
	header.Set("Cache-Control", "no-cache")
	if r.URL.RawQuery == versionQuery+a.version {
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	header.Add("Vary", "Accept-Encoding")
	content, etag := a.plain, a.version
	if responses.Weights(r.Header.Values("Accept-Encoding"))["gzip"] > 0 {
		content, etag = func() []byte { return a.gzipped }, a.version+".gzip"
		header.Set("Content-Encoding", "gzip")
	}
	header.Set("ETag", `"`+etag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content()))
}
