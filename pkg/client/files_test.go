package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/client"
)

// A download goes on where its connection broke, also behind a proxy that ignores ranges.
func TestDownloadGoesOn(t *testing.T) {
	const content = "0123456789"
	for name, ranges := range map[string]bool{"with ranges": true, "without ranges": false} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.Header.Get("Range"))
				if len(asked) == 1 {
					w.Header().Set("Content-Length", fmt.Sprint(len(content)))
					_, _ = w.Write([]byte(content[:4]))
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}
				if !ranges {
					r.Header.Del("Range")
				}
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
			}))
			defer server.Close()
			c, err := client.New(client.Config{URL: server.URL})
			require.NoError(t, err)
			defer c.Close()
			var got bytes.Buffer
			require.NoError(t, c.DownloadFile(t.Context(), 7, &got))
			require.Equal(t, content, got.String())
			require.Equal(t, []string{"", "bytes=4-"}, asked)
		})
	}
}

type fullDisk struct{}

var errFull = errors.New("the disk is full")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// Errors of the service and of the writer are errors of the download; a writer that fails gets
// nothing twice.
func TestDownloadFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &service{answers: []answer{busy, {status: 404, body: `{"code":20030005,"msg":"not there"}`}}}
		var got bytes.Buffer
		require.ErrorIs(t, s.client(t).DownloadFile(t.Context(), 7, &got), client.FileNotFound)
		require.Len(t, s.seen, 2)
		require.Zero(t, got.Len())
		s = &service{answers: []answer{{status: 200, body: "content"}}}
		require.ErrorIs(t, s.client(t).DownloadFile(t.Context(), 7, fullDisk{}), errFull)
		require.Len(t, s.seen, 1)
	})
}

// An upload is repeated under its key, and a deletion may have been done before a 503.
func TestFilesAreStoredOnceAndDeleted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &service{answers: []answer{lost, busy, {status: 201, body: `{"code":0,"data":{"files":[{"file_id":3,"name":"a.txt"}]}}`}}}
		stored, err := s.client(t).UploadFiles(t.Context(), []client.NewFile{{Name: "a.txt", Content: []byte("text")}})
		require.NoError(t, err)
		require.EqualValues(t, 3, stored[0].ID)
		require.Len(t, s.seen, 3)
		for n, request := range s.seen {
			require.Equal(t, s.seen[0].Header.Get("Idempotency-Key"), request.Header.Get("Idempotency-Key"))
			require.Contains(t, request.Header.Get("Content-Type"), "multipart/form-data; boundary=")
			require.Equal(t, s.bodies[0], s.bodies[n])
		}
		require.NotEmpty(t, s.seen[0].Header.Get("Idempotency-Key"))
		s = &service{answers: []answer{busy, {status: 404, body: `{"code":20030005}`}}}
		require.NoError(t, s.client(t).DeleteFile(t.Context(), 3))
	})
}
