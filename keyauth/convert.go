package keyauth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// Entry is the record of a user, an end user or a budget of LiteLLM: a row that is kept to be shown and given back.
type Entry struct {
	ID       string                     `json:"id"`
	Fields   map[string]json.RawMessage `json:"fields"` // the row's columns but its id, those that are not null
	Imported string                     `json:"imported,omitempty"`
}

// imported is a record as a row of a dump gives it.
type imported struct {
	table *litellmTable
	id    string
	alias string // unique among the records of the kind; empty where there is none
	label string // names the row for people: never a whole hash
	data  []byte // the record, with its mark
	mark  string // the fingerprint of the record without its mark
}

// A mark in a record is the fingerprint of what an import made of a row. As long as a dump says the same as at that import it
// changes nothing, whatever became of the record here; a record that still has its mark's fingerprint was not changed here.

// fromRow builds the record of a row, whose values it checks as the key API does.
func (t *litellmTable) fromRow(row map[string]json.RawMessage) (*imported, *columnError) {
	row, fault := t.normalize(row)
	if fault != nil {
		return nil, fault
	}
	blank := blankRows[t]
	for n, v := range row {
		if empty, known := blank[n]; known && bytes.Equal(v, empty) {
			delete(row, n) // what a row says that says nothing
		}
	}
	take := func(name string) json.RawMessage {
		raw := row[name]
		delete(row, name)
		return raw
	}
	id := rawText(take(t.id))
	if id == "" {
		return nil, &columnError{t.id, "is missing"}
	}
	var rec *imported
	switch t.kind {
	case KeyKind:
		rec, fault = keyOfRow(id, row, take)
	case TeamKind:
		rec, fault = teamOfRow(id, row, take)
	case UserKind, EndUserKind, BudgetKind:
		delete(row, "password") // of LiteLLM's own pages: a secret that nothing here needs
		rec, fault = markEntry(&Entry{ID: id, Fields: row}), nil
	}
	if fault != nil {
		return nil, fault
	}
	rec.table, rec.id = t, id
	if t.kind == KeyKind {
		rec.id = strings.ToLower(id)
	} else if reason := name(encodeText(id)); reason != "" {
		return nil, &columnError{t.id, reason}
	}
	return rec, nil
}

func markEntry(e *Entry) *imported {
	r := &imported{label: e.ID}
	e.Imported = ""
	e.Imported = fingerprint(encode(e))
	r.mark, r.data = e.Imported, encode(e)
	return r
}

func keyOfRow(token string, row map[string]json.RawMessage, take func(string) json.RawMessage) (*imported, *columnError) {
	if strings.HasPrefix(token, keyPrefix) {
		return nil, &columnError{"token", "is a key in clear, not the hash of one: LiteLLM keeps hashes"}
	}
	if b, err := hex.DecodeString(token); err != nil || len(b) != len(digest{}) {
		return nil, &columnError{"token", "is not the SHA-256 of a key, 64 hex digits"}
	}
	k := &Key{Token: strings.ToLower(token)}
	for _, c := range []struct {
		name string
		to   *string
	}{{"key_alias", &k.Alias}, {"user_id", &k.UserID}, {"team_id", &k.TeamID}} {
		raw := take(c.name)
		if raw == nil {
			continue
		}
		if reason := name(raw); reason != "" {
			return nil, &columnError{c.name, reason}
		}
		*c.to = rawText(raw)
	}
	if k.Name = rawText(take("key_name")); strings.HasPrefix(k.Name, keyPrefix) && !strings.Contains(k.Name, "...") {
		k.Name = abbreviate(k.Name)
	}
	if fault := takeCommon(take, "aliases", &k.Models, &k.Aliases, &k.Metadata, &k.Blocked, &k.CreatedAt, &k.UpdatedAt); fault != nil {
		return nil, fault
	}
	if at := takeTime(take("expires")); !at.IsZero() {
		k.Expires = &at
	}
	delete(row, "litellm_budget_table") // it is the budget's row, which is kept apart
	k.Extra = row
	k.Imported = fingerprint(encode(k))
	label := k.Token[:shownToken]
	if k.Name != "" {
		label += " " + k.Name
	}
	if k.Alias != "" {
		label += " " + k.Alias
	}
	return &imported{alias: k.Alias, label: label, data: encode(k), mark: k.Imported}, nil
}

