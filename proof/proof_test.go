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
	// soakVariable holds how long the whole test is to run, such as 10m; unset: until there were enough kills.
	soakVariable = "TOLLGATE_SOAK"
	// seedVariable repeats a run's choices: what the clients ask, which faults come and what is done when. What the
	// machine makes of it differs.
	seedVariable = "TOLLGATE_SEED"

	clients   = 12
	killsEach = 15 // in each mode
)

// TestNothingLostNothingTwice runs the built binary under load from clients that hang up, between a provider and a Lago
// that fail, and kills it, reloads it and stops it, again and again; in both of Lago's stores and in both durabilities.
// Then it lets Lago recover and audits: every answer that a client received whole is billed exactly once, to the token
// and to the smallest unit of money; what is billed was called at the provider; and each difference between the
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
		if !ok { // the first thing that is wrong is what to look at
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

// prove runs one mode: for that long, or until there were enough kills when it is 0.
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
		enough = 5 // each act of the fixed order is done
	}
	for c.report.kills < 3 || long > 0 && time.Since(began) < long || long == 0 && c.report.kills < enough {
		c.act()
	}
	calls := append(l.stop(), c.calls...)
	require.False(t, t.Failed(), "the gateway did not behave; what follows would only be confusing")

	// The last process begins with what all those before left behind.
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

// conductor does to the gateway what happens to gateways.
type conductor struct {
	w       *world
	trouble *trouble
	r       *rand.Rand
	report  *report
	acts    int
	calls   []*call // its own
}

// act does one thing, in a fixed order at first so that each is done in the shortest run, and starts the gateway again
// if that ended it.
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
	wait(time.Duration(50+c.r.IntN(400)) * time.Millisecond) // the load's turn
	act()
	require.False(t, t.Failed())
	if c.w.running() {
		return
	}
	require.NoError(t, c.w.start())
}

// wait lets time pass, which is what this test is made of.
func wait(d time.Duration) { <-time.After(d) }

func (c *conductor) killed() {
	require.True(c.w.t, c.w.kill())
	c.report.kills++
}

func (c *conductor) killAtRandom() { c.killed() }

// killAtLastByte kills at the moment at which a client has a whole stream, while the provider keeps its connection open.
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

// changed returns the configuration with another setting that matters to nobody.
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
		_ = c.w.process.reload(ctx, c.changed()) // it is cut off
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
