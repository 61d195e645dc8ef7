package litellmdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// What an import does, or would do, with a row.
const (
	Added   = "added"
	Changed = "changed"
	Same    = "same"
	Refused = "refused"
)

// Row is a row of one of LiteLLM's tables.
type Row struct {
	Table   string                     `json:"table"`
	Columns map[string]json.RawMessage `json:"row"`
}

// Result is what became of a row.
type Result struct {
	ID      string   `json:"id,omitempty"` // names the row for people: of a key's hash only the beginning
	Action  string   `json:"action"`       // added, changed, same or refused
	Columns []string `json:"columns,omitempty"`
	Column  string   `json:"column,omitempty"` // at fault
	Reason  string   `json:"reason,omitempty"`
	// Team is the team of a key that the store does not hold: in a dry run, where those of the dump are not made.
	Team string `json:"team,omitempty"`
}

// NoTeam is the reason why a key is refused whose team is not there to restrict it.
const NoTeam = "the key's team has no record: import its row of " + TeamTable + " too"

// Check returns the parts of a row that a whole dump is checked by, or why it is refused whatever the store holds.
func Check(row *Row) (*Checked, *Result) {
	rec, refused := read(row)
	if refused != nil {
		return nil, refused
	}
	return &Checked{
		Table: rec.table, ID: rec.id, Alias: rec.alias, Team: rec.team, Label: rec.label, Unenforced: rec.table.unenforced(row.Columns),
		NoModels: rec.restricted && keys.HasGroups(row.Columns),
	}, nil
}

// Checked is a row that can be taken.
type Checked struct {
	Table      *Table
	ID         string
	Alias      string   // unique among the keys; empty where there is none
	Team       string   // of a key; empty where there is none
	Label      string   // names the row for people
	Unenforced []string // columns that limit calls in LiteLLM and have no effect here
	NoModels   bool     // a key or a team that has its models from access groups alone, and may use none here
}

// Options define how rows are imported.
type Options struct {
	DryRun    bool // change nothing
	Overwrite bool // replace records that were changed here since they were imported
	// Spent is called with what LiteLLM had counted against the budgets of each record that is new or changed, of all models or of one: what it was by
	// the record before, and by the one that is there now. It may be nil.
	Spent func(ctx context.Context, scope limit.Scope, budgets *keys.Limits, model string, before, now price.Amount) error
}

// NoBudget is the reason why a row is refused whose budget is not there to limit it.
const NoBudget = "its budget has no record: import its row of LiteLLM_BudgetTable too"

// MaxRows is how many rows are imported at once: they are one change of the store.
const MaxRows = 200

