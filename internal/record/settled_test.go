package record

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// aSettled is a settled record whose texts are made by text and whose numbers by n.
func aSettled(text func() string, n func() int64) *Record {
	cost := func() string { return fmt.Sprintf("%d.%015d", n()%1e9, n()%1e15) }
	r := &Record{
		ID: text(), Account: text(), Opened: time.UnixMilli(n() % 4e12).UTC(), Settled: time.UnixMilli(n() % 4e12).UTC(), Outcome: text(), Endpoint: text(),
		Asked: text(), Model: text(), Upstream: text(), Backend: text(), Provider: text(), ResponseModel: text(), Stream: true,
		Payer: text(), Key: text(), KeyAlias: text(), Team: text(), User: text(), EndUser: text(), KeyID: text(),
		Admitted: time.UnixMilli(n() % 4e12).UTC(), Limits: []string{text(), text()}, Source: usage.Source(text()), Cost: cost(),
		ProviderCost: text(), ProviderUnit: text(), Factor: text(), Unpriced: text(), NotBilled: text(), Discarded: text(),
		Models: []ModelCounts{{Model: text()}},
		Lines: []Line{
			{Kind: text(), Count: fmt.Sprint(n() % 1e15), Price: text(), Per: text(), Base: cost(), Model: text()},
			{Kind: text(), Count: fmt.Sprintf("%d.%d", n()%1e15, n()%1000), Base: cost(), Cost: cost()},
		},
	}
	r.Counts.Set(usage.Input, n())
	r.Counts.Set(usage.Kind(n()%int64(usage.NumKinds)), n()) //nolint:gosec // few
	if n()%2 == 0 {
		r.BaseCost = cost()
	}
	return r
}

// same compares what Read and Parse read of a payload.
func same(t require.TestingT, payload []byte) {
	want, err := Parse(payload)
	require.NoError(t, err)
	s := Settled{Cost: price.FromLimbs(1, 1), Limits: [][]byte{[]byte("left over")}, Lines: make([]SettledLine, 5)}
	require.NoError(t, s.Read(payload))
	for _, pair := range [][2]string{
		{want.ID, string(s.ID)},
		{want.Outcome, string(s.Outcome)},
		{want.Endpoint, string(s.Endpoint)},
		{want.Model, string(s.Model)},
		{want.Upstream, string(s.Upstream)},
		{want.Backend, string(s.Backend)},
		{want.Provider, string(s.Provider)},
		{want.Payer, string(s.Payer)},
		{want.KeyAlias, string(s.KeyAlias)},
		{want.Team, string(s.Team)},
		{want.User, string(s.User)},
		{want.EndUser, string(s.EndUser)},
		{want.KeyID, string(s.KeyID)},
		{string(want.Source), string(s.Source)},
		{want.ProviderCost, string(s.ProviderCost)},
		{want.ProviderUnit, string(s.ProviderUnit)},
		{want.Factor, string(s.Factor)},
		{want.Unpriced, string(s.Unpriced)},
		{want.NotBilled, string(s.NotBilled)},
	} {
		require.Equal(t, pair[0], pair[1])
	}
	usd := func(text, other string) price.Amount {
		if text == "" {
			text = other
		}
		if text == "" {
			return price.Amount{}
		}
		a, err := price.ParseUSD(text)
		require.NoError(t, err)
		return a
	}
	require.True(t, want.Settled.Equal(s.At))
	require.True(t, want.Admitted.Equal(s.Admitted))
	require.Equal(t, want.Counts.Counts, s.Counts)
	require.Equal(t, want.Cost != "", s.Priced)
	require.Equal(t, usd(want.Cost, ""), s.Cost)
	require.Equal(t, usd(want.BaseCost, want.Cost), s.BaseCost)
	require.Len(t, s.Limits, len(want.Limits))
	for i, name := range want.Limits {
		require.Equal(t, name, string(s.Limits[i]))
	}
	require.Len(t, s.Lines, len(want.Lines))
	for i, l := range want.Lines {
		got := s.Lines[i]
		whole, frac, _ := strings.Cut(l.Count, ".")
		require.Equal(t, strings.TrimLeft(whole+(frac + "000")[:3], "0"), strings.TrimLeft(fmt.Sprint(got.Count), "0"))
		require.Equal(t, []string{l.Kind, l.Price, l.Per, l.Model}, []string{string(got.Kind), string(got.Price), string(got.Per), string(got.Model)})
		require.Equal(t, usd(l.Base, ""), got.Base)
		require.Equal(t, usd(l.Cost, l.Base), got.Cost)
	}
}

