package operator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// ledger is the records of one account, of the running instance or read offline.
type ledger struct {
	account string // empty offline, where the records name it
	spool   *spool.Spool
}

// listing is a view of ledgers, for both the admin API and the commands.
type listing struct {
	states []spool.State // those it shows; empty: all
	lines  func(b []byte, rec spool.Record) ([]byte, error)
}

var listings = map[string]listing{
	"events":      {lines: ledgerLine},
	"rejected":    {states: []spool.State{spool.StateRejected}, lines: ledgerLine},
	"interrupted": {states: []spool.State{spool.StateInterrupted}, lines: ledgerLine},
	"export":      {lines: eventLines},
}

// ledgerQuery selects records.
type ledgerQuery struct {
	account      string
	since, until time.Time
	limit        int
}

func parseLedgerQuery(v url.Values, now time.Time) (q ledgerQuery, err error) {
	if err := operator.OnlyParameters(v, "account", "since", "until", "limit"); err != nil {
		return q, err
	}
	q.account = v.Get("account")
	if q.since, err = parseMoment("since", v.Get("since"), now); err != nil {
		return q, err
	}
	if q.until, err = parseMoment("until", v.Get("until"), now); err != nil {
		return q, err
	}
	if text := v.Get("limit"); text != "" {
		if q.limit, err = strconv.Atoi(text); err != nil || q.limit < 1 {
			return q, fmt.Errorf("limit %q is not a positive number", text)
		}
	}
	return q, nil
}

// parseMoment reads a time: RFC 3339, a date, or a duration before now such as 24h.
func parseMoment(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t, nil
	}
	if d, err := caddy.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%s %q is neither a time (RFC 3339), a date, nor a duration before now", name, text)
}

// errEnough ends a scan early.
var errEnough = errors.New("enough")

// write writes the selected records, one or more lines each, and returns how many. A limit keeps the first ones.
func (l listing) write(ctx context.Context, w io.Writer, from ledger, q ledgerQuery) (n int, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	var buf []byte
	err = from.spool.Select(l.states, q.since, q.until, func(rec spool.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if from.account == "" && q.account != "" && record.Account(rec.Payload) != q.account {
			return nil
		}
		if q.limit > 0 && n >= q.limit {
			return errEnough
		}
		n++
		var err error
		if buf, err = l.lines(buf[:0], rec); err != nil {
			return err
		}
		_, err = out.Write(buf)
		return err
	})
	if err != nil && !errors.Is(err, errEnough) {
		return n, err
	}
	return n, out.Flush()
}

// ledgerLine appends a record as the ledger shows it, with its state and why it was rejected.
func ledgerLine(b []byte, rec spool.Record) ([]byte, error) {
	return append(record.AppendListed(b, rec.Payload, rec.State.String(), rec.Seq, rec.Note), '\n'), nil
}

// eventLines appends the bodies of a record's events exactly as Lago gets them, one a line.
func eventLines(b []byte, rec spool.Record) ([]byte, error) {
	err := record.EachEvent(rec.Payload, func(e record.Event) error {
		b = append(append(b, e...), '\n')
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", rec.Seq, err)
	}
	return b, nil
}

// openLedger opens a spool read-only, also while an instance uses it.
func openLedger(dir string) (*spool.Spool, error) {
	sp, err := spool.Open(spool.Options{Dir: dir, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	if sp.Stats().Segments == 0 {
		if _, err := os.Stat(filepath.Join(dir, "LOCK")); err != nil {
			return nil, errors.Join(fmt.Errorf("%s holds no spool", dir), sp.Close())
		}
	}
	return sp, nil
}

// offlineStatus is the status of a spool that is read offline, without delivery.
func offlineStatus(dir string, now time.Time) (st Status, err error) {
	sp, err := openLedger(dir)
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, sp.Close()) }()
	if dir, err = filepath.Abs(dir); err != nil {
		return st, err
	}
	st = spoolStatus(sp, now)
	st.Spool, st.Offline = dir, true
	if st.AdoptedBy, err = sp.AdoptedBy(); err != nil {
		return st, err
	}
	if st.Account, err = account.SpoolOwner(dir); err != nil || st.Account != "" {
		return st, err
	}
	err = sp.Scan(time.Time{}, time.Time{}, func(rec spool.Record) error {
		st.Account = record.Account(rec.Payload)
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return st, err
}
