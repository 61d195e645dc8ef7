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

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestQuickStart runs the example as it stands, but for its port and where it keeps its data.
func TestQuickStart(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	text, err := os.ReadFile("Caddyfile.example")
	require.NoError(t, err)
	g := &gateway.Gateway{T: t, Addr: gateway.FreeAddr(t), Admin: gateway.FreeAddr(t)}
	_, port, _ := strings.Cut(g.Addr, ":")
	g.Addr = "localhost:" + port
	g.Caddyfile = strings.Replace(strings.NewReplacer("localhost:4000", g.Addr, "master_key sk-1234", "master_key "+gateway.MasterKey).Replace(string(text)), "\n{\n", "\n{\n\tadmin "+g.Admin+"\n\tpersist_config off\n", 1)
	g.Load()
	t.Cleanup(func() { gateway.Stop(t) })

	key := g.NewKey(`{"team_id":"my-team"}`)
	a := g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("demo", "hi", false))
	require.Contains(t, a.Body, "Hello from Tollgate")
	require.NotEmpty(t, a.Header.Get("X-Litellm-Call-Id"))
	a = g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("demo", "hi", true))
	require.True(t, strings.HasSuffix(a.Body, "data: [DONE]\n\n"))
	require.NotContains(t, a.Body, `"choices":[]`, "the client did not ask for usage")
	a = g.Must(http.StatusOK, http.MethodGet, "/v1/models", key, "")
	require.Contains(t, a.Body, `"demo"`)
	a = g.Must(http.StatusUnauthorized, http.MethodPost, "/v1/chat/completions", "sk-unknown-unknown-unknown", gateway.Chat("demo", "hi", false))
	require.NotEmpty(t, a.Header.Get("X-Litellm-Call-Id"), "refusals have an id too")

	status, err := (&gateway.Gateway{T: t, Addr: g.Admin}).Do(http.MethodGet, "/tollgate/billing", "", "")
	require.NoError(t, err)
	require.Contains(t, status.Body, `"finished":2`)
	events, err := (&gateway.Gateway{T: t, Addr: g.Admin}).Do(http.MethodGet, "/tollgate/billing/events", "", "")
	require.NoError(t, err)
	require.Len(t, strings.Split(strings.TrimSpace(events.Body), "\n"), 2)
	require.Contains(t, events.Body, `"payer":"my-team"`)
}

// TestSDKs calls with the official clients, streamed and not, and reconciles Lago's bill with what the provider said.
func TestSDKs(t *testing.T) {
	for _, store := range []string{fakelago.Postgres, fakelago.ClickHouse} {
		t.Run(store, func(t *testing.T) {
			w := gateway.SetUp(t, fakelago.Options{Store: store})
			key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
			ctx := gateway.Timeout(t, time.Minute)
			oa := openai.NewClient(option.WithBaseURL(w.URL("/v1")), option.WithAPIKey(key))
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

			an := anthropic.NewClient(anthropicoption.WithBaseURL(w.URL("")), anthropicoption.WithAPIKey(key))
			message := anthropic.MessageNewParams{Model: "claude", MaxTokens: 100, Messages: []anthropic.MessageParam{
				anthropic.NewUserMessage(anthropic.NewTextBlock("tokens=in:200,out:40,cached:150,write:20,write1h:10")),
			}}
			_, err = an.Messages.New(ctx, message)
			require.NoError(t, err)
			ms := an.Messages.NewStreaming(ctx, message)
			for ms.Next() { //nolint:revive // read to its end
			}
			require.NoError(t, ms.Err())

			w.Settled(7)
			var said int64
			for _, c := range w.Provider.Calls() {
				require.NotNil(t, c.Reported, "the provider told what it used")
				require.NotContains(t, fmt.Sprint(c.Header), key)
				said += c.Reported.Input + c.Reported.Output
			}
			require.EqualValues(t, 154+154+9+50+50+240+240, said)
			require.Equal(t, strconv.FormatInt(said, 10), w.Lago.Billed(gateway.Payer, "llm", "total_tokens"))
		})
	}
}

