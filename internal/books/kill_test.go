package books

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// childEnv has the directory of an instance's spool, and childRedis the address of its store; empty: a file in the directory.
const (
	childEnv   = "TOLLGATE_BOOKS_CHILD"
	childRedis = "TOLLGATE_BOOKS_REDIS"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := serve(dir, os.Getenv(childRedis)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// What a call of the kill test may cost, and the budget: a thousand times as much.
var (
	estimate = price.FromLimbs(1000, 3)
	budget   = limit.Limit{
		Scope: limit.Scope{Kind: limit.Team, ID: "blue"}, Metric: limit.Cost, Money: price.FromLimbs(1_000_000, 3000),
		Window: limit.Window{Every: 10 * 365 * 24 * time.Hour},
	}
)

// serve is an instance: it admits calls of several callers until the budget refuses them, and settles each. Calls that the previous
// process left open are settled as estimates.
func serve(dir, redisAddr string) (err error) {
	var store limit.Store
	if redisAddr == "" {
		store, err = limit.OpenFile(dir)
	} else {
		client := redis.NewClient(&redis.Options{Addr: redisAddr, MaxRetries: -1})
		store = limit.NewRedis(client, "tollgate:")
	}
	if err != nil {
		return err
	}
	s, err := spool.Open(spool.Options{Dir: dir, Consumers: []string{ConsumerName}})
	if err != nil {
		return err
	}
	left, err := s.Interrupted()
	if err != nil {
		return err
	}
	for _, r := range left {
		if err := s.Settle(r.ID, r.Payload, false); err != nil {
			return err
		}
	}
	l := limit.New(store, limit.Options{Instance: dir, Deny: true, Timeout: time.Minute})
	go l.Run(context.Background())
	counted := count(s, l)
	fmt.Println("serving")
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for range 8 {
		wg.Go(func() {
			for {
				if err := oneCall(s, l); err != nil {
					if _, denied := errors.AsType[*limit.DeniedError](err); !denied {
						errs <- err
					}
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	counted()
	count(s, l)() // what the first one left
	fmt.Println("spent")
	return errors.Join(s.Close(), store.Close())
}

// count counts existing and new records, and returns a function that ends it.
func count(s *spool.Spool, l *limit.Limiter) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	c := New(s, l, decode, Options{})
	var run sync.WaitGroup
	run.Go(func() { c.Run(ctx) })
	<-c.CaughtUp()
	return func() {
		cancel()
		run.Wait()
	}
}

func oneCall(s *spool.Spool, l *limit.Limiter) error {
	var id spool.ID
	binary.BigEndian.PutUint64(id[:], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	call := Call{Charge: limit.Charge{ID: fmt.Sprintf("%x", id), Cost: estimate}, Team: "blue"}
	g, err := l.Reserve(context.Background(), &limit.Reservation{ID: call.ID, Limits: []limit.Limit{budget}, Cost: estimate})
	if err != nil {
		return err
	}
	call.At, call.Counters = g.At, g.Counters
	opened, err := json.Marshal(call)
	if err != nil {
		return err
	}
	if err := s.Begin(id, opened); err != nil {
		return err
	}
	call.Cost = price.FromLimbs(rand.Uint64N(1001), rand.Uint64N(4)) // at most the estimate
	settled, err := json.Marshal(call)
	if err != nil {
		return err
	}
	return s.Settle(id, settled, rand.IntN(2) == 0)
}

// TestKilledInstances kills instances at random moments until the budget is spent. The budget is not exceeded, and what is spent is the
// sum of the records, to the last digit.
func TestKilledInstances(t *testing.T) {
	for name, instances := range map[string]int{"file": 1, "redis": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := ""
			if name == "redis" {
				addr = testkit.Redis(t).Addr
			}
			root := t.TempDir()
			var wg sync.WaitGroup
			for i := range instances {
				wg.Go(func() { untilSpent(t, filepath.Join(root, fmt.Sprint(i)), addr) })
			}
			wg.Wait()
			var sum price.Amount
			n := 0
			for i := range instances {
				s, err := spool.Open(spool.Options{Dir: filepath.Join(root, fmt.Sprint(i)), ReadOnly: true})
				require.NoError(t, err)
				require.NoError(t, s.Scan(time.Time{}, time.Time{}, func(r spool.Record) error {
					c, err := decode(r)
					require.NoError(t, err)
					require.NotEqual(t, spool.StateOpen, r.State)
					sum, err = sum.Add(c.Cost)
					n++
					return err
				}))
				require.NoError(t, s.Close())
			}
			var store limit.Store
			if name == "file" {
				var err error
				store, err = limit.OpenFile(filepath.Join(root, "0"))
				require.NoError(t, err)
			} else {
				client := redis.NewClient(&redis.Options{Addr: addr})
				defer func() { require.NoError(t, client.Close()) }()
				store = limit.NewRedis(client, "tollgate:")
			}
			states, err := store.Status(t.Context(), []limit.Limit{budget})
			require.NoError(t, err)
			totals, err := store.Totals(t.Context(), Spend(budget.Scope))
			require.NoError(t, err)
			require.NoError(t, store.Close())
			require.Equal(t, sum, states[0].Spent, "the sum of %d records", n)
			require.Equal(t, sum, totals[0][Cost])
			require.Equal(t, price.FromLimbs(0, uint64(n)), totals[0][Calls])
			require.LessOrEqual(t, sum.Cmp(budget.Money), 0, "the budget is passed")
			t.Logf("%d records cost %s of %s USD", n, sum, budget.Money)
		})
	}
}

// untilSpent starts an instance again and again, kills it after a while, and lets the last one end by itself.
func untilSpent(t *testing.T, dir, addr string) {
	r := rand.New(rand.NewPCG(uint64(len(dir)), uint64(dir[len(dir)-1])))
	for kills := 0; ; kills++ {
		cmd := exec.Command(os.Args[0]) // #nosec G204 -- this test itself
		cmd.Env = append(os.Environ(), childEnv+"="+dir, childRedis+"="+addr)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil || cmd.Start() != nil {
			t.Error(err)
			return
		}
		lines := bufio.NewScanner(out)
		lines.Scan() // serving
		last := ""
		if kills < 6 {
			timer := time.AfterFunc(time.Duration(r.IntN(60))*time.Millisecond, func() { _ = cmd.Process.Kill() }) // it may have ended
			for lines.Scan() {
				last = lines.Text()
			}
			timer.Stop()
		} else {
			for lines.Scan() {
				last = lines.Text()
			}
		}
		err = cmd.Wait()
		if kills >= 6 || last == "spent" {
			if err != nil && last != "spent" {
				t.Error(err)
			}
			return
		}
	}
}
