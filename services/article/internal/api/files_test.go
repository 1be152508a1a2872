package api_test

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/blobs/blobstest"
)

const (
	filePath   = "/api/v1/file"
	uploadPath = filePath + "/upload"
	listPath   = filePath + "/list"
)

// part is a part of an upload.
type part struct{ field, name, content string }

func one(name, content string) part { return part{"file", name, content} }

// body returns the body of an upload, and its content type.
func body(t *testing.T, parts ...part) ([]byte, string) {
	t.Helper()
	var text bytes.Buffer
	w := multipart.NewWriter(&text)
	for _, p := range parts {
		to, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf(`form-data; name="%s"; filename="%s"`, p.field, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(p.name))}})
		require.NoError(t, err)
		_, err = to.Write([]byte(p.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return text.Bytes(), w.FormDataContentType()
}

func uploading(t *testing.T, parts ...part) apitest.Case {
	t.Helper()
	content, contentType := body(t, parts...)
	return apitest.Case{Method: http.MethodPost, Path: uploadPath, Body: content, ContentType: contentType}
}

type uploadResponse struct{ Data api.Uploaded }

// upload requires that the files are stored.
func (s *service) upload(t *testing.T, parts ...part) []api.File {
	t.Helper()
	result := s.Do(t, uploading(t, parts...))
	require.Equal(t, http.StatusCreated, result.Status, "%s", result.Body)
	var response uploadResponse
	result.JSON(t, &response)
	return response.Data.Files
}

type fileList struct {
	List  []api.File
	Pager responses.Pager
}

func (s *service) listFiles(t *testing.T, query string) (found fileList) {
	t.Helper()
	result := s.Do(t, apitest.Case{Path: listPath + query})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	result.JSON(t, &found)
	return found
}

func (s *service) deleteFile(t *testing.T, f api.File) {
	t.Helper()
	result := s.Do(t, apitest.Case{Method: http.MethodDelete, Path: fmt.Sprint(filePath, "/", f.FileID)})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
}

// eachStorage runs a test on each database with each storage.
func eachStorage(t *testing.T, test func(t *testing.T, s *service)) {
	t.Helper()
	blobstest.Each(t, func(t *testing.T, address string) {
		dbtest.Each(t, func(t *testing.T, cfg database.Config) {
			s := start(t, cfg, func(o *options) { o.storage = address })
			s.loadTags(t, 3)
			test(t, s)
		})
	})
}

// Small images of 2 × 3 pixels, or their beginnings.
func png(width, height uint32) string {
	header := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
	for _, n := range []uint32{width, height} {
		header = append(header, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	header = append(header, 8, 2, 0, 0, 0)
	return string(appendCRC(header, 12))
}

const gif = "GIF89a\x02\x00\x03\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x02\x00\x03\x00\x00\x02\x02D\x01\x00;"

func TestFiles(t *testing.T) {
	eachStorage(t, func(t *testing.T, s *service) {
		text, image := strings.Repeat("text\n", 1000), png(2, 3)
		files := s.upload(t, one("笔记.txt", text), one("a.png", image), one("a.png", image))
		require.Len(t, files, 3)
		require.Equal(t, "笔记.txt", files[0].Name)
		require.Equal(t, "text/plain", files[0].Type)
		require.EqualValues(t, len(text), files[0].Size)
		require.Equal(t, "test", files[0].CreatedBy)
		require.Nil(t, files[0].Width)
		require.Equal(t, "image/png", files[1].Type)
		require.Equal(t, 2, *files[1].Width)
		require.Equal(t, 3, *files[1].Height)
		require.Equal(t, files[1].SHA256, files[2].SHA256, "equal bytes")
		require.NotEqual(t, files[1].FileID, files[2].FileID, "the same name twice overwrites nothing")

		for i, want := range []string{text, image, image} {
			got := s.anonymous.Do(t, apitest.Case{Path: files[i].URL, Header: http.Header{"Accept-Encoding": {"gzip"}}})
			require.Equal(t, http.StatusOK, got.Status, "%s", got.Body)
			require.Equal(t, want, string(got.Body))
			require.Equal(t, files[i].Type, got.Header.Get("Content-Type"))
			require.Equal(t, `"`+files[i].SHA256+`"`, got.Header.Get("ETag"))
			require.Empty(t, got.Header.Get("Content-Encoding"), "not compressed")
			head := s.anonymous.Do(t, apitest.Case{Method: http.MethodHead, Path: files[i].URL})
			require.Equal(t, fmt.Sprint(len(want)), head.Header.Get("Content-Length"))
		}
		got := s.anonymous.Do(t, apitest.Case{Path: files[0].URL})
		for name, want := range map[string]string{
			"Cache-Control":                "public, max-age=31536000, immutable, no-transform",
			"X-Content-Type-Options":       "nosniff",
			"Content-Security-Policy":      "sandbox; default-src 'none'",
			"Cross-Origin-Resource-Policy": "cross-origin",
			"Accept-Ranges":                "bytes",
			"Content-Disposition":          `attachment; filename="__.txt"; filename*=UTF-8''%E7%AC%94%E8%AE%B0.txt`,
		} {
			require.Equal(t, want, got.Header.Get(name), name)
		}
		got = s.anonymous.Do(t, apitest.Case{Path: files[1].URL})
		require.Equal(t, `inline; filename="a.png"; filename*=UTF-8''a.png`, got.Header.Get("Content-Disposition"))

		first := s.listFiles(t, "?page_size=2")
		require.Equal(t, []api.File{files[2], files[1]}, first.List)
		require.EqualValues(t, 3, first.Pager.TotalRows)
		second := s.listFiles(t, "?page_size=2&after="+first.Pager.Next)
		require.Equal(t, []api.File{files[0]}, second.List)
		require.Empty(t, second.Pager.Next)
		require.Equal(t, second.List, s.listFiles(t, "?page_size=2&page=2").List)
		require.Empty(t, s.listFiles(t, "?created_by=other").List)
		require.Equal(t, first.List, s.listFiles(t, "?created_by=test&page_size=2").List)

		s.deleteFile(t, files[1])
		s.requireError(t, apitest.Case{Path: files[1].URL}, errcode.FileNotFound)
		s.requireError(t, apitest.Case{Method: http.MethodDelete, Path: fmt.Sprint(filePath, "/", files[1].FileID)}, errcode.FileNotFound)
		require.Equal(t, image, string(s.Do(t, apitest.Case{Path: files[2].URL}).Body), "another file has the same bytes")
		require.EqualValues(t, 2, s.listFiles(t, "").Pager.TotalRows)
	})
}

func TestUploadIsIdempotent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg, func(o *options) { o.quota.Files = 2 })
		c := uploading(t, one("a.txt", "a"), one("b.txt", "b"))
		c.Header = http.Header{"Idempotency-Key": {"key"}}
		first := s.Do(t, c)
		require.Equal(t, http.StatusCreated, first.Status, "%s", first.Body)
		again := s.Do(t, c)
		require.Equal(t, http.StatusCreated, again.Status, "also if the quota is used up")
		require.Equal(t, string(first.Body), string(again.Body))
		require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
		require.EqualValues(t, 2, s.listFiles(t, "").Pager.TotalRows)
		for _, other := range [][]part{{one("a.txt", "a")}, {one("a.txt", "a"), one("b.txt", "c")}, {one("a.txt", "a"), one("c.txt", "b")}} {
			c := uploading(t, other...)
			c.Header = http.Header{"Idempotency-Key": {"key"}}
			require.Equal(t, errcode.KeyReused.Status(), s.Do(t, c).Status)
		}
	})
}

