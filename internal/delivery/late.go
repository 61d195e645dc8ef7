package delivery

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

const (
	lateAfter  = 5 * time.Minute  // a record sent sooner than this is never late: Lago bills hourly
	sentLease  = 10 * time.Second // how far the mark runs ahead of settle times
	sentSlack  = time.Minute      // how far settle times may be out of order
	periodKept = 10 * time.Minute // how long a subscription's period is cached
	periodsMax = 10_000
)

// lateness decides, before a record is first sent, whether its events move into the open billing period. A record that may
// have been sent keeps its timestamp: to ClickHouse another timestamp is another event.
//
// A durable mark holds the settle time up to which sending may have begun; later records were never sent. It is written
// before any record beyond it is sent, and runs ahead, so that normal traffic costs one small write in ten seconds. Unlike
// its place in the spool, a record's settle time never changes. In doubt, within ten seconds after a kill or after the
// clock was set back, the timestamp is kept.
type lateness struct {
	d *Worker

	mu     sync.Mutex
	on     bool
	file   string
	mark   time.Time // as written
	since  time.Time // records settled before this may have been sent by another process
	claims struct {
		newest time.Time // settle time of the newest record claimed
		seq    uint64    // greatest before the current claim
		next   uint64    // greatest claimed
		strict bool      // the queue was empty for long, so nothing older is unsent
	}
	periods   map[string]period
	restamped int64
	undecided int64
}

type period struct {
	start, end time.Time // zero: unknown to Lago
	asked      time.Time
}

// current reports whether Lago's answer still holds.
func (p period) current(now time.Time) bool {
	return now.Sub(p.asked) < periodKept && (p.end.IsZero() || now.Before(p.end) || p.asked.After(p.end))
}

// sentMark is the file's content.
type sentMark struct {
	SentBefore time.Time `json:"sent_before"`
}

// configure turns restamping on or off. Off removes the mark, which would be stale later.
func (l *lateness) configure(cfg Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	on := cfg.Late == LateRestamp
	if !on {
		l.on = false
		if cfg.SentFile != "" && (l.file != cfg.SentFile || !l.mark.IsZero()) {
			l.file, l.mark = cfg.SentFile, time.Time{}
			if err := os.Remove(cfg.SentFile); err != nil && !errors.Is(err, os.ErrNotExist) {
				l.d.log.Error("removing the mark of sent records", zap.Error(err))
			}
		}
		return
	}
	if l.on && l.file == cfg.SentFile {
		return
	}
	l.on, l.file, l.mark, l.since = true, cfg.SentFile, time.Time{}, l.d.now()
	l.periods = make(map[string]period)
	if l.file == "" {
		return
	}
	var m sentMark
	b, err := os.ReadFile(l.file)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	switch {
	case err == nil && !m.SentBefore.IsZero():
		l.mark, l.since = m.SentBefore, m.SentBefore
	case !errors.Is(err, os.ErrNotExist):
		l.d.log.Error("reading the mark of sent records; earlier records keep their time", zap.String("file", l.file), zap.Error(err))
	}
}

// claimed notes the records of one claim, and how long it took, before decide is called for them.
func (l *lateness) claimed(records []spool.Record, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claims.seq = l.claims.next
	if took > sentSlack {
		l.claims.strict = true
	}
	if !l.on || len(records) == 0 {
		for _, r := range records {
			l.claims.next = max(l.claims.next, r.Seq)
		}
		return
	}
	newest := l.claims.newest
	for _, r := range records {
		l.claims.next = max(l.claims.next, r.Seq)
		if r.Time.After(newest) {
			newest = r.Time
		}
	}
	if !newest.Before(l.mark) {
		if err := l.write(newest.Add(sentLease)); err != nil {
			l.d.log.Error("writing the mark of sent records; late records keep their time", zap.String("file", l.file), zap.Error(err))
			l.on = false
		}
	}
}

// stalled pulls the mark back to what was claimed while Lago takes nothing, so that nothing more is claimed.
func (l *lateness) stalled() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tighten()
}

func (l *lateness) close() { l.stalled() }

func (l *lateness) tighten() {
	exact := l.claims.newest.Add(time.Millisecond)
	if !l.on || l.file == "" || l.claims.newest.IsZero() || !exact.Before(l.mark) || exact.Before(l.since) {
		return
	}
	if err := l.write(exact); err != nil {
		l.d.log.Warn("writing the mark of sent records", zap.String("file", l.file), zap.Error(err))
	}
}

