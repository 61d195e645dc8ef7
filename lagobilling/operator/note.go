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

// noted is the part of an answer that reports whether the decision is in the audit log.
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

// notedAtOnce is how many records an entry of the audit log has.
const notedAtOnce = 100

// note writes a decision to the audit log of each key store in use. What is decided is done: a log that cannot be written makes
// a warning, and no failure.
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
		caddy.Log().Named("admin.api.tollgate_billing").Error("a decision is made, and is not in the audit log", zap.String("path", r.URL.Path), zap.Error(err))
		out.Warning = "the decision is made, and is not in the audit log: see the gateway's log"
	}
	return out
}

// decided is what the audit log has of a decision: texts by name, without those that are empty.
func decided(kind, id, what string, after map[string]string) keys.AuditChange {
	c := keys.AuditChange{Kind: kind, ID: id, What: what, After: make(map[string]json.RawMessage)}
	for name, value := range after {
		if value != "" {
			c.After[name], _ = json.Marshal(value) // a string
		}
	}
	return c
}

// decisions are what the audit log has of a change of n records: each that is named, or how many.
func (q *Change) decisions(what string, n int) []keys.AuditChange {
	after := map[string]string{"account": q.Account, "reason": q.Reason}
	if len(q.IDs) == 0 {
		after["records"] = strconv.Itoa(n)
		return []keys.AuditChange{decided("record", "all", what, after)}
	}
	if n < len(q.IDs) {
		after["records"] = strconv.Itoa(n) // of those that are named
	}
	list := make([]keys.AuditChange, 0, len(q.IDs))
	for _, id := range q.IDs {
		list = append(list, decided("record", id, what, after))
	}
	return list
}
