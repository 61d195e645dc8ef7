package tollgate_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// world is a gateway with a real Redis, a fake provider and a fake Lago.
type world struct {
	*gateway
	redis    *testkit.RedisServer
	provider *testkit.Provider
	lago     *testkit.Lago
}

const (
	providerKey = "sk-of-the-provider"
	payer       = "sub-1"
)

// directives configures a gateway over the given world; billing holds further lines of lagobilling.
func (w *world) directives(spool, billing string) string {
	return w.routed(spool, billing, fmt.Sprintf(`
		model gpt-4o {
			backend openai %[1]s/v1 {
				api_key %[2]s
				model gpt-4o-2024-08-06
			}
		}
		model claude {
			backend anthropic %[1]s {
				api_key %[2]s
				model claude-sonnet-4-5
			}
		}
		model text-embedding-3-small {
			backend openai %[1]s/v1 {
				api_key %[2]s
			}
		}`, w.provider.URL, providerKey))
}

// routed configures a gateway over the given world whose routes are the block of llmroute.
func (w *world) routed(spool, billing, routes string) string {
	return fmt.Sprintf(`
	keyauth {
		store redis %s
		master_key %s
	}
	lagobilling {
		api_base %s
		api_key %s
		event_code llm
		charge_by team_id
		payer_check off
		spool %s
		%s
	}
	llmroute {
		%s
	}`, w.redis.Addr, masterKey, w.lago.URL, w.lago.Key(), spool, billing, routes)
}

// newBooks returns a world without a provider: where keys are kept, and where bills go.
func newBooks(t *testing.T, lago testkit.LagoOptions) *world {
	w := &world{redis: testkit.Redis(t), lago: testkit.NewLago(t, lago)}
	w.lago.AddMetric(testkit.LagoMetric{Code: "llm", Field: "total_tokens"})
	w.lago.AddSubscription(testkit.LagoSubscription{ExternalID: payer})
	t.Cleanup(func() { require.Empty(t, w.lago.Violations()) })
	return w
}

func newWorld(t *testing.T, lago testkit.LagoOptions) *world {
	w := newBooks(t, lago)
	w.provider = testkit.NewProvider(t, testkit.ProviderOptions{Key: providerKey})
	t.Cleanup(func() { require.Empty(t, w.provider.Violations()) })
	return w
}

func setUp(t *testing.T, lago testkit.LagoOptions) *world {
	w := newWorld(t, lago)
	w.gateway = start(t, "", w.directives(t.TempDir(), ""))
	return w
}

// settled waits until Lago has that many events and checks that each was billed once.
func (w *world) settled(n int) {
	w.t.Helper()
	require.NoError(w.t, w.lago.Await(timeout(w.t, 30*time.Second), func() bool { return w.lago.EventCount() >= n }), "events at Lago")
	require.Equal(w.t, n, w.lago.EventCount())
	require.Empty(w.t, w.lago.BilledTwice())
}

// TestQuickStart runs the example as it stands, but for its port and where it keeps its data.
func TestQuickStart(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	text, err := os.ReadFile("Caddyfile.example")
	require.NoError(t, err)
	g := &gateway{t: t, addr: freeAddr(t), admin: freeAddr(t)}
	_, port, _ := strings.Cut(g.addr, ":")
	g.addr = "localhost:" + port
	g.caddyfile = strings.Replace(strings.NewReplacer("localhost:4000", g.addr, "master_key sk-1234", "master_key "+masterKey).Replace(string(text)), "\n{\n", "\n{\n\tadmin "+g.admin+"\n\tpersist_config off\n", 1)
	g.load()
	t.Cleanup(func() { stop(t) })

	key := g.newKey(`{"team_id":"my-team"}`)
	a := g.must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, chat("demo", "hi", false))
	require.Contains(t, a.Body, "Hello from Tollgate")
	require.NotEmpty(t, a.Header.Get("X-Litellm-Call-Id"))
	a = g.must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, chat("demo", "hi", true))
	require.True(t, strings.HasSuffix(a.Body, "data: [DONE]\n\n"))
	require.NotContains(t, a.Body, `"choices":[]`, "the client did not ask for usage")
	a = g.must(http.StatusOK, http.MethodGet, "/v1/models", key, "")
	require.Contains(t, a.Body, `"demo"`)
	a = g.must(http.StatusUnauthorized, http.MethodPost, "/v1/chat/completions", "sk-unknown-unknown-unknown", chat("demo", "hi", false))
	require.NotEmpty(t, a.Header.Get("X-Litellm-Call-Id"), "refusals have an id too")

	status, err := (&gateway{t: t, addr: g.admin}).do(http.MethodGet, "/tollgate/billing", "", "")
	require.NoError(t, err)
	require.Contains(t, status.Body, `"finished":2`)
	events, err := (&gateway{t: t, addr: g.admin}).do(http.MethodGet, "/tollgate/billing/events", "", "")
	require.NoError(t, err)
	require.Len(t, strings.Split(strings.TrimSpace(events.Body), "\n"), 2)
	require.Contains(t, events.Body, `"payer":"my-team"`)
}

