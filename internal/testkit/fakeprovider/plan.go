package fakeprovider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"
)

// providerBody is a parsed request body.
type providerBody struct {
	root         gjson.Result
	model        string
	stream       bool
	includeUsage bool
	choices      int // n; 1 by default
	inputs       int // number of texts to embed
	base64       bool
}

// readBody parses a body; message is the reason for a rejection, worded as the real APIs do.
func readBody(body []byte) (b providerBody, message string) {
	if !json.Valid(body) {
		return b, "We could not parse the JSON body of your request."
	}
	b.root = gjson.ParseBytes(body)
	if !b.root.IsObject() {
		return b, "The JSON body of your request must be an object."
	}
	b.choices, b.inputs = 1, 1
	seen := make(map[string]bool, 16)
	b.root.ForEach(func(k, v gjson.Result) bool {
		name := k.String()
		if seen[name] {
			message = "the member " + name + " occurs twice"
		}
		seen[name] = true
		switch name {
		case "model":
			b.model = v.String()
			if v.Type != gjson.String {
				message = "model must be a string"
			}
		case "stream":
			b.stream = v.Type == gjson.True
			if !v.IsBool() && v.Type != gjson.Null {
				message = "stream must be a boolean"
			}
		case "stream_options":
			b.includeUsage = v.Get("include_usage").Type == gjson.True
		case "n":
			b.choices = max(1, int(v.Int()))
		case "input":
			if v.IsArray() && b.root.Get("input.0").Type == gjson.String {
				b.inputs = int(v.Get("#").Int())
			}
		case "encoding_format":
			b.base64 = v.String() == "base64"
		}
		return message == ""
	})
	if message == "" && b.choices > 128 {
		message = "n must be at most 128"
	}
	return b, message
}

// providerPlan is an answer's usage and pacing. Text in the request's body sets it, with any of
//
//	tokens=in:12,out:34,cached:5,write:3,write1h:2,reasoning:4   in includes cached and write
//	chunks=10                                                    content events of a stream; default 8
//	bytes=4096                                                   length of the answer's text; default 4 for each token
//	delay=5ms                                                    before each chunk; default none
//	stamp=true                                                   the id of each chunk is the time it is sent: Unix nanoseconds in 16 hexadecimal digits
//
// separated by spaces. Without `tokens=` the counts follow from the length of the body.
type providerPlan struct {
	usage  Usage
	chunks int
	bytes  int
	delay  time.Duration
	stamp  bool
}

