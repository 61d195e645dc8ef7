package lago

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of one call. A larger answer is not read to its end: it counts as unreadable.
const (
	callTimeout = 15 * time.Second
	maxAnswer   = 16 << 20
	maxWords    = 1024
)

// Options are which Lago a client speaks to, and with which key.
type Options struct {
	// Base is Lago's URL as operators know it: with or without a trailing slash, with or without /api/v1.
	Base *url.URL
	// Key is the API key. It goes into the Authorization header and nowhere else.
	Key string
	// Timeout bounds each call, answer included. Default: 15 seconds. A timeout is an unknown outcome, not a failure.
	Timeout time.Duration
}

// asksPerSecond bounds all calls but those that send events. Lago Cloud allows an organisation 50 a second.
const asksPerSecond = 20

// Client speaks to one Lago organisation. It is safe for concurrent use.
type Client struct {
	base    string // without trailing slash, with /api/v1
	key     string
	timeout time.Duration
	http    *http.Client
	asks    *rate.Limiter
}

// ParseBase reads a base URL as an operator writes it.
func ParseBase(s string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil {
		// The parser's own error repeats the text, which may hold credentials.
		return nil, errors.New("the Lago base URL is not a URL")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("the Lago base URL must start with http:// or https://")
	case u.Host == "":
		return nil, errors.New("the Lago base URL names no host")
	case u.User != nil:
		return nil, errors.New("the Lago base URL must not hold credentials; the key has a setting of its own")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the Lago base URL must not hold a query or a fragment")
	}
	return u, nil
}

// New returns a client. It does not call Lago.
func New(o Options) (*Client, error) {
	if o.Base == nil {
		return nil, errors.New("the Lago base URL is missing")
	}
	u, err := ParseBase(o.Base.String())
	if err != nil {
		return nil, err
	}
	if o.Key == "" {
		return nil, errors.New("the Lago API key is empty")
	}
	if strings.ContainsFunc(o.Key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, errors.New("the Lago API key holds a character that a header cannot have")
	}
	c := &Client{
		base:    strings.TrimSuffix(strings.TrimRight(u.String(), "/"), "/api/v1") + "/api/v1",
		key:     o.Key,
		timeout: o.Timeout,
		http: &http.Client{
			Transport: newTransport(),
			// A redirected POST turns into a GET that stores nothing.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		asks: rate.NewLimiter(asksPerSecond, asksPerSecond),
	}
	if c.timeout <= 0 {
		c.timeout = callTimeout
	}
	return c, nil
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     30 * time.Second,
		ForceAttemptHTTP2:   true,
	}
}

// Base returns the URL that the client calls, for messages.
func (c *Client) Base() string { return c.base }

// CloseIdle closes the connections that no call uses.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// answer is what came back: its status, headers and body, or err when there was none or it was cut.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

// ask makes one call that sends no events, once its turn has come.
func (c *Client) ask(ctx context.Context, method, path string, body []byte) answer {
	if err := c.asks.Wait(ctx); err != nil {
		return answer{err: err}
	}
	return c.call(ctx, method, path, body)
}

// call makes one call. path starts with a slash, is already escaped and may hold a query.
func (c *Client) call(ctx context.Context, method, path string, body []byte) answer {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return answer{err: err}
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "tollgate")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer{err: plainError(err)}
	}
	defer func() { _ = res.Body.Close() }()
	a := answer{status: res.StatusCode, header: res.Header}
	var buf bytes.Buffer
	if n := res.ContentLength; n > 0 && n <= maxAnswer {
		buf.Grow(int(n) + bytes.MinRead)
	}
	_, err = buf.ReadFrom(io.LimitReader(res.Body, maxAnswer+1))
	a.body = buf.Bytes()
	switch {
	case err != nil:
		a.err = fmt.Errorf("reading Lago's answer: %w", plainError(err))
	case len(a.body) > maxAnswer:
		a.err = errors.New("the answer of Lago is larger than 16 MB")
	}
	return a
}

// plainError takes the URL off an error of net/http: it may hold a payer's id.
func plainError(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// words returns the text of an answer, for logs and notes: Lago's error members when it is JSON, else the
// start of its text, in one line and without the key.
func (c *Client) words(a answer) string {
	var e struct {
		Error   string          `json:"error"`
		Code    string          `json:"code"`
		Details json.RawMessage `json:"error_details"`
	}
	text := string(a.body[:min(len(a.body), 4*maxWords)])
	if json.Unmarshal(a.body, &e) == nil && (e.Error != "" || e.Code != "" || e.Details != nil) {
		text = strings.Join(strings.Fields(e.Error+" "+e.Code+" "+string(e.Details)), " ")
	}
	return c.clean(text)
}

// clean makes text fit for a log line: printable, at most maxWords bytes, without the key.
func (c *Client) clean(text string) string {
	text = strings.ReplaceAll(text, c.key, "[key]")
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	if len(text) > maxWords {
		text = strings.ToValidUTF8(text[:maxWords], "") + "..."
	}
	return text
}