// TestThousandCalls makes a thousand calls at once: one event each.
func TestThousandCalls(t *testing.T) {
	w := gateway.SetUp(t, fakelago.Options{})
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	var wg sync.WaitGroup
	failures := make(chan string, 1000)
	for i := range 1000 {
		wg.Go(func() {
			a, err := w.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "tokens=in:10,out:5", i%2 == 0))
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
	w.Settled(1000)
	require.Equal(t, "15000", w.Lago.Billed(gateway.Payer, "llm", "total_tokens"))
}

// TestBlockReachesOtherInstances blocks a key on one instance and calls with it on another.
func TestBlockReachesOtherInstances(t *testing.T) {
	w := gateway.SetUp(t, fakelago.Options{})
	other := gateway.Run(t, strings.Replace(w.Directives(t.TempDir(), "account other"), "cache_ttl 10s", "cache_ttl 24h", 1))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	call := func() int {
		a, err := other.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
		require.NoError(t, err)
		return a.Status
	}
	require.Equal(t, http.StatusOK, call())
	w.Must(http.StatusOK, http.MethodPost, "/key/block", gateway.MasterKey, `{"key":"`+key+`"}`)
	require.Eventually(t, func() bool { return call() == http.StatusUnauthorized }, 30*time.Second, 5*time.Millisecond,
		"a blocked key lives on, not only until its time in the cache is over")
}

// TestRedisOutage stops Redis in the middle: known keys go on, unknown ones are told to come back.
func TestRedisOutage(t *testing.T) {
	w := gateway.SetUp(t, fakelago.Options{})
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	call := func(key string) gateway.Answer {
		a, err := w.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
		require.NoError(t, err)
		return a
	}
	require.Equal(t, http.StatusOK, call(key).Status)
	w.Redis.Stop()
	require.Equal(t, http.StatusOK, call(key).Status)
	a := call("sk-0123456789012345678901")
	require.Equal(t, http.StatusServiceUnavailable, a.Status)
	require.NotEmpty(t, a.Header.Get("Retry-After"))
	w.Redis.Start()
	fresh := ""
	require.Eventually(t, func() bool {
		a, err := w.Do(http.MethodPost, "/key/generate", gateway.MasterKey, `{"team_id":"`+gateway.Payer+`"}`)
		fresh = a.Body
		return err == nil && a.Status == http.StatusOK
	}, 10*time.Second, 20*time.Millisecond, fresh)
	require.Eventually(t, func() bool { return call("sk-0123456789012345678901").Status == http.StatusUnauthorized },
		10*time.Second, 20*time.Millisecond, "the store is back: an unknown key is unknown again")
}

// TestLagoTrouble holds delivery against a Lago that fails in every stated way; each event arrives once.
func TestLagoTrouble(t *testing.T) {
	w := gateway.SetUp(t, fakelago.Options{})
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	w.Lago.Next(fakelago.FaultStatus(500, "oops"), fakelago.FaultHTML(502), fakelago.FaultRateLimit(time.Second), fakelago.FaultCommitThenReset,
		fakelago.FaultTruncated, fakelago.FaultReset, fakelago.FaultCommitThen500)
	for range 150 {
		w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "tokens=in:1,out:1", false))
	}
	w.Settled(150)
	require.Equal(t, "300", w.Lago.Billed(gateway.Payer, "llm", "total_tokens"))

	admin := &gateway.Gateway{T: t, Addr: w.Admin}
	shows := func(what ...string) {
		t.Helper()
		require.Eventually(t, func() bool {
			a, err := admin.Do(http.MethodGet, "/tollgate/billing", "", "")
			return err == nil && !slices.ContainsFunc(what, func(s string) bool { return !strings.Contains(a.Body, s) })
		}, 30*time.Second, 20*time.Millisecond, "the status must show %q", what)
	}
	shows(`"pending":0,`) // Lago has the events before this side knows it, when the answer was lost
	good := w.Lago.Key()
	w.Lago.SetKey("changed")
	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "tokens=in:1,out:1", false))
	shows("401", `"pending":1,`)
	w.Lago.SetKey(good)
	w.Load() // an operator who mends the key reloads
	w.Settled(151)
}