// TestSDKs calls with the official clients, streamed and not, and reconciles Lago's bill with what the provider said.
func TestSDKs(t *testing.T) {
	for _, store := range []string{testkit.LagoPostgres, testkit.LagoClickHouse} {
		t.Run(store, func(t *testing.T) {
			w := setUp(t, testkit.LagoOptions{Store: store})
			key := w.newKey(`{"team_id":"` + payer + `"}`)
			ctx := timeout(t, time.Minute)
			oa := openai.NewClient(option.WithBaseURL(w.url("/v1")), option.WithAPIKey(key))
			params := openai.ChatCompletionNewParams{Model: "gpt-4o", Messages: []openai.ChatCompletionMessageParamUnion{
				openai.UserMessage("tokens=in:120,out:34,cached:50,reasoning:4"),
			}}
			done, err := oa.Chat.Completions.New(ctx, params)
			require.NoError(t, err)
			require.EqualValues(t, 154, done.Usage.TotalTokens)
			stream := oa.Chat.Completions.NewStreaming(ctx, params)
			for stream.Next() {
				require.NotEmpty(t, stream.Current().Choices, "the usage chunk was not asked for")
			}
			require.NoError(t, stream.Err())
			_, err = oa.Embeddings.New(ctx, openai.EmbeddingNewParams{
				Model: "text-embedding-3-small", Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("tokens=in:9")},
			})
			require.NoError(t, err)
			asked := responses.ResponseNewParams{Model: "gpt-4o", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("tokens=in:20,out:30")}}
			_, err = oa.Responses.New(ctx, asked)
			require.NoError(t, err)
			rs := oa.Responses.NewStreaming(ctx, asked)
			for rs.Next() { //nolint:revive // read to its end
			}
			require.NoError(t, rs.Err())

			an := anthropic.NewClient(anthropicoption.WithBaseURL(w.url("")), anthropicoption.WithAPIKey(key))
			message := anthropic.MessageNewParams{Model: "claude", MaxTokens: 100, Messages: []anthropic.MessageParam{
				anthropic.NewUserMessage(anthropic.NewTextBlock("tokens=in:200,out:40,cached:150,write:20,write1h:10")),
			}}
			_, err = an.Messages.New(ctx, message)
			require.NoError(t, err)
			ms := an.Messages.NewStreaming(ctx, message)
			for ms.Next() { //nolint:revive // read to its end
			}
			require.NoError(t, ms.Err())

			w.settled(7)
			var said int64
			for _, c := range w.provider.Calls() {
				require.NotNil(t, c.Reported, "the provider told what it used")
				require.NotContains(t, fmt.Sprint(c.Header), key)
				said += c.Reported.Input + c.Reported.Output
			}
			require.EqualValues(t, 154+154+9+50+50+240+240, said)
			require.Equal(t, strconv.FormatInt(said, 10), w.lago.Billed(payer, "llm", "total_tokens"))
		})
	}
}

// TestThousandCalls makes a thousand calls at once: one event each.
func TestThousandCalls(t *testing.T) {
	w := setUp(t, testkit.LagoOptions{})
	key := w.newKey(`{"team_id":"` + payer + `"}`)
	var wg sync.WaitGroup
	failures := make(chan string, 1000)
	for i := range 1000 {
		wg.Go(func() {
			a, err := w.do(http.MethodPost, "/v1/chat/completions", key, chat("gpt-4o", "tokens=in:10,out:5", i%2 == 0))
			if err != nil || a.Status != http.StatusOK {
				failures <- fmt.Sprint(err, a)
			}
		})
	}
	wg.Wait()
	close(failures)
	for f := range failures {
		t.Fatal(f)
	}
	w.settled(1000)
	require.Equal(t, "15000", w.lago.Billed(payer, "llm", "total_tokens"))
}

