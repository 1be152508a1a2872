package responses

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

// Post is a request that creates something.
type Post[T, D any] struct {
	// AppKey is whose request it is, Request what was bound of its body.
	AppKey  string
	Request any
	// Create makes the thing. Its store has to write with idempotency.InTx.
	Create func(ctx context.Context) (T, error)
	// Show is the thing as clients see it, Location its address.
	Show     func(created T) D
	Location func(created T) string
	// Failed is the code of an error that has none.
	Failed errcode.Code
}

// Created creates what is asked for and answers 201 with it, its address and
// its ETag. Where the request carries an Idempotency-Key and was done before,
// it gives the first answer again, and says so.
func Created[T, D any](c *gin.Context, post Post[T, D]) {
	request, keyed, err := idempotency.FromHeader(c.Request.Header, post.AppKey, c.Request.Method, c.FullPath(), post.Request)
	if err != nil {
		Error(c, err)
		return
	}
	var answer idempotency.Answer
	render := func(written any) (idempotency.Answer, error) {
		answer = post.answer(c, written.(T))
		return answer, nil
	}
	ctx := c.Request.Context()
	if keyed {
		ctx = idempotency.NewContext(ctx, request, render)
	}
	created, err := post.Create(ctx)
	if err == nil && !keyed {
		answer = post.answer(c, created)
	}
	var before *idempotency.Replayed
	switch {
	case errors.As(err, &before):
		c.Header("Idempotency-Replayed", "true")
		send(c, before.Answer)
	case err != nil:
		ErrorOr(c, err, post.Failed)
	default:
		send(c, answer)
	}
}

func (p Post[T, D]) answer(c *gin.Context, created T) idempotency.Answer {
	encoded := encode(p.Show(created))
	return idempotency.Answer{
		Status: http.StatusCreated,
		Header: map[string]string{"Location": p.Location(created), "ETag": strongTag(c, encoded)},
		Body:   encode(envelope(c, json.RawMessage(encoded))),
	}
}

func send(c *gin.Context, answer idempotency.Answer) {
	for name, value := range answer.Header {
		c.Header(name, value)
	}
	c.Data(answer.Status, jsonType, answer.Body)
}
