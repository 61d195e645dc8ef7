// Package litellmdb reads and writes LiteLLM's database tables: rows of dumps become records of keys, teams, users and budgets, and back.
package litellmdb

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keystore"
)

// columnType is the type of a column of LiteLLM's database.
type columnType int

const (
	textColumn   columnType = iota
	numberColumn            // a number that is kept to the digit
	wholeColumn
	boolColumn
	timeColumn
	textsColumn // a list of texts
	jsonColumn
)

// Table is a table of LiteLLM's database of which rows are imported and exported: schema.prisma of LiteLLM 1.110.
// Columns of other versions are kept as they come.
type Table struct {
	Name    string
	kind    keystore.Kind // of the records that its rows are kept as
	id      string        // the column that identifies a row
	columns []column
}

type column struct {
	name string
	typ  columnType
}

// Names of tables.
const (
	KeyTable  = "LiteLLM_VerificationToken"
	TeamTable = "LiteLLM_TeamTable"
	userTable = "LiteLLM_UserTable"

	BudgetTable  = "LiteLLM_BudgetTable"
	memberTable  = "LiteLLM_TeamMembership"
	endUserTable = "LiteLLM_EndUserTable"
)

// Tables are in the order of an export: what restricts keys comes before them.
var Tables = []*Table{
	{BudgetTable, keystore.BudgetKind, "budget_id", columnsOf(
		"budget_id", "max_budget:n", "soft_budget:n", "max_parallel_requests:i", "tpm_limit:i", "rpm_limit:i", "tpd_limit:i",
		"model_max_budget:j", "budget_duration", "budget_reset_at:t", "allowed_models:l", "temp_budget_increase:n", "temp_budget_expiry:t",
		"created_at:t", "created_by", "updated_at:t", "updated_by")},
	{userTable, keystore.UserKind, "user_id", columnsOf(
		"user_id", "user_alias", "team_id", "sso_user_id", "organization_id", "object_permission_id", "password", "teams:l",
		"user_role", "max_budget:n", "spend:n", "user_email", "models:l", "metadata:j", "max_parallel_requests:i",
		"tpm_limit:i", "rpm_limit:i", "budget_duration", "budget_reset_at:t", "allowed_cache_controls:l", "policies:l",
		"model_spend:j", "model_max_budget:j", "created_at:t", "updated_at:t")},
	{endUserTable, keystore.EndUserKind, "user_id", columnsOf(
		"user_id", "alias", "spend:n", "allowed_model_region", "default_model", "models:l", "budget_id", "object_permission_id",
		"blocked:b")},
	{TeamTable, keystore.TeamKind, "team_id", columnsOf(
		"team_id", "team_alias", "organization_id", "object_permission_id", "admins:l", "members:l", "members_with_roles:j",
		"metadata:j", "max_budget:n", "soft_budget:n", "spend:n", "models:l", "max_parallel_requests:i", "tpm_limit:i",
		"rpm_limit:i", "tpd_limit:i", "budget_duration", "budget_reset_at:t", "blocked:b", "created_at:t", "updated_at:t", "model_spend:j",
		"model_max_budget:j", "router_settings:j", "team_member_permissions:l", "access_group_ids:l", "policies:l",
		"default_team_member_models:l", "budget_limits:j", "model_id:i", "allow_team_guardrail_config:b")},
	{memberTable, keystore.MemberKind, "user_id", columnsOf("user_id", "team_id", "spend:n", "total_spend:n", "budget_id")},
	{KeyTable, keystore.KeyKind, "token", columnsOf(
		"token", "key_name", "key_alias", "soft_budget_cooldown:b", "spend:n", "total_spend:n", "expires:t", "models:l", "aliases:j",
		"config:j", "router_settings:j", "user_id", "team_id", "agent_id", "project_id", "permissions:j",
		"max_parallel_requests:i", "metadata:j", "blocked:b", "tpm_limit:i", "rpm_limit:i", "tpd_limit:i", "max_budget:n",
		"budget_duration", "budget_reset_at:t", "allowed_cache_controls:l", "allowed_routes:l", "key_type", "policies:l",
		"access_group_ids:l", "model_spend:j", "model_max_budget:j", "budget_fallbacks:j", "budget_id", "organization_id",
		"object_permission_id", "created_at:t", "created_by", "updated_at:t", "updated_by", "settings_updated_at:t", "last_active:t",
		"rotation_count:i", "auto_rotate:b", "rotation_interval", "last_rotation_at:t", "key_rotation_at:t",
		"budget_limits:j")},
}