// planOf reads the plan in a body; message describes an error in it.
func planOf(body []byte) (plan providerPlan, message string) {
	plan = providerPlan{
		usage:  Usage{Input: int64(8 + len(body)/4), Output: int64(16 + len(body)%32)},
		chunks: 8,
		bytes:  -1,
	}
	at := -1
	for _, word := range []string{"tokens=", "chunks=", "bytes=", "delay="} {
		if i := bytes.Index(body, []byte(word)); i >= 0 && (i == 0 || body[i-1] == '"' || body[i-1] == ' ') && (at < 0 || i < at) {
			at = i
		}
	}
	if at >= 0 {
		text := body[at:]
		if end := bytes.IndexAny(text, `"\`); end >= 0 {
			text = text[:end]
		}
		for word := range strings.FieldsSeq(string(text)) {
			if err := plan.set(word); err != nil {
				return plan, err.Error()
			}
		}
	}
	if plan.bytes < 0 {
		plan.bytes = int(4 * plan.usage.Output)
	}
	plan.chunks = max(1, plan.chunks)
	return plan, ""
}

func (plan *providerPlan) set(word string) (err error) {
	name, value, ok := strings.Cut(word, "=")
	if !ok {
		return nil // other text
	}
	switch name {
	case "tokens":
		plan.usage = Usage{}
		counts := map[string]*int64{
			"in": &plan.usage.Input, "cached": &plan.usage.CacheRead, "write": &plan.usage.CacheWrite,
			"write1h": &plan.usage.CacheWrite1h, "out": &plan.usage.Output, "reasoning": &plan.usage.Reasoning,
		}
		for pair := range strings.SplitSeq(value, ",") {
			kind, count, _ := strings.Cut(pair, ":")
			n := counts[kind]
			if n == nil {
				return fmt.Errorf("unknown kind of tokens %q", kind)
			}
			if *n, err = strconv.ParseInt(count, 10, 64); err != nil {
				return err
			}
		}
		u := plan.usage
		if u.CacheRead+u.CacheWrite+u.CacheWrite1h > u.Input || u.Reasoning > u.Output {
			return fmt.Errorf("the parts of %q exceed their total", value)
		}
	case "chunks":
		plan.chunks, err = strconv.Atoi(value)
	case "bytes":
		plan.bytes, err = strconv.Atoi(value)
	case "delay":
		plan.delay, err = time.ParseDuration(value)
	case "stamp":
		plan.stamp, err = strconv.ParseBool(value)
	}
	return err
}

// text returns the answer's text in the given number of pieces.
func (plan providerPlan) text(pieces int) []string {
	const words = "The \"quick\" brown fox\njumps over the lazy dog. "
	text := strings.Repeat(words, plan.bytes/len(words)+1)[:plan.bytes]
	parts := make([]string, pieces)
	for i := range parts {
		parts[i] = text[len(text)*i/pieces : len(text)*(i+1)/pieces]
	}
	return parts
}

// providerQuery is everything that determines the answer to a call, except its id.
type providerQuery struct {
	path         string
	model        string
	plan         providerPlan
	stream       bool
	includeUsage bool
	noUsage      bool // a fault: the answer has no usage
	choices      int
	inputs       int
	base64       bool
}

// answer is a prepared answer.
type answer struct {
	contentType string
	length      int // of the body; 0 if it is sent without Content-Length
	frames      []frame
	usage       *Usage // the usage it reports; nil if none
	usageAt     int    // index of the frame with the usage
}

// frame is a part of an answer: an event of a stream, or a whole body.
type frame struct {
	text []byte
	ids  []int // positions of the answer's id
}

// idMark is the placeholder for the answer's id: sixteen characters that occur nowhere else.
const idMark = "~~answer-id~~~~~"

func newFrame(text []byte) frame {
	f := frame{text: text}
	for at := 0; ; at += len(idMark) {
		i := bytes.Index(text[at:], []byte(idMark))
		if i < 0 {
			return f
		}
		at += i
		f.ids = append(f.ids, at)
	}
}

// bodyOf returns an answer with one JSON body.
func bodyOf(v any, usage *Usage) answer {
	b := mustJSON(v)
	return answer{contentType: "application/json", length: len(b), frames: []frame{newFrame(b)}, usage: usage}
}

// streamOf builds a streamed answer.
type streamOf struct{ a answer }

func newStream() *streamOf {
	return &streamOf{answer{contentType: "text/event-stream; charset=utf-8"}}
}

// data adds an unnamed event.
func (s *streamOf) data(v any) {
	s.raw("data: " + string(mustJSON(v)) + "\n\n")
}

// event adds a named event.
func (s *streamOf) event(name string, v any) {
	s.raw("event: " + name + "\ndata: " + string(mustJSON(v)) + "\n\n")
}

func (s *streamOf) raw(text string) {
	s.a.frames = append(s.a.frames, newFrame([]byte(text)))
}

// reported marks the last event added as the one with the usage.
func (s *streamOf) reported(u *Usage) {
	s.a.usage, s.a.usageAt = u, len(s.a.frames)-1
}

// answerCache caches answers, so that the provider costs little under load.
type answerCache struct {
	mu sync.RWMutex
	m  map[answerKey]answer
}

type answerKey struct {
	api   *providerAPI
	query providerQuery
}

func (c *answerCache) get(api *providerAPI, q providerQuery) answer {
	k := answerKey{api, q}
	c.mu.RLock()
	a, ok := c.m[k]
	c.mu.RUnlock()
	if ok {
		return a
	}
	a = api.build(q)
	c.mu.Lock()
	defer c.mu.Unlock()
	const most = 256
	if c.m == nil || len(c.m) >= most {
		c.m = make(map[answerKey]answer)
	}
	c.m[k] = a
	return a
}
