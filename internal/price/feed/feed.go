// Package feed follows documents of prices, at a URL or in a file, and refuses those that change prices too much.
package feed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// fetchTime bounds one fetch of a price document.
const fetchTime = 15 * time.Second

// Results of a check of a price document, as metrics name them.
const (
	Updated = "updated"
	Same    = "unchanged"
	Failed  = "failed"  // it could not be fetched or read; the previous prices stay
	Refused = "refused" // it changes a price by more than the bound, or drops one; the previous prices stay
)

// usualChange is the factor beyond which a change is reported if the configuration sets no bound.
const usualChange = 10

// Options define where prices come from.
type Options struct {
	URL      string        // where the document is fetched regularly
	File     string        // instead of a URL: the file that it is read from, once
	CacheDir string        // where the latest accepted document is kept
	Every    time.Duration // between two fetches
	// MaxChange is the factor by which a price may rise or fall from one document to the next; zero is any.
	MaxChange uint64
	// Report is called after each check, with the reason why the previous prices stay or, with Updated, what is remarkable about the
	// new ones. It must not block.
	Report func(result string, version string, err error)
}

// Feed is a table of prices that follows a document at a URL, or that was read from a file. A document that cannot be fetched or read, or
// that changes a price too much, has no effect.
type Feed struct {
	o      Options
	base   string // the document's name in versions
	cache  string // the file that keeps the latest accepted document
	client *http.Client
	latest atomic.Pointer[document]
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	status Status
}

// document is an accepted document with its table. It does not change.
type document struct {
	name  string
	data  []byte
	table *price.Table
	from  time.Time // when it was fetched or read
}

// Status is the state of a source of prices.
type Status struct {
	Source   string    `json:"source"`            // the file, or the URL without its query
	Version  string    `json:"version"`           // of the prices in force
	Checksum string    `json:"checksum"`          // SHA-256 of the document in force, in hexadecimal digits
	Accepted time.Time `json:"accepted"`          // when that document was fetched or read first
	Looked   time.Time `json:"looked"`            // when the source was last asked
	Result   string    `json:"result"`            // the result of that
	Problem  *Problem  `json:"problem,omitempty"` // the latest document that was not accepted, or why there was none
}

// Problem is why a document was not accepted.
type Problem struct {
	At     time.Time `json:"at"`
	Result string    `json:"result"` // refused or failed
	Why    string    `json:"why"`
}

