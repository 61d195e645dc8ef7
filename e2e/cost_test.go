package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

const (
	costAnswer = `{"id":"chatcmpl-1","object":"chat.completion","created":1741219251,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":` +
		`{"role":"assistant","content":"Hello! How can I help you today?"},"finish_reason":"stop"}],"usage":{"prompt_tokens":256,"completion_tokens":128,` +
		`"total_tokens":384,"prompt_tokens_details":{"cached_tokens":64}},"service_tier":"default"}`
	costEvent = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1741219251,"model":"gpt-4o-2024-08-06","choices":[{"index":0,` +
		`"delta":{"content":" help"},"finish_reason":null}]}` + "\n\n"
	costUsage = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1741219251,"model":"gpt-4o-2024-08-06","choices":[],` +
		`"usage":{"prompt_tokens":256,"completion_tokens":20,"total_tokens":276}}` + "\n\n"
	costDone   = "data: [DONE]\n\n"
	costEvents = 20
)

// serveBare answers calls without allocating anything, so that what is allocated is the gateway's.
func serveBare(t testing.TB) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	whole := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(costAnswer), costAnswer)
	head := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	chunk := func(text string) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(text), text) }
	event, usage, done := chunk(costEvent), chunk(costUsage), append(chunk(costDone), "0\r\n\r\n"...)
	serve := func(c net.Conn) error {
		r := bufio.NewReaderSize(c, 16<<10)
		body := make([]byte, 16<<10)
		for {
			n := 0
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return err
				}
				if len(line) <= 2 {
					break
				}
				if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
					if n, err = strconv.Atoi(string(value[:len(value)-2])); err != nil {
						return err
					}
				}
			}
			if _, err := io.ReadFull(r, body[:n]); err != nil {
				return err
			}
			parts := [][]byte{whole}
			if bytes.Contains(body[:n], []byte(`"stream":true`)) {
				parts = [][]byte{head}
				for range costEvents {
					parts = append(parts, event)
				}
				parts = append(parts, usage, done)
			}
			for _, part := range parts {
				if _, err := c.Write(part); err != nil {
					return err
				}
			}
		}
	}
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = serve(c) // ends with the connection
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// bareClient makes the same call again and again on one connection, without allocating anything.
type bareClient struct {
	conn    net.Conn
	request []byte
	answer  [64 << 10]byte
}

func dialBare(t testing.TB, addr, key string, stream bool) *bareClient {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	body := `{"model":"gpt-4o","messages":[{"role":"user","content":"` + strings.Repeat("What does a call cost? ", 24) + `"}]`
	if stream {
		body += `,"stream":true`
	}
	body += "}"
	return &bareClient{conn: conn, request: fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nUser-Agent: test\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n%s", addr, key, len(body), body)}
}

var (
	headEnd     = []byte("\r\n\r\n")
	lengthField = []byte("Content-Length: ")
	chunksEnd   = []byte("\r\n0\r\n\r\n")
	okStatus    = []byte("HTTP/1.1 200")
)

func (c *bareClient) call() ([]byte, error) {
	if _, err := c.conn.Write(c.request); err != nil {
		return nil, err
	}
	for n := 0; ; {
		more, err := c.conn.Read(c.answer[n:])
		if err != nil {
			return nil, err
		}
		n += more
		answer := c.answer[:n]
		head := bytes.Index(answer, headEnd)
		if head < 0 {
			continue
		}
		if !bytes.HasPrefix(answer, okStatus) {
			return nil, fmt.Errorf("%s", answer)
		}
		if at := bytes.Index(answer[:head], lengthField); at >= 0 {
			value := answer[at+len(lengthField):]
			length, err := strconv.Atoi(string(value[:bytes.IndexByte(value, '\r')]))
			if err != nil {
				return nil, err
			}
			if n >= head+len(headEnd)+length {
				return answer, nil
			}
		} else if bytes.HasSuffix(answer, chunksEnd) {
			return answer, nil
		}
	}
}

// costSites are what the cost of a call is measured at: the whole gateway, with as many models and an empty Redis, and plain reverse_proxy.
// A key is looked up once.
func costSites(t testing.TB, provider string, models int) (g *gateway.Gateway, tollgate, plain func(stream bool) *bareClient) {
	return costSitesAt(t, testkit.Redis(t).Addr, provider, models)
}

func costSitesAt(t testing.TB, redis, provider string, models int) (g *gateway.Gateway, tollgate, plain func(stream bool) *bareClient) {
	proxy := gateway.FreeAddr(t)
	var more strings.Builder
	for n := range models - 1 {
		fmt.Fprintf(&more, "model other-%d {\n backend openai http://%s/v1 {\n api_key sk-provider\n price input 1\n price output 2\n }\n }\n", n, provider)
	}
	g = gateway.Start(t, "\tlog {\n\t\tlevel ERROR\n\t}\n", fmt.Sprintf(`
	keyauth {
		store redis %s
		cache_ttl 24h
		master_key %s
	}
	lagobilling {
		charge_by team_id
		spool %s
	}
	llmroute {
		model gpt-4o {
			backend openai http://%s/v1 {
				api_key sk-provider
				price input 2.50
				price cache_read 1.25
				price output 10
			}
		}
		%s
	}
}
http://%s {
	reverse_proxy %s
`, redis, gateway.MasterKey, t.TempDir(), provider, more.String(), proxy, provider))
	key := g.NewKey(costKey)
	return g, func(stream bool) *bareClient { return dialBare(t, g.Addr, key, stream) },
		func(stream bool) *bareClient { return dialBare(t, proxy, "sk-any", stream) }
}

const costKey = `{"team_id":"team-1","max_budget":1000000,"rpm_limit":1000000000}`

// BenchmarkCall is a call through the whole gateway, and through plain reverse_proxy, over one connection to a provider that
// answers at once. Client and provider run in this process, and allocate nothing.
func BenchmarkCall(b *testing.B) {
	_, tollgate, plain := costSites(b, serveBare(b), 1)
	for name, c := range map[string]*bareClient{
		"tollgate": tollgate(false), "reverse_proxy": plain(false), "tollgate stream": tollgate(true), "reverse_proxy stream": plain(true),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// mostAllocations is how many allocations a call may make beyond those of plain reverse_proxy.
const mostAllocations = 130

// allocated returns how often this process allocates for each of that many calls, and how many bytes.
func allocated(t *testing.T, calls int, call func(n int)) (allocs, size float64) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for n := range calls {
		call(n)
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(calls), float64(after.TotalAlloc-before.TotalAlloc) / float64(calls)
}

// TestAllocationsOfACall holds how often a call allocates, from its first byte to its place in totals and books.
func TestAllocationsOfACall(t *testing.T) {
	_, tollgate, plain := costSites(t, serveBare(t), 1)
	measure := func(c *bareClient) (allocs, size float64) {
		const warm, calls = 300, 1500
		for range warm {
			_, err := c.call()
			require.NoError(t, err)
		}
		return allocated(t, calls, func(int) {
			_, err := c.call()
			require.NoError(t, err)
		})
	}
	for _, c := range []struct {
		name    string
		client  *bareClient
		against *bareClient
	}{
		{"unstreamed", tollgate(false), plain(false)},
		{"streamed", tollgate(true), plain(true)},
	} {
		allocs, size := measure(c.client)
		plainAllocs, plainSize := measure(c.against)
		t.Logf("%s: %.0f allocations, %.1f KB; plain reverse_proxy %.0f and %.1f KB", c.name, allocs, size/1024, plainAllocs, plainSize/1024)
		require.LessOrEqual(t, allocs-plainAllocs, float64(mostAllocations), c.name)
	}
}
