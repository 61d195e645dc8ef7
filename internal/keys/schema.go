package keys

import (
	"encoding/json"
	"maps"
	"strings"
)

// The fields of LiteLLM's requests, version 1.110.2: litellm/proxy/_types.py and types/proxy/management_endpoints. Each is supported, or refused with
// the reason when it is set; docs/keys.md has a row for each.

// limitFields are those that limit, of whatever they are set on.
var limitFields = map[string]check{
	"max_budget": amount, "soft_budget": amount, "budget_duration": windowText, "budget_limits": limitsField("budget_limits"),
	"rpm_limit": count, "tpm_limit": count, "max_parallel_requests": count,
	"model_max_budget": limitsField("model_max_budget"), "model_rpm_limit": limitsField("model_rpm_limit"),
	"model_tpm_limit":       limitsField("model_tpm_limit"),
	"token_rate_limit_type": oneOf(tokenTypes...),
	"tpd_limit":             refused("tokens are counted by the minute: set a max_budget with the budget_duration 1d"),
}

// tokenTypes are LiteLLM's words for what a limit of tokens counts.
var tokenTypes = []string{"total", "input", "output"}

// Why fields of several requests are refused.
const (
	noPassThrough = "there are no pass-through routes"
	noFallbacks   = "a call over its budget is refused"
	noConfig      = "models are configured in llmroute"
	noCache       = "answers are not cached here"
)

// commonFields are of keys, teams and users alike.
var commonFields = map[string]check{
	"models": texts, "metadata": metadata, "organization_id": name, "tags": texts,
	"spend":                           zero,
	groupsMember:                      refused("access groups are not supported: list the models in models"),
	"guardrails":                      refused("there are no guardrails here"),
	"policies":                        refused("there are no guardrails here, and no policies of them"),
	"prompts":                         refused("prompts are not kept here"),
	"logging":                         refused("call-backs are configured for a whole site"),
	"permissions":                     refused("keys have a key_type and allowed_routes"),
	"router_settings":                 refused("routing is configured in llmroute"),
	"object_permission":               refused("MCP servers, vector stores and agents are not served here"),
	"disable_global_guardrails":       refused("there are no guardrails here"),
	"enforced_params":                 refused("requests are not checked for parameters"),
	"secret_manager_settings":         refused("secrets are read by placeholders"),
	"allowed_vector_store_indexes":    refused("vector stores are not served here"),
	"mcp_rpm_limit":                   refused("MCP servers are not served here"),
	"tag_rpm_limit":                   refused("nothing is counted by tag"),
	"default_estimated_output_tokens": refused("the output is estimated by the request, the model's output_cap, and what the model gave before"),
	"default_estimated_output_tokens_per_model": refused("the output is estimated by the request, the model's output_cap, and what the model gave before"),
	"rpm_limit_type": limitType,
	"tpm_limit_type": limitType,
}

// keyFields are the fields of GenerateKeyRequest, UpdateKeyRequest and RegenerateKeyRequest.
var keyFields = fieldsOf(limitFields, commonFields, map[string]check{
	"key": text, "new_key": text, "key_alias": name, "user_id": name, "team_id": name, "agent_id": name, "project_id": name,
	"budget_id": name, "end_user_budget_id": name, "duration": period, "grace_period": period, "aliases": textObject, "blocked": boolean,
	"temp_budget_increase": amount, "temp_budget_expiry": moment,
	"key_type":                    oneOf(keyTypes...),
	"allowed_routes":              routes,
	"config":                      refused(noConfig),
	"allowed_cache_controls":      refused(noCache),
	"enable_prompt_caching":       refused("requests are not changed: the client asks for caching by cache_control"),
	"allowed_passthrough_routes":  refused(noPassThrough),
	"denied_passthrough_routes":   refused(noPassThrough),
	"budget_fallbacks":            refused(noFallbacks),
	"throttle_on_budget_exceeded": refused("a call over its budget is refused"),
	"send_invite_email":           refused("no mail is sent"),
	"auto_rotate":                 refused("keys are replaced by /key/regenerate, with a grace_period"),
	"rotation_interval":           refused("keys are replaced by /key/regenerate, with a grace_period"),
	"new_master_key":              refused("the master key is in the configuration"),
})

// teamFields are the fields of NewTeamRequest and UpdateTeamRequest.
var teamFields = fieldsOf(limitFields, commonFields, map[string]check{
	"team_id": name, "team_alias": name, "model_aliases": textObject, "blocked": boolean, "members_with_roles": members,
	"team_member_budget": amount, "team_member_budget_duration": windowText, "team_member_rpm_limit": count, "team_member_tpm_limit": count,
	"team_member_model_max_budget":        limitsField("model_max_budget"),
	"team_member_key_duration":            refused("a key's life is its duration"),
	"team_member_permissions":             refused("members read their own keys, admins of the team manage its keys"),
	"default_team_member_models":          refused("set the allowed_models of each member"),
	"require_trace_id":                    refused("requests are not checked for parameters"),
	"enforced_file_expires_after":         refused("files are not served here"),
	"enforced_batch_output_expires_after": refused("batches are not served here"),
	"allow_team_guardrail_config":         refused("there are no guardrails here"),
	"model_id":                            refused("name the models in models and model_aliases"),
	"allowed_passthrough_routes":          refused(noPassThrough),
	"denied_passthrough_routes":           refused(noPassThrough),
	"admins":                              refused("name them in members_with_roles"),
	"members":                             refused("name them in members_with_roles"),
})

