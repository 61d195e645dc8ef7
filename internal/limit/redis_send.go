package limit

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// sendAtOnce is how many admissions and finished calls go to Redis in one script call.
	sendAtOnce = 64
	// sendInFlight is how many such calls run at a time.
	sendInFlight = 4
	// sendTimeout bounds one such call.
	sendTimeout = 2 * time.Second
)

// job is an admission, or the end of calls, on its way to Redis.
type job struct {
	call     []byte   // the call and its counters, as the script takes them; nil: no call
	finished []string // ids of finished calls

	at    int64 // the server's time, milliseconds
	reply []int64
	err   error
	done  chan struct{} // closed when these are set
}

var errClosed = errors.New("limits: the store is closed")

// run sends a job and waits for its answer. A caller that leaves early does not know whether the call was admitted.
func (s *redisStore) run(ctx context.Context, j *job) (reply []int64, at int64, err error) {
	select {
	case s.jobs <- j:
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	case <-s.quit:
		return nil, 0, errClosed
	}
	select {
	case <-j.done:
		return j.reply, j.at, j.err
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

// send writes waiting jobs, all in one batch, until the store is closed.
func (s *redisStore) send() {
	defer close(s.ended)
	slots := make(chan struct{}, sendInFlight)
	for {
		var batch []*job
		select {
		case <-s.quit:
			for range sendInFlight {
				slots <- struct{}{}
			}
			return
		case j := <-s.jobs:
			batch = append(batch, j)
		}
		slots <- struct{}{} // jobs that arrive meanwhile join the batch
	fill:
		for len(batch) < sendAtOnce {
			select {
			case j := <-s.jobs:
				batch = append(batch, j)
			default:
				break fill
			}
		}
		go func() {
			s.exchange(batch)
			<-slots
		}()
	}
}

// exchange runs the script for a batch and distributes its answers.
func (s *redisStore) exchange(batch []*job) {
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	reply, err := reserveScript.Run(ctx, s.client, []string{s.leases(), s.reservations(), s.instances()}, s.clock(), packed(batch)).Text()
	u := unpacker{b: reply}
	var at int64
	left := 0
	if err == nil {
		left, at = u.list()-2, u.int()
		s.peers.Store(u.int())
	}
	for _, j := range batch {
		if err == nil && j.call != nil {
			left--
			j.at, j.reply = at, make([]int64, u.list())
			for i := range j.reply {
				j.reply[i] = u.int()
			}
			if u.bad || len(j.reply) == 0 || left < 0 {
				err = errReply
			}
		}
		j.err = err
		close(j.done)
	}
}

// packed encodes a batch as the script's argument.
func packed(batch []*job) []byte {
	size, calls := 0, 0
	var finished []string
	for _, j := range batch {
		if finished = append(finished, j.finished...); j.call != nil {
			calls++
			size += len(j.call)
		}
	}
	if len(batch) > 1 { // several admissions may carry the same finished calls
		slices.Sort(finished)
		finished = slices.Compact(finished)
	}
	b := packList(make([]byte, 0, size+64+64*len(finished)), 2+calls)
	b = packList(packInt(b, Lease.Milliseconds()), len(finished))
	for _, id := range finished {
		b = packText(b, id)
	}
	for _, j := range batch {
		b = append(b, j.call...)
	}
	return b
}
