package account

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// Retry makes rejected records pending again, and returns how many.
func (a *Account) Retry(seqs []uint64) (int, error) {
	a.operating.Lock()
	defer a.operating.Unlock()
	return a.spool.Retry(seqs...)
}

// Replay makes finished records of a time pending again that match, and returns how many.
func (a *Account) Replay(since, until time.Time, match func(spool.Record) bool) (int, error) {
	a.operating.Lock()
	defer a.operating.Unlock()
	return a.spool.Replay(since, until, match)
}

// Adopt takes over the unfinished records of the spool in dir, the newest of which was settled then, and bills its interrupted
// calls if there are any and the account estimates them.
func (a *Account) Adopt(dir string, newest time.Time, interrupted bool) (records, estimated int, err error) {
	a.operating.Lock()
	defer a.operating.Unlock()
	if err := a.delivery.Adopted(newest); err != nil {
		return 0, 0, fmt.Errorf("noting that adopted records may have been sent: %w", err)
	}
	if records, err = a.spool.Adopt(dir); err != nil {
		return 0, 0, err
	}
	a.mu.Lock()
	policy := a.settings.Interrupted
	a.mu.Unlock()
	if policy == "estimate" && interrupted {
		if estimated, err = a.resolveInterrupted(a.Fallback(), policy); err != nil {
			return records, estimated, fmt.Errorf("the records of %s are taken over, but not all interrupted calls are billed: %w", dir, err)
		}
	}
	a.logger.Info("the records of another instance were taken over", zap.String("spool", dir), zap.Int("records", records))
	return records, estimated, nil
}

// SettleInterrupted settles interrupted calls with the payload that settled makes.
func (a *Account) SettleInterrupted(records []spool.Record, settled func(*record.Record, time.Time) ([]byte, bool, error)) (n int, err error) {
	a.operating.Lock()
	defer a.operating.Unlock()
	wanted := ids(records)
	left, err := a.spool.Interrupted()
	if err != nil {
		return 0, err
	}
	for _, rec := range left {
		if !wanted[rec.ID] {
			continue
		}
		opened, err := record.Parse(rec.Payload)
		if err != nil {
			return n, fmt.Errorf("call %s: %w", uuid.UUID(rec.ID), err)
		}
		payload, deliver, err := settled(opened, time.Now())
		if err != nil {
			return n, fmt.Errorf("call %s: %w", uuid.UUID(rec.ID), err)
		}
		if err := a.spool.Settle(rec.ID, payload, deliver && a.delivers.Load()); err != nil {
			return n, fmt.Errorf("call %s: %w", uuid.UUID(rec.ID), err)
		}
		n++
	}
	return n, nil
}

func ids(records []spool.Record) map[spool.ID]bool {
	set := make(map[spool.ID]bool, len(records))
	for _, rec := range records {
		set[rec.ID] = true
	}
	return set
}

// DiscardRejected finishes rejected records with the reason in them. Their events stay as they are, to be seen.
func (a *Account) DiscardRejected(records []spool.Record, reason string) (n int, err error) {
	a.operating.Lock()
	defer a.operating.Unlock()
	wanted := ids(records)
	var now []spool.Record
	err = a.spool.Select([]spool.State{spool.StateRejected}, time.Time{}, time.Time{}, func(rec spool.Record) error {
		if wanted[rec.ID] {
			payload, err := record.Discard(rec.Payload, reason)
			if err != nil {
				return fmt.Errorf("call %s: %w", uuid.UUID(rec.ID), err)
			}
			rec.Payload = payload
			now = append(now, rec)
		}
		return nil
	})
	for _, rec := range now {
		if err != nil {
			break
		}
		// A crash between the two leaves a rejected record with the reason of its discard.
		if _, err = a.spool.Amend(rec.Seq, rec.Payload); err == nil {
			err = a.spool.Done(rec.Seq)
		}
		if err == nil {
			n++
		}
	}
	return n, err
}

// RefusedIDs returns the pending calls that have an event which something in front of Lago refuses.
func (a *Account) RefusedIDs() map[spool.ID]bool { return a.delivery.RefusedIDs() }

// DiscardRefused finishes, with the reason in them, pending records whose events something in front of Lago refuses. One that is being
// sent at this moment is left as it is and not counted.
func (a *Account) DiscardRefused(records []spool.Record, reason string) (int, error) {
	a.operating.Lock()
	a.delivery.GiveUp(ids(records))
	a.operating.Unlock()
	return a.DiscardRejected(records, reason)
}
