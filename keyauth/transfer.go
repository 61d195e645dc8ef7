package keyauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
)

// What an import does, or would do, with a row.
const (
	rowAdded   = "added"
	rowChanged = "changed"
	rowSame    = "same"
	rowRefused = "refused"
)

// ImportRow is a row of one of LiteLLM's tables.
type ImportRow struct {
	Table string                     `json:"table"`
	Row   map[string]json.RawMessage `json:"row"`
}

// ImportResult tells what became of a row.
type ImportResult struct {
	ID      string   `json:"id,omitempty"` // names the row for people: of a key's hash only the beginning
	Action  string   `json:"action"`       // added, changed, same or refused
	Columns []string `json:"columns,omitempty"`
	Column  string   `json:"column,omitempty"` // at fault
	Reason  string   `json:"reason,omitempty"`
}

// ImportOptions say how rows are taken.
type ImportOptions struct {
	DryRun    bool // change nothing
	Overwrite bool // replace records that were changed here since they were imported
}

// maxImport is how many rows are imported at once: they are one change of the store.
const maxImport = 200

// Import makes records of rows and returns what became of each, in their order. It refuses a row, never a part of it. An
// error means that the store failed: rows without a result may have been imported, and importing them again does no harm.
func (s *Service) Import(ctx context.Context, rows []ImportRow, o ImportOptions) ([]ImportResult, error) {
	results := make([]ImportResult, len(rows))
	batch := make([]importing, 0, len(rows))
	type name struct {
		kind Kind
		id   string
	}
	seen := make(map[name]bool, len(rows))
	for i := range rows {
		rec, refused := s.read(&rows[i])
		if refused != nil {
			results[i] = *refused
			continue
		}
		if n := (name{rec.table.kind, rec.id}); seen[n] {
			results[i] = ImportResult{ID: rec.label, Action: rowRefused, Column: rec.table.id, Reason: "stands twice in the dump"}
			continue
		} else {
			seen[n] = true
		}
		batch = append(batch, importing{imported: rec, result: &results[i]})
	}
	for _, t := range litellmTables {
		var same []*importing
		for i := range batch {
			if batch[i].table == t {
				same = append(same, &batch[i])
			}
		}
		if err := s.importTable(ctx, t, same, o); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// importing is a row on its way into the store.
type importing struct {
	*imported
	result *ImportResult
	change Change
}

func (*Service) read(row *ImportRow) (*imported, *ImportResult) {
	t := tableByName(row.Table)
	if t == nil {
		return nil, &ImportResult{Action: rowRefused, Reason: "unknown table: one of " + tableNames()}
	}
	rec, fault := t.fromRow(maps.Clone(row.Row))
	if fault != nil {
		return nil, &ImportResult{Action: rowRefused, Column: fault.column, Reason: fault.reason}
	}
	return rec, nil
}

// importTable imports rows of one table.
func (s *Service) importTable(ctx context.Context, t *litellmTable, rows []*importing, o ImportOptions) error {
	if len(rows) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, importTimeout)
	defer cancel()
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.id
	}
	olds, err := s.directory.store.GetAll(ctx, t.kind, ids)
	if err != nil {
		return s.fault(err)
	}
	changes := make([]*importing, 0, len(rows))
	for i, r := range rows {
		if err := r.decide(olds[i], o); err != nil {
			return s.fault(err)
		}
		if r.result.Action == rowAdded || r.result.Action == rowChanged {
			changes = append(changes, r)
		}
	}
	if o.DryRun {
		return s.wouldApply(ctx, changes)
	}
	return s.applyAll(ctx, changes)
}

// decide says what becomes of a row, by what the store holds in its place.
func (r *importing) decide(old []byte, o ImportOptions) error {
	r.result.ID = r.label
	r.change = Change{Kind: r.table.kind, ID: r.id, Old: old, New: r.data, NewAlias: r.alias}
	if old == nil {
		r.result.Action = rowAdded
		return nil
	}
	if bytes.Equal(old, r.data) {
		r.result.Action = rowSame
		return nil
	}
	was, err := r.table.readStored(old)
	if err != nil {
		return err
	}
	if was.fingerprint == r.mark || was.mark == r.mark && !o.Overwrite {
		r.result.Action = rowSame
		return nil
	}
	is, err := r.table.readStored(r.data)
	if err != nil {
		return err
	}
	r.change.OldAlias = was.alias
	switch {
	case was.mark == was.fingerprint, o.Overwrite:
		r.result.Action, r.result.Columns = rowChanged, differences(was.row, is.row)
	default:
		r.result.Action, r.result.Columns = rowRefused, differences(was.row, is.row)
		r.result.Reason = "the record was made or changed here, and differs: overwrite it, or leave the row out"
	}
	return nil
}

const aliasTaken = "another key has this alias"

// wouldApply finds what applyAll would refuse.
func (s *Service) wouldApply(ctx context.Context, rows []*importing) error {
	taken := make(map[string]bool)
	for _, r := range rows {
		if r.alias == "" {
			continue
		}
		owner, err := s.directory.store.ByAlias(ctx, r.table.kind, r.alias)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return s.fault(err)
		}
		if taken[r.alias] || err == nil && owner != r.id {
			r.refuse("key_alias", aliasTaken)
		}
		taken[r.alias] = true
	}
	return nil
}

func (r *importing) refuse(column, reason string) {
	*r.result = ImportResult{ID: r.label, Action: rowRefused, Column: column, Reason: reason}
}

// applyAll changes the store in one step. When that cannot be done, it finds the rows which stand against it by halves.
func (s *Service) applyAll(ctx context.Context, rows []*importing) error {
	if len(rows) == 0 {
		return nil
	}
	changes := make([]Change, len(rows))
	for i, r := range rows {
		changes[i] = r.change
	}
	err := s.directory.store.Apply(ctx, changes...)
	for _, c := range changes { // in any case, as in change
		s.directory.Changed(c.Kind, c.ID, "")
	}
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, ErrAliasTaken) && !errors.Is(err, ErrChanged):
		return s.fault(err)
	case len(rows) > 1:
		if err := s.applyAll(ctx, rows[:len(rows)/2]); err != nil {
			return err
		}
		return s.applyAll(ctx, rows[len(rows)/2:])
	case errors.Is(err, ErrAliasTaken):
		rows[0].refuse("key_alias", aliasTaken)
	default:
		rows[0].refuse("", "the record was changed at the same time: import it again")
	}
	return nil
}

// Export calls fn for each row of a table, in the order of their ids.
func (s *Service) Export(ctx context.Context, table string, fn func(row map[string]json.RawMessage) error) error {
	t := tableByName(table)
	if t == nil {
		return fmt.Errorf("unknown table %q: one of %s", table, tableNames())
	}
	switch t.kind {
	case KeyKind:
		return each(ctx, s, t.kind, func(k *Key) error { return fn(k.litellmRow()) })
	case TeamKind:
		return each(ctx, s, t.kind, func(team *Team) error { return fn(team.litellmRow()) })
	case UserKind, EndUserKind, BudgetKind:
	}
	return each(ctx, s, t.kind, func(e *Entry) error { return fn(e.litellmRow(t)) })
}

// budget returns LiteLLM's row of a budget; nil when there is none.
func (s *Service) budget(ctx context.Context, id string) (map[string]json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	data, err := s.directory.store.Get(ctx, BudgetKind, id)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, s.fault(err)
	}
	e, err := decode[Entry](data)
	if err != nil {
		return nil, s.fault(err)
	}
	return e.litellmRow(tableByName("LiteLLM_BudgetTable")), nil
}