// columnsOf reads columns written as name, or name:letter for a type other than text.
func columnsOf(written ...string) []column {
	out := make([]column, 0, len(written))
	for _, w := range written {
		name, letter, _ := strings.Cut(w, ":")
		out = append(out, column{name, map[string]columnType{
			"": textColumn, "n": numberColumn, "i": wholeColumn, "b": boolColumn, "t": timeColumn, "l": textsColumn, "j": jsonColumn,
		}[letter]})
	}
	return out
}

// Find finds a table by its name, in any case and with or without LiteLLM's prefix; nil when there is none.
func Find(name string) *Table {
	for _, t := range Tables {
		if strings.EqualFold(name, t.Name) || strings.EqualFold("LiteLLM_"+name, t.Name) {
			return t
		}
	}
	return nil
}

// tableByFile finds the table whose name a file's name holds; nil when there is none.
func tableByFile(file string) *Table {
	file = strings.ToLower(file)
	for _, t := range Tables {
		if at := strings.Index(file, strings.ToLower(strings.TrimPrefix(t.Name, "LiteLLM_"))); at >= 0 {
			// UserTable is the end of EndUserTable.
			if t.Name != userTable || !strings.HasSuffix(file[:at], "end") {
				return t
			}
		}
	}
	return nil
}

// tableByColumns finds the table that has these columns; nil when none does.
func tableByColumns(has func(name string) bool) *Table {
	any := func(names ...string) bool { return slices.ContainsFunc(names, has) }
	switch {
	case has("token"):
		return Find(KeyTable)
	case has("team_id") && any("members_with_roles", "admins", "team_alias"):
		return Find(TeamTable)
	case has("user_id") && any("user_role", "user_email", "sso_user_id", "teams"):
		return Find(userTable)
	case has("user_id") && has("team_id") && has("spend"):
		return Find(memberTable)
	case has("user_id") && any("allowed_model_region", "default_model", "alias"):
		return Find(endUserTable)
	case has("budget_id") && any("soft_budget", "max_budget") && !has("user_id"):
		return Find(BudgetTable)
	}
	return nil
}

// IsKeys reports whether the table's rows are keys.
func (t *Table) IsKeys() bool { return t.kind == keystore.KeyKind }

// ID returns the column that identifies a row.
func (t *Table) ID() string { return t.id }

// Columns returns the names of the table's columns, in its order.
func (t *Table) Columns() []string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return names
}

// typeOf returns the type of a column, and false for one that this version of the schema does not have.
func (t *Table) typeOf(name string) (columnType, bool) {
	for _, c := range t.columns {
		if c.name == name {
			return c.typ, true
		}
	}
	return jsonColumn, false
}

// Names lists the tables for messages.
func Names() string {
	names := make([]string, 0, len(Tables))
	for _, t := range Tables {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
}

// ColumnError reports what is wrong with a value of a row. It holds no value, as that may be a secret.
type ColumnError struct{ Column, Reason string }

func (f *ColumnError) Error() string { return f.Column + ": " + f.Reason }

// normalize brings the values of a row of JSON into the one form in which they are kept, so that dumps of either format give
// the same records. Members that are null are left out.
func (t *Table) normalize(row map[string]json.RawMessage) (map[string]json.RawMessage, *ColumnError) {
	out := make(map[string]json.RawMessage, len(row))
	names := make([]string, 0, len(row))
	for n := range row {
		names = append(names, n)
	}
	slices.Sort(names) // so that the same row always has the same first fault
	for _, n := range names {
		raw := bytes.TrimSpace(row[n])
		if len(raw) == 0 || string(raw) == "null" {
			continue
		}
		typ, _ := t.typeOf(n)
		value, fault := typ.normalize(raw)
		if fault != "" {
			return nil, &ColumnError{n, fault}
		}
		out[n] = value
	}
	return out, nil
}

func (typ columnType) normalize(raw json.RawMessage) (json.RawMessage, string) {
	switch typ {
	case numberColumn, wholeColumn:
		// Numbers of 64 bits are written as strings where they might not fit JavaScript's.
		var s string
		if raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
			raw = json.RawMessage(s)
		}
		return typ.fromText(string(raw))
	case boolColumn:
		if _, ok := decode[bool](raw); !ok {
			return nil, "must be true or false"
		}
	case textColumn:
		if _, ok := decode[string](raw); !ok {
			return nil, "must be a string"
		}
	case timeColumn:
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return nil, "must be a time"
		}
		return typ.fromText(s)
	case textsColumn:
		if _, ok := decode[[]string](raw); !ok {
			return nil, "must be a list of strings"
		}
	case jsonColumn:
		// Some versions of LiteLLM keep JSON within a string.
		var s string
		if raw[0] == '"' && json.Unmarshal(raw, &s) == nil && len(s) > 0 && (s[0] == '{' || s[0] == '[') && json.Valid([]byte(s)) {
			raw = json.RawMessage(s)
		}
	}
	return compact(raw)
}