func TestWhoMayUseFiles(t *testing.T) {
	s := embedded(t)
	f := s.upload(t, one("a.txt", "a"))[0]
	reader := s.anonymous.With(apitest.Token(t, s.keySet, "reader"))
	require.Equal(t, http.StatusOK, reader.Do(t, apitest.Case{Path: listPath}).Status)
	for _, c := range []struct {
		client *apitest.Client
		apitest.Case
		status int
	}{
		{s.anonymous, uploading(t, one("b", "b")), http.StatusUnauthorized},
		{s.anonymous, apitest.Case{Path: listPath}, http.StatusUnauthorized},
		{s.anonymous, apitest.Case{Method: http.MethodDelete, Path: fmt.Sprint(filePath, "/", f.FileID)}, http.StatusUnauthorized},
		{reader, uploading(t, one("b", "b")), http.StatusForbidden},
		{reader, apitest.Case{Method: http.MethodDelete, Path: fmt.Sprint(filePath, "/", f.FileID)}, http.StatusForbidden},
		{s.anonymous, apitest.Case{Path: f.URL}, http.StatusOK},
	} {
		require.Equal(t, c.status, c.client.Do(t, c.Case).Status, "%s %s", c.Method, c.Path)
	}
	require.Len(t, s.listFiles(t, "").List, 1)
}

