package report

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/process"
)

// layout is what a browser makes of a page.
type layout struct {
	// Wide are elements that stick out of the window; what scrolls by itself
	// does not. Covered are labels of events that cover each other, Outside
	// those that leave their chart.
	Wide, Covered, Outside []string
	// Silent are charts that tell nothing to who points at them.
	Silent []string
	// Readable is the least contrast of a text with what is behind the page.
	Readable float64
	Least    string
}

const measure = `(() => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = color => { const [r, g, b] = color.match(/[\d.]+/g).map(Number); return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const found = { Wide: [], Covered: [], Outside: [], Silent: [], Readable: 99, Least: "" };
  for (const e of document.querySelectorAll("body *")) {
    const box = e.getBoundingClientRect(), inside = e.parentElement.closest(".chart, .scroll, details:not([open])");
    if (!inside && box.width > 0 && (box.right > innerWidth + 1 || box.left < -1)) found.Wide.push(e.outerHTML.slice(0, 100));
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(e), ink = light(e instanceof SVGElement ? style.fill : style.color);
    if (style.display === "none" || e.tagName === "title") continue;
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (contrast < found.Readable) [found.Readable, found.Least] = [contrast, e.outerHTML.slice(0, 100)];
  }
  if (document.scrollingElement.scrollWidth > innerWidth) found.Wide.push("the page");
  for (const svg of document.querySelectorAll(".chart svg")) {
    svg.scrollIntoView();
    const frame = svg.getBoundingClientRect(), lane = svg.querySelector(".column rect").getBoundingClientRect();
    if (!document.elementFromPoint(frame.left + 300, lane.top + 10)?.closest(".column")) found.Silent.push(svg.closest("section").id);
    const labels = [...svg.querySelectorAll(".label")].map(e => [e.textContent, e.getBoundingClientRect()]);
    labels.forEach(([text, a], n) => {
      if (a.left < frame.left || a.right > frame.right || a.top < frame.top) found.Outside.push(text);
      for (const [other, b] of labels.slice(n + 1))
        if (a.left < b.right && b.left < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom) found.Covered.push(text + " / " + other);
    });
  }
  return found;
})()`

// The pages are left among the test's artifacts: go test -artifacts keeps them.
func TestLayout(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	tab := newTab(t)
	all := reports()
	all["crowded"] = crowdedReport()
	for name, r := range all {
		file := filepath.Join(t.ArtifactDir(), strings.ReplaceAll(name, " ", "-")+".html")
		require.NoError(t, os.WriteFile(file, []byte(source(t, r)), 0o600))
		for _, width := range []int64{390, 1280} {
			for _, scheme := range []string{"light", "dark"} {
				t.Run(fmt.Sprintf("%s/%d/%s", name, width, scheme), func(t *testing.T) {
					found := tab.measure(t, "file://"+file, width, scheme)
					require.Empty(t, found.Wide)
					require.Empty(t, found.Covered)
					require.Empty(t, found.Outside)
					require.Empty(t, found.Silent)
					require.Greater(t, found.Readable, 4.5, found.Least)
				})
			}
		}
	}
	tab.mu.Lock()
	defer tab.mu.Unlock()
	require.Empty(t, tab.complaints)
}

// crowdedReport has as many labels as a chart may have, at its two ends.
func crowdedReport() *Report {
	r := fakeReport()
	r.Graceful.Events = nil
	for n := range mostLabels {
		at := r.Graceful.Started.Add(time.Duration(n) * 100 * time.Millisecond)
		if n%2 == 1 {
			at = r.Graceful.Finished.Add(-time.Duration(n) * 100 * time.Millisecond)
		}
		r.Graceful.Events = append(r.Graceful.Events, Event{Name: strings.Repeat("W", 10+n), Start: at, End: at.Add(time.Second)})
	}
	return r
}

// tab is a browser with one page.
type tab struct {
	ctx        context.Context
	mu         sync.Mutex
	complaints []string
}

func newTab(t *testing.T) *tab {
	t.Helper()
	allocator, stop := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(process.Installed(t, "chromium")),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // which root is not given
		chromedp.DisableGPU,
	)...)
	t.Cleanup(stop)
	ctx, leave := chromedp.NewContext(allocator)
	t.Cleanup(leave)
	made := &tab{ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, made.listen))
	return made
}

// listen takes down what the browser complains about: above all what the page
// asks for and its own policy forbids.
func (b *tab) listen(event any) {
	if entry, ok := event.(*log.EventEntryAdded); ok {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.complaints = append(b.complaints, entry.Entry.Text+" "+entry.Entry.URL)
	}
}

func (b *tab) measure(t *testing.T, url string, width int64, scheme string) layout {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*process.Patience)
	defer cancel()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media)
	require.NoError(t, err)
	require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(url)))
	found, err := chromedp.Run(ctx, chromedp.Evaluate[layout](measure))
	require.NoError(t, err)
	return found
}