// fromText reads a value as PostgreSQL writes it in CSV.
func (typ columnType) fromText(s string) (json.RawMessage, string) {
	switch typ {
	case numberColumn:
		if strings.HasPrefix(strings.ToLower(strings.TrimPrefix(s, "-")), "inf") || strings.EqualFold(s, "nan") || !number(s) {
			return nil, "must be a number"
		}
		return json.RawMessage(s), ""
	case wholeColumn:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, "must be a whole number"
		}
		return strconv.AppendInt(nil, n, 10), ""
	case boolColumn:
		switch strings.ToLower(s) {
		case "t", "true":
			return json.RawMessage("true"), ""
		case "f", "false":
			return json.RawMessage("false"), ""
		}
		return nil, "must be true or false"
	case timeColumn:
		t, ok := parseTime(s)
		if !ok {
			return nil, "must be a time such as 2026-05-06 07:08:09.123"
		}
		return encodeValue(t.Format(time.RFC3339Nano)), ""
	case textsColumn:
		l, ok := parseArray(s)
		if !ok {
			return nil, `must be a list such as {gpt-4o,"claude 4"}`
		}
		return encodeValue(l), ""
	case jsonColumn:
		return compact(json.RawMessage(s))
	case textColumn:
	}
	return encodeValue(s), ""
}

// number reports whether s is a number in JSON's grammar, which is how PostgreSQL writes those that are finite.
func number(s string) bool {
	return s != "" && (s[0] == '-' || s[0] >= '0' && s[0] <= '9') && json.Valid([]byte(s))
}

func compact(raw json.RawMessage) (json.RawMessage, string) {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return nil, "must be JSON"
	}
	return b.Bytes(), ""
}

// parseTime reads a time of PostgreSQL or of JSON; one without a zone is UTC, as LiteLLM's are.
func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{
		"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", time.RFC3339Nano,
		"2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07", "2006-01-02T15:04:05.999999999Z07",
	} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() > 0 && t.Year() < 10_000 {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// parseArray reads a one-dimensional array of texts as PostgreSQL writes it: {a,"b, c",NULL}. NULL items are left out.
func parseArray(s string) ([]string, bool) {
	s, opened := strings.CutPrefix(strings.TrimSpace(s), "{")
	s, closed := strings.CutSuffix(s, "}")
	if !opened || !closed {
		return nil, false
	}
	list := []string{}
	if strings.TrimSpace(s) == "" {
		return list, true
	}
	for {
		var item string
		quoted := strings.HasPrefix(s, `"`)
		if quoted {
			var ok bool
			if item, s, ok = quotedItem(s[1:]); !ok {
				return nil, false
			}
		} else {
			end := strings.IndexByte(s, ',')
			if end < 0 {
				end = len(s)
			}
			item, s = s[:end], s[end:]
			if item == "" || strings.ContainsAny(item, `{}"\`) {
				return nil, false
			}
		}
		if quoted || !strings.EqualFold(item, "NULL") {
			list = append(list, item)
		}
		if s == "" {
			return list, true
		}
		if s[0] != ',' {
			return nil, false
		}
		s = s[1:]
	}
}

// quotedItem reads an item of an array up to its closing quote.
func quotedItem(s string) (item, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

// decode reads a value of a column, and reports whether it is a T.
func decode[T any](raw json.RawMessage) (v T, ok bool) {
	return v, json.Unmarshal(raw, &v) == nil
}

// encodeValue encodes what can always be encoded.
func encodeValue(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("litellmdb: encoding a value: " + err.Error())
	}
	return b
}

// CSV writes a value of a column as PostgreSQL reads it in CSV, where nothing at all is NULL.
func (t *Table) CSV(column string, raw json.RawMessage) string {
	typ, known := t.typeOf(column)
	if !known {
		typ = textColumn
	}
	return typ.toCSV(raw)
}

func (typ columnType) toCSV(raw json.RawMessage) string {
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	switch typ {
	case textsColumn:
		l, _ := decode[[]string](raw)
		for i, s := range l {
			l[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
		}
		return QuoteCSV("{" + strings.Join(l, ",") + "}")
	case timeColumn, textColumn:
		if raw[0] == '"' {
			return QuoteCSV(rawText(raw))
		}
	case numberColumn, wholeColumn, boolColumn, jsonColumn:
	}
	return QuoteCSV(string(raw))
}

// QuoteCSV quotes a cell where it must be, and an empty one, which would be NULL otherwise.
func QuoteCSV(s string) string {
	if s == "" || strings.ContainsAny(s, "\",\r\n") || s != strings.TrimSpace(s) || s == `\.` {
		return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
	return s
}
