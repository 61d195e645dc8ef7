package limit

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// sendAtOnce is how many admissions go to Redis in one write. Each is a script call of its own.
	sendAtOnce = 64
	// sendInFlight is how many such writes are under way.
	sendInFlight = 4
	// sendTimeout bounds one write with its answers.
	sendTimeout = 2 * time.Second
)

// job is an admission on its way to Redis.
type job struct {
	keys  []string
	args  []any
	reply []int64
	err   error
	done  chan struct{} // closed when reply or err is there
}

var errClosed = errors.New("limits: the store is closed")

// run has a job sent, and waits for its answer. A caller that leaves early does not know whether the call was admitted.
func (s *redisStore) run(ctx context.Context, j *job) ([]int64, error) {
	select {
	case s.jobs <- j:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.quit:
		return nil, errClosed
	}
	select {
	case <-j.done:
		return j.reply, j.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// send takes what waits and writes it at once, until the store is closed.
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
		slots <- struct{}{} // what comes meanwhile waits, and goes along
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

// exchange writes admissions and reads their answers.
func (s *redisStore) exchange(batch []*job) {
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	waiting := s.pipeline(ctx, batch)
	if len(waiting) > 0 { // Redis has not seen the script yet, or has forgotten it
		err := reserveScript.Load(ctx, s.client).Err()
		if err == nil {
			waiting = s.pipeline(ctx, waiting)
		}
		for _, j := range waiting {
			if j.err = err; err == nil {
				j.err = errors.New("redis: the script is not kept")
			}
			close(j.done)
		}
	}
}

// pipeline answers jobs, but for those whose script Redis does not have: it returns them.
func (s *redisStore) pipeline(ctx context.Context, batch []*job) (unknown []*job) {
	pipe := s.client.Pipeline()
	replies := make([]*redis.Cmd, len(batch))
	for i, j := range batch {
		replies[i] = pipe.EvalSha(ctx, reserveScript.Hash(), j.keys, j.args...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, j := range batch {
		if j.reply, j.err = replies[i].Int64Slice(); redis.HasErrorPrefix(j.err, "NOSCRIPT") {
			unknown = append(unknown, j)
			continue
		}
		close(j.done)
	}
	return unknown
}
