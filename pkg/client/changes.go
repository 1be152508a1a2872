package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Kinds of changes.
const (
	// Put means that the article is as Change.Article has it.
	Put = "put"
	// Delete means that the article is deleted, or no longer visible.
	Delete = "delete"
)

// Change is a change of an article.
type Change struct {
	// Offset is where the feed goes on after this change: keep it together with what was
	// made of the change.
	Offset string `json:"offset"`
	Kind   string `json:"kind"`
	ID     uint64 `json:"id"`
	// Article is the article as it is now, without its content; nil if Kind is Delete.
	Article *Article `json:"article"`
}

// Changes is a part of the feed of changes.
type Changes struct {
	Changes []Change `json:"changes"`
	// Next is the offset after the part.
	Next string `json:"next"`
	// More reports that there are further changes already.
	More bool `json:"more"`
}

const (
	// maxWait is the longest time that the service waits for a change.
	maxWait = 10 * time.Second
	// minPoll is the time between requests if the service doesn't wait, as during a drain.
	minPoll = 500 * time.Millisecond
)

// ReadArticleChanges returns the changes after an offset, or from the first one if it is
// "". If there is none, the service waits for one: for wait, rounded down to seconds, and at
// most for 10 s. If changes after the offset have been removed, the error has the code
// ChangesTrimmed.
func (c *Client) ReadArticleChanges(ctx context.Context, after string, wait time.Duration) (Changes, error) {
	request := newCall(http.MethodGet, c.article, articlesPath+"/changes", nil)
	request.query = url.Values{}
	set(request.query, "after", after)
	if seconds := int(min(wait, maxWait) / time.Second); seconds > 0 {
		request.query.Set("wait", strconv.Itoa(seconds))
	}
	return object[Changes](ctx, c, request)
}

// ArticleChanges returns the changes after an offset, or from the first one if it is "",
// up to the newest one.
func (c *Client) ArticleChanges(ctx context.Context, after string) iter.Seq2[Change, error] {
	return c.articleChanges(ctx, after, 0)
}

// FollowArticleChanges is like ArticleChanges, but then waits for further changes, until
// ctx ends or there is an error. A broken connection or an unavailable service is an error
// only after Config.MaxRetries repeats.
//
// If the error has the code ChangesTrimmed, changes are missing: keep Error.Next, read the
// list of all articles, and then go on after Error.Next.
func (c *Client) FollowArticleChanges(ctx context.Context, after string) iter.Seq2[Change, error] {
	return c.articleChanges(ctx, after, maxWait)
}

func (c *Client) articleChanges(ctx context.Context, after string, wait time.Duration) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for {
			began := time.Now()
			found, err := c.ReadArticleChanges(ctx, after, wait)
			if err != nil {
				yield(Change{}, err)
				return
			}
			for _, one := range found.Changes {
				if !yield(one, nil) {
					return
				}
			}
			after = found.Next
			if wait == 0 && !found.More {
				return
			}
			if rest := minPoll - time.Since(began); len(found.Changes) == 0 && rest > 0 && !pause(ctx, rest) {
				yield(Change{}, ctx.Err())
				return
			}
		}
	}
}
