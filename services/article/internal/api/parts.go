package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/services/article/internal/file"
)

const (
	multipartType = "multipart/form-data"
	// maxHead is the maximum number of bytes that are read from the end of a part to the
	// beginning of the content of the next: its header, and what is read ahead.
	maxHead = 32 << 10
	// partOverhead is how many bytes of a body a part takes beside its content.
	partOverhead = 16 << 10
	// readStall is how long a client may send nothing of an upload.
	readStall = 10 * time.Second
	// shownName is the maximum length of a name of a part in an error.
	shownName = 100
)

// UploadBytes returns the maximum size of a body with files of at most size bytes together.
func UploadBytes(size int64, files int) int64 { return size + partOverhead*int64(files+1) }

// parts returns the parts of an upload.
func (f *Files) parts(c *gin.Context) (*parts, error) {
	kind, params, err := mime.ParseMediaType(c.Request.Header.Get("Content-Type"))
	if err != nil { // the parameters are invalid
		kind, _, _ = strings.Cut(c.Request.Header.Get("Content-Type"), ";")
		kind = strings.ToLower(strings.TrimSpace(kind))
	}
	switch encoding := c.Request.Header.Get("Content-Encoding"); {
	case kind != multipartType, encoding != "" && encoding != "identity":
		return nil, errcode.New(errcode.UnsupportedMediaType, errcode.Text{
			ZH: "Content-Type 必须是 multipart/form-data, 且未压缩", EN: "Content-Type must be multipart/form-data, not compressed", ZHHantTW: "Content-Type 必須是 multipart/form-data, 且未壓縮",
		})
	case err != nil, params["boundary"] == "", len(params["boundary"]) > 70: // RFC 2046, 5.1.1
		return nil, invalidBoundary(err)
	case c.Request.ContentLength > f.RequestBytes:
		return nil, requests.TooLarge(f.RequestBytes)
	}
	body := &uploadBody{
		body: http.MaxBytesReader(c.Writer, c.Request.Body, f.RequestBytes), until: time.Now().Add(f.Timeout),
		connection: http.NewResponseController(c.Writer), left: maxHead,
	}
	return &parts{Reader: multipart.NewReader(body, params["boundary"]), body: body}, nil
}

// parts are the parts of a body.
type parts struct {
	*multipart.Reader
	body *uploadBody
}

// next returns the next part, and the name of its file. At the end, the error is io.EOF.
func (p *parts) next() (*multipart.Part, string, error) {
	p.body.left = maxHead
	part, err := p.NextRawPart() // the content is as it was sent, also if it is said to be quoted-printable
	switch {
	case err != nil && p.body.left == 0:
		return nil, "", errHead // whatever the parser says of what it has got
	case err != nil:
		return nil, "", err
	}
	p.body.left = -1
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	name, isFile := params["filename"]
	switch {
	case err != nil:
		return nil, "", invalidHead(err)
	case params["name"] != file.Field:
		return nil, "", unknownPart(params["name"])
	case !isFile:
		return nil, "", notAFile()
	}
	return part, name, nil
}

var errHead = errors.New("the header of a part is too long")

// uploadBody is the body of an upload. Its client must send something every readStall.
type uploadBody struct {
	body       io.Reader
	connection *http.ResponseController
	until      time.Time
	left       int64 // number of bytes that may be read before the content of a part, or -1
	end        int   // number of bytes of bodyEnd that have been read
}

// bodyEnd follows each body: the last line may lack its end.
const bodyEnd = "\r\n"

// Read implements io.Reader. The body and bodyEnd end with io.ErrUnexpectedEOF: behind the last
// part, a multipart.Reader reads no further, and what it takes for an end, with io.EOF,
// may be none.
func (b *uploadBody) Read(to []byte) (int, error) {
	if b.left == 0 {
		return 0, errHead
	}
	if b.left > 0 {
		to = to[:min(int64(len(to)), b.left)]
	}
	deadline := time.Now().Add(readStall)
	if b.until.Before(deadline) {
		deadline = b.until
	}
	_ = b.connection.SetReadDeadline(deadline)
	n, err := b.body.Read(to)
	if err == io.EOF { // never wrapped
		n, err = b.readEnd(to, n)
	}
	if b.left > 0 {
		b.left -= int64(n)
	}
	return n, err
}

// readEnd goes on with the end of the body, of which n bytes have been read.
func (b *uploadBody) readEnd(to []byte, n int) (int, error) {
	if b.end == len(bodyEnd) && n == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	more := copy(to[n:], bodyEnd[b.end:])
	b.end += more
	return n + more, nil
}

