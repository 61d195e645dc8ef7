package proof

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
)

const (
	masterKey   = "sk-master-of-the-proof"
	providerKey = "sk-of-the-provider"
	code        = "llm"
	// poisoned is the payer whose events make Lago fail until the end of the run.
	poisoned = "sub-poison"
)

var payers = []string{"sub-1", "sub-2", "sub-3", poisoned}

// mode is one configuration of the gateway and Lago.
type mode struct {
	store      string // Lago's event store
	durability string
	disconnect string
	// failing adds backends that never answer, which the gateway often tries first. The binary is then built with the
	// race detector if this test is, because abandoned attempts end concurrently with the attempts that follow them.
	failing bool
}

func (m mode) String() string { return m.store + "/" + m.durability }

// prices are those of the Caddyfile, in USD per million tokens; request is in USD per call.
var prices = map[string]map[string]string{
	"gpt-4o": {
		"input": "2.123456789", "cache_read": "1.061728394", "output": "10.987654321", "reasoning": "11.000000007", "request": "0.000001",
	},
	"claude": {
		"input": "3.000000001", "cache_read": "0.3", "cache_write_5m": "3.75", "cache_write_1h": "6", "output": "15.000000003",
	},
	"text-embedding-3-small": {"input": "0.020000003"},
}

// cost prices quantities by kind, in USD. It uses rational arithmetic and none of the gateway's code.
func cost(model string, counts map[string]int64) *big.Rat {
	sum := new(big.Rat)
	for kind, n := range counts {
		price, ok := new(big.Rat).SetString(prices[model][kind])
		if !ok {
			if n != 0 {
				panic("no price of " + model + " for " + kind)
			}
			continue
		}
		sum.Add(sum, price.Mul(price, big.NewRat(n, 1_000_000)))
	}
	if fee, ok := new(big.Rat).SetString(prices[model]["request"]); ok {
		sum.Add(sum, fee)
	}
	return sum
}

// world is a gateway with a real Redis, a fake provider and a fake Lago.
type world struct {
	*process
	mode     mode
	redis    *testkit.RedisServer
	provider *fakeprovider.Server
	lago     *fakelago.Server
	keys     map[string]string // by payer
	silent   string            // base URL of the backends that never answer; empty without them
}

func newWorld(t testing.TB, m mode) *world {
	w := &world{
		mode:     m,
		redis:    testkit.Redis(t),
		provider: fakeprovider.New(t, fakeprovider.Options{Key: providerKey, Keep: 10_000_000}),
		lago:     fakelago.New(t, fakelago.Options{Store: m.store}),
		keys:     make(map[string]string),
	}
	w.lago.AddMetric(fakelago.Metric{Code: code, Field: "response_cost"})
	for _, payer := range payers {
		w.lago.AddSubscription(fakelago.Subscription{ExternalID: payer})
	}
	binary := built
	if m.failing {
		w.silent = silentServer(t)
		if setting("-race") == "true" {
			binary = builtRace
		}
	}
	w.process = newProcess(t, binary, w.write)
	require.NoError(t, w.start())
	w.awaitCertificate()
	for _, payer := range payers {
		w.keys[payer] = w.newKey(payer)
	}
	return w
}

// silentServer accepts connections and sends nothing, so a TLS handshake with it hangs.
func silentServer(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var conns []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, ln.Close())
		<-done
		for _, conn := range conns {
			_ = conn.Close() // the gateway may have closed it
		}
	})
	return "https://" + ln.Addr().String()
}

// write writes the Caddyfile: one site over HTTP and one over TLS, which share everything.
func (w *world) write(p *process) string {
	var models strings.Builder
	for model, upstream := range map[string]string{"gpt-4o": "openai %s/v1", "claude": "anthropic %s", "text-embedding-3-small": "openai %s/v1"} {
		fmt.Fprintf(&models, "\t\tmodel %s {\n", model)
		backend := func(base, more string) {
			fmt.Fprintf(&models, "\t\t\tbackend "+upstream+" {\n\t\t\t\tapi_key %s\n%s", base, providerKey, more)
			for kind, price := range prices[model] {
				fmt.Fprintf(&models, "\t\t\t\tprice %s %s\n", kind, price)
			}
			models.WriteString("\t\t\t}\n")
		}
		backend(w.provider.URL, "")
		retries := 1
		if w.silent != "" {
			backend(w.silent, "\t\t\t\ttimeout 30ms\n")
			retries = 3
		}
		fmt.Fprintf(&models, "\t\t\tretries %d\n\t\t}\n", retries)
	}
	return fmt.Sprintf(`{
	admin 127.0.0.1:%s
	persist_config off
	auto_https disable_redirects
	skip_install_trust
	grace_period 5s
}
(gateway) {
	keyauth {
		store redis %s
		master_key %s
		cache_ttl 10s
	}
	lagobilling {
		api_base %s
		api_key %s
		event_code %s
		charge_by team_id
		spool %s
		durability %s
		on_disconnect %s
	}
	llmroute {
%s	}
}
http://127.0.0.1:%s {
	import gateway
}
https://localhost:%s {
	tls internal
	import gateway
}
`, p.admin, w.redis.Addr, masterKey, w.lago.URL, w.lago.Key(), code, filepath.Join(p.dir, "spool"),
		w.mode.durability, w.mode.disconnect, models.String(), p.plain, p.tls)
}

// awaitCertificate waits for the certificate of the TLS site, which is created and loaded in the background after the
// start. A kill during creation leaves a lock that the next process would wait for.
func (w *world) awaitCertificate() {
	client, base := w.client(2)
	defer client.CloseIdleConnections()
	require.Eventually(w.t, func() bool {
		res, err := client.Get(base + "/v1/models")
		return err == nil && res.Body.Close() == nil
	}, time.Minute, 20*time.Millisecond)
}

// limits are set on each key, too high to refuse a call. /key/info shows the spend of max_budget, whose only window never
// ends; the run may therefore cross midnight.
const limits = `"max_budget":1000000,"budget_limits":[{"budget_duration":"1d","max_budget":1000000}],"tpm_limit":1000000000000,"rpm_limit":1000000000,"max_parallel_requests":1000000`

// spent returns the spend that /key/info shows for a payer's key.
func (w *world) spent(payer string) *big.Rat {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://127.0.0.1:"+w.plain+"/key/info?key="+w.keys[payer], nil)
	require.NoError(w.t, err)
	req.Header.Set("Authorization", "Bearer "+masterKey)
	b, err := body(req)
	require.NoError(w.t, err)
	var row struct {
		Info struct {
			Spend json.Number `json:"spend"`
		} `json:"info"`
	}
	require.NoError(w.t, json.Unmarshal(b, &row))
	spend, ok := new(big.Rat).SetString(row.Info.Spend.String())
	require.True(w.t, ok, string(b))
	return spend
}

// newKey creates a key whose team is the payer.
func (w *world) newKey(payer string) string {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://127.0.0.1:"+w.plain+"/key/generate",
		strings.NewReader(`{"team_id":"`+payer+`",`+limits+`}`))
	require.NoError(w.t, err)
	req.Header.Set("Authorization", "Bearer "+masterKey)
	b, err := body(req)
	require.NoError(w.t, err)
	var key struct {
		Key string `json:"key"`
	}
	require.NoError(w.t, json.Unmarshal(b, &key))
	return key.Key
}
