package lagobilling

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// ledger is the records of one account: of the running instance, or of a spool that is read offline.
type ledger struct {
	account string // empty offline: the records name it
	spool   *spool.Spool
}

// listing is a way to look at ledgers. The admin API and the commands have the same ones.
type listing struct {
	states []spool.State // those it shows; none: all
	lines  func(b []byte, rec spool.Record) []byte
}

var listings = map[string]listing{
	"events":      {lines: ledgerLine},
	"rejected":    {states: []spool.State{spool.StateRejected}, lines: ledgerLine},
	"interrupted": {states: []spool.State{spool.StateInterrupted}, lines: ledgerLine},
	"export":      {lines: eventLines},
}

// ledgerQuery says which records are wanted.
type ledgerQuery struct {
	account      string
	since, until time.Time
	limit        int
}

func parseLedgerQuery(v url.Values, now time.Time) (q ledgerQuery, err error) {
	if err := onlyParameters(v, "account", "since", "until", "limit"); err != nil {
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

func onlyParameters(v url.Values, names ...string) error {
	for name := range v {
		if !slices.Contains(names, name) {
			return fmt.Errorf("unknown parameter %s", name)
		}
	}
	return nil
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

// errEnough ends a scan that has what it wants.
var errEnough = errors.New("enough")

// write writes the records that the query selects, one line or more each, and returns how many records. With a limit, the
// first within the bounds.
func (l listing) write(ctx context.Context, w io.Writer, from ledger, q ledgerQuery) (n int, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	var buf []byte
	err = from.spool.Select(l.states, q.since, q.until, func(rec spool.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if from.account == "" && q.account != "" && recordAccount(rec) != q.account {
			return nil
		}
		if q.limit > 0 && n >= q.limit {
			return errEnough
		}
		n++
		buf = l.lines(buf[:0], rec)
		_, err := out.Write(buf)
		return err
	})
	if err != nil && !errors.Is(err, errEnough) {
		return n, err
	}
	return n, out.Flush()
}

// recordAccount returns the account that a record belongs to.
func recordAccount(rec spool.Record) string { return gjson.GetBytes(rec.Payload, "account").String() }

// ledgerLine appends a record as the ledger shows it: its payload with the members `state`, `seq` and `rejected_because`.
func ledgerLine(b []byte, rec spool.Record) []byte {
	payload := rec.Payload
	if len(payload) < 2 || payload[len(payload)-1] != '}' {
		payload = []byte("{}")
	}
	o := record.Object(append(b, payload[:len(payload)-1]...))
	o = o.Str("state", rec.State.String())
	o = o.Num("seq", int64(rec.Seq)) //nolint:gosec // a sequence number stays far below
	if len(rec.Note) > 0 {
		if json.Valid(rec.Note) {
			o = append(o.Key("rejected_because"), rec.Note...)
		} else {
			o = o.Str("rejected_because", string(rec.Note))
		}
	}
	return append(o.Close(), '\n')
}

// eventLines appends the bodies of a record's events exactly as Lago gets them, one a line.
func eventLines(b []byte, rec spool.Record) []byte {
	gjson.GetBytes(rec.Payload, "events").ForEach(func(_, e gjson.Result) bool {
		b = append(append(b, e.Raw...), '\n')
		return true
	})
	return b
}

// openLedger opens a spool for reading alone, also while a running instance has it.
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

// offlineStatus is the status of a spool that is read offline. Nothing is known of its delivery.
func offlineStatus(dir string, now time.Time) (st accountStatus, err error) {
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
	if st.Account, err = spoolOwner(dir); err != nil || st.Account != "" {
		return st, err
	}
	err = sp.Scan(time.Time{}, time.Time{}, func(rec spool.Record) error {
		st.Account = recordAccount(rec)
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return st, err
}
