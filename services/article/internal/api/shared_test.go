package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// stalled is a client that reads nothing until it is closed.
type stalled struct {
	discard
	began  func()
	closed chan struct{}
}

func (s *stalled) Write(part []byte) (int, error) {
	s.began()
	<-s.closed
	return len(part), nil
}

// Responses with shared contents hold no more than is reserved for them, whatever the
// contents are.
func TestMemoryOfSharedReads(t *testing.T) {
	const readers = 200
	const request = 40 << 10 // of each request in progress, besides its data
	for name, text := range map[string]string{"letters": "a", "quotes": `"`, "control characters": "\x01"} {
		t.Run(name, func(t *testing.T) {
			s := embedded(t)
			var ids []uint64
			for range readers {
				ids = append(ids, s.create(t, fields{"title": "a", "content": strings.Repeat(text, 31<<10)}).ID)
			}
			before := heap()
			closed := make(chan struct{})
			var began, ended sync.WaitGroup
			began.Add(readers)
			for _, id := range ids {
				client := &stalled{discard{header: http.Header{}}, sync.OnceFunc(began.Done), closed}
				ended.Go(func() { s.handler.ServeHTTP(client, httptest.NewRequest(http.MethodGet, at(id), nil)) })
			}
			began.Wait()
			held, reserved := heap()-before, s.memory.Reserved()
			close(closed)
			ended.Wait()
			t.Logf("%d KiB of each reader, %d reserved", held/readers>>10, reserved/readers>>10)
			require.LessOrEqual(t, reserved, int64(readers*72<<10))
			require.Less(t, held, reserved+readers*request)
			require.Zero(t, s.memory.Reserved())
		})
	}
}