// Import makes records of rows and returns what became of each, in their order. It refuses a row, never a part of it. An
// error means that the store failed: rows without a result may have been imported, and importing them again does no harm.
func Import(ctx context.Context, s *keys.Service, rows []Row, o Options) ([]Result, error) {
	results := make([]Result, len(rows))
	batch := make([]importing, 0, len(rows))
	type name struct {
		kind keystore.Kind
		id   string
	}
	seen := make(map[name]bool, len(rows))
	for i := range rows {
		rec, refused := read(&rows[i])
		if refused != nil {
			results[i] = *refused
			continue
		}
		if n := (name{rec.table.kind, rec.id}); seen[n] {
			results[i] = Result{ID: rec.label, Action: Refused, Column: rec.table.id, Reason: "is in the dump twice"}
			continue
		} else {
			seen[n] = true
		}
		batch = append(batch, importing{imported: rec, result: &results[i]})
	}
	for _, t := range Tables {
		var same []*importing
		for i := range batch {
			if batch[i].table == t {
				same = append(same, &batch[i])
			}
		}
		if err := importTable(ctx, s, t, same, o); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// importing is a row on its way into the store.
type importing struct {
	*imported
	result     *Result
	change     keystore.Change
	teamChange *keystore.Change // holds the record of the key's team as it is, while the key is made
}

func read(row *Row) (*imported, *Result) {
	t := Find(row.Table)
	if t == nil {
		return nil, &Result{Action: Refused, Reason: "unknown table: one of " + Names()}
	}
	rec, fault := t.fromRow(maps.Clone(row.Columns))
	if fault != nil {
		return nil, &Result{Action: Refused, Column: fault.Column, Reason: fault.Reason}
	}
	return rec, nil
}

// importTable imports rows of one table.
func importTable(ctx context.Context, s *keys.Service, t *Table, rows []*importing, o Options) error {
	if len(rows) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.id
	}
	olds, err := s.GetAll(ctx, t.kind, ids)
	if err != nil {
		return err
	}
	teams, err := knownTeams(ctx, s, rows)
	if err != nil {
		return err
	}
	budgets, err := knownBudgets(ctx, s, rows)
	if err != nil {
		return err
	}
	changes := make([]*importing, 0, len(rows))
	for i, r := range rows {
		if err := r.decide(olds[i], o); err != nil {
			r.refuse("", "the record in its place cannot be read: delete it first")
		}
		if r.team != "" && r.result.Action != Refused {
			if team := teams[r.team]; team == nil && o.DryRun {
				r.result.Team = r.team
			} else if team == nil {
				r.refuse("team_id", NoTeam)
			} else {
				r.teamChange = team
			}
		}
		if id := r.budget(); id != "" && budgets[id] == nil && !o.DryRun && r.result.Action != Refused { // a dry run makes no budgets
			r.refuse("budget_id", NoBudget)
		}
		if r.result.Action == Added || r.result.Action == Changed {
			changes = append(changes, r)
		}
	}
	if o.DryRun {
		return wouldApply(ctx, s, changes)
	}
	if err := applyAll(ctx, s, changes); err != nil || o.Spent == nil {
		return err
	}
	for _, r := range changes {
		if r.result.Action == Refused {
			continue
		}
		if err := r.reportSpent(ctx, o, budgets[r.budget()]); err != nil {
			return err
		}
	}
	return nil
}

// decide returns what becomes of a row, by what the store holds in its place.
func (r *importing) decide(old []byte, o Options) error {
	r.result.ID = r.label
	r.change = keystore.Change{Kind: r.table.kind, ID: r.id, Old: old, New: r.data, NewAlias: r.alias}
	if old == nil {
		r.result.Action = Added
		return nil
	}
	if bytes.Equal(old, r.data) {
		r.result.Action = Same
		return nil
	}
	was, err := r.table.readStored(r.id, old)
	if err != nil {
		return err
	}
	if was.fingerprint == r.mark || was.mark == r.mark && !o.Overwrite {
		r.result.Action = Same
		return nil
	}
	is, err := r.table.readStored(r.id, r.data)
	if err != nil {
		return err
	}
	r.change.OldAlias = was.alias
	switch {
	case was.mark == was.fingerprint, was.implied, o.Overwrite:
		r.result.Action, r.result.Columns = Changed, differences(was.row, is.row)
	default:
		r.result.Action, r.result.Columns = Refused, differences(was.row, is.row)
		r.result.Reason = "the record was made or changed here, and differs: overwrite it, or leave the row out"
	}
	return nil
}

const aliasTaken = "another key has this alias"

// wouldApply finds what applyAll would refuse.
func wouldApply(ctx context.Context, s *keys.Service, rows []*importing) error {
	taken := make(map[string]bool)
	for _, r := range rows {
		if r.alias == "" {
			continue
		}
		owner, err := s.ByAlias(ctx, r.table.kind, r.alias)
		if err != nil {
			return err
		}
		if taken[r.alias] || owner != "" && owner != r.id {
			r.refuse("key_alias", aliasTaken)
		}
		taken[r.alias] = true
	}
	return nil
}

func (r *importing) refuse(column, reason string) {
	*r.result = Result{ID: r.label, Action: Refused, Column: column, Reason: reason}
}

// applyAll changes the store in one step. When that cannot be done, it finds the rows that prevent it by bisection.
func applyAll(ctx context.Context, s *keys.Service, rows []*importing) error {
	if len(rows) == 0 {
		return nil
	}
	changes := make([]keystore.Change, 0, len(rows))
	teams := make(map[string]bool)
	for _, r := range rows {
		changes = append(changes, r.change)
		if r.teamChange != nil && !teams[r.team] {
			teams[r.team] = true
			changes = append(changes, *r.teamChange)
		}
	}
	err := s.Apply(ctx, changes...)
	malformed := errors.Is(err, keystore.ErrMalformed)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, keystore.ErrAliasTaken) && !errors.Is(err, keystore.ErrChanged) && !malformed:
		return s.Refusal(err)
	case len(rows) > 1:
		if err := applyAll(ctx, s, rows[:len(rows)/2]); err != nil {
			return err
		}
		return applyAll(ctx, s, rows[len(rows)/2:])
	case malformed:
		rows[0].refuse("", "the record in its place cannot be read: delete it first")
	case errors.Is(err, keystore.ErrAliasTaken):
		rows[0].refuse("key_alias", aliasTaken)
	default:
		rows[0].refuse("", "the record was changed at the same time: import it again")
	}
	return nil
}

// Export calls fn for each row of a table, in the order of their ids.
func Export(ctx context.Context, s *keys.Service, t *Table, fn func(row map[string]json.RawMessage) error) error {
	switch t.kind {
	case keystore.KeyKind:
		return keys.Each(ctx, s, t.kind, s.Strict, func(k *keys.Key) error { return fn(keyRow(k)) })
	case keystore.TeamKind:
		return keys.Each(ctx, s, t.kind, s.Strict, func(team *keys.Team) error { return fn(teamRow(team)) })
	case keystore.UserKind, keystore.EndUserKind, keystore.BudgetKind, keystore.MemberKind, keystore.AuditKind:
	}
	return keys.Each(ctx, s, t.kind, s.Strict, func(e *keys.Entry) error { return fn(entryRow(e, t)) })
}

// timeout bounds an import of many records at once.
const timeout = 30 * time.Second

// knownTeams returns, for each team of the rows that has a record, the change that holds it as it is.
func knownTeams(ctx context.Context, s *keys.Service, rows []*importing) (map[string]*keystore.Change, error) {
	known := make(map[string]*keystore.Change)
	var ids []string
	for _, r := range rows {
		if _, seen := known[r.team]; r.team != "" && !seen {
			known[r.team] = nil
			ids = append(ids, r.team)
		}
	}
	all, err := s.GetAll(ctx, keystore.TeamKind, ids)
	if err != nil {
		return nil, err
	}
	for i, data := range all {
		if data == nil {
			continue
		}
		if t, err := keys.Decode[keys.Team](ids[i], data); err == nil && !t.Deleting {
			known[ids[i]] = &keystore.Change{Kind: keystore.TeamKind, ID: ids[i], Old: data, New: data}
		}
	}
	return known, nil
}
