package operator

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/keys"
)

func init() {
	operator.AddCommand(auditCommand)
}

// serveAudit writes the entries of the audit log, one a line, the oldest first. Parameters: since, until (a time, a date, or how long ago), kind
// and id of a record that was changed, actor.
func serveAudit(w http.ResponseWriter, r *http.Request, s *keys.Service) error {
	q := r.URL.Query()
	if err := operator.OnlyParameters(q, "store", "since", "until", "kind", "id", "actor"); err != nil {
		return err
	}
	f := keys.AuditFilter{Kind: q.Get("kind"), ID: q.Get("id"), Actor: q.Get("actor")}
	for name, to := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if !q.Has(name) {
			continue
		}
		var err error
		if *to, err = keys.ParseTime(q.Get(name), time.Now()); err != nil {
			return operator.Refuse(http.StatusBadRequest, "%s: %w", name, err)
		}
	}
	return stream(w, func(write func(any) error) error {
		return s.Audit(r.Context(), f, func(e *keys.AuditEntry) error { return write(e) })
	})
}

// auditCommand is `caddy tollgate audit`.
func auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "Shows who changed keys, teams, users, customers and budgets, or decided on records", Args: cobra.NoArgs,
		Long: "Shows every change of keys, teams, members, users, customers and budgets of the last 90 days, the oldest first: when, by whom, by\n" +
			"which call, and the fields that changed. --json has their values before and after. The command talks to the running\n" +
			"instance (--address).",
		RunE: showAnswer("/tollgate/keys/audit", map[string]string{"since": "since", "until": "until", "kind": "kind", "id": "id", "actor": "actor"}, printAudit),
	}
	cmd.Flags().String("store", "", "Which key store, when the configuration has several")
	cmd.Flags().String("since", "", "Only changes from then on: 2026-01-31, 2026-01-31T12:00:00Z, or 24h for the last 24 hours")
	cmd.Flags().String("until", "", "Only changes before then")
	cmd.Flags().String("kind", "", "Only changes of key, team, member, user, end-user, budget, or decisions on record or spool")
	cmd.Flags().String("id", "", "Only changes of this record: the hash of a key or its first 12 digits, or an id")
	cmd.Flags().String("actor", "", "Only changes by this one: master, or a key's alias")
	operator.JSONFlag(cmd, "Print the entries as they are, one a line")
	return cmd
}

func printAudit(w io.Writer, body io.Reader) error {
	table := operator.NewTable(w, "TIME", "ACTOR", "FOR", "CALL", "KIND", "ID", "CHANGE", "FIELDS")
	dash := operator.OrDash
	err := operator.EachLine(body, func(e keys.AuditEntry) error {
		for i := range e.Changes {
			c := &e.Changes[i]
			fields := slices.Sorted(maps.Keys(c.After))
			for _, n := range slices.Sorted(maps.Keys(c.Before)) {
				if !slices.Contains(fields, n) {
					fields = append(fields, n)
				}
			}
			table.Row(e.At.Local().Format("2006-01-02 15:04:05"), e.Actor, dash(e.Behalf), dash(e.Action), c.Kind, c.ID, c.What, dash(strings.Join(fields, ",")))
		}
		return table.Err()
	})
	return errors.Join(err, table.End())
}
