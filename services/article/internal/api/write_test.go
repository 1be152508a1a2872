package api_test

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/services/article/internal/api"
)

// discard is a client that reads everything at once.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header            { return d.header }
func (d *discard) Write(part []byte) (int, error) { return len(part), nil }
func (d *discard) WriteHeader(status int)         { d.status = status }

// allocated returns the bytes that a write allocates.
func (s *service) allocated(t *testing.T, method, path, key, body string) int64 {
	t.Helper()
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	request.Header.Set("Content-Type", asJSON)
	request.Header.Set("Authorization", s.token)
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	client := &discard{header: http.Header{}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s.handler.ServeHTTP(client, request)
	runtime.ReadMemStats(&after)
	require.Less(t, client.status, 300)
	return int64(after.TotalAlloc - before.TotalAlloc) // #nosec G115 -- far below
}

// A write allocates no more than is reserved for it, garbage included, whatever the
// content is. Under an Idempotency-Key it has two statements, and the memory of the first
// is garbage when the second begins.
func TestMemoryOfWrites(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		random := make([]byte, mebibyte)
		for i := range random {
			random[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[rand.IntN(64)]
		}
		var han strings.Builder // as many words as possible
		for n := 0; han.Len() < mebibyte-2; n++ {
			han.WriteRune(rune(0x4e00 + n*7919%20_000))
		}
		for name, text := range map[string]string{
			"accents": strings.Repeat("Éàç ", mebibyte/7), "width": strings.Repeat("Ｇ", mebibyte/3), "Chinese": han.String(), "little": han.String()[:30_000],
			"letters": strings.Repeat("a", mebibyte), "brackets": strings.Repeat("<", mebibyte),
			"control characters": strings.Repeat(`\u0001`, mebibyte), "random": string(random),
		} {
			body := `{"title":"a","content":"` + text + `"}`
			id := s.create(t, fields{"title": "b"}).ID
			reserved := requests.BodyMemory(int64(len(body)))
			for _, write := range []struct {
				method, path, key string
				statements        int64
			}{{"POST", articlesPath, "", 1}, {"POST", articlesPath, name, 2}, {"POST", articlesPath, name, 1}, {"PUT", at(id), "", 1}} {
				got := s.allocated(t, write.method, write.path, write.key, body)
				t.Logf("%-18s %-4s key %-18q: %4.1f times the content, body %4.1f times", name, write.method, write.key, float64(got)/mebibyte, float64(len(body))/mebibyte)
				require.Less(t, got, reserved+write.statements*api.WriteMemory(int64(len(text))), "%s %s", name, write.method)
			}
		}
	})
}
