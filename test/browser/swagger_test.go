package browser_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/swagger"
	"github.com/achilles-blog/achilles/test/process"
)

// seen records the requests and the errors of a page.
type seen struct {
	mu         sync.Mutex
	hosts      map[string]bool
	complaints []string
}

// listen records the hosts that the page calls, and its errors and warnings.
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
		s.complaints = append(s.complaints, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			for _, argument := range e.Args {
				s.complaints = append(s.complaints, string(argument.Value)+argument.Description)
			}
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			s.complaints = append(s.complaints, fmt.Sprintf("%s %s", e.Entry.Text, e.Entry.URL))
		}
	}
}

// takeComplaints returns the errors and warnings since the last call.
func (s *seen) takeComplaints() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.complaints
	s.complaints = nil
	return taken
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
	s := &seen{hosts: map[string]bool{}}
	require.NoError(t, chromedp.Listen(page, s.listen)) // starts the browser, which ends with this context
	_, err := chromedp.Call(page, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	page, expire := context.WithTimeout(page, 4*process.Patience) // a busy machine takes a minute for two pages
	t.Cleanup(expire)
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
			require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(page.server.URL(t, "/swagger/"+page.name+"/"))))
			require.Contains(t, try(ctx, t, "get", page.path, ""), `"list": []`)
			require.Equal(t, "200", status(ctx, t, "get", page.path), "reads are open")
			require.Contains(t, try(ctx, t, "post", page.path, page.body), "10000004")
			require.Equal(t, "401", status(ctx, t, "post", page.path))
			process.Await(t, "the browser's own complaint, of the 401", func() bool { return len(seen.takeComplaints()) == 1 })

			require.Equal(t, 0, count(ctx, t, operation("get", page.path)+lock), "a read needs no token")
			require.Equal(t, 1, count(ctx, t, operation("post", page.path)+lock))
			authorize(ctx, t, process.Token())
			// Without the fragment all operations are closed again.
			require.NoError(t, chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](`location.hash = ""`), chromedp.Reload()))
			require.Contains(t, try(ctx, t, "get", page.path, ""), `"list": []`)
			require.Contains(t, try(ctx, t, "post", page.path, page.body), "from the browser")
			require.Equal(t, "201", status(ctx, t, "post", page.path))
			require.Contains(t, again(ctx, t, "get", page.path), "from the browser")
			require.Equal(t, "200", status(ctx, t, "get", page.path))

			answer, err := process.Ask("GET", page.server.URL(t, page.path), nil)
			require.NoError(t, err)
			require.Contains(t, string(answer.Body), "from the browser", "and it is really there")

			require.Empty(t, seen.takeComplaints())
			seen.mu.Lock()
			defer seen.mu.Unlock()
			require.Equal(t, map[string]bool{page.server.Addr(t): true}, seen.hosts, "no other host")
		})
	}
}

// One page shows the descriptions of several services, and remembers the choice.
func TestOnePageShowsBothServices(t *testing.T) {
	pages := http.NewServeMux()
	pages.Handle("/swagger/", swagger.Page("/swagger",
		swagger.Description{Name: "tag", URL: "tag/openapi.json"}, swagger.Description{Name: "article", URL: "article/openapi.json"}))
	for _, name := range []string{"tag", "article"} {
		pages.HandleFunc("/swagger/"+name+"/openapi.json", func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, "../../services/"+name+"/docs/openapi.json")
		})
	}
	server := httptest.NewServer(pages)
	defer server.Close()
	ctx, seen := newPage(t)
	require.NoError(t, chromedp.Do(ctx,
		chromedp.Navigate(server.URL+"/swagger/"),
		chromedp.WaitVisible(operation("get", "/api/v1/tags")),
		chromedp.SendKeys(`//select[@id="select"]`, "article"),
		chromedp.WaitVisible(operation("get", "/api/v1/articles")),
		chromedp.Reload(),
		chromedp.WaitVisible(operation("get", "/api/v1/articles")),
	))
	require.Empty(t, seen.takeComplaints())
}

