package browser_test

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// seen is what a page did besides showing something.
type seen struct {
	mu         sync.Mutex
	hosts      map[string]bool
	complaints []string
}

// listen takes down which hosts the page asks and what it complains about.
func (s *seen) listen(event any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if address, err := url.Parse(e.Request.URL); err != nil {
			s.hosts[e.Request.URL] = true
		} else if address.Scheme != "data" {
			s.hosts[address.Host] = true
		}
	case *runtime.EventExceptionThrown:
		s.complaints = append(s.complaints, e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
			for _, argument := range e.Args {
				s.complaints = append(s.complaints, string(argument.Value)+argument.Description)
			}
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
			s.complaints = append(s.complaints, fmt.Sprintf("%s %s", e.Entry.Text, e.Entry.URL))
		}
	}
}

// newPage opens an empty page in a browser of its own.
func newPage(t *testing.T) (context.Context, *seen) {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(process.Installed(t, "chromium")),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // which root is not given
		chromedp.DisableGPU,
		chromedp.WindowSize(1280, 2000),
	)
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	page, leave := chromedp.NewContext(allocator)
	t.Cleanup(leave)
	page, expire := context.WithTimeout(page, 2*process.Patience)
	t.Cleanup(expire)
	s := &seen{hosts: map[string]bool{}}
	chromedp.ListenTarget(page, s.listen)
	require.NoError(t, chromedp.Run(page, network.Enable(), runtime.Enable(), log.Enable()))
	return page, s
}

func TestSwaggerPagesCallTheAPI(t *testing.T) {
	tag := process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)))
	article := process.Ready(t, process.Service(t, "article"), process.Follow(dbtest.SQLite(t), tag.Addr(t)))
	for _, page := range []struct {
		name, path, body string
		server           *process.Process
	}{
		{"tag", "/api/v1/tags", `{"name":"from the browser"}`, tag},
		{"article", "/api/v1/articles", `{"title":"from the browser","content":"text"}`, article},
	} {
		t.Run(page.name, func(t *testing.T) {
			ctx, seen := newPage(t)
			require.NoError(t, chromedp.Run(ctx, chromedp.Navigate(page.server.URL(t, "/swagger/"+page.name+"/"))))
			require.Contains(t, try(t, ctx, "post", page.path, page.body), "from the browser")
			require.Equal(t, "201", status(t, ctx, "post", page.path))
			require.Contains(t, try(t, ctx, "get", page.path, ""), "from the browser")
			require.Equal(t, "200", status(t, ctx, "get", page.path))

			answer, err := process.Ask("GET", page.server.URL(t, page.path), nil)
			require.NoError(t, err)
			require.Contains(t, string(answer.Body), "from the browser", "and it is really there")

			seen.mu.Lock()
			defer seen.mu.Unlock()
			require.Empty(t, seen.complaints)
			require.Equal(t, map[string]bool{page.server.Addr(t): true}, seen.hosts, "no other host")
		})
	}
}

// operation selects the block of one operation on the page.
func operation(method, path string) string {
	return fmt.Sprintf(`//div[contains(@class,"opblock-%s")][.//*[@data-path=%q]]`, method, path)
}

// try expands an operation, executes it and returns the body of the answer as
// the page shows it.
func try(t *testing.T, ctx context.Context, method, path, body string) (answer string) {
	t.Helper()
	block := operation(method, path)
	actions := chromedp.Tasks{
		chromedp.Click(block+`//button[contains(@class,"opblock-summary-control")]`, chromedp.BySearch),
		chromedp.Click(block+`//button[contains(@class,"try-out__btn")]`, chromedp.BySearch),
	}
	if body != "" {
		actions = append(actions, fill(block+`//textarea[contains(@class,"body-param__text")]`, body)...)
	}
	actions = append(actions,
		chromedp.Click(block+`//button[contains(@class,"execute")]`, chromedp.BySearch),
		chromedp.Text(block+`//table[contains(@class,"live-responses-table")]//div[contains(@class,"highlight-code")]`, &answer, chromedp.BySearch),
	)
	require.NoError(t, chromedp.Run(ctx, actions))
	return answer
}

// fill replaces a text as a person does, key by key.
func fill(field, text string) chromedp.Tasks {
	return chromedp.Tasks{
		chromedp.WaitVisible(field, chromedp.BySearch),
		chromedp.Focus(field, chromedp.BySearch),
		chromedp.ActionFunc(func(ctx context.Context) error {
			return chromedp.Evaluate(`document.activeElement.select()`, nil).Do(ctx)
		}),
		chromedp.SendKeys(field, text, chromedp.BySearch),
		chromedp.Sleep(200 * time.Millisecond), // the page takes the text over a moment later
	}
}

// status is the one that the page shows for the answer.
func status(t *testing.T, ctx context.Context, method, path string) (text string) {
	t.Helper()
	cell := operation(method, path) + `//table[contains(@class,"live-responses-table")]//td[contains(@class,"response-col_status")]`
	require.NoError(t, chromedp.Run(ctx, chromedp.Text(cell, &text, chromedp.BySearch)))
	return text
}
