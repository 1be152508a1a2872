package server

import (
	"errors"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// clientSlots is the divisor of Config.MaxRequests that gives how many requests one
// client may have in progress.
const clientSlots = 4

var (
	errTooManyRequests = errors.New("Server.MaxRequests requests are in progress")
	errTooManyOfClient = errors.New("a quarter of Server.MaxRequests requests are in progress for this client")
)

// slots counts the requests in progress, of all and of each client.
type slots struct {
	limit int

	mu      sync.Mutex
	used    int
	clients map[string]int
}

// requestLimit answers 503 while limit requests are in progress, or a quarter of them for
// the client of the request; 0 for no limit. If client is nil, only all requests count.
func requestLimit(limit int, client func(*gin.Context) string) gin.HandlerFunc {
	if limit == 0 {
		return func(*gin.Context) {}
	}
	s := &slots{limit: limit, clients: map[string]int{}}
	return func(c *gin.Context) {
		of := ""
		if client != nil {
			of = client(c)
		}
		if err := s.take(of, client != nil); err != nil {
			responses.Error(c, &errcode.Error{Code: errcode.Unavailable, RetryAfter: time.Second, Cause: err})
			return
		}
		defer s.release(of)
		c.Next()
	}
}

func (s *slots) take(client string, share bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.used >= s.limit:
		return errTooManyRequests
	case share && s.clients[client] >= max(1, s.limit/clientSlots):
		return errTooManyOfClient
	}
	s.used++
	s.clients[client]++
	return nil
}

func (s *slots) release(client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	if s.clients[client]--; s.clients[client] == 0 {
		delete(s.clients, client)
	}
}