// FuzzSettled reads records with hostile texts in both ways: totals see what the ledger shows.
func FuzzSettled(f *testing.F) {
	for _, s := range []string{"", "plain", `\`, `"`, "a\tb", "\x00\x7f\xff\u2028", `","cost":"9`, "0199b3a0-0000-7000-8000-000000000000"} {
		f.Add(s, uint64(len(s)))
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // reproducible
		r := aSettled(func() string { return []string{"", text, "x"}[random.IntN(3)] }, func() int64 { return random.Int64N(1 << 53) })
		payload := r.Append(nil, []byte(`{"transaction_id":"a"},{}`))
		same(t, payload)
		discarded, err := Discard(payload, text) // its events are not the last member
		require.NoError(t, err)
		same(t, discarded)
		var s Settled
		for cut := range payload {
			require.Error(t, s.Read(payload[:cut]), "a record that was cut off is not counted")
		}
	})
}

// TestSettledIsStrict refuses what Parse refuses: a number or a type that cannot be counted never counts as nothing.
func TestSettledIsStrict(t *testing.T) {
	for _, payload := range []string{
		``, `[]`, `null`, `"a"`, `{"v":1}x`, `{"v":1`, `{"v":1,}`, `{"v":99}`, `{"v":"1"}`, `{"id":7}`, `{"team":["a"]}`, `{"limits":"a"}`, `{"limits":[1]}`,
		`{"counts":{"inputs":1}}`, `{"counts":{"input":1.5}}`, `{"counts":{"input":"1"}}`, `{"counts":{"input":9223372036854775808}}`, `{"counts":5}`,
		`{"settled":"yesterday"}`, `{"settled":"2026-02-30T00:00:00.000Z"}`, `{"settled":"2026-13-01T00:00:00.000Z"}`, `{"lines":{}}`, `{"lines":[1]}`,
	} {
		_, err := Parse([]byte(payload))
		if payload != `null` {
			require.Error(t, err, payload)
		}
		require.Error(t, new(Settled).Read([]byte(payload)), payload)
	}
	for _, payload := range []string{
		`{"cost":"1e"}`, `{"cost":0.5}`, `{"cost":"0.1234567890123456"}`, `{"cost":"-1"}`, `{"base_cost":""}`,
		`{"lines":[{"count":"1.2345"}]}`, `{"lines":[{"count":""}]}`, `{"lines":[{"count":"-1"}]}`, `{"lines":[{"base":"x"}]}`,
	} {
		require.Error(t, new(Settled).Read([]byte(payload)), payload)
	}
	for _, at := range []string{"2026-11-30T10:11:12.013Z", "2024-02-29T23:59:59.999Z", "2026-11-30T10:11:12Z", "2026-11-30T10:11:12.0135+01:00"} {
		same(t, fmt.Appendf(nil, `{"v":1,"settled":%q,"unknown":[{"a":[1.5e3,true,null]}]}`, at))
	}
}

// BenchmarkSettled reads a settled record as the consumers of totals do, and in full.
func BenchmarkSettled(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // reproducible
	r := aSettled(func() string { return "0199b3a0-0000-7000-8000-000000000000" }, func() int64 { return random.Int64N(1e6) })
	payload := r.Append(nil, []byte(`{"transaction_id":"0199b3a0-0000-7000-8000-000000000000","properties":{"model":"gpt-4o","cost":"0.000123"}}`))
	require.True(b, json.Valid(payload))
	b.Run("totals", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(payload)))
		var s Settled
		for b.Loop() {
			if err := s.Read(payload); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(payload); err != nil {
				b.Fatal(err)
			}
		}
	})
}
