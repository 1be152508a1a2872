package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"mime/multipart"
	"net/http"
	"net/url"
	"time"
)

// File is an uploaded file.
type File struct {
	ID     uint64 `json:"file_id"`
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // in bytes
	Type   string `json:"type"`   // media type of the content, whatever its name says
	SHA256 string `json:"sha256"` // of the content, in hexadecimal
	// Width and Height are those of an image in pixels, 0 for other files.
	Width  int `json:"width"`
	Height int `json:"height"`
	// URL is the path of the content, without the address of the service.
	URL       string    `json:"url"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
}

// NewFile is a file to upload.
type NewFile struct {
	Name    string
	Content []byte
}

// FileFilter selects the files of a list.
type FileFilter struct {
	CreatedBy string // the app key of the client that uploaded them
}

func (f FileFilter) query() url.Values {
	query := url.Values{}
	set(query, "created_by", f.CreatedBy)
	return query
}

const (
	filesPath = "/api/v1/file"
	// transferTimeout is the minimum time of an upload or a download: longer than the
	// service gives it, unless configured otherwise.
	transferTimeout = 70 * time.Second
)

// UploadFiles stores files together: all of them, or none. It returns them in the same order.
// The service accepts at most 10 files, each of at most 10 MiB, and together of at most 50 MiB,
// unless configured otherwise.
func (c *Client) UploadFiles(ctx context.Context, files []NewFile, options ...Option) ([]File, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, file := range files {
		part, err := form.CreateFormFile("file", file.Name)
		if err != nil {
			return nil, err
		}
		if _, err := part.Write(file.Content); err != nil {
			return nil, err
		}
	}
	if err := form.Close(); err != nil {
		return nil, err
	}
	request := newCreation(c.article, filesPath+"/upload", body.Bytes(), options)
	request.header.Set("Content-Type", form.FormDataContentType())
	request.timeout = transferTimeout
	stored, err := object[struct {
		Files []File `json:"files"`
	}](ctx, c, request)
	return stored.Files, err
}

// DownloadFile writes the content of a file to a writer. After a broken connection it goes on
// where it was. After an error a part of the content may have been written. If there is no such
// file, the error has the code FileNotFound.
func (c *Client) DownloadFile(ctx context.Context, id uint64, to io.Writer) error {
	request := newCall(http.MethodGet, c.article, at(filesPath+"/download", id), nil)
	request.to, request.timeout = to, transferTimeout
	_, err := c.do(ctx, request, &envelope{})
	return err
}

// Files returns all files of a filter, the newest one first. The first error ends the list.
func (c *Client) Files(ctx context.Context, filter FileFilter) iter.Seq2[File, error] {
	return all[File](ctx, c, c.article, filesPath+"/list", filter.query())
}

// FilePage returns a page of the files of a filter.
func (c *Client) FilePage(ctx context.Context, filter FileFilter, at PageAt) (Page[File], error) {
	return page[File](ctx, c, c.article, filesPath+"/list", filter.query(), at)
}

// DeleteFile deletes a file. If an article has it as its cover, the error has the code
// FileInUse.
func (c *Client) DeleteFile(ctx context.Context, id uint64, options ...Option) error {
	return c.remove(ctx, newCall(http.MethodDelete, c.article, at(filesPath, id), nil, options...))
}

// resume asks for what has not been written yet. The content of a file never changes.
func (r *call) resume(header http.Header) {
	header.Del("Accept")
	if r.written > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", r.written))
	}
}

// download writes the content of a response, without what has been written before.
func (r *call) download(response *http.Response) error {
	if response.StatusCode == http.StatusOK && r.written > 0 { // a proxy without ranges
		if _, err := io.CopyN(io.Discard, response.Body, r.written); err != nil {
			return fmt.Errorf("%s %s: reading the response: %w", r.method, r.path, err)
		}
	}
	_, err := io.Copy(content{r}, response.Body)
	if err != nil {
		return fmt.Errorf("%s %s: the content after %d bytes: %w", r.method, r.path, r.written, err)
	}
	return nil
}

// content writes to the writer of a call. A writer that fails ends the call.
type content struct{ *call }

func (c content) Write(text []byte) (int, error) {
	n, err := c.to.Write(text)
	c.written += int64(n)
	if err != nil {
		c.repeatable = false
	}
	return n, err
}