// TestOneBadEventOfAHundred holds delivery against a batch of a hundred events, one of which Lago refuses: the others arrive
// once, and the one is dead-lettered with Lago's error.
func TestOneBadEventOfAHundred(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Lago.AddMetric(fakelago.Metric{Code: "llm", Field: "total_tokens", Needs: []string{"region"}})
	w.Gateway = gateway.Start(t, "", w.Directives(t.TempDir(), "property region {http.request.header.X-Region}"))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	w.Lago.Always(func(c *fakelago.Call) fakelago.Fault {
		return fakelago.FaultStatus(http.StatusServiceUnavailable, "")
	})
	var bad string
	for i := range 100 {
		region := []string{"X-Region", "eu"}
		if i == 42 {
			region = nil
		}
		a := w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "tokens=in:1,out:1", false), region...)
		if i == 42 {
			bad = a.Header.Get("X-Litellm-Call-Id")
		}
	}
	w.Lago.Always(nil)
	w.Settled(99)
	require.Equal(t, "198", w.Lago.Billed(gateway.Payer, "llm", "total_tokens"))
	admin := &gateway.Gateway{T: t, Addr: w.Admin}
	require.Eventually(t, func() bool {
		a, err := admin.Do(http.MethodGet, "/tollgate/billing", "", "")
		return err == nil && strings.Contains(a.Body, `"rejected":1`) && strings.Contains(a.Body, `"pending":0`)
	}, 10*time.Second, 20*time.Millisecond)
	a, err := admin.Do(http.MethodGet, "/tollgate/billing/events", "", "")
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
	w := gateway.SetUp(t, fakelago.Options{Store: fakelago.ClickHouse})
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	gate := w.Provider.Gate(3, nil)
	const streams = 100
	type result struct {
		body string
		err  error
	}
	results := make(chan result, streams)
	for range streams {
		go func() {
			a, err := w.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "tokens=in:10,out:20 chunks=6", true))
			results <- result{a.Body, err}
		}()
	}
	require.NoError(t, gate.Await(gateway.Timeout(t, 30*time.Second), streams))
	before := w.Caddyfile
	for i := range 10 {
		w.Caddyfile = strings.Replace(before, "cache_ttl 10s", fmt.Sprintf("cache_ttl %ds", 11+i), 1)
		require.NotEqual(t, before, w.Caddyfile)
		w.Load()
	}
	gate.Open()
	for range streams {
		r := <-results
		require.NoError(t, r.err)
		require.True(t, strings.HasSuffix(r.body, "data: [DONE]\n\n"))
	}
	w.Settled(streams)
	require.Equal(t, strconv.Itoa(30*streams), w.Lago.Billed(gateway.Payer, "llm", "total_tokens"))
}

// TestHangUp leaves in the middle of a stream; the call is billed all the same, once.
func TestHangUp(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", w.Directives(t.TempDir(), "on_disconnect drain 10s"))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	gate := w.Provider.Gate(2, nil)
	ctx, hangUp := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL("/v1/chat/completions"), strings.NewReader(gateway.Chat("gpt-4o", "tokens=in:10,out:20 chunks=5", true)))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(line, "data: "))
	require.NoError(t, gate.Await(gateway.Timeout(t, 10*time.Second), 1))
	hangUp()
	require.NoError(t, resp.Body.Close())
	gate.Open()
	w.Settled(1)
	require.Equal(t, "30", w.Lago.Billed(gateway.Payer, "llm", "total_tokens"), "drained to the provider's own usage")
}

// TestKeysInNoLog searches everything logged at DEBUG for the client's and the provider's key.
func TestKeysInNoLog(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	log := filepath.Join(t.TempDir(), "log")
	filter := `format filter {
			wrap json
			fields {
				request>headers>X-Api-Key delete
				request>headers>Api-Key delete
				request>headers>X-Goog-Api-Key delete
			}
		}`
	w.Gateway = gateway.Start(t, "\tlog {\n\t\toutput file "+log+"\n\t\tlevel DEBUG\n\t\t"+filter+"\n\t}", "log\n"+w.Directives(t.TempDir(), ""))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	for _, header := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
		value := key
		if header == "Authorization" {
			value = "Bearer " + key
		}
		w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("gpt-4o", "hi", false), header, value)
	}
	w.Provider.Next(fakeprovider.FaultStatus(500), fakeprovider.FaultReset)
	for range 2 {
		_, err := w.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
		require.NoError(t, err)
	}
	w.Settled(4)
	gateway.Stop(t)
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Contains(t, string(text), "upstream roundtrip")
	for _, secret := range []string{key, gateway.ProviderKey, gateway.MasterKey, w.Lago.Key()} {
		require.NotContains(t, string(text), secret)
	}
	for _, c := range w.Provider.Calls() {
		require.NotContains(t, fmt.Sprint(c.Header), key)
	}
}