// TestBlockReachesOtherInstances blocks a key on one instance and calls with it on another.
func TestBlockReachesOtherInstances(t *testing.T) {
	w := setUp(t, testkit.LagoOptions{})
	other := run(t, w.directives(t.TempDir(), "account other"))
	key := w.newKey(`{"team_id":"` + payer + `"}`)
	call := func() int {
		a, err := other.do(http.MethodPost, "/v1/chat/completions", key, chat("gpt-4o", "hi", false))
		require.NoError(t, err)
		return a.Status
	}
	require.Equal(t, http.StatusOK, call())
	w.must(http.StatusOK, http.MethodPost, "/key/block", masterKey, `{"key":"`+key+`"}`)
	require.Eventually(t, func() bool { return call() == http.StatusUnauthorized }, time.Second, 5*time.Millisecond, "a blocked key lives on")
}

// TestRedisOutage stops Redis in the middle: known keys go on, unknown ones are told to come back.
func TestRedisOutage(t *testing.T) {
	w := setUp(t, testkit.LagoOptions{})
	key := w.newKey(`{"team_id":"` + payer + `"}`)
	call := func(key string) answer {
		a, err := w.do(http.MethodPost, "/v1/chat/completions", key, chat("gpt-4o", "hi", false))
		require.NoError(t, err)
		return a
	}
	require.Equal(t, http.StatusOK, call(key).Status)
	w.redis.Stop()
	require.Equal(t, http.StatusOK, call(key).Status)
	a := call("sk-0123456789012345678901")
	require.Equal(t, http.StatusServiceUnavailable, a.Status)
	require.NotEmpty(t, a.Header.Get("Retry-After"))
	w.redis.Start()
	fresh := ""
	require.Eventually(t, func() bool {
		a, err := w.do(http.MethodPost, "/key/generate", masterKey, `{"team_id":"`+payer+`"}`)
		fresh = a.Body
		return err == nil && a.Status == http.StatusOK
	}, 10*time.Second, 20*time.Millisecond, fresh)
	require.Eventually(t, func() bool { return call("sk-0123456789012345678901").Status == http.StatusUnauthorized },
		10*time.Second, 20*time.Millisecond, "the store is back: an unknown key is unknown again")
}

// TestLagoTrouble holds delivery against a Lago that fails in every stated way; each event arrives once.
func TestLagoTrouble(t *testing.T) {
	w := setUp(t, testkit.LagoOptions{})
	key := w.newKey(`{"team_id":"` + payer + `"}`)
	w.lago.Next(testkit.FaultStatus(500, "oops"), testkit.FaultHTML(502), testkit.FaultRateLimit(time.Second), testkit.FaultCommitThenReset,
		testkit.FaultTruncated, testkit.FaultReset, testkit.FaultCommitThen500)
	for range 150 {
		w.must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, chat("gpt-4o", "tokens=in:1,out:1", false))
	}
	w.settled(150)
	require.Equal(t, "300", w.lago.Billed(payer, "llm", "total_tokens"))

	admin := &gateway{t: t, addr: w.admin}
	shows := func(what ...string) {
		t.Helper()
		require.Eventually(t, func() bool {
			a, err := admin.do(http.MethodGet, "/tollgate/billing", "", "")
			return err == nil && !slices.ContainsFunc(what, func(s string) bool { return !strings.Contains(a.Body, s) })
		}, 30*time.Second, 20*time.Millisecond, "the status must show %q", what)
	}
	shows(`"pending":0,`) // Lago has the events before this side knows it, when the answer was lost
	good := w.lago.Key()
	w.lago.SetKey("changed")
	w.must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, chat("gpt-4o", "tokens=in:1,out:1", false))
	shows("401", `"pending":1,`)
	w.lago.SetKey(good)
	w.load() // an operator who mends the key reloads
	w.settled(151)
}

// TestOneBadEventOfAHundred holds delivery against a batch of a hundred events, one of which Lago refuses: the others arrive
// once, and the one is set aside with Lago's words.
func TestOneBadEventOfAHundred(t *testing.T) {
	w := newWorld(t, testkit.LagoOptions{})
	w.lago.AddMetric(testkit.LagoMetric{Code: "llm", Field: "total_tokens", Needs: []string{"region"}})
	w.gateway = start(t, "", w.directives(t.TempDir(), "property region {http.request.header.X-Region}"))
	key := w.newKey(`{"team_id":"` + payer + `"}`)
	w.lago.Always(func(c *testkit.LagoCall) testkit.LagoFault {
		return testkit.FaultStatus(http.StatusServiceUnavailable, "")
	})
	var bad string
	for i := range 100 {
		region := []string{"X-Region", "eu"}
		if i == 42 {
			region = nil
		}
		a := w.must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, chat("gpt-4o", "tokens=in:1,out:1", false), region...)
		if i == 42 {
			bad = a.Header.Get("X-Litellm-Call-Id")
		}
	}
	w.lago.Always(nil)
	w.settled(99)
	require.Equal(t, "198", w.lago.Billed(payer, "llm", "total_tokens"))
	admin := &gateway{t: t, addr: w.admin}
	require.Eventually(t, func() bool {
		a, err := admin.do(http.MethodGet, "/tollgate/billing", "", "")
		return err == nil && strings.Contains(a.Body, `"rejected":1`) && strings.Contains(a.Body, `"pending":0`)
	}, 10*time.Second, 20*time.Millisecond)
	a, err := admin.do(http.MethodGet, "/tollgate/billing/events", "", "")
	require.NoError(t, err)
	for line := range strings.Lines(a.Body) {
		if strings.Contains(line, bad) {
			require.Contains(t, line, `"state":"rejected"`)
			require.Contains(t, line, "Variable: region not found")
		}
	}
}

