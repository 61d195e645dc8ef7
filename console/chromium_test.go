package console_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// tab is a tab of headless Chromium with its own cookies. By the end of the test it must have logged no error to its console and
// made no request to a host other than the gateway.
type tab struct {
	t   *testing.T
	g   *gateway.Gateway
	ctx context.Context

	mu       sync.Mutex
	faults   []string
	requests int
}

// chromium starts headless Chromium, the one on PATH unless TOLLGATE_CHROMIUM names another, and returns its context.
func chromium(t *testing.T) context.Context {
	t.Helper()
	testkit.LeftOut(t, "chromium")
	program, err := exec.LookPath(cmp.Or(os.Getenv("TOLLGATE_CHROMIUM"), "chromium"))
	require.NoError(t, err, "Chromium is needed: ./test.sh downloads it")
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-lcd-text", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))
	ctx, end := chromedp.NewExecAllocator(gateway.Timeout(t, 3*time.Minute), options...)
	t.Cleanup(end)
	ctx, end = chromedp.NewContext(ctx)
	t.Cleanup(end)
	require.NoError(t, chromedp.Do(ctx))
	return ctx
}

// newTab opens a tab with a window of that size in pixels.
func newTab(t *testing.T, browser context.Context, g *gateway.Gateway, width, height int64) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(end)
	b := &tab{t: t, g: g, ctx: ctx}
	require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(width, height)))
	require.NoError(t, chromedp.Listen(ctx, b.watch))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		require.Empty(t, b.faults)
		require.NotZero(t, b.requests)
	})
	return b
}

// watch records errors and requests that must not happen.
func (b *tab) watch(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		b.requests++
		if u, err := url.Parse(ev.Request.URL); err != nil || u.Host != b.g.Addr && u.Scheme != "data" {
			b.faults = append(b.faults, "request to "+ev.Request.URL)
		}
	case *runtime.EventConsoleAPICalled:
		b.faults = append(b.faults, "the page wrote to the console")
	case *runtime.EventExceptionThrown:
		b.faults = append(b.faults, "exception: "+ev.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		if ev.Entry.Level == log.EntryLevelError || ev.Entry.Level == log.EntryLevelWarning { // the others are only hints
			b.faults = append(b.faults, "browser's log: "+ev.Entry.Text+" "+ev.Entry.URL)
		}
	}
}

// do runs steps with a time limit of one minute each.
func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	for _, step := range steps {
		ctx, end := context.WithTimeout(b.ctx, time.Minute)
		err := chromedp.Do(ctx, step)
		end()
		require.NoError(b.t, err)
	}
}

// open navigates to a path of the gateway.
func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.g.URL(path)))
}

// leave runs actions that load another page, and waits for that page.
func (b *tab) leave(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, end := context.WithTimeout(b.ctx, time.Minute)
	defer end()
	_, err := chromedp.RunResponse(ctx, steps...)
	require.NoError(b.t, err)
}

// fill types into the field of that name in the form that requests the change do, or in the search form if do is empty.
func (b *tab) fill(do, name, value string) {
	b.t.Helper()
	b.do(chromedp.SendKeys(formOf(do, ` [name="`+name+`"]`), value))
}

// choose selects an option of a list.
func (b *tab) choose(name, value string) {
	b.t.Helper()
	b.do(chromedp.SetValue(chromedp.CSS(`select[name="`+name+`"]`), value))
}

// send submits the form, and confirms it if it is a change.
func (b *tab) send(do string) {
	b.t.Helper()
	b.leave(chromedp.Click(formOf(do, ` button`)))
	if do != "" && do != "sign-in" && do != "sign-out" {
		require.Contains(b.t, b.text(), "Nothing is changed yet")
		b.leave(chromedp.Click(formOf(do, ` button`)))
	}
}

func formOf(do, rest string) chromedp.CSS {
	if do == "" {
		return chromedp.CSS(`main form[method="get"]` + rest)
	}
	return chromedp.CSS(`form:has(input[name="do"][value="` + do + `"])` + rest)
}

