package manage

import (
	"maps"
	"slices"
	"strings"
)

var listParams = []string{
	"page", "size", "user_id", "team_id", "organization_id", "project_id", "agent_id", "key_hash", "key_alias", "search", "substring_matching", "status",
	"return_full_object", "include_team_keys", "include_created_by_keys", "sort_by", "sort_order", "expand",
}

// operations are the paths of the management API.
var operations = map[string]*Operation{
	"/key/generate":                 post(generateKey).others(),
	"/key/service-account/generate": post(generateServiceAccount).others(),
	"/key/update":                   post(updateKey).others(),
	"/key/bulk_update":              post(bulkUpdateKeys).others(),
	"/key/delete":                   post(deleteKeys).others(),
	"/key/block":                    post(blockKey(true)).others(),
	"/key/unblock":                  post(blockKey(false)).others(),
	"/key/regenerate":               post(regenerateKey).others(),
	"/key/info":                     get(keyInfo, "key").others(),
	"/v2/key/info":                  post(keyInfos).reading().others(),
	"/key/list":                     get(listKeys, listParams...).others(),
	"/key/aliases":                  get(listAliases, "page", "size", "search", "team_id").others(),

	"/team/new":             post(newTeam),
	"/team/update":          post(updateTeam),
	"/team/delete":          post(deleteTeams),
	"/team/block":           post(blockTeam(true)),
	"/team/unblock":         post(blockTeam(false)),
	"/team/info":            get(teamInfo, "team_id").others(),
	"/team/list":            get(listTeams, "user_id", "organization_id").others(),
	"/v2/team/list":         get(pageTeams, teamParams...).others(),
	"/team/model/add":       post(teamModels(true)),
	"/team/model/delete":    post(teamModels(false)),
	"/team/member_add":      post(addMembers).others(),
	"/team/member_update":   post(updateMember).others(),
	"/team/member_delete":   post(deleteMember).others(),
	"/team/bulk_member_add": post(bulkAddMembers).others(),

	"/user/new":     post(newUser),
	"/user/update":  post(updateUser),
	"/user/delete":  post(deleteUsers),
	"/user/info":    get(userInfo, "user_id").others(),
	"/v2/user/info": get(userInfoV2, "user_id").others(),
	"/user/list":    get(listUsers, userParams...),

	"/customer/new":     post(newCustomer),
	"/customer/update":  post(updateCustomer),
	"/customer/delete":  post(deleteCustomers),
	"/customer/block":   post(blockCustomers(true)),
	"/customer/unblock": post(blockCustomers(false)),
	"/customer/info":    get(customerInfo, "end_user_id"),
	"/customer/list":    get(listCustomers, "page", "page_size", "search"),

	"/budget/new":      post(newBudget),
	"/budget/update":   post(updateBudget),
	"/budget/delete":   post(deleteBudget),
	"/budget/info":     post(budgetInfo).reading(),
	"/budget/settings": get(budgetSettings, "budget_id"),
	"/budget/list":     get(listBudgets),
}

func init() {
	for path, op := range operations {
		if rest, ok := strings.CutPrefix(path, "/customer/"); ok {
			operations["/end_user/"+rest] = op
		}
	}
}

// Paths returns the paths of the management API, in order, without those that have a key in them.
func Paths() []string { return slices.Sorted(maps.Keys(operations)) }

// roots begin the paths.
var roots = []string{"/key/", "/team/", "/user/", "/customer/", "/end_user/", "/budget/", "/v2/"}

// Find returns the operation of a path, and the path as it may be logged: without a key. It is nil where there is none.
func Find(path string) (op *Operation, logged string) {
	if !slices.ContainsFunc(roots, func(r string) bool { return strings.HasPrefix(path, r) }) {
		return nil, ""
	}
	if op := operations[path]; op != nil {
		return op, path
	}
	if keyOf(path) != "" {
		return operations["/key/regenerate"], "/key/regenerate"
	}
	return nil, ""
}

// keyOf returns the key in /key/{key}/regenerate.
func keyOf(path string) string {
	key, ok := strings.CutPrefix(path, "/key/")
	if !ok {
		return ""
	}
	if key, ok = strings.CutSuffix(key, "/regenerate"); !ok || strings.Contains(key, "/") {
		return ""
	}
	return key
}
