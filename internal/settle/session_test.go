package settle

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/tariff"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

func openAccount(t *testing.T, dir, lago, key string) *account.Account {
	t.Helper()
	a, err := account.Open(account.Settings{
		Name: "a", Dir: dir, Durability: "process", SpoolMax: 1 << 30, Retain: time.Hour, Interrupted: "estimate", APIBase: lago, APIKey: key, Late: "keep", PayerCheck: "off",
	}, nil, account.Options{Logger: zap.NewNop(), Exiting: func() bool { return false }})
	require.NoError(t, err)
	return a
}

// session is one client connection on which answers follow one another.
type session struct {
	t       *testing.T
	account *account.Account
	tariff  *tariff.Tariff
	target  *llm.Target
}

func newSession(t *testing.T, a *account.Account) *session {
	t.Helper()
	rates, err := tariff.New(tariff.Config{Code: "tokens"})
	require.NoError(t, err)
	return &session{t: t, account: a, tariff: rates, target: &llm.Target{
		Model: "m", Backend: "b", Provider: "openai", Upstream: "gpt-4o", Prices: map[string]string{"input": "1000000", "output": "2000000"},
	}}
}

// open opens the bill of the session's next answer, whose request holds as many tokens.
func (s *session) open(tokens int64) (*Bill, *llm.Call) {
	s.t.Helper()
	call := &llm.Call{
		ID: llm.NewID(), Start: time.Now(), Endpoint: &llm.Endpoint{Name: "chat/completions", API: llm.OpenAI, Reader: usage.OpenAIChat},
		Request: llm.Request{Asked: "m", Session: "session-1", TextUnits: 1000 * tokens},
	}
	call.Plan(s.target)
	b := new(Bill)
	b.Init(s.account, s.tariff, call)
	require.NoError(s.t, b.Open("sub-1", "end_user_id", nil))
	return b, call
}

// answer has the call answered whole.
func (s *session) answer(call *llm.Call, input, output int) *Answer {
	s.t.Helper()
	attempt := call.Begin(s.target)
	attempt.Write().Done()
	attempt.SetAnswered()
	body := fmt.Sprintf(`{"model":"gpt-4o","choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`,
		input, output, input+output)
	reader := usage.NewReader(usage.Options{API: usage.OpenAIChat, Provider: "openai", Status: 200, ContentType: "application/json", Model: "gpt-4o"})
	reader.Next([]byte(body))
	return &Answer{Status: 200, End: Ended, Bytes: int64(len(body)), First: time.Now(), Reader: reader}
}

func (s *session) records() map[string]*record.Record {
	s.t.Helper()
	out := make(map[string]*record.Record)
	require.NoError(s.t, s.account.Spool().Scan(time.Time{}, time.Time{}, func(rec spool.Record) error {
		r, err := record.Parse(rec.Payload)
		if err == nil {
			out[r.ID] = r
		}
		return err
	}))
	return out
}

// TestLimitsOfALaterBackend settles a call that came under its first limits after its record was opened: the record has when, without
// which what it used would not count in rates.
func TestLimitsOfALaterBackend(t *testing.T) {
	lago := fakelago.New(t, fakelago.Options{})
	s := newSession(t, openAccount(t, t.TempDir(), lago.URL, lago.Key()))
	defer func() { require.NoError(t, s.account.Close()) }()
	b, call := s.open(10)
	own := limit.Limit{Scope: limit.Scope{Kind: limit.Backend, ID: "m/b"}, Metric: limit.Requests, Max: 1}
	later := *s.target
	later.Limits = []limit.Limit{own}
	s.target = &later
	at := time.Now().Truncate(time.Millisecond).UTC()
	call.Admission = &llm.Admission{At: at, Counters: []llm.Counter{{Name: "requests|||backend:m%2Fb", Own: &own}}}
	require.NoError(t, b.Settle(s.answer(call, 100, 10)))
	r := s.records()[call.ID]
	require.Equal(t, []string{"requests|||backend:m%2Fb"}, r.Limits)
	require.Equal(t, at, r.Admitted.UTC())
}

