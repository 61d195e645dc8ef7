package litellmdb

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// imported is a record as a row of a dump gives it.
type imported struct {
	table *Table
	id    string
	team  string // the key's team
	// restricted reports that the record names no models: with access groups it may use none
	restricted bool
	alias      string // unique among the records of the kind; empty where there is none
	label      string // names the row for people: never a whole hash
	data       []byte // the record, with its mark
	mark       string // the version of the record without its mark
}

// A mark in a record is the version of what an import made of a row. As long as a dump has the same as at that import it
// changes nothing, whatever became of the record here; a record that still has its mark's version was not changed here.

// fromRow builds the record of a row, whose values it checks as the key API does.
func (t *Table) fromRow(row map[string]json.RawMessage) (*imported, *ColumnError) {
	row, fault := t.normalize(row)
	if fault != nil {
		return nil, fault
	}
	blank := blankRows[t]
	for n, v := range row {
		if empty, known := blank[n]; known && bytes.Equal(v, empty) {
			delete(row, n) // an empty value
		}
	}
	take := func(name string) json.RawMessage {
		raw := row[name]
		delete(row, name)
		return raw
	}
	id := rawText(take(t.id))
	if id == "" {
		return nil, &ColumnError{t.id, "is missing"}
	}
	label := id
	if t.kind == keystore.MemberKind {
		team := rawText(row["team_id"])
		if team == "" {
			return nil, &ColumnError{"team_id", "is missing"}
		}
		if err := llm.CheckName(team); err != nil {
			return nil, &ColumnError{"team_id", err.Error()}
		}
		row[t.id] = encodeValue(id)
		label += " in " + team
	}
	var rec *imported
	switch t.kind {
	case keystore.KeyKind:
		rec, fault = keyOfRow(id, row, take)
	case keystore.TeamKind:
		rec, fault = teamOfRow(id, row, take)
	case keystore.UserKind, keystore.EndUserKind, keystore.BudgetKind, keystore.MemberKind, keystore.AuditKind:
		delete(row, "password") // of LiteLLM's own pages: a secret that nothing here needs
		if fault := checkLimits(row, nil); fault != nil {
			return nil, fault
		}
		rec, fault = markEntry(&keys.Entry{ID: t.idOf(id, row), Fields: row}), nil
		rec.label = label
	}
	if fault != nil {
		return nil, fault
	}
	rec.table, rec.id = t, t.idOf(id, row)
	if t.kind == keystore.KeyKind {
		rec.id = strings.ToLower(id)
	} else if err := llm.CheckName(id); err != nil {
		return nil, &ColumnError{t.id, err.Error()}
	}
	return rec, nil
}

// idOf returns the id of the record that a row is kept as: the row's own, but for members, whom their team and user name.
func (t *Table) idOf(id string, row map[string]json.RawMessage) string {
	if t.kind == keystore.MemberKind {
		return limit.MemberID(rawText(row["team_id"]), id)
	}
	return id
}

func markEntry(e *keys.Entry) *imported {
	r := &imported{label: e.ID}
	e.Imported = ""
	e.Imported = keystore.Version(keys.Encode(e))
	r.mark, r.data = e.Imported, keys.Encode(e)
	return r
}

