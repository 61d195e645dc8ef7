package price

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rat returns the amount as a rational number of US dollars.
func (a Amount) rat() *big.Rat {
	n := new(big.Int).SetUint64(a.hi)
	n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(a.lo))
	return new(big.Rat).SetFrac(n, pow10(amountDecimals))
}

func pow10(n int64) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(n), nil) }

// halfEven rounds a rational number of US dollars to an Amount, by definition rather than by the code under test.
func halfEven(r *big.Rat) *big.Rat {
	scaled := new(big.Rat).Mul(r, new(big.Rat).SetInt(pow10(amountDecimals)))
	q, rem := new(big.Int).QuoRem(scaled.Num(), scaled.Denom(), new(big.Int))
	switch new(big.Int).Lsh(rem, 1).Cmp(scaled.Denom()) {
	case 1:
		q.Add(q, big.NewInt(1))
	case 0:
		q.Add(q, new(big.Int).And(q, big.NewInt(1)))
	}
	return new(big.Rat).SetFrac(q, pow10(amountDecimals))
}

func mustUSD(t *testing.T, text string) Amount {
	t.Helper()
	a, err := ParseUSD(text)
	require.NoError(t, err, text)
	return a
}

func TestAmountText(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "0.0": "0", "0e5": "0", "1": "1", "10": "10", "100.50": "100.5", "4.4e-05": "0.000044", "1E+2": "100",
		"0.000123": "0.000123", "0.000000000000001": "0.000000000000001", "1.5e3": "1500", "123456789.123456789012345": "123456789.123456789012345",
		"300000000000000000000000": "300000000000000000000000", "0.1000000000000000000000": "0.1", "1000e-18": "0.000000000000001",
	} {
		a := mustUSD(t, text)
		require.Equal(t, want, a.String(), text)
		cents, ok := new(big.Rat).SetString(a.Cents())
		require.True(t, ok)
		require.Zero(t, cents.Cmp(new(big.Rat).Mul(a.rat(), big.NewRat(100, 1))), text)
		require.NotContains(t, a.Cents(), "e")
		var back Amount
		js, err := json.Marshal(a)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(js, &back))
		require.Equal(t, a, back)
	}
	for _, bad := range []string{"", "-1", "+1", ".", "1.", "e5", "1e", "1e1.5", "0x1", "1_0", " 1", "NaN", "Inf", "1e99999999999", "--1", strings.Repeat("1", 500)} {
		_, err := ParseUSD(bad)
		require.Error(t, err, bad)
	}
	_, err := ParseUSD("0.0000000000000001")
	require.ErrorIs(t, err, ErrInexact)
	_, err = ParseUSD("1e24")
	require.ErrorIs(t, err, ErrOverflow)
	_, err = ParseUSD("400000000000000000000000")
	require.ErrorIs(t, err, ErrOverflow)
}

func TestReportedCost(t *testing.T) {
	a, exact, err := ParseReported("0.00014250000000000002", "usd")
	require.NoError(t, err)
	require.False(t, exact)
	require.Equal(t, "0.0001425", a.String())
	a, exact, err = ParseReported("1234567", "usd_ticks")
	require.NoError(t, err)
	require.True(t, exact)
	require.Equal(t, "0.0001234567", a.String())
	_, _, err = ParseReported("1", "eur")
	require.Error(t, err)
}

func randAmount(r *rand.Rand) Amount {
	a := Amount{hi: r.Uint64() >> r.IntN(65), lo: r.Uint64() >> r.IntN(65)}
	if r.IntN(2) == 0 {
		a.hi = 0
	}
	return a
}

