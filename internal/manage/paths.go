package manage

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

var listParams = []string{
	"page", "size", "user_id", "team_id", "organization_id", "project_id", "agent_id", "key_hash", "key_alias", "search", "substring_matching", "status",
	"return_full_object", "include_team_keys", "include_created_by_keys", "sort_by", "sort_order", "expand",
}

// operations are the paths of the management API, but for those of patterns.
var operations = map[string]*Operation{
	"/key/generate":                 post(generateKey).others(),
	"/key/service-account/generate": post(generateServiceAccount).others(),
	"/key/update":                   post(updateKey).others(),
	"/key/bulk_update":              post(bulkUpdateKeys).others(),
	"/team/key/bulk_update":         post(bulkUpdateTeamKeys).others(),
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
	"/team/available":       get(availableTeams).others(),

	"/team/permissions_list":   get(listPermissions, "team_id").others(),
	"/team/permissions_update": post(updatePermissions).others(),

	"/user/new":     post(newUser),
	"/user/update":  post(updateUser),
	"/user/delete":  post(deleteUsers),
	"/user/info":    get(userInfo, "user_id").others(),
	"/v2/user/info": get(userInfoV2, "user_id").others(),
	"/user/list":    get(listUsers, userParams...),

	"/user/bulk_update":     post(bulkUpdateUsers),
	"/user/available_roles": get(availableRoles).others(),

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

// pattern is a path in which the parts in braces vary: each names a field of the request.
type pattern struct {
	path  string
	route string // what the path is called in allowed_routes and in the audit log
	op    *Operation
}

var patterns = []pattern{
	{"/key/{key}/regenerate", "/key/regenerate", post(regenerateKey).others()},
	{"/key/{key}/reset_spend", "/key/reset_spend", post(resetKeySpend).others()},
	{"/team/{team_id}", "/team/update", &Operation{Method: http.MethodPatch, run: patchTeam}},
	{"/team/{team_id}/members/me", "/team/members/me", get(ownMembership).others()},
	{"/team/{team_id}/member/{user_id}/reset_spend", "/team/member/reset_spend", post(resetMemberSpend).others()},
	{"/team/{team_id}/member/{user_id}/reset_budget", "/team/member/reset_budget", post(resetMemberBudget).others()},
}

// match returns the parts of a path that vary, by name; false where the path is not of the pattern.
func (p *pattern) match(path string) (parts map[string]string, ok bool) {
	want, have := strings.Split(p.path, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return nil, false
	}
	parts = make(map[string]string)
	for i, w := range want {
		name, varies := strings.CutPrefix(w, "{")
		switch {
		case varies && have[i] != "":
			parts[strings.TrimSuffix(name, "}")] = have[i]
		case w != have[i]:
			return nil, false
		}
	}
	return parts, true
}

// Why paths of LiteLLM's are not served.
const (
	ownPages      = "it is of LiteLLM's own pages: console has pages for operators"
	organizations = "an organization is a label here: make a team"
	accessGroups  = "access groups are not known here: list the models in models"
	oneReport     = "ask /global/spend/report or the daily activity, or caddy tollgate spend"
	noTags        = "nothing is counted by tags: make keys or teams"
)

// NotServed are the paths of LiteLLM's management API and reports that are not served, and why; one that ends in a slash covers all paths below it.
var NotServed = map[string]string{
	"/key/health":                   "call-backs are configured for a whole site: caddy tollgate billing status shows the delivery to Lago",
	"/team/permissions_bulk_update": "members of a team read their own keys, and its admins manage its keys: there are no other permissions",
	"/team/metadata_schema":         ownPages,
	"/team/filter/ui":               ownPages,
	"/user/filter/ui":               ownPages,
	"/organization/":                organizations,
	"/v2/organization/":             organizations,
	"/project/":                     "a project is a label here: make a team",
	"/tag/":                         noTags,
	"/global/spend/all_tag_names":   noTags,
	"/access_group/":                accessGroups,
	"/v1/access_group":              accessGroups,
	"/v1/access_group/":             accessGroups,
	"/credentials/":                 "credentials of providers are in the configuration",
	"/config/cost_discount_config":  "write discount in lagobilling",
	"/config/cost_margin_config":    "write markup in lagobilling",
	"/config/block_requests_for_models_without_pricing": "write unpriced reject in lagobilling",

	"/key/spend/report":       oneReport,
	"/user/spend/report":      oneReport,
	"/team/spend/report":      oneReport,
	"/team/spend/by_user":     oneReport,
	"/global/spend/end_users": oneReport,
	"/global/activity":        oneReport,
	"/global/activity/":       oneReport,
	"/global/all_end_users":   "ask /customer/list",
	"/global/spend/reset":     "what was spent is the sum of the calls' records: see /key/{key}/reset_spend",
	"/global/spend/refresh":   "reports are never out of date",
	"/provider/budgets":       "see the limits of /key/info, /team/info and so on",
	"/spend/calculate":        "caddy tollgate prices explains the price of a model",
	"/cost/estimate":          "caddy tollgate prices explains the price of a model",
	"/spend/capture_rate":     "caddy tollgate billing reconcile compares the ledger with Lago",
	"/spend/logs/ui/":         "bodies of requests and answers are not kept",
}

// notServedBelow are those of NotServed that cover all paths below them. A model's call is compared with each.
var notServedBelow = slices.DeleteFunc(slices.Sorted(maps.Keys(NotServed)), func(path string) bool { return !strings.HasSuffix(path, "/") })

func init() {
	for path, op := range operations {
		if rest, ok := strings.CutPrefix(path, "/customer/"); ok {
			operations["/end_user/"+rest] = op
		}
	}
}

// Paths returns the paths of the management API, in order, with the names of the parts that vary in braces.
func Paths() []string {
	all := slices.Collect(maps.Keys(operations))
	for _, p := range patterns {
		all = append(all, p.path)
	}
	slices.Sort(all)
	return all
}

// Find returns the operation of a path, and what the path is called in allowed_routes and logs, where it has no key. It is nil where there is none.
// The operation of one of LiteLLM's paths that is not served has no method, and answers why.
func Find(path string) (op *Operation, route string) {
	if op := operations[path]; op != nil {
		return op, path
	}
	if p, _ := patternOf(path); p != nil {
		return p.op, p.route
	}
	if why, is := NotServed[path]; is {
		return refusing(why), path
	}
	for _, begin := range notServedBelow {
		if strings.HasPrefix(path, begin) {
			return refusing(NotServed[begin]), begin
		}
	}
	return nil, ""
}

// patternOf returns the pattern of a path, and the parts of the path that vary; nil where there is none.
func patternOf(path string) (*pattern, map[string]string) {
	if !strings.HasPrefix(path, "/key/") && !strings.HasPrefix(path, "/team/") {
		return nil, nil
	}
	if operations[path] != nil || NotServed[path] != "" {
		return nil, nil
	}
	for i := range patterns {
		if parts, ok := patterns[i].match(path); ok {
			return &patterns[i], parts
		}
	}
	return nil, nil
}

// refusing is the operation of a path that is not served.
func refusing(why string) *Operation {
	return &Operation{reads: true, open: true, anyone: true, run: func(_ context.Context, c *Call) (any, error) {
		return nil, &llm.Error{Status: http.StatusNotImplemented, Type: "not_supported", Param: noParam, Message: c.Path + " is not served: " + why}
	}}
}
