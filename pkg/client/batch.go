package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// MaxBatch is the maximum number of objects that are created by one request.
const MaxBatch = 100

// BatchResult is what became of one object of a batch.
type BatchResult[T any] struct {
	// Created is the object, unless Err is set.
	Created T
	// Replayed reports that an earlier request with the key has created the object.
	Replayed bool
	// Err is an *Error, nil if the object was created. It has the status of the batch.
	Err error
}

// CreateArticles creates articles together, at most MaxBatch: all of them, or none. The
// articles that it returns lack their contents. The fields of an error are those of the batch,
// such as articles[3].title.
func (c *Client) CreateArticles(ctx context.Context, articles []NewArticle, options ...Option) ([]Article, error) {
	created, err := create[struct {
		Articles []Article `json:"articles"`
	}](ctx, c, c.article, articlesPath+batchSuffix, map[string]any{"atomic": true, "articles": articles}, options)
	return created.Articles, err
}

// CreateEachArticle creates articles, at most MaxBatch, each on its own, and returns a result
// for each. The articles lack their contents.
func (c *Client) CreateEachArticle(ctx context.Context, articles []NewArticle, options ...Option) ([]BatchResult[Article], error) {
	return createEach[Article](ctx, c, c.article, articlesPath+batchSuffix, map[string]any{"articles": articles}, options)
}

// CreateTags creates tags together, at most MaxBatch: all of them, or none. The fields of an
// error are those of the batch, such as tags[3].name.
func (c *Client) CreateTags(ctx context.Context, tags []NewTag, options ...Option) ([]Tag, error) {
	created, err := create[struct {
		Tags []Tag `json:"tags"`
	}](ctx, c, c.tags, tagsPath+batchSuffix, map[string]any{"atomic": true, "tags": tags}, options)
	return created.Tags, err
}

// CreateEachTag creates tags, at most MaxBatch, each on its own, and returns a result for
// each.
func (c *Client) CreateEachTag(ctx context.Context, tags []NewTag, options ...Option) ([]BatchResult[Tag], error) {
	return createEach[Tag](ctx, c, c.tags, tagsPath+batchSuffix, map[string]any{"tags": tags}, options)
}

const batchSuffix = "/batch"

// results are those of a batch as the service sends them.
type results[T any] struct {
	Results []struct {
		Code     int          `json:"code"`
		Msg      string       `json:"msg"`
		Details  []string     `json:"details"`
		Errors   []FieldError `json:"errors"`
		Replayed bool         `json:"replayed"`
		Data     T            `json:"data"`
	} `json:"results"`
}

// createEach creates objects, each once, however often the request is sent. It sends the
// request again while the service had no time for all of them.
func createEach[T any](ctx context.Context, c *Client, base, path string, body any, options []Option) ([]BatchResult[T], error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request := newCreation(base, path, encoded, options)
	for try := 0; ; try++ {
		answer, err := object[results[T]](ctx, c, request)
		if err != nil {
			return nil, err
		}
		found, finished := answer.all(request)
		wait := max(time.Second, min(firstPause<<min(try, 10), maxPause))
		if deadline, ok := ctx.Deadline(); finished || try >= c.config.MaxRetries || ok && time.Until(deadline) < wait || !pause(ctx, wait) {
			return found, nil
		}
	}
}

// all returns the results, and reports whether the service had time for all of them.
func (r results[T]) all(request *call) (all []BatchResult[T], finished bool) {
	finished = true
	for _, one := range r.Results {
		result := BatchResult[T]{Created: one.Data, Replayed: one.Replayed}
		if one.Code != 0 {
			result.Err = &Error{Status: http.StatusOK, Method: request.method, Path: request.path, Code: Code(one.Code), Message: one.Msg, Details: one.Details, Fields: one.Errors}
			finished = finished && !errors.Is(result.Err, Unavailable) && !errors.Is(result.Err, ReadOnly)
		}
		all = append(all, result)
	}
	return all, finished
}
