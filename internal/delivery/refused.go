package delivery

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// refusedLogged is the interval of log lines about refusals by something in front of Lago.
const refusedLogged = time.Minute

// refusedShown bounds the refusals in the status.
const refusedShown = 100

// Refusal is an event that something in front of Lago refuses, such as a proxy with its own limit. The event may be valid,
// so it is sent again until it is accepted or an operator gives it up.
type Refusal struct {
	ID     string    `json:"id"` // of the call it bills
	Since  time.Time `json:"since"`
	Times  int       `json:"times"`
	Status int       `json:"status"` // of the latest refusal
	Error  string    `json:"error,omitempty"`
}

// again returns the refusal with its count raised.
func (r *Refusal) again(now time.Time, id spool.ID, out lago.Outcome) *Refusal {
	next := Refusal{ID: uuid.UUID(id).String(), Since: now}
	if r != nil {
		next = *r
	}
	next.Times++
	next.Status, next.Error = out.Status, out.Words
	return &next
}

// alarmRefused counts a refusal and logs at most one a minute.
func (d *Worker) alarmRefused(out lago.Outcome) {
	d.count(Refused, 1)
	now := d.now()
	d.mu.Lock()
	due := now.Sub(d.refusedAt) >= refusedLogged
	if due {
		d.refusedAt = now
	}
	d.mu.Unlock()
	if due {
		d.log.Error("an event is refused, but not by Lago, whose refusals have error_details: it is sent again until it is accepted; check the proxy in front of Lago",
			zap.Int("status", out.Status), zap.String("error", out.Words))
	}
}

// refusedNow returns the first pending refusals. The caller holds d.mu.
func (d *Worker) refusedNow() (list []Refusal, total int) {
	for _, p := range d.quarantine {
		if p.refusal == nil {
			continue
		}
		if total++; total <= refusedShown {
			list = append(list, *p.refusal)
		}
	}
	return list, total
}

// RefusedIDs returns the calls with an event that something in front of Lago refuses.
func (d *Worker) RefusedIDs() map[spool.ID]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := make(map[spool.ID]bool)
	for _, p := range d.quarantine {
		if p.refusal != nil {
			ids[p.items[0].entry.id] = true
		}
	}
	return ids
}

// GiveUp dead-letters the events of these calls that something in front of Lago refuses, except one that is being sent right
// now.
func (d *Worker) GiveUp(ids map[spool.ID]bool) {
	var out []batch
	d.mu.Lock()
	rest := d.quarantine[:0]
	for _, p := range d.quarantine {
		if p.refusal != nil && ids[p.items[0].entry.id] {
			out = append(out, p)
		} else {
			rest = append(rest, p)
		}
	}
	clear(d.quarantine[len(rest):])
	d.quarantine = rest
	d.mu.Unlock()
	for _, p := range out {
		words, err := json.Marshal("refused before Lago: " + p.refusal.Error)
		if err != nil {
			words = nil
		}
		d.resolve(p.items, resultRejected, []eventFault{{Status: p.refusal.Status, Error: words}})
	}
	d.quarantineChanged.send()
}