func keyOfRow(token string, row map[string]json.RawMessage, take func(string) json.RawMessage) (*imported, *ColumnError) {
	if strings.HasPrefix(token, keys.Prefix) {
		return nil, &ColumnError{"token", "is a key in clear, not the hash of one: LiteLLM keeps hashes"}
	}
	if b, err := hex.DecodeString(token); err != nil || len(b) != len(keys.Digest{}) {
		return nil, &ColumnError{"token", "is not the SHA-256 of a key, 64 hex digits"}
	}
	k := &keys.Key{Token: strings.ToLower(token)}
	for _, c := range []struct {
		name string
		to   *string
	}{{"key_alias", &k.Alias}, {"user_id", &k.UserID}, {"team_id", &k.TeamID}} {
		*c.to = rawText(take(c.name))
		if err := llm.CheckName(*c.to); err != nil {
			return nil, &ColumnError{c.name, err.Error()}
		}
	}
	if k.Name = rawText(take("key_name")); strings.HasPrefix(k.Name, keys.Prefix) && !strings.Contains(k.Name, "...") {
		k.Name = keys.Abbreviate(k.Name)
	}
	if fault := takeCommon(take, "aliases", &k.Models, &k.Aliases, &k.Metadata, &k.Blocked, &k.CreatedAt, &k.UpdatedAt); fault != nil {
		return nil, fault
	}
	if at := takeTime(take("expires")); !at.IsZero() {
		k.Expires = &at
	}
	delete(row, "litellm_budget_table") // it is the budget's row, which is kept apart
	k.Extra = row
	if fault := checkLimits(k.Extra, k.Metadata); fault != nil {
		return nil, fault
	}
	k.Imported = keystore.Version(keys.Encode(k))
	label := k.Short()
	if k.Name != "" {
		label += " " + k.Name
	}
	if k.Alias != "" {
		label += " " + k.Alias
	}
	return &imported{team: k.TeamID, restricted: len(k.Models) == 0, alias: k.Alias, label: label, data: keys.Encode(k), mark: k.Imported}, nil
}

func teamOfRow(id string, row map[string]json.RawMessage, take func(string) json.RawMessage) (*imported, *ColumnError) {
	t := &keys.Team{ID: id}
	t.Alias = rawText(take("team_alias"))
	if err := llm.CheckName(t.Alias); err != nil {
		return nil, &ColumnError{"team_alias", err.Error()}
	}
	if fault := takeCommon(take, "model_aliases", &t.Models, &t.Aliases, &t.Metadata, &t.Blocked, &t.CreatedAt, &t.UpdatedAt); fault != nil {
		return nil, fault
	}
	t.Extra = row
	if fault := checkLimits(t.Extra, t.Metadata); fault != nil {
		return nil, fault
	}
	t.Imported = keystore.Version(keys.Encode(t))
	return &imported{label: id, restricted: len(t.Models) == 0, data: keys.Encode(t), mark: t.Imported}, nil
}

// checkLimits makes sure that the limits of a row can be read when calls are judged by them.
func checkLimits(fields, meta map[string]json.RawMessage) *ColumnError {
	_, err := keys.ParseLimits(fields, meta)
	if err == nil {
		return nil
	}
	column, fault, _ := strings.Cut(err.Error(), " ")
	return &ColumnError{column, fault}
}

// takeCommon reads the columns that keys and teams have in common.
func takeCommon(take func(string) json.RawMessage, aliasColumn string, models *[]string, aliases *map[string]string,
	meta *map[string]json.RawMessage, blocked *bool, created, updated *time.Time,
) *ColumnError {
	if l, ok := decode[[]string](take("models")); ok && len(l) > 0 {
		*models = l
	}
	if raw := take(aliasColumn); raw != nil && string(raw) != "{}" {
		m, ok := decode[map[string]string](raw)
		if !ok {
			return &ColumnError{aliasColumn, "must be an object of strings"}
		}
		*aliases = m
	}
	if raw := take("metadata"); raw != nil && string(raw) != "{}" {
		m, ok := decode[map[string]json.RawMessage](raw)
		if !ok {
			return &ColumnError{"metadata", "must be an object"}
		}
		if reason := keys.CheckMetadata(m); reason != "" {
			return &ColumnError{"metadata", reason}
		}
		*meta = m
	}
	*blocked = string(take("blocked")) == "true"
	*created, *updated = takeTime(take("created_at")), takeTime(take("updated_at"))
	return nil
}

// rawText returns the text of a normalized column; empty when it is absent.
func rawText(raw json.RawMessage) string {
	s, _ := decode[string](raw)
	return s
}

func takeTime(raw json.RawMessage) time.Time {
	t, _ := parseTime(rawText(raw)) // normalized
	return t
}

// stored is what an import needs to know of a record that is there.
type stored struct {
	mark        string // of the import that made it; empty when none did
	fingerprint string // as it is now
	alias       string
	implied     bool // a team of which nothing but its id was given
	row         map[string]json.RawMessage
}

