package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
)

const (
	// uploadShare and downloadShare are the divisors of the number of uploads and downloads
	// that give how many one client may have at once.
	uploadShare   = 4
	downloadShare = 8
	// transferWait is how long a transfer waits for a place: most transfers are short.
	transferWait = time.Second
)

var errTooManyTransfers = errors.New("too many uploads or downloads are in progress")

// transfers bounds the uploads or the downloads at once, which may take long: of all, of
// each client, and of those without a token, to which it leaves three quarters.
type transfers struct {
	most, share int
	setting     string // that has most
	client      func(*gin.Context) string
	waiting     chan struct{}

	mu             sync.Mutex
	all, anonymous int
	clients        map[string]int
	freed          chan struct{} // closed when a transfer ends
}

func newTransfers(most, share int, setting string, client func(*gin.Context) string) *transfers {
	return &transfers{most: most, share: max(1, most/share), setting: setting, client: client,
		waiting: make(chan struct{}, most), clients: map[string]int{}, freed: make(chan struct{})}
}

// limit answers 503 if too many transfers are in progress for a while.
func (t *transfers) limit(c *gin.Context) {
	client, anonymous := t.client(c), !auth.PrincipalOf(c).Authenticated()
	server.LeaveReads(c)
	if err := t.enter(c.Request.Context(), client, anonymous); err != nil {
		responses.Error(c, err)
		return
	}
	defer t.end(client, anonymous)
	c.Next()
}

// enter begins a transfer. It waits for a place, if not too many others do.
func (t *transfers) enter(ctx context.Context, client string, anonymous bool) error {
	if _, ok := t.begin(client, anonymous); ok {
		return nil
	}
	select {
	case t.waiting <- struct{}{}:
		defer func() { <-t.waiting }()
	default:
		return t.tooMany()
	}
	timeout := time.NewTimer(transferWait)
	defer timeout.Stop()
	for {
		freed, ok := t.begin(client, anonymous)
		if ok {
			return nil
		}
		select {
		case <-freed:
		case <-timeout.C:
			return t.tooMany()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// begin takes a place if one is free. Otherwise it returns a channel that is closed when one may be.
func (t *transfers) begin(client string, anonymous bool) (freed <-chan struct{}, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all >= t.most || t.clients[client] >= t.share || anonymous && t.anonymous >= max(1, t.most*3/4) {
		return t.freed, false
	}
	t.all++
	t.clients[client]++
	if anonymous {
		t.anonymous++
	}
	return nil, true
}

func (t *transfers) end(client string, anonymous bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all--
	if anonymous {
		t.anonymous--
	}
	if t.clients[client]--; t.clients[client] == 0 {
		delete(t.clients, client)
	}
	close(t.freed)
	t.freed = make(chan struct{})
}

func (t *transfers) tooMany() error {
	return errcode.NewBusy(errTooManyTransfers, errcode.Text{
		ZH:       fmt.Sprintf("同时传输的文件过多: 共%d个, 每个客户端%d个 (设置 %s)", t.most, t.share, t.setting),
		EN:       fmt.Sprintf("too many files are being transferred: at most %d at once, %d of one client (setting %s)", t.most, t.share, t.setting),
		ZHHantTW: fmt.Sprintf("同時傳輸的檔案過多: 共%d個, 每個用戶端%d個 (設定 %s)", t.most, t.share, t.setting),
	})
}