// shownToken is how many digits of a key's hash are shown.
const shownToken = 12

func teamOfRow(id string, row map[string]json.RawMessage, take func(string) json.RawMessage) (*imported, *columnError) {
	t := &Team{ID: id}
	if raw := take("team_alias"); raw != nil {
		if reason := name(raw); reason != "" {
			return nil, &columnError{"team_alias", reason}
		}
		t.Alias = rawText(raw)
	}
	if fault := takeCommon(take, "model_aliases", &t.Models, &t.Aliases, &t.Metadata, &t.Blocked, &t.CreatedAt, &t.UpdatedAt); fault != nil {
		return nil, fault
	}
	t.Extra = row
	t.Imported = fingerprint(encode(t))
	return &imported{label: id, data: encode(t), mark: t.Imported}, nil
}

// takeCommon reads the columns that keys and teams have in common.
func takeCommon(take func(string) json.RawMessage, aliasColumn string, models *[]string, aliases *map[string]string,
	meta *map[string]json.RawMessage, blocked *bool, created, updated *time.Time,
) *columnError {
	if raw := take("models"); raw != nil {
		_ = json.Unmarshal(raw, models) // normalized: a list of texts
	}
	if len(*models) == 0 {
		*models = nil
	}
	if raw := take(aliasColumn); raw != nil && string(raw) != "{}" {
		if reason := textObject(raw); reason != "" {
			return &columnError{aliasColumn, reason}
		}
		_ = json.Unmarshal(raw, aliases) // checked
	}
	if raw := take("metadata"); raw != nil && string(raw) != "{}" {
		if reason := metadata(raw); reason != "" {
			return &columnError{"metadata", reason}
		}
		_ = json.Unmarshal(raw, meta) // checked
	}
	*blocked = string(take("blocked")) == "true"
	*created, *updated = takeTime(take("created_at")), takeTime(take("updated_at"))
	return nil
}

func rawText(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s) // normalized: a text, or absent
	return s
}

func takeTime(raw json.RawMessage) time.Time {
	t, _ := parseTime(rawText(raw)) // normalized
	return t
}

