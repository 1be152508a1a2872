package api_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/file"
)

// appendCRC appends the checksum of a PNG's chunk that begins at a position.
func appendCRC(chunk []byte, from int) []byte {
	return binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[from:]))
}

// Types are those of the content. What is allowed can do no harm as what it is.
func TestTypes(t *testing.T) {
	s := embedded(t)
	for content, mediaType := range map[string]string{
		gif: "image/gif", png(2, 3): "image/png",
		gif + "/*<script>alert(1)</script>*/":         "image/gif",
		png(2, 3) + "<html><script>alert(1)</script>": "image/png",
		"%PDF-1.7\n%âãÏÓ\n":                           "application/pdf",
		"alert(document.cookie)":                      "text/plain",
		"plain":                                       "text/plain",
		"one, two\nthree, four\nfive, six\n":          "text/plain", // might be a table
		"one\ttwo\nthree\tfour\n":                     "text/plain",
	} {
		f := s.upload(t, one("page.html", content))[0]
		require.Equal(t, mediaType, f.Type, "%q", content)
		got := s.anonymous.Do(t, apitest.Case{Path: f.URL})
		require.Equal(t, mediaType, got.Header.Get("Content-Type"))
		require.Equal(t, "nosniff", got.Header.Get("X-Content-Type-Options"))
		require.Equal(t, strings.HasPrefix(mediaType, "image/"), strings.HasPrefix(got.Header.Get("Content-Disposition"), "inline"))
	}
	const allowed = "image/jpeg, image/png, image/gif, image/webp, application/pdf, text/plain"
	for content, mediaType := range map[string]string{
		"<!DOCTYPE html><script>alert(1)</script>":                                "text/html",
		"  <html><body onload=alert(1)>":                                          "text/html",
		`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`: "image/svg+xml",
		"<?xml version=\"1.0\"?><a/>":                                             "text/xml",
		"#!/usr/bin/env node\nrequire('fs')":                                      "text/javascript",
		"MZ\x90\x00":                                                              "application/vnd.microsoft.portable-executable",
		"\x7fELF\x02\x01\x01\x00":                                                 "application/x-elf",
		"PK\x03\x04\x14\x00":                                                      "application/zip",
		"\x00\x01\x02\x03":                                                        "application/octet-stream",
	} {
		s.requireError(t, uploading(t, one("a.png", content)), errcode.FileTypeRefused,
			fmt.Sprintf(`文件"a.png"的内容是%s, 只接受%s`, mediaType, allowed))
	}
	require.EqualValues(t, 9, s.listFiles(t, "").Pager.TotalRows)
}

func TestPixels(t *testing.T) {
	s := embedded(t)
	s.upload(t, one("a.png", png(10_000, 5_000))) // exactly
	for _, size := range [][2]uint32{{10_000, 5_001}, {100_000, 100_000}} {
		s.requireError(t, uploading(t, one("a.png", png(size[0], size[1]))), errcode.TooManyPixels, fmt.Sprintf(`图片"a.png"有%d×%d像素, 最多50000000`, size[0], size[1]))
	}
	for _, content := range []string{png(0, 3), png(1<<31-1, 1<<31-1), png(2, 3)[:20], "\xff\xd8\xff\xe0\x00\x10JFIF\x00", gif[:8], "RIFF\x04\x00\x00\x00WEBPVP8 "} {
		result := s.Do(t, uploading(t, one("a.png", content)))
		require.Equal(t, http.StatusBadRequest, result.Status, "%q: %s", content, result.Body)
	}
	require.EqualValues(t, 1, s.listFiles(t, "").Pager.TotalRows)
}

func TestNames(t *testing.T) {
	s := embedded(t)
	long := strings.Repeat("长", 3000) // about 10 KB
	for name, want := range map[string]string{
		"../../etc/passwd": "passwd", `..\..\boot.ini`: "boot.ini", "..": "file", ".": "file", "": "file", "/": "file", "a/": "file",
		"gpj.\u202etxt.exe": "gpj.txt.exe", `a"b;c.txt`: `a"b;c.txt`, "cafe\u0301.txt": "café.txt",
		" a.txt ": "a.txt", long + ".png": strings.Repeat("长", file.MaxName-4) + ".png", "\xff.txt": "\uFFFD.txt", "👩‍💻.txt": "👩‍💻.txt",
	} {
		f := s.upload(t, one(name, "a"))[0]
		require.Equal(t, want, f.Name, "%q", name)
		got := s.anonymous.Do(t, apitest.Case{Path: f.URL})
		disposition := got.Header.Get("Content-Disposition")
		require.NotContains(t, disposition, "\n")
		_, encoded, found := strings.Cut(disposition, "filename*=UTF-8''")
		require.True(t, found)
		decoded, err := url.PathUnescape(encoded)
		require.NoError(t, err)
		require.Equal(t, want, decoded)
	}
	require.Equal(t, "ab.txt", file.CleanName("a\x00b.txt"))
	require.Equal(t, "a.txt", file.CleanName("x\r\nSet-Cookie: y/a\r\n.txt"))
}

