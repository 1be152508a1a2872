package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

const exportPath = articlesPath + "/export"

// exported are the lines of an export.
type exported struct {
	articles []api.Article
	end      *api.ExportEnd // nil if it is missing
}

// parseExport parses lines, which must be complete.
func parseExport(t *testing.T, body []byte) (found exported) {
	t.Helper()
	for line := range bytes.Lines(body) {
		require.Equal(t, byte('\n'), line[len(line)-1])
		require.Nil(t, found.end, "nothing follows the end")
		if bytes.HasPrefix(line, []byte(`{"end":`)) {
			found.end = &api.ExportEnd{}
			require.NoError(t, json.Unmarshal(line, found.end))
			continue
		}
		var one api.Article
		require.NoError(t, json.Unmarshal(line, &one))
		found.articles = append(found.articles, one)
	}
	return found
}

func export(t *testing.T, by *apitest.Client, query string) exported {
	t.Helper()
	result := by.Do(t, apitest.Case{Path: exportPath + query})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	require.Equal(t, "application/x-ndjson; charset=utf-8", result.Header.Get("Content-Type"))
	return parseExport(t, result.Body)
}

func TestExport(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		require.Equal(t, &api.ExportEnd{End: true}, export(t, s.Client, "").end)
		var all, public []api.Article
		for n := range 70 { // more than are read at once
			created := s.create(t, fields{
				"title": fmt.Sprint("title ", n), "content": strings.Repeat(fmt.Sprintf("文章 %d \"<&>\"\u2028\n", n), 1+n%40*50),
				"state": min(n%5, 1), "tag_ids": []int{1, 2},
			})
			all = append(all, created)
		}
		s.delete(t, all[3].ID)
		all = append(all[:3], all[4:]...)
		require.NoError(t, s.applyChange(t.Context(), tagfeed.Change{TagID: 2, Kind: changefeed.Put, Name: "hidden", State: 0}))
		for i := range all {
			all[i].Tags[1].Name, all[i].Tags[1].State = "hidden", 0
			if all[i].State == 1 {
				seen := all[i]
				seen.Tags = seen.Tags[:1]
				public = append(public, seen)
			}
		}
		last := all[len(all)-1].ID
		require.Equal(t, exported{all, &api.ExportEnd{End: true, Articles: len(all), After: last}}, export(t, s.Client, ""))
		require.Equal(t, exported{public, &api.ExportEnd{End: true, Articles: len(public), After: last}}, export(t, s.anonymous, ""))
		require.Equal(t, exported{all[60:], &api.ExportEnd{End: true, Articles: len(all) - 60, After: last}}, export(t, s.Client, fmt.Sprint("?after=", all[59].ID)))
		require.Equal(t, exported{nil, &api.ExportEnd{End: true, After: math.MaxInt64}}, export(t, s.Client, fmt.Sprint("?after=", math.MaxInt64)))

		// Each line is the article as it is read alone.
		require.Equal(t, s.get(t, last), all[len(all)-1])

		result := s.Do(t, apitest.Case{Method: http.MethodHead, Path: exportPath})
		require.Equal(t, http.StatusOK, result.Status)
		require.Empty(t, result.Body)
		s.requireError(t, apitest.Case{Path: exportPath + "?after=-1", Invalid: true}, errcode.InvalidParams, "after必须是正整数")
		for _, encoding := range []string{"gzip", "zstd"} {
			request, recorder := httptest.NewRequest(http.MethodGet, exportPath, nil), httptest.NewRecorder()
			request.Header.Set("Accept-Encoding", encoding)
			s.handler.ServeHTTP(recorder, request)
			require.Equal(t, encoding, recorder.Header().Get("Content-Encoding"))
			require.Less(t, recorder.Body.Len(), 20_000)
		}
	})
}

// reading is an export that a client reads line by line.
type reading struct {
	*bufio.Reader
	response *http.Response
}

// slowly begins an export, and reads its first line.
func (s *service) slowly(t *testing.T, change ...func(*server.Config)) (reading, api.Article) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.listen(t, change...)+exportPath, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", s.token)
	transport := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		return conn, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	response, err := (&http.Client{Transport: transport}).Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, http.StatusOK, response.StatusCode)
	r := reading{bufio.NewReader(response.Body), response}
	var first api.Article
	line, err := r.ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(line, &first))
	return r, first
}

// rest reads the other lines.
func (r reading) rest(t *testing.T) exported {
	t.Helper()
	var rest bytes.Buffer
	_, err := rest.ReadFrom(r)
	require.NoError(t, err)
	return parseExport(t, rest.Bytes())
}

// paced is like rest, and waits before each line.
func (r reading) paced(t *testing.T, pause time.Duration) exported {
	t.Helper()
	var rest []byte
	for {
		time.Sleep(pause)
		line, err := r.ReadBytes('\n')
		if rest = append(rest, line...); err != nil {
			require.ErrorIs(t, err, io.EOF)
			return parseExport(t, rest)
		}
	}
}

// large creates articles that don't fit into the buffers between a service and its client.
func (s *service) large(t *testing.T, n int) (all []api.Article) {
	t.Helper()
	for i := range n {
		all = append(all, s.create(t, fields{"title": fmt.Sprint("large ", i), "content": "x", "tag_ids": []int{1}}))
		all[i].Content = new(strings.Repeat("x", mebibyte))
	}
	// To send this much takes seconds.
	require.NoError(t, s.db.Gorm(t.Context()).Exec("UPDATE blog_article SET content = ?", strings.Repeat("x", mebibyte)).Error)
	return all
}