// fingerprint tells whether two records are the same.
func fingerprint(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// stored is what an import needs to know of a record that is there.
type stored struct {
	mark        string // of the import that made it; empty when none did
	fingerprint string // as it is now
	alias       string
	row         map[string]json.RawMessage
}

// readStored reads a record of a table's kind.
func (t *litellmTable) readStored(data []byte) (*stored, error) {
	s := new(stored)
	switch t.kind {
	case KeyKind:
		k, err := decode[Key](data)
		if err != nil {
			return nil, err
		}
		s.mark, s.alias, s.row = k.Imported, k.Alias, k.litellmRow()
	case TeamKind:
		team, err := decode[Team](data)
		if err != nil {
			return nil, err
		}
		s.mark, s.row = team.Imported, team.litellmRow()
	case UserKind, EndUserKind, BudgetKind:
		e, err := decode[Entry](data)
		if err != nil {
			return nil, err
		}
		s.mark, s.row = e.Imported, e.litellmRow(t)
	}
	if again, fault := t.fromRow(maps.Clone(s.row)); fault == nil {
		s.fingerprint = again.mark
	}
	return s, nil
}

// litellmRow is the record as a row of LiteLLM's table, the members that are null among them.
func (k *Key) litellmRow() map[string]json.RawMessage {
	row := tableByName(keyTable).blank()
	maps.Copy(row, k.Extra)
	row["token"] = encodeText(k.Token)
	setText(row, "key_name", k.Name)
	setText(row, "key_alias", k.Alias)
	setText(row, "user_id", k.UserID)
	setText(row, "team_id", k.TeamID)
	setCommon(row, "aliases", k.Models, k.Aliases, k.Metadata, k.Blocked, k.CreatedAt, k.UpdatedAt)
	if k.Expires != nil {
		setTime(row, "expires", *k.Expires)
	}
	return row
}

func (t *Team) litellmRow() map[string]json.RawMessage {
	row := tableByName(teamTable).blank()
	maps.Copy(row, t.Extra)
	row["team_id"] = encodeText(t.ID)
	setText(row, "team_alias", t.Alias)
	setCommon(row, "model_aliases", t.Models, t.Aliases, t.Metadata, t.Blocked, t.CreatedAt, t.UpdatedAt)
	if len(t.Aliases) == 0 {
		delete(row, "model_aliases") // which is no column of LiteLLM's table
	}
	return row
}

func (e *Entry) litellmRow(t *litellmTable) map[string]json.RawMessage {
	row := t.blank()
	maps.Copy(row, e.Fields)
	row[t.id] = encodeText(e.ID)
	return row
}

// blank is a row that says nothing: nulls, and empty values where LiteLLM's code expects those.
func (t *litellmTable) blank() map[string]json.RawMessage { return maps.Clone(blankRows[t]) }

var blankRows = func() map[*litellmTable]map[string]json.RawMessage {
	rows := make(map[*litellmTable]map[string]json.RawMessage, len(litellmTables))
	for _, t := range litellmTables {
		rows[t] = t.newBlank()
	}
	return rows
}()

func (t *litellmTable) newBlank() map[string]json.RawMessage {
	row := make(map[string]json.RawMessage, len(t.columns))
	for _, c := range t.columns {
		row[c.name] = json.RawMessage("null")
		switch c.typ {
		case textsColumn:
			row[c.name] = json.RawMessage("[]")
		case jsonColumn:
			row[c.name] = json.RawMessage("{}")
		case boolColumn:
			row[c.name] = json.RawMessage("false")
		case numberColumn:
			if c.name == "spend" {
				row[c.name] = json.RawMessage("0")
			}
		case textColumn, wholeColumn, timeColumn:
		}
	}
	for n, v := range map[string]string{"budget_limits": "null", "members_with_roles": "[]"} {
		if _, ok := row[n]; ok {
			row[n] = json.RawMessage(v)
		}
	}
	return row
}

func setText(row map[string]json.RawMessage, name, value string) {
	row[name] = json.RawMessage("null")
	if value != "" {
		row[name] = encodeText(value)
	}
}

func setTime(row map[string]json.RawMessage, name string, t time.Time) {
	row[name] = json.RawMessage("null")
	if !t.IsZero() {
		row[name] = encodeText(t.UTC().Format(time.RFC3339Nano))
	}
}

func setCommon(row map[string]json.RawMessage, aliasColumn string, models []string, aliases map[string]string,
	meta map[string]json.RawMessage, blocked bool, created, updated time.Time,
) {
	row["models"] = encodeValue(orEmptyList(models))
	row[aliasColumn] = encodeValue(orEmptyObject(aliases))
	row["metadata"] = encodeValue(orEmptyObject(meta))
	row["blocked"] = encodeValue(blocked)
	setTime(row, "created_at", created)
	setTime(row, "updated_at", updated)
}

// differences names the columns in which two rows differ.
func differences(a, b map[string]json.RawMessage) []string {
	var names []string
	for n, v := range a {
		if string(v) != string(b[n]) {
			names = append(names, n)
		}
	}
	for n := range b {
		if _, ok := a[n]; !ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// limitColumns are those by which LiteLLM refuses calls.
var limitColumns = []string{
	"max_budget", "tpm_limit", "rpm_limit", "max_parallel_requests", "model_max_budget", "budget_id", "allowed_routes",
	"allowed_model_region", "budget_limits", "blocked",
}

// unenforced returns the columns of a row that limit calls in LiteLLM and are kept here without an effect.
func (t *litellmTable) unenforced(row map[string]json.RawMessage) []string {
	var names []string
	for _, n := range limitColumns {
		if n == "blocked" && (t.kind == KeyKind || t.kind == TeamKind) {
			continue // enforced
		}
		if n == "budget_id" && t.kind == BudgetKind {
			continue // its own id
		}
		switch string(row[n]) {
		case "", "null", "{}", "[]", "false":
		default:
			names = append(names, n)
		}
	}
	return names
}