func TestBoundsOfUploads(t *testing.T) {
	s := embedded(t, func(o *options) { o.fileBytes, o.requestFiles = 1000, 3 })
	text := strings.Repeat("x", 1000)
	s.upload(t, one("a", text), one("b", text), one("c", text)) // exactly
	s.requireError(t, uploading(t, one("a.txt", text+"x")), errcode.FileTooLarge, `文件"a.txt"超过1000字节`)
	s.requireError(t, uploading(t, one("a", "1"), one("b", "2"), one("c", "3"), one("d", "4")), errcode.InvalidParams, "一次最多上传3个文件")
	s.requireError(t, uploading(t, one("a", "1"), one("b.txt", "")), errcode.InvalidParams, `文件"b.txt"是空的`)
	s.requireError(t, uploading(t, one("a", "1"), part{"tags", "b", "2"}), errcode.InvalidParams, `没有字段"tags", 文件的字段是file`)
	require.EqualValues(t, 3, s.listFiles(t, "").Pager.TotalRows, "all or nothing")
	huge, contentType := body(t, one("a", text))
	huge = append(huge, make([]byte, s.requestBytes-int64(len(huge))+1)...)
	require.Equal(t, http.StatusRequestEntityTooLarge, s.Do(t, apitest.Case{Method: http.MethodPost, Path: uploadPath, Body: huge, ContentType: contentType}).Status)
}

func TestMalformedUploads(t *testing.T) {
	s := embedded(t)
	whole, contentType := body(t, one("a.txt", "text"))
	const (
		incomplete = "请求体不是完整的 multipart/form-data, 或与其 boundary 不符"
		large      = "文件内容之前的部分超过32768字节"
		head       = `文件部分的标头无效: 需要 Content-Disposition: form-data; name="file"; filename="…", 每个参数一次, 用引号, 不含控制字符`
	)
	malformed := func(text []byte, detail string) {
		t.Helper()
		s.requireError(t, apitest.Case{Method: http.MethodPost, Path: uploadPath, Body: text, ContentType: contentType, Invalid: true}, errcode.InvalidParams, detail)
	}
	for end := range whole {
		if end < len(whole)-2 { // the last line break may be missing
			result := s.Do(t, apitest.Case{Method: http.MethodPost, Path: uploadPath, Body: whole[:end], ContentType: contentType, Invalid: true})
			require.Equal(t, http.StatusBadRequest, result.Status, "%s", result.Body)
		}
	}
	malformed(bytes.Replace(whole, []byte("a.txt"), []byte("a\x00.txt"), 1), head)
	malformed(whole[:len(whole)-20], incomplete)
	malformed(bytes.Replace(whole, []byte("form-data;"), []byte(`form-data; name="x";`), 1), head)
	malformed(bytes.Replace(whole, []byte(`"a.txt"`), []byte("文.txt"), 1), head)
	malformed(bytes.Replace(whole, []byte("Content-Disposition"), []byte("X"), 1), head)
	malformed(bytes.Repeat([]byte("x"), 1<<20), incomplete) // an endless preamble
	malformed(bytes.Repeat([]byte("\n"), 1<<20), large)     // of many lines
	malformed(bytes.Replace(whole, []byte("\r\n\r\n"), []byte("\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"), 1), large)
	malformed(bytes.Replace(whole, []byte("\r\n\r\n"), []byte(strings.Repeat("\r\nX: x", 20_000)+"\r\n\r\n"), 1), large)
	malformed(bytes.Replace(whole, []byte("form-data;"), []byte("form-data; ="), 1), head)
	for _, contentType := range []string{"multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + strings.Repeat("x", 71), "multipart/form-data; boundary", "multipart/form-data; boundary=a; boundary=b"} {
		s.requireError(t, apitest.Case{Method: http.MethodPost, Path: uploadPath, Body: whole, ContentType: contentType, Invalid: true}, errcode.InvalidParams, "Content-Type 必须有且仅有一个 1 到 70 个字符的 boundary")
	}
	for _, contentType := range []string{"application/json", "text/plain", "multipart/mixed; boundary=x", "application/x-www-form-urlencoded"} {
		result := s.Do(t, apitest.Case{Method: http.MethodPost, Path: uploadPath, Body: whole, ContentType: contentType, Invalid: true})
		require.Equal(t, http.StatusUnsupportedMediaType, result.Status, contentType)
	}
	noName := bytes.Replace(whole, []byte(`; filename="a.txt"`), nil, 1)
	s.requireError(t, apitest.Case{Method: http.MethodPost, Path: uploadPath, Body: noName, ContentType: contentType, Invalid: true}, errcode.InvalidParams, "file必须是带文件名的文件 (filename*须为UTF-8)")
	none, kind := body(t)
	s.requireError(t, apitest.Case{Method: http.MethodPost, Path: uploadPath, Body: none, ContentType: kind, Invalid: true}, errcode.InvalidParams, "file为必填字段")
	require.Zero(t, s.listFiles(t, "").Pager.TotalRows)
	s.requireNothingLeft(t)
}

