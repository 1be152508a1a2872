package responses

import (
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/batch"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/locale"
)

// BatchResult is what became of one object of a batch: what a request with this object alone
// is answered.
type BatchResult[T any] struct {
	// place of the object in the request, from 0
	Index int    `json:"index" example:"0"`
	Code  int    `json:"code" example:"0"`
	Msg   string `json:"msg" example:"成功"`
	// if code is not 0
	Details []string     `json:"details,omitempty"`
	Errors  []FieldError `json:"errors,omitempty"`
	// true if an earlier request with this Idempotency-Key has created the object
	Replayed bool `json:"replayed,omitempty"`
	// the object, if code is 0
	Data *T `json:"data,omitempty"`
}

// BatchResults has the results of a batch, in the order of the request.
type BatchResults[T any] struct {
	// number of results whose code is not 0
	Failed  int              `json:"failed" example:"0"`
	Results []BatchResult[T] `json:"results"`
}

// BatchEnvelope is a response with the results of a batch.
type BatchEnvelope[T any] struct {
	Code int             `json:"code" example:"0"`
	Msg  string          `json:"msg" example:"成功"`
	Data BatchResults[T] `json:"data"`
}

// CreatedAll answers 201 with objects that were created together, now or, if replayed, by an
// earlier request with the same Idempotency-Key.
func CreatedAll[T any](c *gin.Context, data T, replayed bool, reserved *Reservation) {
	if replayed {
		c.Header("Idempotency-Replayed", "true")
	}
	write(c, http.StatusCreated, envelope(c, data), reserved)
}

// Results answers 200 with the results of a batch whose objects were created each on its own.
// list is the name of the field of the objects in the request, and fallback the code of an
// error that has none. If the service was unavailable for all objects, it answers as Error
// does.
func Results[D, T any](c *gin.Context, list string, results []batch.Result[D], fallback errcode.Code, toResponse func(D) T, reserved *Reservation) {
	language := locale.FromContext(c.Request.Context())
	answer := BatchResults[T]{Results: make([]BatchResult[T], 0, len(results))}
	unavailable := 0
	for i, result := range results {
		one := BatchResult[T]{Index: i, Msg: errcode.Success.Message(language), Replayed: result.Replayed}
		if result.Err == nil {
			one.Data = new(toResponse(result.Created))
			answer.Results = append(answer.Results, one)
			continue
		}
		failure := coded(result.Err, fallback)
		problem := newProblem(failure.Within(batch.Path(list, i)), language)
		one.Code, one.Msg, one.Details, one.Errors = problem.Code, problem.Msg, problem.Details, problem.Errors
		answer.Failed++
		answer.Results = append(answer.Results, one)
		if failure.RetryAfter > 0 {
			unavailable++
			c.Header("Retry-After", strconv.Itoa(retrySeconds(failure)))
		}
		if failure.Code.Status() >= http.StatusInternalServerError {
			_ = c.Error(result.Err) // for the access log
		}
	}
	if unavailable == len(results) {
		Error(c, results[0].Err)
		return
	}
	write(c, http.StatusOK, BatchEnvelope[T]{Msg: message(c, errcode.Success), Data: answer}, reserved)
}
