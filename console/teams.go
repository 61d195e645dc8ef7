package console

import (
	"cmp"
	"context"
	"net/url"
	"strings"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
)

// showTeams lists teams, or shows the one named by the parameter id.
func showTeams(v *visit) (*content, error) {
	return v.withKeys(func(ctx context.Context, s *keys.Service) (*content, error) {
		if id := v.r.URL.Query().Get("id"); id != "" {
			t, err := s.Team(ctx, id)
			if err != nil {
				return nil, err
			}
			return v.teamPage(ctx, t)
		}
		teams, err := s.Teams(ctx)
		if err != nil {
			return nil, err
		}
		t := &table{
			Caption: operator.Counted(len(teams), "team"), Empty: "There is no team yet.",
			Head: []string{"Team", "Alias", "Models", "Limits", "State"},
		}
		for _, team := range teams[:min(len(teams), maxListed)] {
			t.Rows = append(t.Rows, []cell{
				teamLink(team.ID), orDash(team.Alias), orDash(strings.Join(team.Models, ", ")), orDash(limitText(team.Limits())), activeCell(teamState(team)),
			})
		}
		if len(teams) > maxListed {
			t.Caption += "; the first " + number(maxListed).Text + " are shown"
		}
		page := &content{Sections: []section{{Tables: []*table{t}}}}
		if v.role >= manages {
			page.Sections = append(page.Sections, section{Title: "Make a team", Forms: []form{{
				Action: root + "teams", Do: "make-team", Button: "Make", Fields: append([]field{
					{Name: "team_id", Label: "Id", Hint: "empty: one is generated"},
					{Name: "team_alias", Label: "Alias"},
					{Name: "models", Label: "Models", Hint: "with commas between; empty: all"},
				}, limitFields...),
			}}})
		}
		return page, nil
	})
}

func teamState(t *keys.Team) string {
	switch {
	case t.Deleting:
		return "being deleted"
	case t.Blocked:
		return "blocked"
	}
	return "active"
}

func (v *visit) teamPage(ctx context.Context, t *keys.Team) (*content, error) {
	l, err := t.Limits()
	spent, err := v.spentSection(ctx, limit.Scope{Kind: limit.Team, ID: t.ID}, l, err)
	if err != nil {
		return nil, err
	}
	list := []fact{{"Id", text(t.ID)}, {"State", activeCell(teamState(t))}}
	list = facts(list, "Alias", t.Alias)
	list = append(list, fact{"Models", text(cmp.Or(strings.Join(t.Models, ", "), "all"))},
		fact{"Limits", orDash(limitText(t.Limits()))}, fact{"Made", moment(t.CreatedAt)}, fact{"Changed", moment(t.UpdatedAt)},
		fact{"Its keys", link("list", root+"keys?"+url.Values{"team": {t.ID}}.Encode())})
	page := &content{Title: "Team " + cmp.Or(t.Alias, t.ID), Sections: []section{{Facts: list}, spent}}
	if v.role < manages || t.Deleting {
		return page, nil
	}
	id := []field{{Name: "team_id", Value: t.ID}}
	block := form{Action: root + "teams", Do: "block-team", Button: "Block", Danger: true, Hidden: id}
	if t.Blocked {
		block = form{Action: root + "teams", Do: "unblock-team", Button: "Unblock", Hidden: id}
	}
	limits := form{Action: root + "teams", Do: "limit-team", Button: "Set limits", Hidden: id, Fields: withValues(limitFields, t.Extra)}
	page.Sections = append(page.Sections, section{Title: "Change", Forms: []form{block, limits}})
	return page, nil
}
