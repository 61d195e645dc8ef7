package operator

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// replayRequest selects the finished records to send again. Both bounds are required.
type replayRequest struct {
	Account string `json:"account,omitempty"`
	Since   string `json:"since"`
	Until   string `json:"until"`
}

// replayResult reports what is, or would be, sent again.
type replayResult struct {
	Since    time.Time       `json:"since"` // as parsed
	Until    time.Time       `json:"until"`
	Sent     bool            `json:"sent"` // false: only counted
	Records  int             `json:"records"`
	Events   int             `json:"events"`
	Accounts []replayAccount `json:"accounts"`
	noted
}

type replayAccount struct {
	Account string `json:"account"`
	Records int    `json:"records"`
	Events  int    `json:"events"`
	Warning string `json:"warning,omitempty"`
}

func serveReplayCount(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	if err := operator.OnlyParameters(v, "account", "since", "until"); err != nil {
		return err
	}
	return replay(w, r, replayRequest{v.Get("account"), v.Get("since"), v.Get("until")}, false)
}

func serveReplay(w http.ResponseWriter, r *http.Request) error {
	var q replayRequest
	if err := operator.ReadBody(r, &q); err != nil {
		return err
	}
	return replay(w, r, q, true)
}

// replay makes finished records pending again, byte-identical, or only counts them.
func replay(w http.ResponseWriter, r *http.Request, q replayRequest, send bool) error {
	now := time.Now()
	since, err := parseMoment("since", q.Since, now)
	if err != nil {
		return operator.Refuse(http.StatusBadRequest, "%w", err)
	}
	until, err := parseMoment("until", q.Until, now)
	if err != nil {
		return operator.Refuse(http.StatusBadRequest, "%w", err)
	}
	if since.IsZero() || until.IsZero() || !since.Before(until) {
		return operator.Refuse(http.StatusBadRequest, "replay needs since and until, and since before until")
	}
	res := replayResult{Since: since, Until: until, Sent: send, Accounts: []replayAccount{}}
	err = eachAccount(q.Account, func(a *account.Account) error {
		if err := sends(a); err != nil {
			if q.Account == "" {
				return nil
			}
			return err
		}
		one, err := replayOne(a, since, until, send)
		res.Accounts = append(res.Accounts, one)
		res.Records += one.Records
		res.Events += one.Events
		return err
	})
	if send && res.Records > 0 {
		res.noted = note(r, decided("record", "all", "replay", map[string]string{
			"account": q.Account, "since": since.Format(time.RFC3339), "until": until.Format(time.RFC3339), "records": strconv.Itoa(res.Records),
		}))
	}
	if err != nil {
		return err
	}
	return operator.WriteJSON(w, res)
}

func replayOne(a *account.Account, since, until time.Time, send bool) (res replayAccount, err error) {
	res.Account, res.Warning = a.Name(), replayWarning(a)
	match := func(rec spool.Record) bool {
		events, err := record.Events(rec.Payload)
		if err != nil || len(events) == 0 || record.Discarded(rec.Payload) {
			return false // unreadable records were never sent
		}
		res.Events += len(events)
		return true
	}
	if send {
		if res.Records, err = a.Replay(since, until, match); err != nil {
			return res, fmt.Errorf("account %s: %w", a.Name(), err)
		}
		a.Logger().Info("finished records are sent again", zap.Int("records", res.Records), zap.Time("since", since), zap.Time("until", until))
		return res, nil
	}
	err = a.Spool().Select([]spool.State{spool.StateDone}, since, until, func(rec spool.Record) error {
		if match(rec) {
			res.Records++
		}
		return nil
	})
	return res, err
}

// replayWarning warns if sending again may bill twice.
func replayWarning(a *account.Account) string {
	switch a.DeliveryStatus().EventsStore {
	case lago.ClickHouse:
		return "this Lago keeps events in ClickHouse: what it has already counts once only if the organization has clickhouse_deduplication_enabled"
	case "":
		return "Lago has not reported its events store yet"
	}
	return ""
}
