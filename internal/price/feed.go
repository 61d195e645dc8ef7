package price

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

// fetchTime bounds one fetch of a price document.
const fetchTime = 15 * time.Second

// Results of a look at a price document, as metrics name them.
const (
	FeedUpdated = "updated"
	FeedSame    = "unchanged"
	FeedFailed  = "failed"  // it could not be fetched or read; the prices of before hold
	FeedRefused = "refused" // it changes a price by more than the bound; the prices of before hold
)

// errChange is why a document is refused.
var errChange = errors.New("the document is refused")

// FeedOptions say where prices come from.
type FeedOptions struct {
	URL      string
	CacheDir string        // where the latest accepted document is kept
	Every    time.Duration // between two fetches
	// MaxChange is the factor by which a price may rise or fall from one document to the next.
	MaxChange uint64
	// Report is called after each look, with why the prices of before hold. It must not block.
	Report func(result string, version string, err error)
}

// Feed is a table of prices that follows a document at a URL. A document that cannot be fetched or read, or that changes a price too much,
// changes nothing.
type Feed struct {
	o      FeedOptions
	base   string // the document's name in versions
	client *http.Client
	latest atomic.Pointer[document]
	cancel context.CancelFunc
	done   chan struct{}
}

// document is one accepted document with the table that it makes. It does not change.
type document struct {
	data  []byte
	table *Table
}

// CheckFeedURL returns an error unless the text is a URL that prices can be fetched from.
func CheckFeedURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("the URL of the prices cannot be parsed") // its text may hold a password
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return errors.New("the URL of the prices must begin with https:// or http:// and name a host")
	case u.User != nil || u.Fragment != "":
		return errors.New("the URL of the prices may hold no credentials and no fragment")
	}
	return nil
}

// OpenFeed returns a feed with the document that was last accepted, or, where there is none yet, with one that it fetches. It follows the URL
// until it is closed.
func OpenFeed(o FeedOptions) (*Feed, error) {
	if err := CheckFeedURL(o.URL); err != nil {
		return nil, err
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	f := &Feed{o: o, base: path.Base("/" + u.Path), client: &http.Client{Timeout: fetchTime}, done: make(chan struct{})}
	if f.base == "/" {
		f.base = u.Hostname()
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	data, err := os.ReadFile(FeedCache(o.CacheDir, o.URL))
	if err == nil {
		err = f.accept(data, false)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.report(fmt.Errorf("the cached prices: %w", err))
	}
	if f.latest.Load() == nil {
		if err := f.fetch(ctx); err != nil {
			cancel()
			return nil, fmt.Errorf("prices: %w, and none were fetched before", err)
		}
	}
	go f.follow(ctx, err == nil)
	return f, nil
}

// FeedCache is the file that keeps the latest accepted document of a URL.
func FeedCache(dir, url string) string {
	sum := sha256.Sum256([]byte(url))
	return filepath.Join(dir, hex.EncodeToString(sum[:8])+".json")
}

// Table returns the prices of now. It never changes: a call that took it is billed by it.
func (f *Feed) Table() *Table { return f.latest.Load().table }

// Close ends it.
func (f *Feed) Close() error {
	f.cancel()
	<-f.done
	f.client.CloseIdleConnections()
	return nil
}

func (f *Feed) follow(ctx context.Context, now bool) {
	defer close(f.done)
	tick := time.NewTicker(f.o.Every)
	defer tick.Stop()
	for {
		if now {
			f.report(f.fetch(ctx))
		}
		now = true
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// errSame means that the document is the one in force.
var errSame = errors.New("unchanged")

func (f *Feed) report(err error) {
	result := FeedUpdated
	switch {
	case errors.Is(err, errSame):
		result, err = FeedSame, nil
	case errors.Is(err, errChange):
		result = FeedRefused
	case err != nil:
		result = FeedFailed
	}
	version := ""
	if d := f.latest.Load(); d != nil {
		version = d.table.Version()
	}
	f.o.Report(result, version, err)
}

func (f *Feed) fetch(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.o.URL, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "tollgate")
	res, err := f.client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the URL may hold a token
		}
		return err
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxFile+1))
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the server of the prices answered %s", res.Status)
	}
	return f.accept(data, true)
}

// accept puts a document in force; with keep, it becomes the cached one first.
func (f *Feed) accept(data []byte, keep bool) error {
	before := f.latest.Load()
	if before != nil && bytes.Equal(before.data, data) {
		return errSame
	}
	table, err := Default().Overlay(bytes.NewReader(data), f.base)
	if err != nil {
		return err
	}
	next := &document{data, table}
	if before != nil {
		if err := f.compare(before, next); err != nil {
			return err
		}
	}
	if keep {
		if err := writeWhole(FeedCache(f.o.CacheDir, f.o.URL), data); err != nil {
			return err
		}
	}
	f.latest.Store(next)
	return nil
}

// compare refuses a document that changes a price of one of the models that it or the one before names by more than the bound.
func (f *Feed) compare(before, after *document) error {
	models, err := Models(before.data, f.base)
	if err != nil {
		return err
	}
	more, err := Models(after.data, f.base)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, m := range slices.Concat(models, more) {
		q := Query{Provider: m.Provider, Model: m.Name, At: now}
		was, err := before.table.List(q)
		if err != nil {
			return err
		}
		is, err := after.table.List(q)
		if err != nil {
			return err
		}
		for _, p := range was {
			at := slices.IndexFunc(is, func(n Listed) bool { return n.Name == p.Name })
			if at >= 0 && beyond(uint64(p.Price), uint64(is[at].Price), f.o.MaxChange) {
				return fmt.Errorf("%w: %s of %s would go from %s to %s, which is more than %d times as much or less",
					errChange, p.Name, m.Name, p.Price, is[at].Price, f.o.MaxChange)
			}
		}
	}
	return nil
}

// beyond reports whether one of two prices is more than that many times the other.
func beyond(a, b, times uint64) bool {
	low, high := min(a, b), max(a, b)
	over, product := bits.Mul64(low, times)
	return over == 0 && high > product
}

// writeWhole replaces a file by a whole one.
func writeWhole(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	next := name + ".new"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, name)
}
