package attach

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a headless Chromium, and what its pages complain about or ask for.
type browser struct {
	ctx context.Context

	mu       sync.Mutex
	requests []string
	errors   []string
}

// chromium starts one, or skips the test where there is none.
func chromium(t *testing.T) *browser {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short: a browser takes its time")
	}
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium on this machine: the page is not tried in a browser")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{ctx: ctx}
	if err := chromedp.Listen(ctx, func(ev any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch ev := ev.(type) {
		case *network.EventRequestWillBeSent:
			b.requests = append(b.requests, ev.Request.URL)
		case *runtime.EventExceptionThrown:
			b.errors = append(b.errors, (&chromedp.ExceptionError{ExceptionDetails: ev.ExceptionDetails}).Error())
		case *runtime.EventConsoleAPICalled:
			b.errors = append(b.errors, fmt.Sprintf("console.%s", ev.Type))
		case *log.EventEntryAdded:
			b.errors = append(b.errors, ev.Entry.Text)
		}
	}); err != nil {
		t.Fatal(err)
	}
	call(t, b, network.Enable, network.EnableParams{})
	call(t, b, log.Enable, cdp.Empty{})
	call(t, b, runtime.Enable, cdp.Empty{})
	return b
}

func call[P, R any](t *testing.T, b *browser, command cdp.Command[P, R], params P) {
	t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		t.Fatal(err)
	}
}

func (b *browser) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// open shows a page at that width.
func (b *browser) open(t *testing.T, page string, width int64, scheme string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.requests = nil
	b.mu.Unlock()
	call(t, b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	b.do(t, chromedp.EmulateViewport(width, 900), chromedp.Navigate("file://"+path))
}

// eval returns what a script gives.
func eval[T any](t *testing.T, b *browser, script string) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// quiet asserts that nothing was asked for but the page itself, and that no script failed.
func (b *browser) quiet(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.errors {
		t.Errorf("the page complains: %s", e)
	}
	pages := 0
	for _, u := range b.requests {
		switch {
		case strings.HasPrefix(u, "file://") && strings.HasSuffix(u, "/report.html"):
			pages++
		case !strings.HasPrefix(u, "data:"):
			t.Errorf("the page asks for %s", u)
		}
	}
	if pages != 1 {
		t.Errorf("%d requests for the page, want 1: %q", pages, b.requests)
	}
}

// TestBrowser shows pages of real members, wide and narrow, in the light and in the dark.
func TestBrowser(t *testing.T) {
	b := chromium(t)
	for scenario, want := range map[string]int{"lease-revoke-auth": 5, "mixed-authstatus-panic": 2, "truncated-db": 1} {
		page := render(t, sample(t, scenario))
		var background []string
		for _, width := range []int64{1280, 360} {
			for _, scheme := range []string{"light", "dark"} {
				t.Run(fmt.Sprintf("%s/%d/%s", scenario, width, scheme), func(t *testing.T) {
					b.open(t, page, width, scheme)
					if got := eval[int64](t, b, "document.documentElement.scrollWidth"); got > width {
						t.Errorf("the page is %d wide on a screen of %d", got, width)
					}
					if n := eval[int](t, b, "[...document.querySelectorAll('figure svg')].filter(s => s.getBoundingClientRect().height > 80).length"); n < want {
						t.Errorf("%d pictures are shown, want %d or more", n, want)
					}
					if !eval[bool](t, b, "document.querySelector('header').getBoundingClientRect().bottom < 1300") {
						t.Error("the answer is not at the top")
					}
					background = append(background, eval[string](t, b, "getComputedStyle(document.body).backgroundColor"))
					b.quiet(t)
				})
			}
		}
		if len(background) == 4 && background[0] == background[1] {
			t.Errorf("%s: light and dark are both %s", scenario, background[0])
		}
	}
}

// TestBrowserTable uses a table of 100,000 rows as somebody with a keyboard does.
func TestBrowserTable(t *testing.T) {
	b := chromium(t)
	page := render(t, many(maxRows))
	start := time.Now()
	b.open(t, page, 1280, "light")
	loaded := time.Since(start)
	const (
		first = "document.querySelector('#keys tbody td').textContent"
		count = "document.querySelectorAll('#keys tbody tr').length"
		found = "document.querySelector('#keys .found').textContent"
		pages = "document.querySelector('#keys .pages span').textContent"
	)
	want := func(script, text string) {
		t.Helper()
		for range 50 { // a search waits until typing pauses
			if eval[string](t, b, script) == text {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("%s is %q, want %q", script, eval[string](t, b, script), text)
	}
	want(pages, "1 to 100 of 100000")
	want(first, "/registry/pods/namespace-0/deployment-00000000-00000")

	start = time.Now()
	b.do(t, chromedp.SendKeys(chromedp.CSS("#keys input"), "00099999 NAMESPACE-99"))
	want(found, "1 of 100000 found")
	searched := time.Since(start)
	want(first, "/registry/pods/namespace-99/deployment-00099999-63352")
	eval[bool](t, b, "document.querySelector('#keys input').select() === undefined")
	b.do(t, chromedp.KeyEvent("\b"))
	want(pages, "1 to 100 of 100000")

	// Once for ascending, once more for descending; by number, not by text.
	b.do(t, chromedp.Focus(chromedp.CSS("#keys th:nth-child(3) button")))
	start = time.Now()
	b.do(t, chromedp.KeyEvent(" "))
	want(first, "/registry/pods/namespace-99/deployment-00099999-63352")
	sorted := time.Since(start)
	want("document.querySelector('#keys th:nth-child(3)').ariaSort", "ascending")
	b.do(t, chromedp.KeyEvent("\r"))
	want(first, "/registry/pods/namespace-0/deployment-00000000-00000")
	want("document.querySelector('#keys th:nth-child(3)').ariaSort", "descending")
	b.do(t, chromedp.Focus(chromedp.CSS("#keys th:nth-child(1) button")), chromedp.KeyEvent("\r"))
	want(first, "/registry/pods/namespace-0/deployment-00000000-00000")
	want("document.querySelector('#keys tbody tr:nth-child(2) td').textContent", "/registry/pods/namespace-0/deployment-00000100-91963")

	b.do(t, chromedp.Focus(chromedp.CSS("#keys .pages button:last-child")), chromedp.KeyEvent("\r"))
	want(pages, "99901 to 100000 of 100000")
	if n := eval[int](t, b, count); n != firstRows {
		t.Errorf("%d rows are in the page, want %d", n, firstRows)
	}
	b.quiet(t)
	t.Logf("%d bytes, loaded in %v, searched in %v, sorted in %v", len(page), loaded, searched, sorted)
}
