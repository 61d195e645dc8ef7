package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// keyCaller makes calls with keys in turn over one connection.
type keyCaller struct {
	*bareClient
	keys [][]byte
	at   int // of the key in the request
}

// newKeyCaller makes that many keys.
func newKeyCaller(t testing.TB, g *gateway.Gateway, c *bareClient, keys int) *keyCaller {
	t.Helper()
	k := &keyCaller{bareClient: c, keys: make([][]byte, keys), at: bytes.Index(c.request, []byte("Bearer ")) + len("Bearer ")}
	const atOnce = 8
	var wg sync.WaitGroup
	for first := range atOnce {
		wg.Go(func() {
			for n := first; n < keys; n += atOnce {
				k.keys[n] = []byte(g.NewKey(costKey))
			}
		})
	}
	wg.Wait()
	return k
}

func (k *keyCaller) callWith(t testing.TB, n int) {
	copy(k.request[k.at:], k.keys[n%len(k.keys)])
	if _, err := k.call(); err != nil {
		require.NoError(t, err)
	}
}

// BenchmarkCallAtScale is an unstreamed call with as many models configured, as many keys in Redis, and all or one of them calling in turn.
func BenchmarkCallAtScale(b *testing.B) {
	for _, size := range []struct{ models, keys int }{{10, 1}, {1000, 1}, {10, 100_000}} {
		g, tollgate, _ := costSites(b, serveBare(b), size.models)
		k := newKeyCaller(b, g, tollgate(false), size.keys)
		run := func(calling int) {
			b.Run(fmt.Sprintf("%d models, %d keys, %d calling", size.models, size.keys, calling), func(b *testing.B) {
				b.ReportAllocs()
				for n := 0; b.Loop(); n++ {
					k.callWith(b, n%calling)
				}
			})
		}
		run(1)
		if size.keys > 1 {
			run(size.keys)
		}
	}
}

// TestTheCostOfACallIsFlat holds that a call allocates as often, and has Redis run as many commands, with many models and keys as
// with few. Records are added to totals by the batch, and a key with several records in a batch costs less. So calling keys are
// compared with so many others that a batch has one record of each.
func TestTheCostOfACallIsFlat(t *testing.T) {
	const calls = 1000
	type cost struct{ allocs, commands, lookups float64 }
	measure := func(models, keys, calling int, known bool) cost {
		store := testkit.Redis(t)
		g, tollgate, _ := costSitesAt(t, store.Addr, serveBare(t), models)
		warm := newKeyCaller(t, g, tollgate(false), 1)
		for n := range 300 { // what is made once is made
			warm.callWith(t, n)
		}
		k := newKeyCaller(t, g, tollgate(false), keys)
		if known {
			for n := range calling {
				k.callWith(t, n)
			}
		}
		client := redis.NewClient(&redis.Options{Addr: store.Addr})
		defer func() { require.NoError(t, client.Close()) }()
		commands := func() float64 {
			text, err := client.Info(t.Context(), "stats").Result()
			require.NoError(t, err)
			_, after, _ := strings.Cut(text, "total_commands_processed:")
			n, err := strconv.Atoi(after[:strings.IndexByte(after, '\r')])
			require.NoError(t, err)
			return float64(n)
		}
		admin := &gateway.Gateway{T: t, Addr: g.Admin}
		lookups := func() float64 {
			a, err := admin.Do(http.MethodGet, "/metrics", "", "")
			require.NoError(t, err)
			_, after, found := strings.Cut(a.Body, "\ncaddy_tollgate_key_store_lookups_total ")
			require.True(t, found)
			n, err := strconv.ParseFloat(after[:strings.IndexByte(after, '\n')], 64)
			require.NoError(t, err)
			return n
		}
		booked := func() { admin.Must(http.StatusOK, http.MethodGet, "/tollgate/books/spend", "", "") } // answers once the books have all records
		booked()
		ran, asked := commands(), lookups()
		allocs, _ := allocated(t, calls, func(n int) {
			k.callWith(t, n%calling)
			if n == calls-1 {
				booked()
			}
		})
		c := cost{allocs, (commands() - ran) / calls, (lookups() - asked) / calls}
		t.Logf("%d models, %d keys, %d calling, known %v: %.0f allocations, %.1f commands of Redis, %.1f lookups of keys",
			models, keys, calling, known, c.allocs, c.commands, c.lookups)
		return c
	}
	one := measure(10, 1, 1, true)
	for what, sizes := range map[string]struct{ few, many cost }{
		"models":                            {one, measure(1000, 1, 1, true)},
		"keys":                              {one, measure(10, 2000, 1, true)},
		"keys that call":                    {measure(10, 400, 400, true), measure(10, 1000, 1000, true)},
		"keys that call for the first time": {measure(10, 1000, 1000, false), measure(10, 2000, 1000, false)},
	} {
		require.LessOrEqual(t, sizes.many.allocs, 1.1*sizes.few.allocs, what)
		require.LessOrEqual(t, sizes.many.commands, 1.5*sizes.few.commands, what)
		require.InDelta(t, sizes.few.lookups, sizes.many.lookups, 0, what)
	}
}