// receive spools the files of an upload. It returns them also with an error.
func (f *Files) receive(c *gin.Context, parts *parts) (spooled []*file.Spooled, err error) {
	for {
		part, name, err := parts.next()
		switch {
		case err == io.EOF && len(spooled) > 0: // never wrapped
			return spooled, nil
		case err == io.EOF:
			return spooled, noFile()
		case err != nil:
			return spooled, uploadError(err)
		case len(spooled) == f.RequestFiles:
			return spooled, tooManyFiles(f.RequestFiles)
		}
		one, err := f.Service.Spool(c.Request.Context(), name, part)
		if err != nil {
			return spooled, uploadError(err)
		}
		spooled = append(spooled, one)
	}
}

// uploadError returns the error of a body that can't be read.
func uploadError(err error) error {
	var coded *errcode.Error
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &coded), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &over):
		return requests.TooLarge(over.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errcode.Wrap(errcode.SlowRequest, err)
	case errors.Is(err, errHead), errors.Is(err, multipart.ErrMessageTooLarge):
		return malformed(err, errcode.Text{
			ZH:       fmt.Sprintf("文件内容之前的部分超过%d字节", maxHead),
			EN:       fmt.Sprintf("what precedes the content of a file, such as the header of its part, has more than %d bytes, or too many lines", maxHead),
			ZHHantTW: fmt.Sprintf("檔案內容之前的部分超過%d位元組", maxHead),
		})
	}
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		return invalidHead(err)
	}
	return malformed(err, errcode.Text{
		ZH:       "请求体不是完整的 multipart/form-data, 或与其 boundary 不符",
		EN:       "the body is not a complete multipart/form-data, or has another boundary than Content-Type says",
		ZHHantTW: "請求內容不是完整的 multipart/form-data, 或與其 boundary 不符",
	})
}

// malformed returns the error of a body, or of its type, that does not follow the rules.
func malformed(cause error, text errcode.Text) error {
	return &errcode.Error{Code: errcode.InvalidParams, Cause: cause, Details: []errcode.Detail{{Text: text}}}
}

func invalidBoundary(cause error) error {
	return malformed(cause, errcode.Text{
		ZH:       "Content-Type 必须有且仅有一个 1 到 70 个字符的 boundary",
		EN:       "Content-Type must have one boundary, of 1 to 70 characters",
		ZHHantTW: "Content-Type 必須有且僅有一個 1 到 70 個字元的 boundary",
	})
}

func invalidHead(cause error) error {
	return malformed(cause, errcode.Text{
		ZH:       `文件部分的标头无效: 需要 Content-Disposition: form-data; name="file"; filename="…", 每个参数一次, 用引号, 不含控制字符`,
		EN:       `the header of a part is invalid: it needs Content-Disposition: form-data; name="file"; filename="…", each parameter once, in quotation marks, without control characters`,
		ZHHantTW: `檔案部分的標頭無效: 需要 Content-Disposition: form-data; name="file"; filename="…", 每個參數一次, 用引號, 不含控制字元`,
	})
}

func unknownPart(name string) error {
	quoted := strconv.QuoteToGraphic(fmt.Sprintf("%.*s", shownName, name))
	return &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{errcode.Invalid(fmt.Sprintf("%.*s", shownName, name), errcode.UnknownField, errcode.Text{
		ZH: "没有字段" + quoted + ", 文件的字段是file", EN: "there is no field " + quoted + "; files have the field file", ZHHantTW: "沒有欄位" + quoted + ", 檔案的欄位是file",
	})}}
}

func invalidFile(reason errcode.Reason, text errcode.Text) error {
	return &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{errcode.Invalid(file.Field, reason, text)}}
}

func notAFile() error {
	return invalidFile(errcode.InvalidType, errcode.Text{ZH: "file必须是带文件名的文件 (filename*须为UTF-8)", EN: "file must be a file, with a filename (filename* in UTF-8)", ZHHantTW: "file必須是帶檔名的檔案 (filename*須為UTF-8)"})
}

func noFile() error {
	return invalidFile(errcode.Required, errcode.Text{ZH: "file为必填字段", EN: "file is a required field", ZHHantTW: "file為必填欄位"})
}

func tooManyFiles(most int) error {
	return invalidFile(errcode.TooLong, errcode.Text{
		ZH:       fmt.Sprintf("一次最多上传%d个文件", most),
		EN:       fmt.Sprintf("an upload must have at most %d files", most),
		ZHHantTW: fmt.Sprintf("一次最多上傳%d個檔案", most),
	})
}
