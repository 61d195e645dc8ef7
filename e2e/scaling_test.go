package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// instance is the built binary with a spool of its own.
type instance struct {
	*gateway.Gateway
	bin   string
	spool string
	cmd   *exec.Cmd
	log   *os.File
}

// prepare makes an instance that does not run yet.
func prepare(t *testing.T, w *gateway.World, spool string) *instance {
	t.Helper()
	bin, err := gateway.Build()
	require.NoError(t, err)
	i := &instance{Gateway: &gateway.Gateway{T: t, Addr: gateway.FreeAddr(t), Admin: gateway.FreeAddr(t)}, bin: bin, spool: spool}
	i.Caddyfile = gateway.Site(i.Addr, i.Admin, "", w.Directives(spool, ""))
	dir := t.TempDir()
	file := filepath.Join(dir, "Caddyfile")
	require.NoError(t, os.WriteFile(file, []byte(i.Caddyfile), 0o600))
	i.log, err = os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	i.cmd = exec.Command(bin, "run", "--config", file, "--adapter", "caddyfile")
	i.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir)
	i.cmd.Stderr = i.log
	return i
}

func (i *instance) start() {
	i.T.Helper()
	require.NoError(i.T, i.cmd.Start())
	i.T.Cleanup(func() {
		if i.cmd.ProcessState == nil {
			require.NoError(i.T, i.cmd.Process.Kill())
			_ = i.cmd.Wait() // it was killed
		}
		if i.T.Failed() {
			i.T.Log(i.said())
		}
	})
}

func (i *instance) said() string {
	text, err := os.ReadFile(i.log.Name())
	require.NoError(i.T, err)
	return string(text)
}

// kill ends the instance as a machine that loses its process does.
func (i *instance) kill() {
	i.T.Helper()
	require.NoError(i.T, i.cmd.Process.Kill())
	_ = i.cmd.Wait() // it was killed
}

// billing runs a command of the operator against the instance.
func (i *instance) billing(args ...string) (string, error) {
	cmd := exec.Command(i.bin, append([]string{"tollgate", "billing", "--address", i.Admin}, args...)...)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return string(out), err
}

func (i *instance) mustBilling(args ...string) string {
	i.T.Helper()
	out, err := i.billing(args...)
	require.NoError(i.T, err, out)
	return out
}

// books are the figures of the instance's only account.
type books struct {
	Open, Pending, Rejected, Interrupted, Finished int
}

func (i *instance) books() books {
	i.T.Helper()
	var status struct{ Accounts []books }
	require.NoError(i.T, json.Unmarshal([]byte(i.mustBilling("status", "--json")), &status))
	require.Len(i.T, status.Accounts, 1)
	return status.Accounts[0]
}

