package api

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/file"
)

// maxRanges is the maximum number of ranges of a download. A request with more gets the
// whole file.
const maxRanges = 8

// download sends the content of a file.
//
//	@Summary	Download a file, or ranges of it
//	@Description	The content of an id never changes. Images are shown by browsers, other files are saved.
//	@ID	downloadFile
//	@Tags		files
//	@Produce	octet-stream
//	@Param		file_id	path		integer	true	"id of the file"	minimum(1)
//	@Param		Range	header		string	false	"ranges of bytes (RFC 9110, 14), at most 8; of more, the whole file is sent"
//	@Param		If-Range	header		string	false	"ETag of the file that the ranges belong to"
//	@Success	200		{file}	file	"the content"
//	@Success	206		{file}	file	"the ranges"
//	@Failure	400	{object}	responses.Problem	"invalid id (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such file (20030005)"
//	@Failure	412	{object}	responses.Problem	"not the ETag of If-Match (10000009)"
//	@Failure	416	{object}	responses.Problem	"no such range (20030013)"
//	@Failure	501	{object}	responses.Problem	"no storage of files is configured (20030012)"
//	@Security	AppToken
//	@Router		/api/v1/file/download/{file_id} [get]
//	@Router		/api/v1/file/download/{file_id} [head]
func (f *Files) download(c *gin.Context) {
	id, err := fileID(c)
	if err != nil {
		responses.Error(c, err)
		return
	}
	found, err := f.Service.Get(c.Request.Context(), id)
	if err != nil {
		responses.ErrorOr(c, err, errcode.DownloadFailed)
		return
	}
	if ranges := parseRanges(c.Request.Header.Get("Range")); ranges == "" {
		c.Request.Header.Del("Range")
	} else {
		c.Request.Header.Set("Range", ranges)
	}
	opened := f.Service.Open(c.Request.Context(), found)
	defer func() { _ = opened.Close() }()
	others := c.Writer.Header().Clone()
	setFileHeaders(c.Writer.Header(), found)
	content := &observed{ReadSeeker: opened}
	to := &fileWriter{ResponseWriter: responses.Writer(c)}
	http.ServeContent(to, c.Request, "", time.Time{}, content)
	switch err := fileError(to, content, found); {
	case err == nil:
	case c.Writer.Written():
		_ = c.Error(fmt.Errorf("%w: %w", responses.ErrIncomplete, err))
		c.Abort()
	default:
		header := c.Writer.Header()
		clear(header)
		maps.Copy(header, others)
		if to.refused == http.StatusRequestedRangeNotSatisfiable {
			header.Set("Content-Range", fmt.Sprintf("bytes */%d", found.Size))
		}
		header.Set("Cache-Control", "no-store")
		responses.ErrorOr(c, err, errcode.DownloadFailed)
	}
}

// parseRanges returns the ranges of a header Range as http.ServeContent understands them, or "" if
// they are ignored (RFC 9110, 14.2): those of another unit, and more than maxRanges. Numbers that are
// too large are those of the end.
func parseRanges(header string) string {
	unit, set, ok := strings.Cut(header, "=")
	specs := strings.Split(set, ",")
	if !ok || !strings.EqualFold(unit, "bytes") || len(specs) > maxRanges {
		return ""
	}
	for i, spec := range specs {
		first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
		first, last = clampNumber(first), clampNumber(last)
		if first == "" && last == "0" { // the last 0 bytes, which no file has
			first, last = largestNumber, ""
		}
		if ok { // otherwise it is empty or invalid
			specs[i] = first + "-" + last
		}
	}
	return "bytes=" + strings.Join(specs, ",")
}

// largestNumber is a number that no size of a file exceeds.
const largestNumber = "999999999999999999"

// clampNumber returns a number without zeros before it, and at most largestNumber. It returns what
// is none as another text that is none.
func clampNumber(text string) string {
	digits := strings.TrimLeft(text, "0")
	switch {
	case text == "":
		return ""
	case strings.Trim(text, "0123456789") != "":
		return "invalid"
	case digits == "":
		return "0"
	case len(digits) > len(largestNumber):
		return largestNumber
	default:
		return digits
	}
}

// fileError returns why a file was not sent completely.
func fileError(to *fileWriter, content *observed, f file.File) error {
	switch {
	case to.refused == http.StatusRequestedRangeNotSatisfiable:
		return errcode.New(errcode.RangeNotSatisfiable, errcode.Text{
			ZH: fmt.Sprintf("文件只有%d字节", f.Size), EN: fmt.Sprintf("the file has %d bytes", f.Size), ZHHantTW: fmt.Sprintf("檔案只有%d位元組", f.Size),
		})
	case to.refused == http.StatusPreconditionFailed:
		return errcode.New(errcode.PreconditionFailed)
	case content.err != nil:
		return content.err
	default:
		return to.err
	}
}

// entityTag returns the strong entity tag of the content of a file.
func entityTag(f file.File) string { return `"` + f.Digest.String() + `"` }

// setFileHeaders sets the header fields of a file. Its content never changes, so caches may
// keep it. It must not be compressed on the way: its ETag names its bytes, of which
// clients ask for ranges. If a browser shows it, it is in an origin of its own and runs nothing.
func setFileHeaders(header http.Header, f file.File) {
	header.Set("Content-Type", f.Type)
	header.Set("ETag", entityTag(f))
	header.Set("Cache-Control", "public, max-age=31536000, immutable, no-transform")
	header.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	header.Set("Cross-Origin-Resource-Policy", "cross-origin")
	header.Set("Content-Disposition", disposition(f))
}

// disposition returns a Content-Disposition (RFC 6266) with the name of a file, for old
// clients also without the characters that these can't read.
func disposition(f file.File) string {
	kind := "attachment"
	if f.Inline() {
		kind = "inline"
	}
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\%/;`, r) {
			return '_'
		}
		return r
	}, f.Name)
	return kind + `; filename="` + ascii + `"; filename*=UTF-8''` + extended(f.Name)
}

// extended encodes a text as RFC 8187 has it.
func extended(text string) string {
	const unreserved = "!#$&+-.^_`|~"
	var encoded strings.Builder
	for i := range len(text) {
		b := text[i]
		if b < utf8.RuneSelf && (b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || strings.IndexByte(unreserved, b) >= 0) {
			encoded.WriteByte(b)
			continue
		}
		_, _ = fmt.Fprintf(&encoded, "%%%02X", b)
	}
	return encoded.String()
}

// observed keeps the error of a content: http.ServeContent doesn't return it.
type observed struct {
	io.ReadSeeker
	err error
}

// Read implements io.Reader.
func (o *observed) Read(part []byte) (int, error) {
	n, err := o.ReadSeeker.Read(part)
	if err != nil && !errors.Is(err, io.EOF) {
		o.err = err
	}
	return n, err
}

// fileWriter holds back errors of http.ServeContent, which are no JSON.
type fileWriter struct {
	http.ResponseWriter
	refused int // the status of an error
	err     error
}

// WriteHeader implements http.ResponseWriter.
func (w *fileWriter) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		w.refused = status
		return
	}
	if status == http.StatusNotModified {
		w.Header().Del("Content-Disposition")
		w.Header().Del("Cross-Origin-Resource-Policy")
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *fileWriter) Write(part []byte) (n int, err error) {
	if w.refused > 0 {
		return len(part), nil
	}
	n, w.err = w.ResponseWriter.Write(part)
	return n, w.err
}
