package api

import (
	"context"
	"errors"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// defaultChanges is the default of the parameter limit.
const defaultChanges = 100

// Feed is the part of article.Feed that the handlers use.
type Feed interface {
	Changes(ctx context.Context, viewer article.Viewer, after changefeed.Offset, limit int) (article.Changes, error)
	LastChange(ctx context.Context, viewer article.Viewer) (changefeed.Offset, error)
	Watcher(viewer article.Viewer) *changefeed.Watcher
}

// ChangesRequest is the query for changes.
type ChangesRequest struct {
	After string `json:"after" validate:"max=100"`
	Limit *int   `json:"limit" validate:"omitempty,min=1,max=100"`
	Wait  int    `json:"wait" validate:"min=0,max=10"`
}

// Change is an entry of the feed.
type Change struct {
	// where the feed goes on after this change
	Offset string `json:"offset" example:"p0f6d5c2e-8c1f-11ef-b8a1-0242ac120002.17"`
	// delete: the article is deleted, or not visible to the client
	Kind string `json:"kind" enums:"put,delete" example:"put"`
	// id of the article
	ID uint64 `json:"id" example:"1"`
	// the article as it is now, without its content; only with kind put
	Article *Article `json:"article,omitempty"`
}

// Changes is a part of the feed.
type Changes struct {
	Changes []Change `json:"changes"`
	// after of the request that goes on
	Next string `json:"next" example:"p0f6d5c2e-8c1f-11ef-b8a1-0242ac120002.17"`
	// there are further changes already
	More bool `json:"more" example:"false"`
}

// listChanges reads the feed.
//
//	@Summary		Read the feed of changes
//	@ID				listArticleChanges
//	@Description	Changes after the offset `after`, in order and without gaps. If there are none, waits up to `wait` seconds for one. Without a token, the feed is that of enabled articles.
//	@Tags			articles
//	@Produce		json
//	@Param			after	query		string						false	"next of the previous response, or the offset of a change; without it, the feed begins with its first change"	maxLength(100)
//	@Param			limit	query		integer						false	"maximum number of changes, 100 by default"	minimum(1)	maximum(100)
//	@Param			wait	query		integer						false	"maximum wait in seconds"					minimum(0)	maximum(10)
//	@Success		200		{object}	responses.Envelope[Changes]	"the changes"
//	@Failure		400	{object}	responses.Problem	"invalid (10000001)"
//	@Failure		410	{object}	responses.Problem	"the changes are no longer available (10000018): read the list of all articles, then go on after `next`"
//	@Security		AppToken
//	@Router			/api/v1/articles/changes [get]
//	@Router			/api/v1/articles/changes [head]
func (a *API) listChanges(c *gin.Context) {
	var request ChangesRequest
	if err := a.Binder.Query(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	after, err := request.after()
	if err != nil {
		responses.Error(c, err)
		return
	}
	found, reserved, err := a.pollChanges(c, request, after)
	defer reserved.Release()
	if err != nil {
		responses.ErrorOr(c, a.startOver(c, err), errcode.ListArticlesFailed)
		return
	}
	responses.OK(c, newChanges(after, found), reserved)
}

// after returns the offset of the request. Without one, it is that of the first change of
// any epoch.
func (r ChangesRequest) after() (changefeed.Offset, error) {
	if r.After == "" {
		return changefeed.Offset{}, nil
	}
	after, err := changefeed.ParseOffset(r.After)
	if err != nil {
		err = &errcode.Error{Code: errcode.InvalidParams, Cause: err, Details: []errcode.Detail{errcode.Invalid("after", errcode.Malformed, errcode.Text{
			ZH:       "after必须是本接口返回的next或offset",
			EN:       "after must be a next or an offset that this feed has returned",
			ZHHantTW: "after必須是本介面返回的next或offset",
		})}}
	}
	return after, err
}

// pollChanges reads changes, and waits for one if there are none. It holds memory and a
// place among the reads only while it reads. The caller must release the reservation.
func (a *API) pollChanges(c *gin.Context, request ChangesRequest, after changefeed.Offset) (found article.Changes, reserved *responses.Reservation, err error) {
	limit, wait := defaultChanges, time.Duration(request.Wait)*time.Second
	if request.Limit != nil {
		limit = *request.Limit
	}
	if deadline, ok := c.Request.Context().Deadline(); ok {
		// The wait ends before the request times out.
		wait = min(wait, time.Until(deadline)*2/3)
	}
	viewer := viewer(c)
	poll := changefeed.Request{After: after.Sequence, Wait: wait, Client: a.Client(c), OnWait: func() {
		reserved.Release()
		server.LeaveReads(c)
	}}
	found, err = changefeed.Poll(c.Request.Context(), a.Feed.Watcher(viewer), poll, func(ctx context.Context) (found article.Changes, err error) {
		reserved.Release()
		if reserved, err = a.Memory.Reserve(c, PageMemory(limit)); err != nil {
			return found, err
		}
		found, err = a.Feed.Changes(ctx, viewer, after, limit)
		reserved.Resize(sizeOfChanges(found))
		return found, err
	})
	return found, reserved, err
}

// startOver adds the newest offset to the error that changes have been removed.
func (a *API) startOver(c *gin.Context, err error) error {
	var coded *errcode.Error
	if !errors.As(err, &coded) || coded.Code != errcode.ChangesTrimmed {
		return err
	}
	last, failed := a.Feed.LastChange(c.Request.Context(), viewer(c))
	if failed != nil {
		return failed
	}
	return &errcode.Error{Code: errcode.ChangesTrimmed, Next: last.String()}
}

func newChanges(after changefeed.Offset, found article.Changes) Changes {
	at := changefeed.Offset{Epoch: found.Epoch, Sequence: after.Sequence}
	changes := Changes{Changes: make([]Change, 0, len(found.Changes))}
	for _, change := range found.Changes {
		at.Sequence = change.Sequence
		one := Change{Offset: at.String(), Kind: string(change.Kind()), ID: change.ID}
		if change.Article != nil {
			one.Article = new(toResponse(*change.Article))
		}
		changes.Changes = append(changes.Changes, one)
	}
	changes.Next, changes.More = at.String(), at.Sequence < found.Last
	return changes
}

func sizeOfChanges(found article.Changes) (size int64) {
	const fixed = 256
	for _, change := range found.Changes {
		size += fixed
		if change.Article != nil {
			size += sizeOf([]article.Article{*change.Article})
		}
	}
	return size
}
