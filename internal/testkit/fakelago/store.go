package fakelago

import (
	"slices"

	"github.com/shopspring/decimal"
)

// lagoStore holds the stored events: in Postgres one per key, in ClickHouse every copy received, in order.
type lagoStore struct {
	events []Event
	byKey  map[string]int // Postgres: unique key; ClickHouse: deduplication key; the index of the latest event
	copies int            // ClickHouse: events received again with the same deduplication key
}

// uniqueKey is Postgres's index_unique_transaction_id within one organisation; it includes neither code nor timestamp.
func (e Event) uniqueKey() string { return e.Subscription + "\x00" + e.TransactionID }

// dedupKey is ClickHouse's deduplication key, which includes the timestamp, to the millisecond.
func (e Event) dedupKey() string {
	return e.Code + "\x00" + e.Subscription + "\x00" + e.TransactionID + "\x00" + e.Time.UTC().Format("20060102150405.000")
}

// put stores an event by the store's rules.
func (l *Server) put(e Event) {
	key := e.dedupKey()
	if l.o.Store == Postgres {
		key = e.uniqueKey()
	}
	if at, ok := l.finalised[e.Subscription]; ok && e.Time.Before(at) {
		e.late = true
	}
	if first, again := l.store.byKey[key]; again {
		if l.o.Store == Postgres {
			return
		}
		l.store.copies++
		e.late = l.store.events[first].late // already on the final invoice
	}
	l.store.byKey[key] = len(l.store.events)
	l.store.events = append(l.store.events, e)
}

// Events returns the stored events, including duplicates in ClickHouse.
func (l *Server) Events() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.store.events)
}

// EventCount returns the number of stored events, including duplicates in ClickHouse.
func (l *Server) EventCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.store.events)
}

// Copies returns how many events ClickHouse received again with the same deduplication key.
func (l *Server) Copies() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.store.copies
}

// BilledTimes returns how often the event with that id is billed: 1 is right, 2 is billed twice.
func (l *Server) BilledTimes(transactionID string) int {
	n := 0
	l.eachBilled(func(e Event) {
		if e.TransactionID == transactionID {
			n++
		}
	})
	return n
}

// BilledTwice returns the ids of events that are billed more than once.
func (l *Server) BilledTwice() []string {
	n := make(map[string]int)
	var twice []string
	l.eachBilled(func(e Event) {
		n[e.TransactionID]++
		if n[e.TransactionID] == 2 {
			twice = append(twice, e.TransactionID)
		}
	})
	return twice
}

// BilledCount returns how many events of a subscription and code are billed. An empty argument matches any.
func (l *Server) BilledCount(subscription, code string) int {
	n := 0
	l.eachBilled(func(e Event) {
		if (subscription == "" || e.Subscription == subscription) && (code == "" || e.Code == code) {
			n++
		}
	})
	return n
}

// Billed returns the exact sum of a property over the billed events of a subscription and code. An empty subscription
// matches all.
func (l *Server) Billed(subscription, code, field string) string {
	sum := decimal.Zero
	l.eachBilled(func(e Event) {
		if (subscription == "" || e.Subscription == subscription) && e.Code == code {
			sum = sum.Add(l.quantity(e.Property(field)))
		}
	})
	return sum.String()
}

// BilledAmountCents returns the exact sum of precise_total_amount_cents, as billed by a dynamic charge.
func (l *Server) BilledAmountCents(subscription, code string) string {
	sum := decimal.Zero
	l.eachBilled(func(e Event) {
		if (subscription == "" || e.Subscription == subscription) && e.Code == code {
			sum = sum.Add(amountCents(e.AmountCents))
		}
	})
	return sum.String()
}

// eachBilled calls fn for each billed event, without holding the lock.
func (l *Server) eachBilled(fn func(Event)) {
	l.mu.Lock()
	var billed []Event
	for i, e := range l.store.events {
		if l.counts(i, e) {
			billed = append(billed, e)
		}
	}
	l.mu.Unlock()
	for _, e := range billed {
		fn(e)
	}
}

// counts reports whether the stored event i is billed. The caller holds the lock.
func (l *Server) counts(i int, e Event) bool {
	s, known := l.subscriptions[e.Subscription]
	if _, metric := l.metrics[e.Code]; !known || !metric || e.late {
		return false
	}
	if e.Time.Before(s.Started) || !s.Terminated.IsZero() && e.Time.After(s.Terminated) || e.Time.Sub(l.o.Now()) > farFuture {
		return false
	}
	if l.o.Store == ClickHouse && !l.o.NoDeduplication {
		return l.store.byKey[e.dedupKey()] == i // the last one wins
	}
	return true
}

// quantity parses a property as the aggregation does: Postgres ignores values that do not match its regular expression;
// ClickHouse uses toDecimal128OrZero, which accepts signs and exponents but no spaces.
func (l *Server) quantity(s string) decimal.Decimal {
	if l.o.Store == Postgres && !numericCondition.MatchString(s) {
		return decimal.Zero
	}
	d, err := decimal.NewFromString(s)
	if err != nil {
		return decimal.Zero
	}
	return d
}

// amountCents is precise_total_amount_cents as stored; unparsable values are 0.
func amountCents(s string) decimal.Decimal {
	d, err := decimal.NewFromString(s)
	if err != nil {
		return decimal.Zero
	}
	return d
}