// requireNothingLeft requires that neither disk space nor files of uploads are taken, and that
// nothing is stored.
func (s *service) requireNothingLeft(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return s.spool.Reserved() == 0 }, patience, time.Millisecond)
	left, err := os.ReadDir(s.spoolDir)
	require.NoError(t, err)
	require.Empty(t, left)
	var stored []string
	require.NoError(t, filepath.WalkDir(s.storageDir, func(name string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			stored = append(stored, name)
		}
		return err
	}))
	require.Empty(t, stored)
}

// A client that breaks off leaves nothing, wherever it does.
func TestBrokenOffUpload(t *testing.T) {
	s := embedded(t)
	whole, contentType := body(t, one("a.txt", strings.Repeat("text", 100_000)), one("b.txt", "b"))
	for _, sent := range []int{10, 200, 100_000, len(whole) - 50, len(whole) - 5} {
		connection, err := net.Dial("tcp", s.host(t))
		require.NoError(t, err)
		_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", uploadPath, s.token, contentType, len(whole))
		require.NoError(t, err)
		_, err = connection.Write(whole[:sent])
		require.NoError(t, err)
		if sent > 1000 {
			require.Eventually(t, func() bool { return s.spool.Reserved() > 0 }, patience, time.Millisecond)
		}
		require.NoError(t, connection.Close())
		s.requireNothingLeft(t)
	}
	require.Zero(t, s.listFiles(t, "").Pager.TotalRows)
}

// A body that is longer than it claims is cut off, as HTTP has it.
func TestWrongContentLength(t *testing.T) {
	s := embedded(t)
	whole, contentType := body(t, one("a.txt", "text"))
	connection, err := net.Dial("tcp", s.host(t))
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", uploadPath, s.token, contentType, len(whole)-20, whole)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.Zero(t, s.listFiles(t, "").Pager.TotalRows)
}

func TestRanges(t *testing.T) {
	s := embedded(t)
	text := strings.Repeat("0123456789", 100)
	f := s.upload(t, one("a.txt", text))[0]
	get := func(header ...string) *apitest.Result {
		t.Helper()
		c := apitest.Case{Path: f.URL, Header: http.Header{}}
		for i := 0; i < len(header); i += 2 {
			c.Header.Set(header[i], header[i+1])
		}
		return s.anonymous.Do(t, c)
	}
	for ranges, want := range map[string]string{"bytes=0-9": text[:10], "bytes=990-": text[990:], "bytes=-5": text[995:], "bytes=995-99999999999": text[995:], "Bytes=0-9": text[:10], "bytes=995-99999999999999999999999": text[995:], "bytes=-99999999999999999999": text, "bytes=-0, 0-1": text[:2], "bytes=-99999": text} {
		got := get("Range", ranges)
		require.Equal(t, http.StatusPartialContent, got.Status, ranges)
		require.Equal(t, want, string(got.Body), ranges)
	}
	etag := `"` + f.SHA256 + `"`
	require.Equal(t, http.StatusPartialContent, get("Range", "bytes=0-9", "If-Range", etag).Status)
	require.Equal(t, http.StatusOK, get("Range", "bytes=0-9", "If-Range", `"other"`).Status)
	require.Equal(t, http.StatusNotModified, get("If-None-Match", etag).Status)
	got := get("If-Match", `"other"`)
	apitest.RequireProblem(t, got, errcode.PreconditionFailed, errcode.PreconditionFailed.Message("zh"))

	several := get("Range", "bytes=0-1,5-6")
	require.Equal(t, http.StatusPartialContent, several.Status)
	require.Contains(t, several.Header.Get("Content-Type"), "multipart/byteranges")
	require.Equal(t, http.StatusPartialContent, get("Range", "bytes="+strings.Repeat("0-1,", 7)+"0-1").Status, "exactly")
	for _, ranges := range []string{"bytes=" + strings.Repeat("0-1,", 8) + "0-1", "bytes=" + strings.Repeat("0-,", 2000) + "0-", "bytes=0-,0-,0-", "lines=0-1", "bytes"} { // the last ones have another unit
		got := get("Range", ranges)
		require.Equal(t, http.StatusOK, got.Status)
		require.Equal(t, text, string(got.Body), "the whole file")
	}
	for _, ranges := range []string{"bytes=1000-", "bytes=99999999999999999999-", "bytes=5-1", "bytes=--1", "bytes=a-b", "bytes=-0", "bytes=-00", "bytes=+1-2", "bytes=1", "bytes=-"} {
		got := get("Range", ranges)
		apitest.RequireProblem(t, got, errcode.RangeNotSatisfiable, errcode.RangeNotSatisfiable.Message("zh"), "文件只有1000字节")
		require.Equal(t, "no-store", got.Header.Get("Cache-Control"))
		require.Equal(t, "bytes */1000", got.Header.Get("Content-Range"))
		require.Empty(t, got.Header.Get("Content-Disposition"))
	}
}

