package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// exportRetryAfter is when an export that was rejected may be tried again.
const exportRetryAfter = 10 * time.Second

var (
	errTooManyExports = errors.New("too many exports are running")
	errExportEnded    = errors.New("the export has taken App.ExportTimeout, or the service stops")
)

// ExportMemory returns the memory in bytes that an export takes, with contents of up to a size.
func ExportMemory(maxContent int) int64 { return readFactor * int64(max(maxContent, pageContents)) }

// ExportConfig configures exports.
type ExportConfig struct {
	// Max is the number of exports of clients with a token that run at once, and that of others.
	// A client can have one of them.
	Max int
	// Timeout is the maximum duration of an export. What is left is for another one.
	Timeout time.Duration
	// Memory is what an export takes, in bytes.
	Memory int64
	// Draining is closed when the service begins to stop. Then exports end within Grace, and if
	// their clients are slow, half of it later.
	Draining <-chan struct{}
	Grace    time.Duration
}

// Exports bounds the exports that run at once.
type Exports struct {
	config ExportConfig

	mu      sync.Mutex
	clients map[string]bool // those whose exports run, and whether they are anonymous
}

// NewExports returns Exports.
func NewExports(config ExportConfig) *Exports {
	return &Exports{config: config, clients: map[string]bool{}}
}

// enter begins an export of a client. The caller must call leave, unless there is an error.
func (e *Exports) enter(client string, anonymous bool) (leave func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	running := 0
	for _, other := range e.clients {
		if other == anonymous {
			running++
		}
	}
	if _, own := e.clients[client]; own || running >= e.config.Max {
		return nil, tooManyExports(e.config.Max)
	}
	e.clients[client] = anonymous
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.clients, client)
	}, nil
}

func tooManyExports(most int) error {
	err := errcode.NewBusy(errTooManyExports, errcode.Text{
		ZH:       fmt.Sprintf("最多同时进行%d个导出, 每个客户端一个 (设置 App.MaxExports)", most),
		EN:       fmt.Sprintf("at most %d exports run at once, and one of a client (setting App.MaxExports)", most),
		ZHHantTW: fmt.Sprintf("最多同時進行%d個匯出, 每個用戶端一個 (設定 App.MaxExports)", most),
	})
	err.RetryAfter = exportRetryAfter
	return err
}

// context returns the context of an export, which lasts longer than that of its request, but
// ends with the connection of the client.
func (e *Exports) context(request context.Context) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(request), e.config.Timeout)
	stop := context.AfterFunc(request, func() {
		if errors.Is(request.Err(), context.Canceled) {
			cancel()
		}
	})
	return ctx, func() { stop(); cancel() }
}

// clock says when an export ends early.
type clock struct {
	until    time.Time
	draining <-chan struct{}
	grace    time.Duration
}

func (e *Exports) clock() *clock {
	return &clock{until: time.Now().Add(e.config.Timeout), draining: e.config.Draining, grace: e.config.Grace}
}

// end returns the time from which on no further article is sent.
func (c *clock) end() time.Time {
	select {
	case <-c.draining:
		c.draining = nil
		if last := time.Now().Add(c.grace); last.Before(c.until) {
			c.until = last
		}
	default:
	}
	return c.until
}

// over reports whether the export must end now.
func (c *clock) over() bool { return time.Now().After(c.end()) }

// limit returns the time until which the client must have read what was sent.
func (c *clock) limit() time.Time { return c.end().Add(c.grace / 2) }

// ExportRequest is the query of an export.
type ExportRequest struct {
	After uint64 `json:"after"`
}

// ExportEnd is the last line of an export.
type ExportEnd struct {
	// whether all articles are there; otherwise the export goes on with ?after=
	End bool `json:"end" example:"true"`
	// number of articles on the lines before
	Articles int `json:"articles" example:"1000"`
	// id of the last of them, or what the request had as after
	After uint64 `json:"after" example:"1000"`
}

// exportArticles streams all articles.
//
//	@Summary		Export all articles with their contents, as NDJSON
//	@ID				exportArticles
//	@Description	One article a line, as in GET /api/v1/articles/{id}, in the order of the ids and as they were at one moment. The last line is {"end":true,"articles":1000,"after":1000}. If its `end` is false, or it is missing, go on with `after`, the id of the last article.
//	@Tags			articles
//	@Produce		application/x-ndjson
//	@Param			after	query		integer						false	"only articles with a greater id"	minimum(0)
//	@Success		200		{string}	string	"lines with an Article each, and one that says whether that is all"
//	@Failure		400	{object}	responses.Problem	"invalid (10000001)"
//	@Security		AppToken
//	@Router			/api/v1/articles/export [get]
//	@Router			/api/v1/articles/export [head]
func (a *API) exportArticles(c *gin.Context) {
	var request ExportRequest
	if err := a.Binder.Query(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	if c.Request.Method == http.MethodHead {
		responses.NoLines(c)
		return
	}
	if a.LimitSearch(c); c.IsAborted() {
		return
	}
	leave, err := a.Exports.enter(a.Client(c), !auth.PrincipalOf(c).Authenticated())
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer leave()
	reserved, err := a.Memory.Reserve(c, a.Exports.config.Memory)
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	server.LeaveReads(c) // exports have a bound of their own
	a.export(c, request.After)
}

func (a *API) export(c *gin.Context, after uint64) {
	ctx, cancel := a.Exports.context(c.Request.Context())
	defer cancel()
	clock := a.Exports.clock()
	lines, end := encoder.Lines(c, clock.limit), ExportEnd{After: after}
	err := a.Articles.Export(ctx, viewer(c), after, a.Exports.config.Timeout, func(one article.Article) error {
		if clock.over() {
			return errExportEnded
		}
		end.Articles, end.After = end.Articles+1, one.ID
		return lines.Object(withContent(one, one.Content))
	})
	switch {
	case lines.Lost():
	case err != nil && !lines.Began():
		responses.ErrorOr(c, err, errcode.ListArticlesFailed)
	default:
		end.End = err == nil
		lines.End(end)
		if err != nil {
			_ = c.Error(err)
		}
	}
}