// An export shows the articles as they were when it began, whatever happens meanwhile. Other
// requests go on.
func TestExportIsASnapshot(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		all := s.large(t, 12)
		reader, first := s.slowly(t)
		require.Equal(t, all[0], first)
		s.put(t, all[10].ID, fields{"title": "changed", "tag_ids": []int{2}})
		s.delete(t, all[11].ID)
		s.create(t, fields{"title": "new"})
		require.NoError(t, s.applyChange(t.Context(), tagfeed.Change{TagID: 1, Kind: changefeed.Put, Name: "renamed", State: 1}))
		rest := reader.rest(t)
		require.True(t, rest.end.End)
		require.Equal(t, all[1:], rest.articles)
		require.Len(t, export(t, s.Client, "").articles, 12)
	})
}

// A client has one export at a time, and all together have a few.
func TestExportsAtOnce(t *testing.T) {
	s := embedded(t)
	s.large(t, 12)
	reader, _ := s.slowly(t)
	result := s.requireError(t, apitest.Case{Path: exportPath}, errcode.Unavailable, "最多同时进行2个导出, 每个客户端一个 (设置 App.MaxExports)")
	require.Equal(t, "10", result.Header.Get("Retry-After"))
	other := s.anonymous.With(apitest.Token(t, s.keySet, "other"))
	require.True(t, export(t, other, "?after=11").end.End) // short, because who reads nothing for 5 s is cut off
	require.True(t, reader.rest(t).end.End)
	require.Eventually(t, func() bool { return s.Do(t, apitest.Case{Path: exportPath + "?after=11"}).Status == http.StatusOK }, patience, time.Millisecond)

	s = embedded(t, func(o *options) { o.exports.Max = 1 })
	s.large(t, 12)
	_, _ = s.slowly(t)
	other = s.anonymous.With(apitest.Token(t, s.keySet, "other"))
	result = other.Do(t, apitest.Case{Path: exportPath})
	apitest.RequireProblem(t, result, errcode.Unavailable, errcode.Unavailable.Message("zh"), "最多同时进行1个导出, 每个客户端一个 (设置 App.MaxExports)")
	require.True(t, export(t, s.anonymous, "?after=11").end.End, "clients without a token have room of their own")
	require.Equal(t, http.StatusOK, other.Do(t, apitest.Case{Path: articlesPath}).Status)
}

// An export that the service can't finish says so, and goes on elsewhere.
func TestExportEndsEarly(t *testing.T) {
	draining := make(chan struct{})
	s := embedded(t, func(o *options) { o.exports.Draining, o.exports.Grace = draining, 2*time.Second })
	all := s.large(t, 12)
	reader, _ := s.slowly(t)
	close(draining)
	got := reader.paced(t, 400*time.Millisecond) // longer than the grace in all
	n := 1 + len(got.articles)
	require.Less(t, n, len(all))
	require.Equal(t, &api.ExportEnd{Articles: n, After: all[n-1].ID}, got.end)
	require.Equal(t, all[n:], export(t, serve(t, s.db).Client, fmt.Sprint("?after=", got.end.After)).articles)

	s = serve(t, s.db, func(o *options) { o.exports.Timeout = 500 * time.Millisecond; o.exports.Grace = patience })
	reader, _ = s.slowly(t)
	time.Sleep(600 * time.Millisecond) // the time of the export
	got = reader.rest(t)
	require.Less(t, 1+len(got.articles), len(all))
	require.False(t, got.end.End)
	require.Equal(t, all[len(got.articles)].ID, got.end.After)
}

// An export takes longer than other requests may.
func TestExportOutlastsTimeouts(t *testing.T) {
	s := embedded(t)
	all := s.large(t, 12)
	s = serve(t, s.db, func(o *options) { o.server.RequestTimeout = 600 * time.Millisecond })
	reader, _ := s.slowly(t, func(cfg *server.Config) {
		cfg.ReadTimeout, cfg.WriteTimeout = 300*time.Millisecond, 400*time.Millisecond
	})
	time.Sleep(time.Second) // more than the timeouts
	rest := reader.rest(t)
	require.True(t, rest.end.End)
	require.Equal(t, all[1:], rest.articles)
}

// A client that doesn't read an export is cut off, and another one can begin. While exports run,
// they hold little memory.
func TestExportOfClientThatDoesNotRead(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes seconds")
	}
	s := embedded(t)
	all := s.large(t, 40)
	before := heap()
	reader, _ := s.slowly(t)
	require.Less(t, heap()-before, int64(20*mebibyte), "of %d MiB", len(all))
	require.Eventually(t, func() bool {
		return s.Do(t, apitest.Case{Path: exportPath + "?after=40"}).Status == http.StatusOK
	}, patience, 50*time.Millisecond)
	got, err := io.ReadAll(reader)
	require.Error(t, err)
	require.NotContains(t, string(got), `{"end"`)
	require.Contains(t, fmt.Sprint(s.logs.FilterMessage("request").All()), responses.ErrIncomplete.Error())
}

// A database that fails meanwhile is an early end.
func TestExportFails(t *testing.T) {
	s := start(t, dbtest.MySQL(t))
	s.loadTags(t, 1)
	all := s.large(t, 12)
	reader, _ := s.slowly(t)
	var ids []int
	require.NoError(t, s.db.Gorm(t.Context()).Raw("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()").Scan(&ids).Error)
	require.NotEmpty(t, ids)
	for _, id := range ids {
		require.NoError(t, s.db.Gorm(t.Context()).Exec(fmt.Sprint("KILL ", id)).Error)
	}
	got := reader.rest(t)
	require.False(t, got.end.End)
	require.Equal(t, all[len(got.articles)].ID, got.end.After)
}
