package api

import (
	"errors"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
)

// transferShare is the divisor of the number of transfers that gives how many one client
// may have at once.
const transferShare = 4

var errTooManyTransfers = errors.New("Files.MaxTransfers uploads and downloads are in progress, or a quarter of them for this client")

// transfers bounds the uploads and downloads at once, which may take long: of all, and of
// each client.
type transfers struct {
	most   int
	client func(*gin.Context) string

	mu      sync.Mutex
	all     int
	clients map[string]int
}

func newTransfers(most int, client func(*gin.Context) string) *transfers {
	return &transfers{most: most, client: client, clients: map[string]int{}}
}

// limit answers 503 while too many transfers are in progress.
func (t *transfers) limit(c *gin.Context) {
	client := t.client(c)
	if !t.begin(client) {
		responses.Error(c, errcode.NewUnavailable(errTooManyTransfers))
		return
	}
	defer t.end(client)
	server.LeaveReads(c)
	c.Next()
}

func (t *transfers) begin(client string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all >= t.most || t.clients[client] >= max(1, t.most/transferShare) {
		return false
	}
	t.all++
	t.clients[client]++
	return true
}

func (t *transfers) end(client string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all--
	if t.clients[client]--; t.clients[client] == 0 {
		delete(t.clients, client)
	}
}
