package report

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/process"
)

// measure finds elements that exceed the window, except those in scrollable elements,
// overlapping or clipped texts of a chart, and texts with too little contrast.
const measure = `(() => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = color => { const [r, g, b] = color.match(/[\d.]+/g).map(Number); return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (!e.parentElement.closest(".chart, .scroll, details:not([open])") && box.width > 0 && (box.right > innerWidth + 1 || box.left < -1)) found.push("wide: " + e.outerHTML.slice(0, 100));
    if (e.tagName !== "title" && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && 1.05 / (light(e instanceof SVGElement ? style.fill : style.color) + 0.05) < 4.5) found.push("pale: " + e.outerHTML.slice(0, 100));
  }
  if (document.scrollingElement.scrollWidth > innerWidth) found.push("wide: the page");
  for (const svg of document.querySelectorAll(".chart svg")) {
    const frame = svg.getBoundingClientRect(), texts = [...svg.querySelectorAll("text")].map(e => [e.textContent, e.getBoundingClientRect()]);
    texts.forEach(([text, a], n) => {
      if (a.left < frame.left || a.right > frame.right || a.top < frame.top || a.bottom > frame.bottom) found.push("outside: " + text);
      for (const [other, b] of texts.slice(n + 1))
        if (a.left < b.right && b.left < a.right && a.top + 4 < b.bottom && b.top + 4 < a.bottom) found.push("covered: " + text + " / " + other);
    });
  }
  return found.slice(0, 10);
})()`

// The pages are artifacts of the test, which go test -artifacts keeps.
func TestLayout(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	browser, complaints := newTab(t)
	for name, r := range reports() {
		file := filepath.Join(t.ArtifactDir(), strings.ReplaceAll(name, " ", "-")+".html")
		require.NoError(t, os.WriteFile(file, []byte(source(t, r)), 0o600))
		for _, width := range []int64{390, 1280} {
			t.Run(fmt.Sprintf("%s/%d", name, width), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(browser, 2*process.Patience)
				defer cancel()
				require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate("file://"+file)))
				found, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](measure))
				require.NoError(t, err)
				require.Empty(t, found)
			})
		}
	}
	select {
	case text := <-complaints:
		t.Fatalf("the browser reports: %s", text)
	default:
	}
}

// newTab returns a browser tab, and the errors that the browser reports, such as violations
// of the content security policy.
func newTab(t *testing.T) (context.Context, <-chan string) {
	t.Helper()
	allocator, stop := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(process.Installed(t, "chromium")),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // required for root
		chromedp.DisableGPU,
	)...)
	t.Cleanup(stop)
	ctx, leave := chromedp.NewContext(allocator)
	t.Cleanup(leave)
	complaints := make(chan string, 1)
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		if entry, ok := event.(*log.EventEntryAdded); ok {
			select {
			case complaints <- entry.Entry.Text + " " + entry.Entry.URL:
			default: // the first is enough
			}
		}
	}))
	return ctx, complaints
}
