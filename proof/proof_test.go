package proof

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
)

const (
	// soakVariable sets how long the whole test runs, such as 10m. If unset, the test runs until there were enough kills.
	soakVariable = "TOLLGATE_SOAK"
	// seedVariable repeats a run's choices: the clients' requests, the faults, and the order of actions. Timing still
	// differs.
	seedVariable = "TOLLGATE_SEED"

	clients   = 12
	killsEach = 15 // in each mode
)

// TestNothingLostNothingTwice runs the built binary under load from clients that hang up, with a failing provider and a
// failing Lago, and kills, reloads and stops it again and again, in both of Lago's stores and both durability settings.
// Then it lets Lago recover and audits: every answer that a client received in full is billed exactly once, to the token
// and to the smallest unit of money; everything billed was called at the provider; and each difference between the
// provider's calls and the bill is a named record.
func TestNothingLostNothingTwice(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, seedVariable)
	}
	modes := []mode{
		{store: fakelago.ClickHouse, durability: "process", disconnect: "drain 3s"},
		{store: fakelago.Postgres, durability: "process", disconnect: "auto", failing: true},
		{store: fakelago.Postgres, durability: "fsync", disconnect: "drain 3s"},
		{store: fakelago.ClickHouse, durability: "fsync", disconnect: "auto"},
	}
	var soak time.Duration
	if text := os.Getenv(soakVariable); text != "" {
		var err error
		soak, err = time.ParseDuration(text)
		require.NoError(t, err, soakVariable)
	}
	t.Logf("%s=%d", seedVariable, seed)
	reports := make([]*report, 0, len(modes))
	for i, m := range modes {
		ok := t.Run(m.String(), func(t *testing.T) {
			reports = append(reports, prove(t, m, seed+uint64(i), soak/time.Duration(len(modes))))
		})
		if !ok { // later modes would only hide the first failure
			return
		}
	}
	kills := 0
	for _, r := range reports {
		kills += r.kills
	}
	if soak == 0 && !testing.Short() {
		require.GreaterOrEqual(t, kills, 50)
	}
	fmt.Println(table(reports))
}

// prove runs one mode for the given time, or until there were enough kills if it is 0.
func prove(t *testing.T, m mode, seed uint64, long time.Duration) *report {
	w := newWorld(t, m)
	tr := newTrouble(w, seed)
	c := &conductor{
		w: w, trouble: tr, r: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // repeatable on purpose
		report: &report{mode: m},
	}
	began := time.Now()
	l := startLoad(w, seed, clients)
	enough := killsEach
	if testing.Short() {
		enough = 5 // enough for every action of the fixed order
	}
	for c.report.kills < 3 || long > 0 && time.Since(began) < long || long == 0 && c.report.kills < enough {
		c.act()
	}
	calls := append(l.stop(), c.calls...)
	require.False(t, t.Failed(), "the gateway did not behave; what follows would only be confusing")

	// The last process starts with everything that earlier ones left behind.
	w.kill()
	tr.heal()
	require.NoError(t, w.start())
	ledger := w.settle(5 * time.Minute)
	c.report.took = time.Since(began)
	tr.tell(c.report)
	audit(w, calls, ledger, c.report)
	tr.audit(c.report)
	return c.report
}

// conductor disturbs the gateway: kills, stops, reloads.
type conductor struct {
	w       *world
	trouble *trouble
	r       *rand.Rand
	report  *report
	acts    int
	calls   []*call // calls it makes itself
}

// act performs one action, at first in a fixed order so that the shortest run covers every one, and restarts the gateway
// if the action ended it.
func (c *conductor) act() {
	t := c.w.t
	acts := []func(){
		c.killAtLastByte, c.killBeforeNote, c.killBeforeNote, c.reload, c.killAtRandom, c.stop, c.killInReload, c.killAtRandom,
	}
	act := acts[c.acts%len(acts)]
	if c.acts >= len(acts) {
		act = acts[c.r.IntN(len(acts))]
	}
	c.acts++
	wait(time.Duration(50+c.r.IntN(400)) * time.Millisecond) // let the load run
	act()
	require.False(t, t.Failed())
	if c.w.running() {
		return
	}
	require.NoError(t, c.w.start())
}

// wait lets the load run for d.
func wait(d time.Duration) { <-time.After(d) }

func (c *conductor) killed() {
	require.True(c.w.t, c.w.kill())
	c.report.kills++
}

func (c *conductor) killAtRandom() { c.killed() }

// killAtLastByte kills the gateway at the moment a client has a whole stream, while the provider keeps its connection
// open.
func (c *conductor) killAtLastByte() {
	l := newCall(c.r, lingering+strconv.Itoa(c.acts))
	for l.api != apiChat && l.api != apiResponses && l.api != apiMessages || l.hangUp >= 0 {
		l = newCall(c.r, l.tag)
	}
	l.stream, l.linger = true, true
	client, base := c.w.client(1 + c.r.IntN(2))
	defer client.CloseIdleConnections()
	l.do(context.Background(), client, base, c.w.keys[l.payer], func() {
		c.killed()
		c.report.killsAtLastByte++
	})
	require.True(c.w.t, l.whole, "a lingering answer did not come whole: status %d, %v", l.status, l.err)
	c.calls = append(c.calls, l)
}

func (c *conductor) killBeforeNote() {
	fired, disarm := c.trouble.killBeforeNote()
	patience := time.NewTimer(20 * time.Second) // Lago may be failing
	defer patience.Stop()
	select {
	case <-fired:
	case <-patience.C:
		if disarm() {
			return
		}
		<-fired
	}
	c.report.kills++
	c.report.killsBeforeNote++
}

// changed returns the configuration with a change that has no effect.
func (c *conductor) changed() string {
	return strings.Replace(c.w.caddyfile, "cache_ttl 10s", fmt.Sprintf("cache_ttl %dms", 10_000+c.acts), 1)
}

func (c *conductor) reload() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(c.w.t, c.w.process.reload(ctx, c.changed()))
	c.report.reloads++
}

func (c *conductor) killInReload() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.w.process.reload(ctx, c.changed()) // the kill interrupts it
	}()
	wait(time.Duration(c.r.IntN(60)) * time.Millisecond)
	c.killed()
	<-done
	c.report.reloads++
}

func (c *conductor) stop() {
	require.True(c.w.t, c.w.process.stop())
	c.report.stops++
}