// TestASessionSettlesEachAnswerOnce bills two answers of one session that are under way together, each by its own id and
// record, and each once however often it is settled.
func TestASessionSettlesEachAnswerOnce(t *testing.T) {
	lago := fakelago.New(t, fakelago.Options{})
	lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1"})
	lago.AddMetric(fakelago.Metric{Code: "tokens"})
	s := newSession(t, openAccount(t, t.TempDir(), lago.URL, lago.Key()))
	defer func() { require.NoError(t, s.account.Close()) }()

	first, firstCall := s.open(10)
	second, secondCall := s.open(20)
	settled := make(map[string]int)
	for _, c := range []*llm.Call{firstCall, secondCall} {
		c.OnSettle(func(of *llm.Settlement) {
			settled[c.ID]++
			require.Equal(t, record.OutcomeCompleted, of.Outcome)
		})
	}
	// The second ends before the first, and both are settled more than once.
	for range 2 {
		require.NoError(t, second.Settle(s.answer(secondCall, 200, 20)))
		require.NoError(t, first.Settle(s.answer(firstCall, 100, 10)))
		require.NoError(t, first.Settle(&Answer{Status: 500, End: Broken}))
	}
	require.Equal(t, map[string]int{firstCall.ID: 1, secondCall.ID: 1}, settled)
	require.Eventually(t, func() bool { return lago.EventCount() == 2 }, time.Minute, time.Millisecond)

	all := s.records()
	require.Len(t, all, 2)
	require.Equal(t, "120", all[firstCall.ID].Cost)
	require.Equal(t, "240", all[secondCall.ID].Cost)
	require.Equal(t, "session-1", all[firstCall.ID].Session)
	require.Equal(t, 2, lago.BilledCount("sub-1", "tokens"))
	require.Equal(t, "360", lago.Billed("sub-1", "tokens", "response_cost"))
	require.Empty(t, lago.BilledTwice())
	require.Empty(t, lago.Violations())
}

// TestNothingIsSettledThatWasNotOpened holds that an answer without an opened record leaves none.
func TestNothingIsSettledThatWasNotOpened(t *testing.T) {
	s := newSession(t, openAccount(t, t.TempDir(), "", ""))
	defer func() { require.NoError(t, s.account.Close()) }()
	call := &llm.Call{ID: llm.NewID(), Start: time.Now()}
	var b Bill
	b.Init(s.account, s.tariff, call)
	require.NoError(t, b.Settle(&Answer{Status: 200, End: Ended}))
	require.False(t, b.Settled())
	require.Empty(t, s.records())
}

// stages are the points of a session of two answers at which its process is killed, and what Lago then bills for it: tokens
// reported by the provider, and those of an estimate of what the request held.
var stages = []struct{ name, tokens, cost string }{
	{"the first is opened", "10", "10"},
	{"the first is settled", "110", "120"},
	{"the second is opened", "130", "140"},
	{"the second is settled", "330", "360"},
}

const killDir, killLago, killKey = "SETTLE_TEST_DIR", "SETTLE_TEST_LAGO", "SETTLE_TEST_KEY"

// TestASessionKilledBetweenItsAnswers kills the process of a session with SIGKILL between the records of its answers. What was
// settled is billed as it was, what was opened is estimated, and what was not is not billed.
func TestASessionKilledBetweenItsAnswers(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		liveThrough(t, dir)
		return
	}
	for n, stage := range stages {
		t.Run(stage.name, func(t *testing.T) {
			dir := t.TempDir()
			lago := fakelago.New(t, fakelago.Options{})
			lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1"})
			lago.AddMetric(fakelago.Metric{Code: "tokens"})
			killAt(t, n, killDir+"="+dir, killLago+"="+lago.URL, killKey+"="+lago.Key())
			a := openAccount(t, dir, lago.URL, lago.Key())
			defer func() { require.NoError(t, a.Close()) }()
			want := n/2 + 1
			require.Eventually(t, func() bool { return lago.EventCount() >= want }, time.Minute, time.Millisecond)
			require.Eventually(t, func() bool { return a.Spool().Stats().Pending == 0 }, time.Minute, time.Millisecond)
			require.Equal(t, want, lago.BilledCount("sub-1", "tokens"), "one event for each answer")
			require.Equal(t, stage.tokens, lago.Billed("sub-1", "tokens", "total_tokens"))
			require.Equal(t, stage.cost, lago.Billed("sub-1", "tokens", "response_cost"))
			require.Empty(t, lago.BilledTwice())
			require.Empty(t, lago.Violations())
			st := a.Spool().Stats()
			require.Zero(t, st.Open+st.Interrupted)
		})
	}
}

// killAt runs the session in another process up to a stage, and kills it there.
func killAt(t *testing.T, stage int, env ...string) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestASessionKilledBetweenItsAnswers$") // #nosec G204 G702 -- this binary
	child.Env = append(os.Environ(), env...)
	in, err := child.StdinPipe()
	require.NoError(t, err)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), "stage ") {
			continue
		}
		if n == stage {
			require.NoError(t, child.Process.Kill())
			break
		}
		n++
		_, err := io.WriteString(in, "\n")
		require.NoError(t, err)
	}
	require.ErrorContains(t, child.Wait(), "killed")
}

// liveThrough is the session's process. It stops at each stage until it is told to go on.
func liveThrough(t *testing.T, dir string) {
	t.Helper()
	in := bufio.NewReader(os.Stdin)
	reach := func(n int) {
		fmt.Println("stage", n)
		_, err := in.ReadString('\n')
		require.NoError(t, err)
	}
	s := newSession(t, openAccount(t, dir, os.Getenv(killLago), os.Getenv(killKey)))
	first, call := s.open(10)
	reach(0)
	require.NoError(t, first.Settle(s.answer(call, 100, 10)))
	reach(1)
	second, call := s.open(20)
	reach(2)
	require.NoError(t, second.Settle(s.answer(call, 200, 20)))
	reach(3)
}