// readStored reads a record of a table's kind.
func (t *Table) readStored(id string, data []byte) (*stored, error) {
	s := new(stored)
	switch t.kind {
	case keystore.KeyKind:
		k, err := keys.Decode[keys.Key](id, data)
		if err != nil {
			return nil, err
		}
		s.mark, s.alias, s.row = k.Imported, k.Alias, keyRow(k)
	case keystore.TeamKind:
		team, err := keys.Decode[keys.Team](id, data)
		if err != nil {
			return nil, err
		}
		s.mark, s.implied, s.row = team.Imported, team.Implied, teamRow(team)
	case keystore.UserKind, keystore.EndUserKind, keystore.BudgetKind, keystore.MemberKind, keystore.AuditKind:
		e, err := keys.Decode[keys.Entry](id, data)
		if err != nil {
			return nil, err
		}
		s.mark, s.row = e.Imported, entryRow(e, t)
	}
	if again, fault := t.fromRow(maps.Clone(s.row)); fault == nil {
		s.fingerprint = again.mark
	}
	return s, nil
}

// keyRow is the record as a row of LiteLLM's table, the members that are null among them.
func keyRow(k *keys.Key) map[string]json.RawMessage {
	row := Find(KeyTable).blank()
	maps.Copy(row, k.Extra)
	row["token"] = encodeValue(k.Token)
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

func teamRow(t *keys.Team) map[string]json.RawMessage {
	row := Find(TeamTable).blank()
	maps.Copy(row, t.Extra)
	row["team_id"] = encodeValue(t.ID)
	setText(row, "team_alias", t.Alias)
	setCommon(row, "model_aliases", t.Models, t.Aliases, t.Metadata, t.Blocked, t.CreatedAt, t.UpdatedAt)
	if len(t.Aliases) == 0 {
		delete(row, "model_aliases") // which is no column of LiteLLM's table
	}
	return row
}

func entryRow(e *keys.Entry, t *Table) map[string]json.RawMessage {
	row := t.blank()
	maps.Copy(row, e.Fields)
	if t.kind != keystore.MemberKind { // whose user and team are fields
		row[t.id] = encodeValue(e.ID)
	}
	return row
}

// blank is an empty row: nulls, and empty values where LiteLLM's code expects those.
func (t *Table) blank() map[string]json.RawMessage { return maps.Clone(blankRows[t]) }

var blankRows = func() map[*Table]map[string]json.RawMessage {
	rows := make(map[*Table]map[string]json.RawMessage, len(Tables))
	for _, t := range Tables {
		rows[t] = t.newBlank()
	}
	return rows
}()

func (t *Table) newBlank() map[string]json.RawMessage {
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
		row[name] = encodeValue(value)
	}
}

func setTime(row map[string]json.RawMessage, name string, t time.Time) {
	row[name] = json.RawMessage("null")
	if !t.IsZero() {
		row[name] = encodeValue(t.UTC().Format(time.RFC3339Nano))
	}
}

func setCommon(row map[string]json.RawMessage, aliasColumn string, models []string, aliases map[string]string,
	meta map[string]json.RawMessage, blocked bool, created, updated time.Time,
) {
	row["models"] = encodeValue(append([]string{}, models...))
	row[aliasColumn] = encodeValue(orEmpty(aliases))
	row["metadata"] = encodeValue(orEmpty(meta))
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

// limitColumns are those by which LiteLLM refuses calls, and which have no effect here.
var limitColumns = map[keystore.Kind][]string{
	keystore.KeyKind: {"tpd_limit"}, keystore.TeamKind: {"tpd_limit"}, keystore.BudgetKind: {"tpd_limit", "allowed_models"},
	keystore.EndUserKind: {"allowed_model_region", "models"},
}

// unenforced returns the columns of a row that limit calls in LiteLLM and are kept here without an effect.
func (t *Table) unenforced(row map[string]json.RawMessage) []string {
	var names []string
	for _, n := range limitColumns[t.kind] {
		switch string(row[n]) {
		case "", "null", "{}", "[]", "false":
		default:
			names = append(names, n)
		}
	}
	return names
}
