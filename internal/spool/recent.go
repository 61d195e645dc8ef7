package spool

// Bounds of what is kept of the records that were settled last.
const (
	recentRecords = 256
	recentBytes   = 1 << 20 // of payloads
)

// recent keeps records that were just settled until they are claimed, so that Claim need not read back and check what
// was written a moment ago. It is in order of sequence number, as claims are; what does not fit is read from disk. A
// record counts only where it was written: amended or copied forward, it is elsewhere.
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

// add keeps a copy of the record at that place.
func (r *recent) add(at place, f *frame) {
	if r.n == recentRecords || r.bytes+len(f.payload) > recentBytes {
		return
	}
	if r.n > 0 && r.ring[(r.head+r.n-1)%recentRecords].seq > f.seq {
		return
	}
	if r.ring == nil {
		r.ring = make([]recentRecord, recentRecords)
	}
	r.ring[(r.head+r.n)%recentRecords] = recentRecord{at, f.seq, f.id, f.time, append(make([]byte, 0, len(f.payload)), f.payload...)}
	r.n++
	r.bytes += len(f.payload)
}

// take returns the record at that place, and forgets it and all before it. ok is false when it is not kept.
func (r *recent) take(l located) (record Record, ok bool) {
	for r.n > 0 && r.ring[r.head].seq <= l.seq {
		k := &r.ring[r.head]
		if k.seq == l.seq && k.place == l.place {
			record, ok = Record{Seq: k.seq, ID: k.id, State: l.state, Time: fromMillis(k.time), Payload: k.payload}, true
		}
		r.bytes -= len(k.payload)
		*k = recentRecord{}
		r.head = (r.head + 1) % recentRecords
		r.n--
	}
	return record, ok
}
