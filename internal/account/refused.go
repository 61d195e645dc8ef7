package account

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// refusedEvery is how often refused calls are logged: each would be a line where a full disk is short of room already.
const refusedEvery = time.Minute

// refusals are the calls that were refused because their record could not be opened.
type refusals struct {
	mu     sync.Mutex
	logged time.Time
	since  int64 // calls since the last line
	total  int64
}

// Refused notes that a call was refused because its record could not be opened. It is logged once a minute.
func (a *Account) Refused(err error) {
	r := &a.refused
	now := time.Now()
	r.mu.Lock()
	r.total++
	r.since++
	n := r.since
	due := now.Sub(r.logged) >= refusedEvery
	if due {
		r.logged, r.since = now, 0
	}
	r.mu.Unlock()
	if due {
		a.logger.Error("calls are refused: their usage records cannot be opened", zap.Int64("calls", n), zap.Error(err))
	}
}

// RefusedCalls returns how many calls were refused because their record could not be opened, since the account was opened.
func (a *Account) RefusedCalls() int64 {
	a.refused.mu.Lock()
	defer a.refused.mu.Unlock()
	return a.refused.total
}
