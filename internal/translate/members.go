package translate

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

//go:embed members.txt
var membersText string

// Action is what becomes of a member of the caller's body.
type Action string

// The actions of the table of members.
const (
	Carried Action = "carried" // the same at the upstream
	Mapped  Action = "mapped"  // by the rule that the row's text states
	Void    Action = "void"    // asks for nothing that the upstream lacks: left out, and named in the record
	Refused Action = "refused" // refuses the call, or is left out and named where that was asked for
)

// Row is one of the table of members.
type Row struct {
	Member  string // its place: temperature, messages[user].content[text].text, tools[web_search*]
	Action  Action
	When    []string // the values that the row is for, as compact JSON; empty: any other
	Text    string   // a rule for readers; of a refused member, the reason, which completes a sentence that begins with the member
	Example string   // a value for the test of the table, as JSON; empty where When has one or any will do
}

// table is the rows of one pair, by place.
type table map[string][]*Row

// tables are the rows of each pair by place.
var tables = mustRead(membersText)

func mustRead(text string) map[Pair]table {
	list, err := readRows(text)
	if err != nil {
		panic("members.txt: " + err.Error())
	}
	by := make(map[Pair]table)
	for pair, rows := range list {
		t := make(table)
		for _, r := range rows {
			t[r.Member] = append(t[r.Member], r)
		}
		by[pair] = t
	}
	return by
}

// readRows reads the format that members.txt describes.
func readRows(text string) (map[Pair][]*Row, error) {
	list := make(map[Pair][]*Row)
	var pair Pair
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if strings.HasPrefix(line, "== ") {
			caller, upstream, ok := strings.Cut(line[3:], " -> ")
			if pair = (Pair{API(caller), API(upstream)}); !ok {
				return nil, fmt.Errorf("line %d: a pair is expected", n)
			}
			continue
		}
		cells := strings.Split(line, " | ")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) < 4 || len(cells) > 5 || pair == (Pair{}) {
			return nil, fmt.Errorf("line %d: member | action | when | text | example are expected", n)
		}
		r := &Row{Member: cells[0], Action: Action(cells[1]), Text: cells[3]}
		if len(cells) == 5 {
			r.Example = cells[4]
		}
		switch r.Action {
		case Carried, Mapped, Void, Refused:
		default:
			return nil, fmt.Errorf("line %d: no action is named %s", n, r.Action)
		}
		if cells[2] != "-" {
			for value := range strings.SplitSeq(cells[2], " or ") {
				compact, err := compactJSON(value)
				if err != nil {
					return nil, fmt.Errorf("line %d: %s is no JSON", n, value)
				}
				r.When = append(r.When, compact)
			}
		}
		list[pair] = append(list[pair], r)
	}
	return list, nil
}

func compactJSON(value string) (string, error) {
	var b bytes.Buffer
	err := json.Compact(&b, []byte(value))
	return b.String(), err
}

// unknown is the row of a member that the table does not have.
var unknown = &Row{Action: Refused, Text: "is not known here, so that it is not translated"}

// find returns the row of a member with a value: the first that is for the value, else that for any other. What the table does not
// have is refused.
func (t table) find(member string, value gjson.Result) *Row {
	rows, ok := t[member]
	if !ok {
		rows = t.byKind(member)
	}
	for _, r := range rows {
		if len(r.When) == 0 || r.is(value) {
			return r
		}
	}
	return unknown
}

// byKind finds a place whose last kind the table has with a star: tools[web_search_20250305] as tools[web_search_*].
func (t table) byKind(member string) []*Row {
	if !strings.HasSuffix(member, "]") {
		return nil
	}
	from := strings.LastIndexByte(member, '[')
	for to := len(member) - 1; to > from; to-- {
		if rows := t[member[:to]+"*]"]; rows != nil {
			return rows
		}
	}
	return nil
}

// is reports whether the row is for a value.
func (r *Row) is(value gjson.Result) bool {
	raw := value.Raw
	if value.IsObject() || value.IsArray() {
		var err error
		if raw, err = compactJSON(raw); err != nil {
			return false
		}
	}
	for _, w := range r.When {
		if raw == w || value.Type == gjson.Number && isNumber(w) && value.Num == gjson.Parse(w).Num ||
			value.Type == gjson.String && w[0] == '"' && value.Str == gjson.Parse(w).Str {
			return true
		}
	}
	return false
}

func isNumber(json string) bool { return json[0] == '-' || json[0] >= '0' && json[0] <= '9' }

// place is one in the caller's body: as the table of members names it, and as the body has it.
type place struct{ kind, path string }

// member returns the place of a member of the object at p.
func (p place) member(name string) place {
	if p.kind == "" {
		return place{name, name}
	}
	return place{p.kind + "." + name, p.path + "." + name}
}

// element returns the place of an element of the array at p, of a kind such as its type or its role.
func (p place) element(i int, kind string) place {
	return place{p.kind + "[" + kind + "]", p.path + "[" + strconv.Itoa(i) + "]"}
}

// maxMembers bounds the members of an object that is walked over. The APIs' own have fewer than fifty.
const maxMembers = 256

// walk calls carry for each member of the object at p that the table has as carried or mapped. It names the void ones, and refuses the
// others, as well as a member that is there twice. carry may be nil where there are none to carry.
func (t *Translation) walk(p place, object gjson.Result, carry func(name string, at place, value gjson.Result) error) error {
	if !object.IsObject() {
		return invalid(p.path, "must be an object")
	}
	var space [24]string
	seen := space[:0]
	var err error
	object.ForEach(func(key, value gjson.Result) bool {
		at := p.member(key.Str)
		if slices.Contains(seen, key.Str) {
			err = invalid(at.path, "is there twice")
			return false
		}
		if len(seen) == maxMembers {
			err = invalid(at.path, "is one member too many: an object has at most %d", maxMembers)
			return false
		}
		seen = append(seen, key.Str)
		var row *Row
		if row, err = t.judge(at, value); err != nil || row == nil {
			return err == nil
		}
		if carry != nil {
			err = carry(key.Str, at, value)
		}
		return err == nil
	})
	return err
}

// judge looks up the place of a value. It returns the row of what is carried or mapped, nil for what is left out, and else a refusal.
func (t *Translation) judge(at place, value gjson.Result) (*Row, error) {
	row := t.table.find(at.kind, value)
	switch row.Action {
	case Void:
		t.drop(at.kind)
		return nil, nil
	case Refused:
		return nil, t.refuse(at.path, "%s", row.Text)
	case Carried, Mapped:
	}
	return row, nil
}
