package lago

import (
	"errors"
	"time"
)

// ErrNotFound means that Lago itself reports no such object. A 404 of anything else is not that.
var ErrNotFound = errors.New("not known to Lago")

// Error is an answer that is not the one asked for, or none.
type Error struct {
	// Status is the HTTP status, 0 when there was no answer.
	Status int
	// Verdict is Stop when an operator has to fix something, Poison when Lago refuses the request, Retry otherwise.
	Verdict Verdict
	// Code is Lago's own error code, such as "no_active_subscription", when it sent one.
	Code string
	// Words describe what happened, in one line, never holding the key.
	Words string
	// RetryAfter is how long Lago asks to wait, 0 when it does not.
	RetryAfter time.Duration
	cause      error
}

// Error returns the words.
func (e *Error) Error() string { return "Lago: " + e.Words }

// Unwrap returns the network's or the context's own error, or ErrNotFound.
func (e *Error) Unwrap() error { return e.cause }
