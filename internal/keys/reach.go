package keys

import (
	"context"
	"errors"
	"net/http"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Reach is whose spend and calls a key may read, in the reports of spend and in the console. Either All is set, or one of Key and Team.
type Reach struct {
	All  bool   // everything
	Key  string // what was spent under that llm.Identity.SpendID
	Team string // what was spent by that team
}

// Reports reports whether the key's routes have the path of a report of spend.
func (st *State) Reports(path string) bool {
	return st.Manages(path, true) || st.allowsRoute(path, llmRoutes)
}

// Reach returns whose spend and calls a key may read by a path, or by all paths where path is empty: the master key, and a key of the type
// management or read_only, everything, whatever its team; a key of its team's admin what is the team's; any other what is its own. A key whose routes
// have the path by llm_api_routes alone, or do not have all paths, reads its own, and so does a key that an admin made for another user, as the
// admin has seen it. teams are those that the request names: a key without a team whose user is an admin of the one team that is named reads what is
// that team's. Its errors are *llm.Error.
func (s *Service) Reach(ctx context.Context, st *State, path string, teams ...string) (Reach, error) {
	id := st.Identity
	own := Reach{Key: id.SpendID}
	if id.Master {
		return Reach{All: true}, nil
	}
	if path == "" && len(st.Routes) > 0 || path != "" && !st.Manages(path, true) {
		return own, nil
	}
	switch st.Type {
	case TypeManagement, TypeReadOnly:
		return Reach{All: true}, nil
	case TypeLLM:
		return own, nil
	}
	asked := id.TeamID
	if asked == "" && len(teams) == 1 {
		asked = teams[0]
	}
	if asked == "" || id.UserID == "" || st.Issued {
		return own, nil
	}
	team, err := s.Team(ctx, asked)
	if refusal, ok := errors.AsType[*llm.Error](err); ok && refusal.Status == http.StatusNotFound && id.TeamID == "" {
		return own, nil
	}
	if err != nil {
		return own, err
	}
	if team.IsAdmin(id.UserID) {
		return Reach{Team: team.ID}, nil
	}
	return own, nil
}

// Spending returns the llm.Identity.SpendID of a key that is named by itself or its hash, under which the books have what it has spent. A key that
// is not there any more has its hash's. What can name no key is returned as it is.
func (s *Service) Spending(ctx context.Context, named string) (string, error) {
	id, refusal := ID(named)
	if refusal != nil {
		return named, nil //nolint:nilerr // no key has spent anything under it
	}
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	k, err := s.get(ctx, id)
	if refusal, ok := errors.AsType[*llm.Error](err); ok && refusal.Status == http.StatusNotFound {
		return id, nil
	}
	if err != nil {
		return "", err
	}
	return k.Spending(), nil
}
