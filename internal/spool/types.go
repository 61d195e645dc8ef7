package spool

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate-llm/tollgate/internal/spool/disk"
)

// ID is a call's UUIDv7.
type ID [16]byte

// LogID identifies a spool: a random number that a spool gets when it first has a consumer, and keeps for life.
type LogID [16]byte

// String returns the number in hexadecimal.
func (id LogID) String() string { return hex.EncodeToString(id[:]) }

// Origin is where a record was settled, and its sequence number there. It stays when another spool adopts the record.
type Origin struct {
	Spool LogID
	Seq   uint64
}

// Durability is what an acknowledged record survives.
type Durability uint8

// The durability modes.
const (
	Process Durability = iota // the end of the process at any instruction
	Fsync                     // a loss of power: one sync serves all waiting callers
)

// State is the state of a record.
type State uint8

// The states of a record. Their numbers are part of the format.
const (
	StateOpen        State = iota + 1 // the call is in flight
	StatePending                      // settled, on its way to Lago
	StateDone                         // Lago has it, or it is only for the ledger
	StateRejected                     // permanently refused, with Lago's error
	StateInterrupted                  // opened by a process that ended before it could settle
	stateGone                         // its place is taken by a later frame
)

// String returns the state's name for tables and JSON.
func (s State) String() string {
	switch s {
	case StateOpen:
		return "open"
	case StatePending:
		return "pending"
	case StateDone:
		return "done"
	case StateRejected:
		return "rejected"
	case StateInterrupted:
		return "interrupted"
	case stateGone:
		return "gone"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// keeps reports whether a record in this state outlives its segment.
func (s State) keeps() bool {
	return s == StateOpen || s == StatePending || s == StateRejected || s == StateInterrupted
}

// Errors of the spool. Each means that nothing was written; but an acknowledgement that ErrUnavailable refuses after a
// failed sync counts in this process, and must be called again to count in the next.
var (
	// ErrFull means that the spool has reached Options.MaxBytes.
	ErrFull = errors.New("the spool is full")
	// ErrUnavailable means that the disk is full or faulty. It wraps the cause.
	ErrUnavailable = errors.New("the spool cannot be written")
	// ErrUnknown means that there is no record with that id, or none in a state that allows the step: it never existed, or it was
	// already settled or finished.
	ErrUnknown = errors.New("no record of that id is open")
	// ErrOpen means that a call with that id is already open.
	ErrOpen = errors.New("a record of that id is open already")
	// ErrClosed means that the spool was closed.
	ErrClosed = errors.New("the spool is closed")
	// ErrReadOnly means that the spool was opened only for reading.
	ErrReadOnly = errors.New("the spool is open for reading alone")
	// ErrTooLarge means that a record exceeds 8 MiB, or a note 1 MiB.
	ErrTooLarge = errors.New("the record is too large")
	// ErrLocked means that another process has the spool open.
	ErrLocked = disk.ErrLocked
	// ErrAdopted means that another spool has taken over, or begun to take over, the records of this one.
	ErrAdopted = errors.New("the spool was adopted by another")
)

// Options of a spool.
type Options struct {
	Dir        string
	FS         disk.FS // default: the operating system's
	Durability Durability
	// MaxBytes is the size at which new calls are refused; those in flight still settle. Default: 10 GB.
	MaxBytes int64
	// Retain is how long finished records stay readable after they were finished. Default: 72h.
	Retain time.Duration
	// SegmentBytes is the size at which a segment ends. Default: 64 MiB; at most 1 GiB.
	SegmentBytes int64
	// Consumers are the names of consumers that read settled records by a cursor (Read, Pass). Records that one of them has not passed
	// stay.
	Consumers []string
	// ReserveBytes is disk space kept for calls in flight when the disk is full. Default: 4 MiB; negative: none.
	ReserveBytes int64
	Now          func() time.Time
	// OnFault is called with faults of background work and damage found by it; may be nil.
	OnFault func(error)
	// ReadOnly opens for offline reading: takes no lock and changes nothing, even while another process writes.
	ReadOnly bool

	manual bool // tests call Compact themselves
}

func (o *Options) defaults() {
	if o.FS == nil {
		o.FS = disk.OS()
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 10_000_000_000
	}
	if o.Retain == 0 {
		o.Retain = 72 * time.Hour
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
	}
	o.SegmentBytes = min(o.SegmentBytes, 1<<30)
	if o.ReserveBytes == 0 {
		o.ReserveBytes = 4 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnFault == nil {
		o.OnFault = func(error) {}
	}
}

// Record is one call's record in its current form.
type Record struct {
	Seq     uint64 // position: unique, ascending; a record keeps it for life
	ID      ID
	State   State
	Time    time.Time // when it was settled; when it was opened, while it is open or interrupted
	Payload []byte
	Note    []byte // why it was rejected: Lago's error
	Origin  Origin // of a record that Read returned
}

// Report is what opening found.
type Report struct {
	Records     int // that are readable, in any state
	Interrupted int
	Damage      []Damage
	Took        time.Duration
}

// Damage is a part of a segment from which no frame could be read. A write that was interrupted by the end of the process looks the
// same; its caller got no success.
type Damage struct {
	Segment string
	Offset  int64
	Bytes   int64
	File    string // in the spool's directory: where the bytes were moved; empty when they could not be
	Known   bool   // an earlier opening had set them aside
}

// Stats are a spool's figures.
type Stats struct {
	Open, Interrupted, Pending, Claimed, Rejected int64
	Finished                                      int64     // finished records that are still readable
	Oldest                                        time.Time // when the oldest pending record was settled
	Bytes                                         int64
	Segments                                      int
	LastError                                     string           // of the last write, or of background work since; empty if both succeeded
	Full                                          bool             // new calls are refused for Options.MaxBytes
	Lost                                          bool             // new calls are refused because the directory was removed or replaced
	Unread                                        map[string]int64 // settled records that a consumer has not passed, by its name
}