// If the bytes are missing, the error is JSON, and no cache keeps it.
func TestMissingBytes(t *testing.T) {
	s := embedded(t)
	f := s.upload(t, one("a.txt", "text"))[0]
	require.NoError(t, os.Remove(filepath.Join(s.storageDir, f.SHA256[:2], f.SHA256)))
	got := s.anonymous.Do(t, apitest.Case{Path: f.URL})
	apitest.RequireProblem(t, got, errcode.DownloadFailed, errcode.DownloadFailed.Message("zh"))
	require.Equal(t, "no-store", got.Header.Get("Cache-Control"))
	require.Empty(t, got.Header.Get("ETag"))
}

func TestInvalidFileIDs(t *testing.T) {
	s := embedded(t)
	for _, id := range []string{"0", "x", "-1", "1.5"} {
		require.Equal(t, http.StatusBadRequest, s.Do(t, apitest.Case{Path: filePath + "/download/" + id, Invalid: true}).Status, id)
	}
	require.Equal(t, http.StatusNotFound, s.Do(t, apitest.Case{Path: filePath + "/download/99999999999999999999", Invalid: true}).Status)
}

// Slow uploads take only so many places, only a quarter for one client, and none of downloads.
func TestTooManyTransfers(t *testing.T) {
	s := embedded(t, func(o *options) { o.uploads = 8 })
	f := s.upload(t, one("a.txt", "a"))[0]
	whole, contentType := body(t, one("a.txt", "text"))
	var stalled []net.Conn
	for range 2 {
		connection, err := net.Dial("tcp", s.host(t))
		require.NoError(t, err)
		defer func() { _ = connection.Close() }()
		_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", uploadPath, s.token, contentType, len(whole))
		require.NoError(t, err)
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusContinue, response.StatusCode, "the upload is in progress")
		stalled = append(stalled, connection)
	}
	s.requireError(t, uploading(t, one("a.txt", "a")), errcode.Unavailable, "同时传输的文件过多: 共8个, 每个客户端2个 (设置 Files.MaxUploads)")
	line := s.logs.FilterMessage("request").FilterField(zap.Int("status", http.StatusServiceUnavailable)).All()
	require.Len(t, line, 1)
	require.Equal(t, zapcore.WarnLevel, line[0].Level)
	other := s.anonymous.With(apitest.Token(t, s.keySet, "other", auth.ScopeWrite))
	require.Equal(t, http.StatusCreated, other.Do(t, uploading(t, one("a.txt", "a"))).Status, "another client")
	require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Path: f.URL}).Status, "a download")
	require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Path: listPath}).Status)
	for _, connection := range stalled { // they go on
		_, err := connection.Write(whole)
		require.NoError(t, err)
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, response.Body)
		require.Equal(t, http.StatusCreated, response.StatusCode)
	}
	s.upload(t, one("a.txt", "a")) // it waits until one has ended
}

func TestNoDiskSpaceForUploads(t *testing.T) {
	s := embedded(t)
	all, err := s.spool.Reserve(t.Context(), "app:test", s.requestBytes*2, func() {})
	require.NoError(t, err)
	result := s.Do(t, uploading(t, one("a", "a")))
	require.Equal(t, http.StatusServiceUnavailable, result.Status)
	require.Equal(t, "1", result.Header.Get("Retry-After"))
	other := s.anonymous.With(apitest.Token(t, s.keySet, "other", auth.ScopeWrite))
	require.Equal(t, http.StatusCreated, other.Do(t, uploading(t, one("a", "a"))).Status)
	all.Release()
	s.upload(t, one("a", "a"))
	var problem responses.Problem
	result.JSON(t, &problem)
	require.Equal(t, []string{"同时上传的文件过多 (设置 Files.SpoolBytes)"}, problem.Details)
}
