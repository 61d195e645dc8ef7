package proof

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
)

// The APIs called.
const (
	apiChat       = "chat/completions"
	apiResponses  = "responses"
	apiEmbeddings = "embeddings"
	apiMessages   = "messages"
	apiCount      = "messages/count_tokens"
)

// call is a client's call: its request and its result.
type call struct {
	tag    string // identifies it at the provider and in its record
	api    string
	model  string
	payer  string
	stream bool
	asks   bool // stream_options.include_usage
	linger bool // the provider keeps the connection open after the end of the answer
	plan   fakeprovider.Usage
	pieces int
	delay  time.Duration // before each chunk
	hangUp int           // events after which the client leaves; -1 for never; without a stream it leaves while waiting
	rest   bool          // it keeps reading after the terminal event

	proto  string // HTTP/1.1, HTTP/2.0 or HTTP/3.0
	id     string // the answer's x-litellm-call-id
	status int
	whole  bool // the answer arrived in full, with status 200
	left   bool // the client hung up
	err    error
}

// newCall makes a random call.
func newCall(r *rand.Rand, tag string) *call {
	c := &call{tag: tag, payer: payers[r.IntN(3)], hangUp: -1, pieces: 1 + r.IntN(8), rest: r.IntN(2) == 0}
	if r.IntN(100) == 0 {
		c.payer = poisoned
	}
	u := &c.plan
	u.Input, u.Output = 10+r.Int64N(5000), 1+r.Int64N(2000)
	if r.IntN(2) == 0 {
		u.CacheRead = r.Int64N(u.Input)
	}
	switch n := r.IntN(20); {
	case n < 9:
		c.api, c.model = apiChat, "gpt-4o"
	case n < 12:
		c.api, c.model = apiResponses, "gpt-4o"
	case n < 18:
		c.api, c.model = apiMessages, "claude"
		u.CacheWrite = r.Int64N(u.Input - u.CacheRead)
		u.CacheWrite1h = r.Int64N(u.Input - u.CacheRead - u.CacheWrite)
	case n < 19:
		c.api, c.model = apiEmbeddings, "text-embedding-3-small"
		*u = fakeprovider.Usage{Input: u.Input}
	default:
		c.api, c.model = apiCount, "claude"
		*u = fakeprovider.Usage{Input: u.Input}
	}
	if c.model == "gpt-4o" && r.IntN(2) == 0 {
		u.Reasoning = r.Int64N(u.Output)
	}
	c.stream = c.api != apiEmbeddings && c.api != apiCount && r.IntN(2) == 0
	c.asks = c.stream && c.api == apiChat && r.IntN(2) == 0
	c.delay = time.Duration(r.IntN(4)) * time.Millisecond
	if r.IntN(8) == 0 {
		c.hangUp = r.IntN(c.pieces + 2)
		c.delay = time.Duration(3+r.IntN(10)) * time.Millisecond
	}
	return c
}

// counts are the quantities the call must be billed for, by the kinds of docs/records.md.
func (c *call) counts() map[string]int64 {
	u := c.plan
	return map[string]int64{
		"input": u.Input - u.CacheRead - u.CacheWrite - u.CacheWrite1h, "cache_read": u.CacheRead, "cache_write_5m": u.CacheWrite,
		"cache_write_1h": u.CacheWrite1h, "output": u.Output - u.Reasoning, "reasoning": u.Reasoning,
	}
}

// request builds the HTTP request as the API's clients would.
func (c *call) request(ctx context.Context, base, key string) (*http.Request, error) {
	u := c.plan
	text := fmt.Sprintf("tokens=in:%d,out:%d,cached:%d,write:%d,write1h:%d,reasoning:%d chunks=%d delay=%s bytes=%d",
		u.Input, u.Output, u.CacheRead, u.CacheWrite, u.CacheWrite1h, u.Reasoning, c.pieces, c.delay, 40*c.pieces)
	members := map[string]any{"model": c.model}
	if c.stream {
		members["stream"] = true
	}
	if c.asks {
		members["stream_options"] = map[string]any{"include_usage": true}
	}
	switch c.api {
	case apiResponses, apiEmbeddings:
		members["input"] = text
	default:
		members["messages"] = []any{map[string]any{"role": "user", "content": text}}
	}
	if c.api == apiMessages {
		members["max_tokens"] = 4096
	}
	b, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/"+c.api, strings.NewReader(string(b)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.model == "claude" {
		req.Header.Set("X-Api-Key", key)
	} else {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	req.Header.Set("X-Request-Id", c.tag)          // passed on to the provider
	req.Header.Set("X-Litellm-End-User-Id", c.tag) // stored in the record
	return req, nil
}

// terminal holds the line that begins the last event of a complete stream, by API.
var terminal = map[string]string{
	apiChat: "data: [DONE]", apiResponses: "event: response.completed", apiMessages: "event: message_stop",
}

// do makes the call. atEnd, if it is not nil, is called at the moment at which the answer is whole.
func (c *call) do(ctx context.Context, client *http.Client, base, key string, atEnd func()) {
	ctx, hangUp := context.WithTimeout(ctx, 20*time.Second)
	defer hangUp()
	leave := func() { c.left = true; hangUp() }
	req, err := c.request(ctx, base, key)
	if err != nil {
		c.err = err
		return
	}
	if c.hangUp >= 0 && !c.stream {
		early := time.AfterFunc(c.delay/2, hangUp)
		defer early.Stop()
		c.left = true
	}
	res, err := client.Do(req)
	if err != nil {
		c.err = err
		return
	}
	c.proto = res.Proto
	c.id, c.status = res.Header.Get("X-Litellm-Call-Id"), res.StatusCode
	defer func() { _ = res.Body.Close() }() // the bytes read are checked separately
	if !c.stream || res.StatusCode != http.StatusOK {
		b, err := io.ReadAll(res.Body)
		c.err = err
		c.whole = err == nil && res.StatusCode == http.StatusOK && json.Valid(b)
		if c.whole && atEnd != nil {
			atEnd()
		}
		return
	}
	lines := bufio.NewReader(res.Body)
	ending := false
	for events := 0; ; {
		if c.hangUp >= 0 && events >= c.hangUp {
			leave()
			return
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			c.err = err
			return
		}
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, terminal[c.api]):
			ending = true
		case line == "":
			events++
			if !ending {
				continue
			}
			c.whole = true
			if atEnd != nil {
				atEnd()
			}
			if c.rest && !c.linger {
				_, c.err = io.Copy(io.Discard, lines)
			}
			return
		}
	}
}
