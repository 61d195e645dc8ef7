package console

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
)

// keysListed is the maximum number of keys on a page.
const keysListed = 50

// limitFields are the limits that the console can set, by their LiteLLM names. An empty field means no limit.
var limitFields = []field{
	{Name: "max_budget", Label: "Budget in USD", Hint: "for each window"},
	{Name: "budget_duration", Label: "Window of the budget", Hint: "such as 30d or 1mo; empty: never resets"},
	{Name: "rpm_limit", Label: "Requests a minute"},
	{Name: "tpm_limit", Label: "Tokens a minute"},
	{Name: "max_parallel_requests", Label: "Calls at once"},
}

// withValues fills in the fields from a record.
func withValues(list []field, values map[string]json.RawMessage) []field {
	out := make([]field, len(list))
	for i, f := range list {
		raw := values[f.Name]
		if json.Unmarshal(raw, &f.Value) != nil {
			f.Value = string(raw) // a number
		}
		out[i] = f
	}
	return out
}

// withKeys calls fn with the site's key service.
func (v *visit) withKeys(fn func(ctx context.Context, s *keys.Service) (*content, error)) (*content, error) {
	s, release, err := v.site.keys.Service(v.r.Context())
	if err != nil {
		return nil, err
	}
	defer release()
	return fn(v.r.Context(), s)
}

// showKeys lists keys or shows one key.
func showKeys(v *visit) (*content, error) {
	return v.withKeys(func(ctx context.Context, s *keys.Service) (*content, error) {
		if v.arg != "" {
			k, err := s.Find(ctx, v.arg)
			if err != nil {
				return nil, err
			}
			return v.keyPage(ctx, k)
		}
		asked := v.r.URL.Query()
		f := keys.Filter{KeyAlias: asked.Get("alias"), TeamID: asked.Get("team"), UserID: asked.Get("user")}
		at, err := strconv.Atoi(cmp.Or(asked.Get("from"), "0"))
		if err != nil || at < 0 {
			return nil, refuse(http.StatusBadRequest, "from: write a number that is not negative.")
		}
		list, total, err := s.List(ctx, f, keys.Order{}, keys.Page{From: at, Size: keysListed})
		if err != nil {
			return nil, err
		}
		t := &table{
			Caption: operator.Counted(total, "key"), Empty: "No key matches.",
			Head: []string{"Key", "Alias", "Team", "User", "Models", "Limits", "State"},
		}
		now := time.Now()
		for _, k := range list {
			t.Rows = append(t.Rows, []cell{
				link(k.Name+" ("+k.Short()+")", root+"keys/"+k.Short()), orDash(k.Alias), teamLink(k.TeamID), orDash(k.UserID),
				orDash(strings.Join(k.Models, ", ")), orDash(limitText(k.Limits())), activeCell(keyState(k, now)),
			})
		}
		if at+keysListed < total {
			next := url.Values{"alias": {f.KeyAlias}, "team": {f.TeamID}, "user": {f.UserID}, "from": {strconv.Itoa(at + keysListed)}}
			t.More = root + "keys?" + next.Encode()
		}
		page := &content{Sections: []section{{Forms: []form{{
			Action: root + "keys", Button: "Search", Fields: []field{
				{Name: "alias", Label: "Alias", Value: f.KeyAlias, Pattern: noKey},
				{Name: "team", Label: "Team's id", Value: f.TeamID},
				{Name: "user", Label: "User's id", Value: f.UserID},
			},
		}}, First: true, Tables: []*table{t}}}}
		if v.role >= manages {
			page.Sections = append(page.Sections, section{Title: "Make a key", Forms: []form{{
				Action: root + "keys", Do: "make-key", Button: "Make", Fields: append([]field{
					{Name: "key_alias", Label: "Alias"},
					{Name: "team_id", Label: "Team's id"},
					{Name: "user_id", Label: "User's id"},
					{Name: "models", Label: "Models", Hint: "with commas between; empty: all"},
					{Name: "duration", Label: "Valid for", Hint: "such as 90d; empty: never expires"},
					choice("key_type", "Type", "default", "default", "llm_api", "read_only", "management"),
				}, limitFields...),
			}}})
		}
		return page, nil
	})
}