// TestReloadUnderStreams reloads ten times while a hundred streams are open.
func TestReloadUnderStreams(t *testing.T) {
	w := setUp(t, testkit.LagoOptions{Store: testkit.LagoClickHouse})
	key := w.newKey(`{"team_id":"` + payer + `"}`)
	gate := w.provider.Gate(3, nil)
	const streams = 100
	type result struct {
		body string
		err  error
	}
	results := make(chan result, streams)
	for range streams {
		go func() {
			a, err := w.do(http.MethodPost, "/v1/chat/completions", key, chat("gpt-4o", "tokens=in:10,out:20 chunks=6", true))
			results <- result{a.Body, err}
		}()
	}
	require.NoError(t, gate.Await(timeout(t, 30*time.Second), streams))
	for i := range 10 {
		w.caddyfile = strings.Replace(w.caddyfile, "cache_ttl 10s", fmt.Sprintf("cache_ttl %ds", 11+i), 1)
		w.load()
	}
	gate.Open()
	for range streams {
		r := <-results
		require.NoError(t, r.err)
		require.True(t, strings.HasSuffix(r.body, "data: [DONE]\n\n"))
	}
	w.settled(streams)
	require.Equal(t, strconv.Itoa(30*streams), w.lago.Billed(payer, "llm", "total_tokens"))
}

// TestHangUp leaves in the middle of a stream; the call is billed all the same, once.
func TestHangUp(t *testing.T) {
	w := newWorld(t, testkit.LagoOptions{})
	w.gateway = start(t, "", w.directives(t.TempDir(), "on_disconnect drain 10s"))
	key := w.newKey(`{"team_id":"` + payer + `"}`)
	gate := w.provider.Gate(2, nil)
	ctx, hangUp := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url("/v1/chat/completions"), strings.NewReader(chat("gpt-4o", "tokens=in:10,out:20 chunks=5", true)))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(line, "data: "))
	require.NoError(t, gate.Await(timeout(t, 10*time.Second), 1))
	hangUp()
	require.NoError(t, resp.Body.Close())
	gate.Open()
	w.settled(1)
	require.Equal(t, "30", w.lago.Billed(payer, "llm", "total_tokens"), "drained to the provider's own usage")
}

// TestKeysInNoLog searches everything logged at DEBUG for the client's and the provider's key.
func TestKeysInNoLog(t *testing.T) {
	w := newWorld(t, testkit.LagoOptions{})
	log := filepath.Join(t.TempDir(), "log")
	filter := `format filter {
			wrap json
			fields {
				request>headers>X-Api-Key delete
				request>headers>Api-Key delete
				request>headers>X-Goog-Api-Key delete
			}
		}`
	w.gateway = start(t, "\tlog {\n\t\toutput file "+log+"\n\t\tlevel DEBUG\n\t\t"+filter+"\n\t}", "log\n"+w.directives(t.TempDir(), ""))
	key := w.newKey(`{"team_id":"` + payer + `"}`)
	for _, header := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
		value := key
		if header == "Authorization" {
			value = "Bearer " + key
		}
		w.must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", chat("gpt-4o", "hi", false), header, value)
	}
	w.provider.Next(testkit.UpstreamStatus(500), testkit.UpstreamReset)
	for range 2 {
		_, err := w.do(http.MethodPost, "/v1/chat/completions", key, chat("gpt-4o", "hi", false))
		require.NoError(t, err)
	}
	w.settled(4)
	stop(t)
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Contains(t, string(text), "upstream roundtrip")
	for _, secret := range []string{key, providerKey, masterKey, w.lago.Key()} {
		require.NotContains(t, string(text), secret)
	}
	for _, c := range w.provider.Calls() {
		require.NotContains(t, fmt.Sprint(c.Header), key)
	}
}