// lock selects the button beside an operation that needs a token.
const lock = `//button[contains(@class,"authorization__btn")]`

// count returns how many elements an XPath selects.
func count(ctx context.Context, t *testing.T, path string) int {
	t.Helper()
	found, err := chromedp.Run(ctx, chromedp.Evaluate[int](fmt.Sprintf(`document.evaluate(%q, document, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE, null).snapshotLength`, path)))
	require.NoError(t, err)
	return found
}

// operation selects the block of one operation on the page.
func operation(method, path string) string {
	return fmt.Sprintf(`//div[contains(@class,"opblock-%s")][.//*[@data-path=%q]]`, method, path)
}

// try expands an operation, executes it and returns the body of the answer as
// the page shows it.
func try(ctx context.Context, t *testing.T, method, path, body string) string {
	t.Helper()
	block := operation(method, path)
	require.NoError(t, chromedp.Do(ctx,
		chromedp.Click(block+`//button[contains(@class,"opblock-summary-control")]`),
		chromedp.Click(block+`//button[contains(@class,"try-out__btn")]`),
	))
	if body != "" {
		fill(ctx, t, block+`//textarea[contains(@class,"body-param__text")]`, body)
	}
	return execute(ctx, t, block)
}

// again executes an operation once more, as it is filled in.
func again(ctx context.Context, t *testing.T, method, path string) string {
	t.Helper()
	block := operation(method, path)
	require.NoError(t, chromedp.Do(ctx, chromedp.Click(block+`//button[contains(@class,"btn-clear")]`)))
	return execute(ctx, t, block)
}

func execute(ctx context.Context, t *testing.T, block string) string {
	t.Helper()
	require.NoError(t, chromedp.Do(ctx, chromedp.Click(block+`//button[contains(@class,"execute")]`)))
	answer, err := chromedp.Run(ctx, chromedp.Text(block+`//table[contains(@class,"live-responses-table")]//div[contains(@class,"highlight-code")]`))
	require.NoError(t, err)
	return answer
}

// authorize gives the page the token of a client.
func authorize(ctx context.Context, t *testing.T, value string) {
	t.Helper()
	const dialog = `//div[contains(@class,"modal-ux")]`
	require.NoError(t, chromedp.Do(ctx, chromedp.Click(`//div[contains(@class,"auth-wrapper")]/button[contains(@class,"authorize")]`)))
	fill(ctx, t, dialog+`//div[h4/code[text()="AppToken"]]//input`, value)
	require.NoError(t, chromedp.Do(ctx,
		chromedp.Click(dialog+`//button[contains(@class,"modal-btn") and contains(@class,"authorize")]`),
		chromedp.Click(dialog+`//button[contains(@class,"btn-done")]`),
	))
}

// fill replaces a text as a person does: selects all of it and types.
func fill(ctx context.Context, t *testing.T, field, text string) {
	t.Helper()
	require.NoError(t, chromedp.Do(ctx, chromedp.WaitVisible(field), chromedp.Focus(field)))
	_, err := chromedp.Run(ctx, chromedp.Evaluate[chromedp.Void](`document.activeElement.select()`))
	require.NoError(t, err)
	require.NoError(t, chromedp.Do(ctx, chromedp.KeyEvent(text)))
	process.Await(t, "the page to take the text over", func() bool {
		value, err := chromedp.Run(ctx, chromedp.Value(field))
		return err == nil && value == text
	})
}

// status is the one that the page shows for the answer.
func status(ctx context.Context, t *testing.T, method, path string) string {
	t.Helper()
	text, err := chromedp.Run(ctx, chromedp.Text(operation(method, path)+
		`//table[contains(@class,"live-responses-table")]//tbody//td[contains(@class,"response-col_status")]`))
	require.NoError(t, err)
	return text
}