func TestFilesAreNotConfigured(t *testing.T) {
	s := embedded(t, func(o *options) { o.storage = "" })
	for _, c := range []apitest.Case{uploading(t, one("a", "a")), {Path: listPath}, {Path: filePath + "/download/1"}, {Method: http.MethodDelete, Path: filePath + "/1"}} {
		s.requireError(t, c, errcode.FilesNotConfigured, "此服务没有文件存储 (设置 Files.URL)")
	}
	s.create(t, fields{"title": "works"})
}

func TestCoverFile(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		f := s.upload(t, one("a.png", png(2, 3)))[0]
		unknown := func(id uint64) string { return fmt.Sprintf("cover_file_id不是已存在的文件: %d", id) }
		for _, id := range []uint64{f.FileID + 1, 1 << 63} {
			s.requireError(t, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "a", "cover_file_id": id}}, errcode.UnknownFile, unknown(id))
		}
		text := s.upload(t, one("a.txt", "text"))[0]
		s.requireError(t, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "a", "cover_file_id": text.FileID}}, errcode.InvalidParams, fmt.Sprintf("cover_file_id必须是图片, 文件%d是text/plain", text.FileID))
		a := s.create(t, fields{"title": "a", "cover_file_id": f.FileID})
		require.Equal(t, f.FileID, *a.CoverFileID)
		require.Equal(t, f.FileID, *s.get(t, a.ID).CoverFileID)
		require.Equal(t, f.FileID, *s.list(t, "").List[0].CoverFileID)
		s.requireError(t, apitest.Case{Method: http.MethodPut, Path: at(a.ID), JSON: fields{"cover_file_id": 99}}, errcode.UnknownFile, unknown(99))
		remove := apitest.Case{Method: http.MethodDelete, Path: fmt.Sprint(filePath, "/", f.FileID)}
		s.requireError(t, remove, errcode.FileInUse, fmt.Sprintf(`文章%d "a"使用此文件作为封面`, a.ID))
		require.Equal(t, a.UpdatedAt, s.put(t, a.ID, fields{"cover_file_id": f.FileID}).UpdatedAt, "nothing changes")
		for _, none := range []any{nil, 0} {
			require.Nil(t, s.put(t, a.ID, fields{"cover_file_id": none}).CoverFileID)
			require.Nil(t, s.get(t, a.ID).CoverFileID)
			require.Equal(t, f.FileID, *s.put(t, a.ID, fields{"cover_file_id": f.FileID}).CoverFileID)
		}
		s.delete(t, a.ID)
		s.deleteFile(t, f)
		s.requireError(t, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "a", "cover_file_id": f.FileID}}, errcode.UnknownFile, unknown(f.FileID))
	})
}

func TestDeleteWithPrecondition(t *testing.T) {
	s := embedded(t)
	f := s.upload(t, one("a.txt", "a"))[0]
	c := apitest.Case{Method: http.MethodDelete, Path: fmt.Sprint(filePath, "/", f.FileID), Header: http.Header{"If-Match": {`"other"`}}}
	require.Equal(t, http.StatusPreconditionFailed, s.Do(t, c).Status)
	c.Header.Set("If-Match", `"`+f.SHA256+`"`)
	require.Equal(t, http.StatusOK, s.Do(t, c).Status)
}

func TestQuota(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg, func(o *options) { o.quota.Files, o.quota.Bytes = 3, 10 })
		const exceeded = "每个客户端最多可存储3个文件, 共10字节; 请先删除不再需要的文件"
		f := s.upload(t, one("a", "12345"), one("b", "12345"))[0] // exactly
		s.requireError(t, uploading(t, one("c", "1")), errcode.FileQuotaExceeded, exceeded)
		other := s.anonymous.With(apitest.Token(t, s.keySet, "other", auth.ScopeWrite))
		require.Equal(t, http.StatusCreated, other.Do(t, uploading(t, one("c", "1"))).Status, "another client")
		s.deleteFile(t, f)
		s.upload(t, one("c", "1"), one("d", "2"))
		s.requireError(t, uploading(t, one("e", "3")), errcode.FileQuotaExceeded, exceeded)
		require.EqualValues(t, 3, s.listFiles(t, "?created_by=test").Pager.TotalRows)
	})
}