// TestAmountAgainstRat checks each operation against rational arithmetic.
func TestAmountAgainstRat(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	limit := new(big.Rat).SetFrac(new(big.Int).Lsh(big.NewInt(1), 128), pow10(amountDecimals))
	overflows := 0
	for range 40_000 {
		a, b := randAmount(r), randAmount(r)
		require.Equal(t, a.rat().Cmp(b.rat()), a.Cmp(b))

		sum, err := a.Add(b)
		want := new(big.Rat).Add(a.rat(), b.rat())
		if want.Cmp(limit) >= 0 {
			require.ErrorIs(t, err, ErrOverflow)
			overflows++
		} else {
			require.NoError(t, err)
			require.Zero(t, want.Cmp(sum.rat()))
		}

		num, den := r.Int64()>>r.IntN(63), r.Int64()>>r.IntN(62)+1
		scaled, err := a.Scale(num, den)
		want = halfEven(new(big.Rat).Mul(a.rat(), big.NewRat(num, den)))
		if want.Cmp(limit) >= 0 {
			require.ErrorIs(t, err, ErrOverflow)
			overflows++
		} else {
			require.NoError(t, err)
			require.Zero(t, want.Cmp(scaled.rat()), "%v * %d / %d", a, num, den)
		}

		back, ok := new(big.Rat).SetString(a.String())
		require.True(t, ok)
		require.Zero(t, back.Cmp(a.rat()), a.String())
		parsed, err := ParseUSD(a.String())
		require.NoError(t, err)
		require.Equal(t, a, parsed)
	}
	require.Positive(t, overflows)
	_, err := Amount{lo: 1}.Scale(-1, 1)
	require.Error(t, err)
	_, err = Amount{lo: 1}.Scale(1, 0)
	require.Error(t, err)
}

// TestUnitAgainstRat checks the amount of a count at a price per unit, for every unit.
func TestUnitAgainstRat(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	per := map[Unit]*big.Rat{
		PerMillion: big.NewRat(1_000_000, 1), PerOne: big.NewRat(1, 1), PerHour: big.NewRat(3_600_000, 1),
		PerMinute: big.NewRat(60_000, 1), PerSecond: big.NewRat(1000, 1),
	}
	for range 20_000 {
		for unit, count := range per {
			n, p := r.Int64()>>r.IntN(63), Price(r.Int64()>>r.IntN(63))
			got, err := amount(n, p, unit)
			want := new(big.Rat).Mul(new(big.Rat).SetInt64(n), big.NewRat(int64(p), 1e9))
			want = halfEven(want.Quo(want, count))
			if err != nil {
				require.ErrorIs(t, err, ErrOverflow)
				require.GreaterOrEqual(t, want.Cmp(big.NewRat(1<<62, 1)), 0)
				continue
			}
			require.Zero(t, want.Cmp(got.rat()), "%d at %s per %s", n, p, unit)
		}
	}
	_, err := amount(math.MaxInt64, math.MaxInt64, PerOne)
	require.ErrorIs(t, err, ErrOverflow)
}

func TestParsePrice(t *testing.T) {
	for text, want := range map[string]Price{"2.50": 2_500_000_000, "0": 0, "0.083333333": 83_333_333, "1e-9": 1, "3e2": 300_000_000_000} {
		p, err := ParsePrice(text)
		require.NoError(t, err, text)
		require.Equal(t, want, p, text)
	}
	_, err := ParsePrice("0.0833333333")
	require.ErrorIs(t, err, ErrInexact)
	_, err = ParsePrice("1e10")
	require.ErrorIs(t, err, ErrOverflow)
	require.Equal(t, "0.000000001", Price(1).String())
	require.Equal(t, "2.5", Price(2_500_000_000).String())
}

// FuzzParseUSD compares the parser with big.Rat on any text.
func FuzzParseUSD(f *testing.F) {
	for _, s := range []string{"0", "1.5", "4.4e-05", "1e-400", "999999999999999999999999", "0.5e-15", "1.5e-15", "2.5e-15", "9999.999999999999999", "18446744073709551616", "1.", ".5", "1.2.3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, exact, err := ParseReported(text, "usd")
		plain, perr := ParseUSD(text)
		same, serr := ParseUSDBytes([]byte(text))
		require.Equal(t, perr, serr, text)
		require.Equal(t, plain, same, text)
		if err != nil {
			require.Error(t, perr, text)
			return
		}
		if require.Equal(t, exact, perr == nil, text); exact {
			require.Equal(t, a, plain, text)
		}
		want, ok := new(big.Rat).SetString(text)
		require.True(t, ok, text)
		require.Zero(t, halfEven(want).Cmp(a.rat()), text)
		require.Equal(t, want.Cmp(a.rat()) == 0, exact, text)
	})
}

// TestAmountsAsRatios compares with the text of an amount.
func TestAmountsAsRatios(t *testing.T) {
	for _, a := range []Amount{{}, {0, 1}, {0, 1e15}, {0, 1<<63 + 1025}, {1, 0}, {7, 3}, {1<<64 - 1, 1<<64 - 1}} {
		want, ok := new(big.Rat).SetString(a.String())
		require.True(t, ok)
		require.Zero(t, want.Cmp(a.Rat()), a.String())
	}
}
