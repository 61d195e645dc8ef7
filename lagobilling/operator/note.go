package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/keys"
)

// noted is the part of an answer that reports whether the audit log has the decision.
type noted struct {
	Warning string `json:"warning,omitempty"`
}

func (n noted) print(w io.Writer, err error) error {
	if n.Warning != "" {
		_, werr := fmt.Fprintln(w, "warning: "+n.Warning)
		err = errors.Join(err, werr)
	}
	return err
}

// notedAtOnce is the most records that one entry of the audit log names.
const notedAtOnce = 100

// note writes a decision to the audit log of each key store in use. The decision is already carried out, so a failure to
// log it is a warning.
func note(r *http.Request, changes ...keys.AuditChange) (out noted) {
	ctx := context.WithoutCancel(r.Context())
	var errs []error
	app.Each(func(_ string, c *keys.Cache) {
		s := keys.NewService(c, nil).As(keys.Actor{Who: "admin API"}, r.URL.Path)
		for begin := 0; begin < len(changes); begin += notedAtOnce {
			errs = append(errs, s.Note(ctx, changes[begin:min(begin+notedAtOnce, len(changes))]...))
		}
	})
	if err := errors.Join(errs...); err != nil {
		caddy.Log().Named("admin.api.tollgate_billing").Error("a decision was carried out but is not in the audit log", zap.String("path", r.URL.Path), zap.Error(err))
		out.Warning = "the decision was carried out but is not in the audit log: see the gateway's log"
	}
	return out
}

// decided are the details of a decision for the audit log, without empty ones.
func decided(kind, id, what string, after map[string]string) keys.AuditChange {
	c := keys.AuditChange{Kind: kind, ID: id, What: what, After: make(map[string]json.RawMessage)}
	for name, value := range after {
		if value != "" {
			c.After[name], _ = json.Marshal(value) // a string
		}
	}
	return c
}

// decisions are the audit log's entries for a change of n records: each named one, or their number.
func (q *Change) decisions(what string, n int) []keys.AuditChange {
	after := map[string]string{"account": q.Account, "reason": q.Reason}
	if len(q.IDs) == 0 {
		after["records"] = strconv.Itoa(n)
		return []keys.AuditChange{decided("record", "all", what, after)}
	}
	if n < len(q.IDs) {
		after["records"] = strconv.Itoa(n) // of named ones
	}
	list := make([]keys.AuditChange, 0, len(q.IDs))
	for _, id := range q.IDs {
		list = append(list, decided("record", id, what, after))
	}
	return list
}