func teamLink(id string) cell {
	if id == "" {
		return orDash("")
	}
	return link(id, root+"teams?"+url.Values{"id": {id}}.Encode())
}

// activeCell shows whether a key or a team is active.
func activeCell(s string) cell {
	if s == "active" {
		return state(s, goodTone)
	}
	return state(s, badTone)
}

func keyState(k *keys.Key, now time.Time) string {
	switch {
	case k.Blocked:
		return "blocked"
	case k.Expires != nil && !now.Before(*k.Expires):
		return "expired"
	}
	return "active"
}

// limitText describes the limits of a record.
func limitText(l *keys.Limits, err error) string {
	if err != nil {
		return "cannot be read: " + err.Error()
	}
	var list []string
	for i := range l.Budgets {
		b := &l.Budgets[i]
		list = append(list, b.Field+forModel(b.Model)+" $"+b.Max.String()+every(b.Every))
	}
	for i := range l.Rates {
		r := &l.Rates[i]
		list = append(list, r.Field+forModel(r.Model)+" "+strconv.FormatInt(r.Max, 10))
	}
	return strings.Join(list, "; ")
}

func forModel(model string) string {
	if model == "" {
		return ""
	}
	return " (" + model + ")"
}

func every(window string) string {
	if window == "" {
		return ""
	}
	return " every " + window
}

// keyFacts returns the facts that the holder of a key may see.
func keyFacts(k *keys.Key) []fact {
	list := []fact{{"Key", text(k.Name)}, {"State", activeCell(keyState(k, time.Now()))}}
	list = facts(list, "Alias", k.Alias)
	list = facts(list, "Team", k.TeamID)
	list = facts(list, "User", k.UserID)
	list = append(list, fact{"Models", text(cmp.Or(strings.Join(k.Models, ", "), "all"))},
		fact{"Limits", orDash(limitText(k.Limits()))}, fact{"Made", moment(k.CreatedAt)}, fact{"Changed", moment(k.UpdatedAt)})
	if k.Expires != nil {
		list = append(list, fact{"Expires", moment(*k.Expires)})
	}
	return list
}

// keyPage shows one key with the forms that change it.
func (v *visit) keyPage(ctx context.Context, k *keys.Key) (*content, error) {
	spent, err := v.keySpent(ctx, k)
	if err != nil {
		return nil, err
	}
	id := []field{{Name: "id", Value: k.Short()}}
	page := &content{Title: "Key " + k.Name, Sections: []section{{Facts: append(keyFacts(k),
		fact{"Hash begins", text(k.Short())},
		fact{"Its calls", link("search", root+"calls?"+url.Values{"by": {k.Short()}, "since": {"all"}}.Encode())})}, spent}}
	if v.role < manages {
		return page, nil
	}
	block := form{Action: root + "keys", Do: "block-key", Button: "Block", Danger: true, Hidden: id}
	if k.Blocked {
		block = form{Action: root + "keys", Do: "unblock-key", Button: "Unblock", Hidden: id}
	}
	limits := form{Action: root + "keys", Do: "limit-key", Button: "Set limits", Hidden: id, Fields: withValues(limitFields, k.Extra)}
	page.Sections = append(page.Sections, section{Title: "Change", Forms: []form{block, limits}})
	return page, nil
}

// showOwnKey shows the session's key.
func showOwnKey(v *visit) (*content, error) {
	return v.withKeys(func(ctx context.Context, s *keys.Service) (*content, error) {
		k, err := s.Info(ctx, v.who.KeyHash)
		if err != nil {
			return nil, err
		}
		spent, err := v.keySpent(ctx, k)
		if err != nil {
			return nil, err
		}
		page := &content{Sections: []section{{Facts: keyFacts(k)}, spent}}
		if v.team == "" {
			return page, nil
		}
		t, err := s.Team(ctx, v.team)
		if err != nil {
			return nil, err
		}
		l, err := t.Limits()
		ofTeam, err := v.spentSection(ctx, limit.Scope{Kind: limit.Team, ID: t.ID}, l, err)
		if err != nil {
			return nil, err
		}
		ofTeam.Title = "Spend and limits of team " + cmp.Or(t.Alias, t.ID)
		page.Sections = append(page.Sections, ofTeam)
		return page, nil
	})
}