// rejected notes that a record of that settle time was sent and may come back at another place in the spool.
func (l *lateness) rejected(settled time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if after := settled.Add(time.Millisecond); l.on && after.After(l.since) {
		l.since = after
	}
}

func (l *lateness) adopted(newest time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	after := newest.Add(time.Millisecond)
	if !l.on {
		return nil // no record from before it was turned on is trusted
	}
	if after.After(l.since) {
		l.since = after
	}
	if !after.After(l.mark) {
		return nil
	}
	return l.write(after)
}

// write sets the mark durably.
func (l *lateness) write(t time.Time) error {
	l.mark = t
	if l.file == "" {
		return nil
	}
	b, err := json.Marshal(sentMark{SentBefore: t.UTC()})
	if err != nil {
		return err
	}
	next := l.file + ".new"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, l.file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(l.file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// fresh reports whether the record was certainly never sent, and notes that it is about to be.
func (l *lateness) fresh(r spool.Record) bool {
	c := &l.claims
	fresh := l.on && !r.Time.Before(l.since) && r.Seq > c.seq && r.Time.After(c.newest.Add(-sentSlack))
	if c.strict && !r.Time.After(c.newest) {
		fresh = false
	}
	if r.Time.After(c.newest) {
		c.newest, c.strict = r.Time, false
	}
	return fresh
}

// decision is what to do with a claimed record.
type decision uint8

const (
	sendNow   decision = iota
	sendLater          // it went back to the spool with its new time
	undecided          // delivery stopped before Lago answered
)

// decide returns what to do with a record before it is first sent.
func (l *lateness) decide(r spool.Record) decision {
	l.mu.Lock()
	on, fresh := l.on, l.fresh(r)
	l.mu.Unlock()
	now := l.d.now()
	if !on || now.Sub(r.Time) < lateAfter {
		return sendNow
	}
	bodies, err := record.Events(r.Payload)
	if err != nil || len(bodies) == 0 {
		return sendNow
	}
	event := record.Event(bodies[0])
	at, ok := event.Time()
	if !ok {
		return sendNow
	}
	start, known := l.periodStart(event.Subscription())
	if l.d.soft.Err() != nil {
		return undecided
	}
	if !known || !at.Before(start) {
		return sendNow
	}
	if !fresh {
		l.count(&l.undecided)
		return sendNow
	}
	// The amended record is claimed anew, at its new place: nothing else claims between the two steps.
	payload, err := record.Restamp(r.Payload, now)
	if err == nil {
		l.d.spool.Release(r.Seq)
		if _, err = l.d.spool.Amend(r.Seq, payload); err == nil {
			l.count(&l.restamped)
			return sendLater
		}
		l.d.log.Error("restamping a late record; it keeps its time", zap.Uint64("record", r.Seq), zap.Error(err))
		return sendLater
	}
	l.d.log.Error("restamping a late record; it keeps its time", zap.Uint64("record", r.Seq), zap.Error(err))
	return sendNow
}

func (l *lateness) count(n *int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*n++
}

func (l *lateness) figures() (restamped, undecided int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.restamped, l.undecided
}

// periodStart returns the start of the subscription's open billing period, if Lago reports it. It waits out an outage:
// nothing can be sent then anyway.
func (l *lateness) periodStart(sub string) (start time.Time, known bool) {
	l.mu.Lock()
	p, ok := l.periods[sub]
	l.mu.Unlock()
	if ok && p.current(l.d.now()) {
		return p.start, !p.start.IsZero()
	}
	for tries := 1; ; tries++ {
		l.d.mu.Lock()
		client := l.d.cfg.Client
		l.d.mu.Unlock()
		if client == nil {
			return time.Time{}, false
		}
		s, err := client.Subscription(l.d.soft, sub)
		if e, ok := errors.AsType[*lago.Error](err); ok && e.Verdict == lago.Retry && l.d.soft.Err() == nil {
			l.d.note("asking Lago for a billing period: "+e.Words, tries == 1)
			l.d.sleep(l.d.soft, max(backoff(tries), min(e.RetryAfter, rateLimitMost)), l.d.wake.wait())
			continue
		}
		p := period{asked: l.d.now()}
		if err == nil && s.PeriodStart != nil {
			p.start = *s.PeriodStart
		}
		if err == nil && s.PeriodEnd != nil {
			p.end = *s.PeriodEnd
		}
		if l.d.soft.Err() != nil {
			return time.Time{}, false
		}
		l.mu.Lock()
		if len(l.periods) >= periodsMax {
			clear(l.periods)
		}
		l.periods[sub] = p
		l.mu.Unlock()
		return p.start, !p.start.IsZero()
	}
}
