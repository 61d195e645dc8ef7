package limit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// MaxNumber is the largest count: every store and JSON reader represents it exactly.
const MaxNumber = 1 << 53

// rateSeconds are the seconds that a rate looks back, the current one included: any 60 seconds touch at most 61.
const rateSeconds = 61

// keepWindow is how long a window's spend is kept after its end, for records that are applied late.
const keepWindow = 35 * 24 * time.Hour

// sessionKept is how long a session's spend is kept after its last call. A session's budget has no window, and clients choose the
// names of sessions.
const sessionKept = 7 * 24 * time.Hour

// need is what a call reserves of one counter. Limits that share a counter, such as a soft and a hard budget of one window,
// share a need.
type need struct {
	name       string
	metric     Metric
	start, end int64 // of the window in Unix seconds; end 0: it does not end
	at         int64 // the second in which it was taken; 0: that of the call's admission
	money      price.Amount
	count      int64
	hard, soft int // index of the lowest limit of each sort; -1: none
}

// needs returns what a reservation takes from each counter, with the windows that contain now, and the counter of each limit.
func needs(r *Reservation, now time.Time) (list []need, of []int, err error) {
	list, of = make([]need, 0, len(r.Limits)), make([]int, len(r.Limits))
	for i := range r.Limits {
		l := &r.Limits[i]
		n := need{metric: l.Metric, hard: -1, soft: -1}
		claim := r.claim(i)
		switch l.Metric {
		case Cost:
			n.money = claim.Cost
		case Requests, Parallel:
			n.count = 1
		case Tokens:
			n.count = claim.InputTokens + claim.OutputTokens
		case InputTokens:
			n.count = claim.InputTokens
		case OutputTokens:
			n.count = claim.OutputTokens
		default:
			return nil, nil, fmt.Errorf("%w: unknown metric %q", ErrLimit, l.Metric)
		}
		if n.count < 0 || l.Max < 0 || l.Max > MaxNumber || n.count > MaxNumber {
			return nil, nil, fmt.Errorf("%w: a count or a limit of %s is negative or above 2^53", ErrTooLarge, l.Scope)
		}
		if _, _, ok := l.Money.Limbs(); !ok {
			return nil, nil, fmt.Errorf("%w: a budget of %s", ErrTooLarge, l.Scope)
		}
		if _, _, ok := n.money.Limbs(); !ok {
			return nil, nil, fmt.Errorf("%w: the cost of a call", ErrTooLarge)
		}
		if err := l.Window.check(); err != nil {
			return nil, nil, err
		}
		n.name, n.start, n.end = l.counter(now)
		at := slices.IndexFunc(list, func(o need) bool { return o.name == n.name })
		if at < 0 {
			at = len(list)
			list = append(list, n)
		} else if list[at].count = max(list[at].count, n.count); n.money.Cmp(list[at].money) > 0 {
			list[at].money = n.money
		}
		of[i] = at
		lowest := &list[at].hard
		if l.Soft {
			lowest = &list[at].soft
		}
		if *lowest < 0 || r.Limits[*lowest].above(l) {
			*lowest = i
		}
	}
	return list, of, nil
}

// above reports whether the limit is higher than another one of its metric.
func (l *Limit) above(o *Limit) bool {
	if l.Metric == Cost {
		return l.Money.Cmp(o.Money) > 0
	}
	return l.Max > o.Max
}

// counter returns the name of a limit's counter: metric, window, model and scope, separated by bars. A window is its first second
// and its end, in Unix time; it is empty for a metric without one. Limits with the same four parts share a counter.
func (l *Limit) counter(now time.Time) (name string, start, end int64) {
	const most = 256 // longer names are allocated twice
	b := append(make([]byte, 0, most), l.Metric...)
	b = append(b, '|')
	if l.Metric == Cost {
		from, to := l.Window.at(now)
		if !from.IsZero() {
			start = from.Unix()
			b = strconv.AppendInt(b, start, 10)
		}
		if b = append(b, '-'); !to.IsZero() {
			end = to.Unix()
			b = strconv.AppendInt(b, end, 10)
		}
	}
	b = append(b, '|')
	b = append(b, escape(l.Model)...)
	b = append(b, '|')
	b = append(b, l.Scope.Kind...)
	b = append(b, ':')
	b = append(b, escape(l.Scope.ID)...)
	return string(b), start, end
}