// userFields are the fields of NewUserRequest and UpdateUserRequest, but for those of the key that is made with the user.
var userFields = fieldsOf(limitFields, commonFields, map[string]check{
	"user_id": name, "user_email": name, "user_alias": name, "teams": list, "auto_create_key": boolean,
	"user_role":              role,
	"config":                 refused(noConfig),
	"allowed_cache_controls": refused(noCache),
	"budget_fallbacks":       refused(noFallbacks),
	"organizations":          refused("organizations are not known here: make teams"),
	"sso_user_id":            refused("users do not sign in here"),
	"password":               refused("users do not sign in here"),
	"send_invite_email":      refused("no mail is sent"),
})

// userKeyFields are those fields of /user/new that are of the key made with the user.
var userKeyFields = []string{
	"key", "key_alias", "duration", "aliases", "allowed_routes", "key_type", "budget_id", "team_id", "blocked", "end_user_budget_id", "agent_id", "project_id",
}

// rowLimits are the limits that a row of LiteLLM's budgets has.
var rowLimits = func() map[string]check {
	out := maps.Clone(limitFields)
	for _, n := range []string{"model_rpm_limit", "model_tpm_limit", "budget_limits"} {
		delete(out, n)
	}
	return out
}()

// customerFields are the fields of NewCustomerRequest and UpdateCustomerRequest.
var customerFields = fieldsOf(rowLimits, map[string]check{
	"user_id": name, "alias": name, "blocked": boolean, "budget_id": name, "spend": zero,
	"allowed_model_region": refused("models have no regions here: name the backends of a region as models of their own"),
	"default_model":        refused("clients name the model"),
	"models":               refused("the models are those of the key and its team"),
	"object_permission":    refused("MCP servers, vector stores and agents are not served here"),
	"budget_reset_at":      moment,
})

// budgetFields are the fields of BudgetNewRequest.
var budgetFields = fieldsOf(rowLimits, map[string]check{
	"budget_id": name, "budget_reset_at": moment,
	"temp_budget_increase": amount, "temp_budget_expiry": moment,
	"allowed_models": refused("the models are those of the key and its team"),
})

// memberFields are the fields of TeamMemberUpdateRequest that are kept of a member.
var memberFields = map[string]check{
	"team_id": name, "user_id": name, "user_email": name, "role": oneOf(memberRoles...),
	"max_budget_in_team": amount, "budget_duration": windowText, "tpm_limit": count, "rpm_limit": count, "allowed_models": texts,
	"token_rate_limit_type": oneOf(tokenTypes...),
	"model_max_budget":      limitsField("model_max_budget"), "temp_budget_increase": amount, "temp_budget_expiry": moment, "budget_id": name,
}

// memberAddFields are those of TeamMemberAddRequest.
var memberAddFields = fieldsOf(memberFields, map[string]check{"member": oneOrMore})

func fieldsOf(all ...map[string]check) map[string]check {
	out := make(map[string]check)
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}

var keyTypes = []string{"default", TypeLLM, TypeManagement, TypeReadOnly}

var memberRoles = []string{"user", adminRole}

// refused checks a field that is not supported: it must be empty.
func refused(why string) check {
	return func(raw json.RawMessage) (any, string) {
		switch strings.Join(strings.Fields(string(raw)), "") {
		case "false", "0", `""`, "[]", "{}":
			return nil, ""
		}
		return nil, "is not supported: " + why
	}
}

// zero checks what was spent, which comes from the gateway's own records.
func zero(raw json.RawMessage) (any, string) {
	if v, fault := amount(raw); fault != "" {
		return v, fault
	}
	var n float64
	if json.Unmarshal(raw, &n) != nil || n != 0 {
		return nil, "cannot be written: it is the sum of the calls' records"
	}
	return nil, ""
}

// limitType checks how a rate is meant: as it is written.
func limitType(raw json.RawMessage) (any, string) {
	if v, fault := oneOf("best_effort_throughput", "guaranteed_throughput", "dynamic")(raw); fault != "" {
		return v, fault
	}
	if string(raw) != `"best_effort_throughput"` {
		return nil, "is not supported: a limit holds as it is written, which is best_effort_throughput"
	}
	return "best_effort_throughput", ""
}

// role checks LiteLLM's role of a user. Users do not sign in here, and what a key may manage depends on the key.
func role(raw json.RawMessage) (any, string) {
	v, fault := oneOf("proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer")(raw)
	switch v {
	case "proxy_admin":
		return nil, "proxy_admin is not supported: give the person a key with the key_type management"
	case "proxy_admin_viewer":
		return nil, "proxy_admin_viewer is not supported: give the person a key with the key_type read_only"
	}
	return v, fault
}

// oneOrMore checks one member, or a list of them.
func oneOrMore(raw json.RawMessage) (any, string) {
	if len(raw) > 0 && raw[0] == '{' {
		raw = json.RawMessage("[" + string(raw) + "]")
	}
	return members(raw)
}

// members checks a list of {user_id, user_email, role}.
func members(raw json.RawMessage) (any, string) {
	const form = "must be a list of {user_id, role}, with the role user or admin"
	var rows []map[string]json.RawMessage
	if json.Unmarshal(raw, &rows) != nil {
		return nil, form
	}
	list := make([]Member, 0, len(rows))
	for _, row := range rows {
		f := Fields{raw: row, value: map[string]any{}}
		if refusal := f.validate(map[string]check{"user_id": name, "user_email": name, "role": oneOf(memberRoles...)}); refusal != nil {
			return nil, form
		}
		m := Member{UserID: get[string](f, "user_id"), Email: get[string](f, "user_email"), Role: get[string](f, "role")}
		if m.Role == "" {
			m.Role = "user"
		}
		if m.UserID == "" && m.Email == "" {
			return nil, "must have a user_id or a user_email of each member"
		}
		list = append(list, m)
	}
	return list, ""
}
