package keys

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// Filter chooses keys; an empty member chooses all.
type Filter struct {
	UserID, TeamID, OrganizationID, ProjectID, AgentID, KeyHash, KeyAlias string
	Search                                                                string // part of the alias, or the beginning of the hash
	Substring                                                             bool   // KeyAlias and UserID are parts
	// Among restricts the keys to those of these teams and of this user; nil: it does not.
	Among *Among
}

// Among is what a caller may see who may not see all keys.
type Among struct {
	Teams []string
	User  string
	Key   string // the caller's own
}

func (a *Among) has(k *Key) bool {
	return a == nil || k.Token == a.Key || k.TeamID != "" && slices.Contains(a.Teams, k.TeamID) || a.User != "" && a.User == k.UserID
}

// Matches reports whether a key is one of those. A key that was replaced is none.
func (f *Filter) Matches(k *Key) bool {
	same := func(want, is string) bool { return want == "" || want == is }
	part := same
	if f.Substring {
		part = func(want, is string) bool { return strings.Contains(strings.ToLower(is), strings.ToLower(want)) }
	}
	return k.Successor == "" && f.Among.has(k) && part(f.UserID, k.UserID) && part(f.KeyAlias, k.Alias) && same(f.TeamID, k.TeamID) &&
		same(f.KeyHash, k.Token) && same(f.OrganizationID, stringMember(k.Extra, "organization_id")) &&
		same(f.ProjectID, stringMember(k.Extra, "project_id")) && same(f.AgentID, stringMember(k.Extra, "agent_id")) &&
		(f.Search == "" || strings.HasPrefix(k.Token, f.Search) || strings.Contains(strings.ToLower(k.Alias), strings.ToLower(f.Search)))
}

// Page is a part of a list, of Size records from From on.
type Page struct{ From, Size int }

// Order sorts a list; without a field it is in the order of ids.
type Order struct {
	Field string
	Down  bool
}

// List returns a page of the keys that match, and how many there are in all.
func (s *Service) List(ctx context.Context, f Filter, o Order, p Page) (keys []*Key, total int, err error) {
	err = Each(ctx, s, keystore.KeyKind, s.Skip, func(k *Key) error {
		if f.Matches(k) {
			keys = append(keys, k)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	sortBy(keys, o, (*Key).column)
	return cut(keys, p), len(keys), nil
}

// sortBy sorts records by one of their columns; equal ones stay in the order of their ids, and those without a value come last.
func sortBy[T any](list []*T, o Order, column func(*T, string) string) {
	if o.Field == "" {
		if o.Down {
			slices.Reverse(list)
		}
		return
	}
	type keyed struct {
		rec *T
		by  string
	}
	rows := make([]keyed, len(list))
	for i, r := range list {
		rows[i] = keyed{r, column(r, o.Field)}
	}
	slices.SortStableFunc(rows, func(a, b keyed) int {
		if a.by == "" || b.by == "" {
			return cmp.Compare(len(b.by), len(a.by))
		}
		c := compare(a.by, b.by)
		if o.Down {
			c = -c
		}
		return c
	})
	for i := range rows {
		list[i] = rows[i].rec
	}
}

// compare compares amounts as such, and all else as texts.
func compare(a, b string) int {
	x, errX := price.ParseUSD(a)
	y, errY := price.ParseUSD(b)
	if errX == nil && errY == nil {
		return x.Cmp(y)
	}
	return cmp.Compare(a, b)
}

func cut[T any](list []*T, p Page) []*T {
	from := min(max(0, p.From), len(list))
	return list[from:min(len(list), from+p.Size)]
}

// column returns a column's value by which keys are sorted.
func (k *Key) column(name string) string {
	switch name {
	case "key_alias":
		return k.Alias
	case "key_name":
		return k.Name
	case "token":
		return k.Token
	case "user_id":
		return k.UserID
	case "team_id":
		return k.TeamID
	case "expires":
		if k.Expires == nil {
			return ""
		}
		return k.Expires.Format(sortable)
	case "created_at":
		return k.CreatedAt.Format(sortable)
	case "updated_at":
		return k.UpdatedAt.Format(sortable)
	}
	return valueOf(k.Extra[name])
}

func (t *Team) column(name string) string {
	switch name {
	case "team_id":
		return t.ID
	case "team_alias":
		return t.Alias
	case "created_at":
		return t.CreatedAt.Format(sortable)
	case "updated_at":
		return t.UpdatedAt.Format(sortable)
	}
	return valueOf(t.Extra[name])
}

func (e *Entry) column(name string) string {
	if name == "user_id" || name == "budget_id" && e.Fields[name] == nil {
		return e.ID
	}
	return valueOf(e.Fields[name])
}

const sortable = "2006-01-02T15:04:05.000Z"

// valueOf is a field as it is sorted.
func valueOf(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

// KeysByUser returns how many keys each user has.
func (s *Service) KeysByUser(ctx context.Context) (map[string]int, error) {
	counts := make(map[string]int)
	err := Each(ctx, s, keystore.KeyKind, s.Skip, func(k *Key) error {
		if k.Successor == "" && k.UserID != "" {
			counts[k.UserID]++
		}
		return nil
	})
	return counts, err
}

// ListTeams returns a page of the teams that match, and how many there are in all.
func (s *Service) ListTeams(ctx context.Context, matches func(*Team) bool, o Order, p Page) ([]*Team, int, error) {
	all, err := s.Teams(ctx)
	if err != nil {
		return nil, 0, err
	}
	all = slices.DeleteFunc(all, func(t *Team) bool { return !matches(t) })
	sortBy(all, o, (*Team).column)
	return cut(all, p), len(all), nil
}

// ListEntries returns a page of the entries of a sort that match, and how many there are in all.
func (s *Service) ListEntries(ctx context.Context, sort *Sort, matches func(*Entry) bool, o Order, p Page) (list []*Entry, total int, err error) {
	err = Each(ctx, s, sort.Kind, s.Skip, func(e *Entry) error {
		if matches(e) {
			list = append(list, e)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	sortBy(list, o, (*Entry).column)
	return cut(list, p), len(list), nil
}

// Text returns a field of an entry that is a text; empty when it is absent.
func (e *Entry) Text(field string) string { return stringMember(e.Fields, field) }