// text returns what the page shows.
func (b *tab) text() string { b.t.Helper(); return evaluate[string](b, `document.body.innerText`) }

// cells returns the texts of the first table with that caption, row by row.
func (b *tab) cells(caption string) [][]string {
	b.t.Helper()
	name, err := json.Marshal(caption)
	require.NoError(b.t, err)
	return evaluate[[][]string](b, `[...[...document.querySelectorAll("table")].find(t => t.caption.textContent.startsWith(`+string(name)+`)).rows].map(
		r => [...r.cells].map(c => c.innerText))`)
}

func (b *tab) signIn(key string) {
	b.t.Helper()
	b.open("/console/")
	b.fill("sign-in", "key", key)
	b.send("sign-in")
	require.Contains(b.t, b.text(), "Sign out")
}

// setDark turns on dark mode.
func (b *tab) setDark() {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
	})
	require.NoError(b.t, err)
}

func evaluate[T any](b *tab, expression string, options ...chromedp.EvaluateOption) T {
	b.t.Helper()
	ctx, end := context.WithTimeout(b.ctx, time.Minute)
	defer end()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, options...))
	require.NoError(b.t, err)
	return v
}

// axe reads the accessibility checker, which test.sh downloads.
var axe = sync.OnceValues(func() ([]byte, error) { return os.ReadFile(os.Getenv("TOLLGATE_AXE")) })

// violation is a finding of the checker.
type violation struct {
	ID     string   `json:"id"`
	Impact string   `json:"impact"`
	Help   string   `json:"help"`
	Nodes  []string `json:"nodes"`
}

// accessible checks the current page with axe-core: there must be no serious or critical violation.
func (b *tab) accessible() {
	b.t.Helper()
	if testkit.IsLeftOut("axe-core") {
		return
	}
	script, err := axe()
	require.NoError(b.t, err, "axe-core is needed: ./test.sh downloads it")
	evaluate[any](b, string(script)+";0")
	found := evaluate[[]violation](b, `axe.run().then(r => r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map(n => n.html)})))`,
		chromedp.EvalAwaitPromise)
	for _, v := range found {
		require.NotContains(b.t, []string{"serious", "critical"}, v.Impact, "%+v", v)
	}
}

// check checks the page for accessibility, and that it is no wider than the window.
func (b *tab) check(name string) {
	b.t.Helper()
	b.accessible()
	wide := evaluate[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`)
	require.LessOrEqual(b.t, wide, 0, "%s has to be scrolled sideways", name)
}

// shoot checks the page and, if TOLLGATE_SCREENSHOTS is set, writes a screenshot to docs/console.
func (b *tab) shoot(name string) {
	b.t.Helper()
	b.check(name)
	if os.Getenv("TOLLGATE_SCREENSHOTS") == "" {
		return
	}
	ctx, end := context.WithTimeout(b.ctx, time.Minute)
	defer end()
	shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(filepath.Join("..", "docs", "console", name+".png"), small(b.t, shot), 0o644))
}

// maxShot is the greatest height of a screenshot, in pixels.
const maxShot = 1300

// small reduces a picture to its 256 most frequent colours, and maps each other colour to the nearest of these.
func small(t *testing.T, shot []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(shot))
	require.NoError(t, err)
	size := full.Bounds()
	size.Max.Y = min(size.Max.Y, maxShot)
	often := make(map[color.Color]int)
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			often[full.At(x, y)]++
		}
	}
	var palette color.Palette
	for len(palette) < 256 && len(often) > 0 {
		var most color.Color
		for c, n := range often {
			if most == nil || n > often[most] {
				most = c
			}
		}
		palette = append(palette, most)
		delete(often, most)
	}
	out := image.NewPaletted(size, palette)
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			out.Set(x, y, full.At(x, y))
		}
	}
	var b bytes.Buffer
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, out))
	return b.Bytes()
}

// hasNone fails if the text contains one of the words.
func hasNone(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		require.False(t, strings.Contains(text, word), "%q is in: %s", word, text)
	}
}