// parsed is a counter's name taken apart.
type parsed struct {
	metric Metric
	end    int64 // of the window, Unix seconds; 0: none
	idle   bool  // it is removed after sessionKept without use
}

func parseCounter(name string) (p parsed, ok bool) {
	metric, rest, ok := strings.Cut(name, "|")
	window, rest, more := strings.Cut(rest, "|")
	p.idle = idles(name, 0)
	if p.metric = Metric(metric); !ok || !more || strings.Count(rest, "|") != 1 {
		return p, false
	}
	switch p.metric {
	case Requests, Tokens, InputTokens, OutputTokens, Parallel:
		return p, window == ""
	case Cost:
	default:
		return p, false
	}
	_, end, ok := strings.Cut(window, "-")
	if !ok {
		return p, false
	}
	if end != "" {
		n, err := strconv.ParseInt(end, 10, 64)
		p.end, p.idle = n, idles(name, n)
		return p, err == nil
	}
	return p, true
}

// idles reports whether a budget is removed when it is unused for a while.
func idles(name string, end int64) bool {
	return end == 0 && strings.HasPrefix(name[strings.LastIndexByte(name, '|')+1:], string(Session)+":")
}

// of returns what a settled call used of a rate: nothing of a rate that its record does not name, as the call went to another
// model or backend.
func (c *Charge) of(name string, m Metric) int64 {
	if !slices.Contains(c.Counters, name) {
		return 0
	}
	return c.used(m)
}

// used returns a settled call's usage in a rate's metric.
func (c *Charge) used(m Metric) int64 {
	switch m {
	case Requests:
		return 1
	case Tokens:
		return c.InputTokens + c.OutputTokens
	case InputTokens:
		return c.InputTokens
	case OutputTokens:
		return c.OutputTokens
	case Cost, Parallel:
	}
	return 0
}

var escaper = strings.NewReplacer("%", "%25", "|", "%7C", "/", "%2F")

// escape escapes the separator of a counter's name in one of its parts.
func escape(s string) string { return escaper.Replace(s) }

// denial returns the error of a call that the limit of this need does not admit.
func (n *need) denial(r *Reservation, st State, retry time.Duration) *DeniedError {
	l := &r.Limits[n.hard]
	st.Limit, st.Counter = *l, n.name
	d := &DeniedError{State: st, NeededMoney: n.money, Needed: n.count, RetryAfter: retry}
	if l.Metric == Cost {
		d.Never = n.money.Cmp(l.Money) > 0
	} else {
		d.Never = n.count > l.Max
	}
	if d.Never && l.Metric != Cost {
		d.RetryAfter = 0
	}
	return d
}

// grant returns the answer to an admitted call. states has one entry for each need, and of the need of each limit.
func grant(r *Reservation, list []need, of []int, states []State, at time.Time) *Grant {
	g := &Grant{ID: r.ID, At: at, need: list, Counters: make([]string, len(list)), States: make([]State, len(r.Limits))}
	for i, at := range of {
		st := &g.States[i]
		*st = states[at]
		st.Limit, st.Counter = r.Limits[i], list[at].name
	}
	for i := range list {
		n := &list[i]
		g.Counters[i] = n.name
		if n.soft >= 0 {
			if st := g.States[n.soft]; st.passed() {
				g.Passed = append(g.Passed, st)
			}
		}
	}
	return g
}

// passed reports whether more is used than the limit.
func (s *State) passed() bool {
	if s.Metric != Cost {
		return s.Used > s.Max
	}
	sum, err := s.Spent.Add(s.Reserved)
	return err != nil || sum.Cmp(s.Money) > 0
}