// CheckURL returns an error unless the text is a URL that prices can be fetched from.
func CheckURL(text string) error {
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

// Open returns a feed with the last accepted document or, if there is none yet, with one that it fetches. It follows the URL until it is
// closed.
func Open(o Options) (*Feed, error) {
	if err := CheckURL(o.URL); err != nil {
		return nil, err
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	f := &Feed{o: o, base: path.Base("/" + u.Path), cache: Cache(o.CacheDir, o.URL), client: &http.Client{Timeout: fetchTime}, done: make(chan struct{})}
	if f.base == "/" {
		f.base = u.Hostname()
	}
	u.RawQuery = "" // it may hold a token
	f.status.Source = u.String()
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	err = f.remember()
	if f.latest.Load() == nil {
		if err := f.fetch(ctx); err != nil {
			cancel()
			return nil, fmt.Errorf("prices: %w, and none were fetched before", err)
		}
		f.report(nil)
	}
	go f.follow(ctx, err == nil)
	return f, nil
}

// ReadFile returns a feed of a price file, which is read once, and writes nothing. If the file is refused, the last accepted prices stay.
// A file that cannot be read or is not a price file is an error.
func ReadFile(o Options) (*Feed, error) {
	f := &Feed{o: o, base: filepath.Base(o.File), cache: Cache(o.CacheDir, o.File), cancel: func() {}, done: make(chan struct{})}
	close(f.done)
	f.status.Source = o.File
	data, err := os.ReadFile(o.File)
	if err != nil {
		return nil, err
	}
	if _, err := price.Default().Overlay(bytes.NewReader(data), o.File); err != nil {
		return nil, err
	}
	_ = f.remember() // reports the error itself
	f.report(f.accept(data, time.Now(), false))
	return f, nil
}

// Keep makes the document in force the one that the next one is compared with.
func (f *Feed) Keep() error { return writeWhole(f.cache, f.latest.Load().data) }

// Cache is the file that keeps the latest accepted document of a URL or of a file.
func Cache(dir, source string) string {
	sum := sha256.Sum256([]byte(source))
	return filepath.Join(dir, hex.EncodeToString(sum[:8])+".json")
}

// Table returns the current prices. A table never changes: a call that took it is billed by it.
func (f *Feed) Table() *price.Table { return f.latest.Load().table }

// Status returns the state of the source.
func (f *Feed) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	if d := f.latest.Load(); d != nil {
		sum := sha256.Sum256(d.data)
		s.Version, s.Checksum, s.Accepted = d.table.Version(), hex.EncodeToString(sum[:]), d.from
	}
	return s
}

// Take takes over the status of a later look at the same document.
func (f *Feed) Take(later *Feed) {
	if f == later {
		return
	}
	s := later.Status()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = s
}

// Close ends the feed.
func (f *Feed) Close() error {
	f.cancel()
	<-f.done
	if f.client != nil {
		f.client.CloseIdleConnections()
	}
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

// remarkable is a change in an accepted document that a bound would refuse.
type remarkable struct{ error }

func (f *Feed) report(err error) {
	result := Updated
	var note remarkable
	switch {
	case errors.Is(err, errSame):
		result, err = Same, nil
	case errors.As(err, &note):
	case errors.Is(err, ErrChange):
		result = Refused
	case err != nil:
		result = Failed
	}
	version := ""
	if d := f.latest.Load(); d != nil {
		version = d.table.Version()
	}
	now := time.Now()
	f.mu.Lock()
	f.status.Looked, f.status.Result = now, result
	if result == Refused || result == Failed {
		f.status.Problem = &Problem{now, result, err.Error()}
	}
	f.mu.Unlock()
	f.o.Report(result, version, err)
}

// remember loads the last accepted document. If there is one and it cannot be loaded, it reports why.
func (f *Feed) remember() error {
	data, err := os.ReadFile(f.cache)
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var from time.Time
	if err == nil {
		var info fs.FileInfo
		if info, err = os.Stat(f.cache); err == nil {
			from = info.ModTime()
			err = f.accept(data, from, false)
		}
	}
	if err != nil {
		f.report(fmt.Errorf("the cached prices: %w", err))
	}
	return err
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
	data, err := io.ReadAll(io.LimitReader(res.Body, price.MaxFile+1))
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the server of the prices answered %s", res.Status)
	}
	return f.accept(data, time.Now(), true)
}

// accept puts a document in force; with keep, it becomes the cached one first.
func (f *Feed) accept(data []byte, from time.Time, keep bool) error {
	before := f.latest.Load()
	if before != nil && bytes.Equal(before.data, data) {
		return errSame
	}
	table, err := price.Default().Overlay(bytes.NewReader(data), f.base)
	if err != nil {
		return err
	}
	next := &document{f.base, data, table, from}
	var note error
	if before != nil {
		bound := f.o.MaxChange
		if bound == 0 {
			bound = usualChange
		}
		err := compareDocuments(before, next, bound)
		if errors.Is(err, ErrChange) && f.o.MaxChange == 0 {
			note, err = remarkable{fmt.Errorf("the prices differ much from those before: %w", err)}, nil
		}
		if err != nil {
			return err
		}
	}
	if keep {
		if err := writeWhole(f.cache, data); err != nil {
			return err
		}
	}
	f.latest.Store(next)
	return note
}

// writeWhole replaces a file atomically.
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
