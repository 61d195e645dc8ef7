package keys

import (
	"context"
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
// admin has seen it. Its errors are *llm.Error.
func (s *Service) Reach(ctx context.Context, st *State, path string) (Reach, error) {
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
	if id.TeamID == "" || id.UserID == "" || st.Issued {
		return own, nil
	}
	team, err := s.Team(ctx, id.TeamID)
	if err != nil {
		return own, err
	}
	if team.IsAdmin(id.UserID) {
		return Reach{Team: team.ID}, nil
	}
	return own, nil
}
