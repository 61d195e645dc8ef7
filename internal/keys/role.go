package keys

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// The types of keys, LiteLLM's key_type. A key of no type calls models, reads its own record, and manages a team's keys if its user
// is an admin of that team.
const (
	TypeLLM        = "llm_api"    // calls models, and manages nothing
	TypeManagement = "management" // manages all as the master key does, and calls no model
	TypeReadOnly   = "read_only"  // reads what the master key can read, and calls no model
)

const adminRole = "admin"

// Groups of routes, LiteLLM's, which allowed_routes may name.
const (
	llmRoutes        = "llm_api_routes"
	managementRoutes = "management_routes"
	infoRoutes       = "info_routes"
)

// Calls reports whether the key may call models by that path.
func (st *State) Calls(path string) bool {
	switch st.Type {
	case TypeManagement, TypeReadOnly:
		return false
	}
	return st.allowsRoute(path, llmRoutes)
}

// Manages reports whether the key's routes have that path of the management API; reads is set for one that changes nothing.
func (st *State) Manages(path string, reads bool) bool {
	if reads && st.allowsRoute(path, infoRoutes) {
		return true
	}
	return st.allowsRoute(path, managementRoutes)
}

func (st *State) allowsRoute(path, group string) bool {
	if len(st.Routes) == 0 {
		return true
	}
	short := strings.TrimPrefix(path, "/v1")
	return slices.ContainsFunc(st.Routes, func(r string) bool {
		if r == group {
			return true
		}
		r = strings.TrimPrefix(r, "/v1")
		return r == path || r == short || llm.Match(r, path) || llm.Match(r, short)
	})
}

// EndUserBudget returns the budget_id whose limits apply to each customer who calls with the key.
func (k *Key) EndUserBudget() string { return stringMember(k.Extra, "end_user_budget_id") }

// Type returns the key_type.
func (k *Key) Type() string { return stringMember(k.Extra, "key_type") }

// PayerChanged names a member of metadata that decides who pays and that differs from what it was; empty where none does. before is nil for a
// new key.
func (k *Key) PayerChanged(before *Key) string {
	for _, member := range []string{subscriptionMember, fixedPayerMember} {
		var was json.RawMessage
		if before != nil {
			was = before.Metadata[member]
		}
		if is := k.Metadata[member]; string(is) != string(was) && (before != nil || member != fixedPayerMember || string(is) != "true") {
			return member
		}
	}
	return ""
}

// routes checks allowed_routes: paths, patterns of them, and names of groups.
func routes(raw json.RawMessage) (any, string) {
	v, fault := texts(raw)
	l, _ := v.([]string)
	for _, r := range l {
		if !strings.HasPrefix(r, "/") && r != "*" && !slices.Contains([]string{llmRoutes, managementRoutes, infoRoutes}, r) {
			return nil, "must be a list of paths, or of " + llmRoutes + ", " + managementRoutes + ", " + infoRoutes
		}
	}
	return v, fault
}
