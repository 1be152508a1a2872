package server

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// unreadBodyTimeout is how long a client may take to send the rest of a body that was
// not read.
const unreadBodyTimeout = time.Second

// unreadBody lets a body that the handlers don't read delay neither the response, which
// holds memory, nor the next request of the connection. Package requests bounds the
// bodies that they read.
func unreadBody() gin.HandlerFunc {
	return func(c *gin.Context) {
		if c.Request.ContentLength == 0 {
			return
		}
		connection := http.NewResponseController(c.Writer)
		if !takesBody(c.Request.Method) {
			// Otherwise net/http reads the body before it sends the response.
			_ = connection.EnableFullDuplex()
		}
		// net/http sets another deadline for the next request.
		defer func() { _ = connection.SetReadDeadline(time.Now().Add(unreadBodyTimeout)) }()
		c.Next()
	}
}

func takesBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}
