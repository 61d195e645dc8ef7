package spool

import "sort"

// Bounds of what is kept of the records that were settled last.
const (
	recentRecords = 1024
	recentBytes   = 1 << 20 // of payloads
)

// recent keeps the last settled records, so that Claim and Read need not read back and check what was just written. It is ordered by
// sequence number; other records are read from disk. An entry is valid only for the place where it was written, not after the record
// is amended or copied forward.
type recent struct {
	ring  []recentRecord // nil until the first
	head  int            // of the oldest
	n     int
	bytes int
}

type recentRecord struct {
	place
	seq     uint64
	id      ID
	time    int64 // Unix milliseconds
	payload []byte
}

// at returns the record at a place in the order.
func (r *recent) at(i int) *recentRecord { return &r.ring[(r.head+i)%recentRecords] }

// add keeps a copy of the record at that place and drops the oldest.
func (r *recent) add(at place, f *frame) {
	if len(f.payload) > recentBytes || r.n > 0 && r.at(r.n-1).seq > f.seq {
		return
	}
	if r.ring == nil {
		r.ring = make([]recentRecord, recentRecords)
	}
	for r.n == recentRecords || r.bytes+len(f.payload) > recentBytes {
		r.bytes -= len(r.at(0).payload)
		*r.at(0) = recentRecord{}
		r.head = (r.head + 1) % recentRecords
		r.n--
	}
	*r.at(r.n) = recentRecord{at, f.seq, f.id, f.time, append([]byte{}, f.payload...)}
	r.n++
	r.bytes += len(f.payload)
}

// get returns the record at that place. All callers share its payload. ok is false if it is not kept.
func (r *recent) get(l located) (record Record, ok bool) {
	i := sort.Search(r.n, func(i int) bool { return r.at(i).seq >= l.seq })
	if i == r.n {
		return record, false
	}
	k := r.at(i)
	if k.seq != l.seq || k.place != l.place {
		return record, false
	}
	return Record{Seq: k.seq, ID: k.id, State: l.state, Time: fromMillis(k.time), Payload: k.payload}, true
}
