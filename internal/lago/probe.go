package lago

import (
	"context"
	"fmt"
)

// probeEvent is refused by every Lago: it has no transaction_id, and its timestamp is none. A batch that holds one is
// checked for its size first and its events next, and nothing of it is stored (create_batch_service.rb). Were it stored
// all the same, its subscription would not exist.
const probeEvent = `{"external_subscription_id":"tollgate_preflight","code":"tollgate_preflight","timestamp":"preflight","properties":{}}`

// Probe sends a batch of n events that Lago refuses, to learn whether the key may write events and whether a batch of
// that size is taken. It stores nothing. ok: Lago looked at the events, so a batch of that size is taken. tooMany: it takes
// fewer. Otherwise the error is what is wrong.
func (c *Client) Probe(ctx context.Context, n int) (ok, tooMany bool, err error) {
	events := make([][]byte, n)
	for i := range events {
		events[i] = []byte(probeEvent)
	}
	out := c.Batch(ctx, events)
	if out.Verdict == PerEvent || out.Verdict == TooMany {
		return out.Verdict == PerEvent, out.Verdict == TooMany, nil
	}
	words := out.Words
	if words == "" {
		words = fmt.Sprintf("status %d for events that no Lago takes; the base URL is not Lago's", out.Status)
	}
	return false, false, &Error{Status: out.Status, Verdict: out.Verdict, Words: words, RetryAfter: out.RetryAfter}
}