// TestFourInstances runs four instances on one Redis and one Lago, kills one with records that Lago does not have (or has,
// though the instance never heard so), and lets another take its spool over. Every event is at Lago once, to the token.
func TestFourInstances(t *testing.T) {
	for _, store := range []string{fakelago.Postgres, fakelago.ClickHouse} {
		t.Run(store, func(t *testing.T) {
			w := gateway.NewWorld(t, fakelago.Options{Store: store})
			dirs := t.TempDir()
			instances := make([]*instance, 4)
			for n := range instances {
				instances[n] = prepare(t, w, filepath.Join(dirs, strconv.Itoa(n)))
				instances[n].start()
			}
			for _, i := range instances {
				require.Eventually(t, func() bool {
					resp, err := http.Get(i.URL("/v1/models"))
					return err == nil && resp.Body.Close() == nil
				}, 30*time.Second, 20*time.Millisecond, "the instance does not answer")
			}
			key := instances[0].NewKey(`{"team_id":"` + gateway.Payer + `"}`)

			const each = 25
			callAll(t, instances, key, each)
			billed(t, w, 4*each)

			// Lago goes down. Some of what it is sent it takes, and the answer is lost.
			var down atomic.Bool
			var batches atomic.Int64
			down.Store(true)
			w.Lago.Always(func(c *fakelago.Call) fakelago.Fault {
				switch {
				case !down.Load() || !c.Batch():
					return nil
				case batches.Add(1)%3 == 1:
					return fakelago.FaultCommitThenReset
				}
				return fakelago.FaultStatus(http.StatusServiceUnavailable, "")
			})
			callAll(t, instances, key, each)
			victim, heir := instances[3], instances[1]

			// One call is still under way at the victim when it dies.
			gate := w.Provider.Gate(2, nil)
			broken := make(chan error, 1)
			go func() {
				a, err := victim.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "tokens=in:10,out:20 chunks=5", true))
				if err == nil && strings.HasSuffix(a.Body, "data: [DONE]\n\n") {
					err = errors.New("a killed instance gave a whole answer")
				} else {
					err = nil
				}
				broken <- err
			}()
			require.NoError(t, gate.Await(gateway.Timeout(t, 20*time.Second), 1))
			require.Equal(t, books{Open: 1, Pending: each, Finished: each}, victim.books())
			victim.kill()
			gate.Open()
			require.NoError(t, <-broken)

			offline, err := exec.Command(victim.bin, "tollgate", "billing", "status", "--spool", victim.spool).Output()
			require.NoError(t, err)
			require.Contains(t, string(offline), fmt.Sprintf("pending      %d\n", each))

			out := heir.mustBilling("adopt", victim.spool)
			require.Contains(t, out, fmt.Sprintf("has taken over %d records: %d pending, 0 rejected, 1 interrupted", each+1, each))
			took := heir.books()
			require.GreaterOrEqual(t, took.Finished, each, "finished ones come along until all consumers have read them")
			along := took.Finished - each
			require.Equal(t, books{Pending: 2 * each, Interrupted: 1, Finished: each + along}, took)
			_, err = heir.billing("adopt", victim.spool)
			require.ErrorContains(t, err, "adopted by another")
			_, err = instances[2].billing("adopt", victim.spool)
			require.ErrorContains(t, err, "adopted by another")
			again := prepare(t, w, victim.spool)
			again.start()
			require.Error(t, again.cmd.Wait(), "a spool that was adopted cannot be used again")
			require.Contains(t, again.said(), "adopted by another")

			down.Store(false)
			billed(t, w, 8*each)
			for _, i := range instances[:3] {
				i.mustBilling("status", "--wait", "30s")
			}
			heir.mustBilling("discard", "--all", "--reason", "the client got no whole answer")
			require.Equal(t, books{Finished: 3*each + 1 + along}, heir.books())
			for _, i := range instances[:3] {
				i.mustBilling("reconcile", "--lag", "0s")
				i.mustBilling("check")
			}

			// What the provider gave whole is what is billed.
			var whole, said int64
			for _, c := range w.Provider.Calls() {
				if c.Whole && c.Reported != nil {
					whole++
					said += c.Reported.Input + c.Reported.Output
				}
			}
			require.EqualValues(t, 8*each, whole)
			require.Equal(t, strconv.FormatInt(said, 10), w.Lago.Billed(gateway.Payer, "llm", "total_tokens"))
			require.Equal(t, 8*each, w.Lago.BilledCount(gateway.Payer, "llm"))
			require.Empty(t, w.Lago.BilledTwice())
		})
	}
}

// callAll makes n calls through each instance with one key, of different sizes.
func callAll(t *testing.T, instances []*instance, key string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	failures := make(chan string, n*len(instances))
	for at, i := range instances {
		for k := range n {
			wg.Go(func() {
				a, err := i.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", fmt.Sprintf("tokens=in:%d,out:%d", 10+k, 1+at), k%2 == 0))
				if err != nil || a.Status != http.StatusOK {
					failures <- fmt.Sprint(err, a)
				}
			})
		}
	}
	wg.Wait()
	close(failures)
	for f := range failures {
		t.Fatal(f)
	}
}

// billed waits until that many events count at Lago, each once.
func billed(t *testing.T, w *gateway.World, n int) {
	t.Helper()
	require.NoError(t, w.Lago.Await(gateway.Timeout(t, 60*time.Second), func() bool { return w.Lago.BilledCount(gateway.Payer, "llm") >= n }), "events at Lago")
	require.Equal(t, n, w.Lago.BilledCount(gateway.Payer, "llm"))
	require.Empty(t, w.Lago.BilledTwice())
}
