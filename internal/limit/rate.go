package limit

import "time"

// rate counts what was admitted in each of the last seconds. Its size is fixed, and it is exact in this sense: no 60 seconds have
// more admissions than the limit. What was admitted in a second counts until 61 seconds after that second began.
type rate struct {
	first   int64 // the oldest second that may count; no bucket before it has anything
	sum     int64
	buckets [64]int64 // by second, modulo their number
}

// slide removes what no longer counts in that second. A clock that was set back by more than a minute clears
// everything.
func (r *rate) slide(sec int64) {
	from := sec - rateSeconds + 1
	if r.first < from-int64(len(r.buckets)) || r.first > sec {
		*r = rate{first: from}
		return
	}
	for ; r.first < from; r.first++ {
		b := &r.buckets[r.first&63]
		r.sum -= *b
		*b = 0
	}
}

// add adds to a second that still counts; any other is left out.
func (r *rate) add(sec, n int64) {
	if sec < r.first || sec >= r.first+int64(len(r.buckets)) {
		return
	}
	r.buckets[sec&63] += n
	r.sum += n
}

// free returns how long from now until n more fit under the limit if nothing else is admitted, or zero if they
// never will.
func (r *rate) free(now time.Time, n, limit int64) time.Duration {
	left := r.sum
	for sec := r.first; sec <= now.Unix(); sec++ {
		left -= r.buckets[sec&63]
		if left+n <= limit && left < limit {
			return time.Unix(sec+rateSeconds, 0).Sub(now)
		}
	}
	return 0
}

// resets returns when nothing used so far counts any more, or zero if nothing is used.
func (r *rate) resets(now time.Time) time.Time {
	for sec := now.Unix(); sec >= r.first; sec-- {
		if r.buckets[sec&63] != 0 {
			return time.Unix(sec+rateSeconds, 0).UTC()
		}
	}
	return time.Time{}
}
