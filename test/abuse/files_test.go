//go:build linux

package abuse_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

const (
	fileClients = 10
	fileSize    = 10 << 20 // the default of Files.MaxFileBytes
)

// Ten clients upload and download files of the largest size at the same time, two files in
// each upload. The article service stays below the memory of its pod, and each client gets
// the bytes that it sent.
func TestFilesOfTenClients(t *testing.T) {
	storage, spool := t.TempDir(), t.TempDir()
	s := startWith(t, dbtest.MySQL, process.Settings{"Files.URL": "file://" + storage, "Files.SpoolDir": spool, "Server.ShutdownTimeout": "1m10s"})
	s.seed(t, 1, 0)
	good := s.behave(t)
	var clients sync.WaitGroup
	failed := make(chan error, fileClients)
	ctx, cancel := context.WithTimeout(t.Context(), duration(t))
	defer cancel()
	for n := range fileClients {
		header := authorization(t, fmt.Sprint("files-", n))
		clients.Go(func() {
			for round := 0; round == 0 || ctx.Err() == nil; round++ {
				if err := s.moveFiles(header, fmt.Sprintf("%d of client %d", round, n)); err != nil {
					failed <- fmt.Errorf("client %d: %w", n, err)
					return
				}
			}
		})
	}
	clients.Wait()
	close(failed)
	for err := range failed {
		require.NoError(t, err)
	}
	counts := good.stop()
	t.Logf("good client: %s; article service: %d MiB", counts, residentPeak(t, s.article)>>20)
	require.Positive(t, counts.answered)
	require.Empty(t, counts.failures)
	left, err := filepath.Glob(filepath.Join(spool, "*"))
	require.NoError(t, err)
	require.Empty(t, left, "files that were received must not stay")
	s.stop(t)
}

// moveFiles uploads two files in one request, and downloads them again.
func (s *system) moveFiles(authorization, name string) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	var sums [2][sha256.Size]byte
	for n := range sums {
		content := largestFile(fmt.Sprintf("file %d, %s\n", n, name))
		sums[n] = sha256.Sum256(content)
		part, err := form.CreateFormFile("file", fmt.Sprintf("%d.txt", n))
		if err != nil {
			return err
		}
		_, _ = part.Write(content) // to memory
	}
	if err := form.Close(); err != nil {
		return err
	}
	var uploaded struct {
		Data struct {
			Files []struct{ URL string }
		}
	}
	content, err := s.transfer(authorization, http.MethodPost, "/api/v1/file/upload", form.FormDataContentType(), body.Bytes())
	if err == nil {
		err = json.Unmarshal(content, &uploaded)
	}
	if err != nil || len(uploaded.Data.Files) != len(sums) {
		return fmt.Errorf("upload: %w: %.200s", err, content)
	}
	for n, f := range uploaded.Data.Files {
		content, err := s.transfer(authorization, http.MethodGet, f.URL, "", nil)
		if err != nil {
			return err
		}
		if sha256.Sum256(content) != sums[n] {
			return fmt.Errorf("file %d has %d other bytes than were sent", n, len(content))
		}
	}
	return nil
}

// largestFile returns a text of fileSize bytes.
func largestFile(line string) []byte {
	return bytes.Repeat([]byte(line), fileSize/len(line)+1)[:fileSize]
}

// transfer sends a request until it is not rejected for lack of room or by a limit.
func (s *system) transfer(authorization, method, path, contentType string, body []byte) ([]byte, error) {
	_, token, _ := strings.Cut(authorization, ": ")
	for began := time.Now(); ; {
		request, err := http.NewRequest(method, "http://"+s.articleAddr+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", token)
		request.Header.Set("Content-Type", contentType)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		rejected := response.StatusCode == http.StatusServiceUnavailable || response.StatusCode == http.StatusTooManyRequests
		switch {
		case err != nil:
			return nil, err
		case response.StatusCode < 300:
			return content, nil
		case !rejected || time.Since(began) > process.Patience:
			return nil, fmt.Errorf("%s %s: %d: %.300s", method, path, response.StatusCode, content)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
