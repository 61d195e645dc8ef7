package litellm

import (
	"fmt"
)

const mayCall = "this decides who may call, and is not known here: put Caddy's own matchers and handlers (remote_ip, forward_auth, ...) before keyauth in a " +
	"Caddyfile, and take this out"

const oneModel = "this model would stand for whatever a client asks for: write router_settings.model_group_alias, and take this out"

const noDatabase = "is left out: there is no SQL database. Keys live in a file or in Redis; `caddy tollgate keys import` brings LiteLLM's over"

const noInterface = "is left out: LiteLLM's web interface is not here; `console` in a Caddyfile has pages for operators and holders of keys"

var generalRules = rules{
	"master_key":                         {fate: carried, take: (*converter).setMasterKey, null: true},
	"user_header_mappings":               carry((*converter).headerMappings),
	"user_header_name":                   carry(func(c *converter, f field) { c.userHeader = c.header(f) }),
	"litellm_key_header_name":            carry(func(c *converter, f field) { c.keyHeader = c.header(f) }),
	"enforce_user_param":                 carry(func(c *converter, f field) { c.enforceUser = f }),
	"max_request_size_mb":                carry((*converter).maxRequest),
	"user_api_key_cache_ttl":             carry(func(c *converter, f field) { c.cacheTTL = first(c.seconds(f), word{"0s", f}) }),
	"completion_model":                   refuse(oneModel),
	"embedding_model":                    refuse(oneModel),
	"image_generation_model":             refuse(oneModel),
	"moderation_model":                   refuse(oneModel),
	"infer_model_from_keys":              warn("is left out: name the models in model_list"),
	"allow_client_side_credentials":      refuse("clients cannot bring a base URL or a key of their own: such a call would go to an unmetered server"),
	"token_rate_limit_type":              carry(func(c *converter, f field) { c.addLine(&c.limits.settings, f, "token_rate_limit_type") }),
	"disable_budget_reservation":         warn("is left out: a call under a budget always reserves what it may cost"),
	"fail_closed_budget_enforcement":     carry((*converter).failClosed),
	"fail_closed_rate_limit_enforcement": carry((*converter).failClosed),
	"enforce_fallback_model_access":      warn("is not needed: fallback models that the key may not use are left out"),
	"enforce_fallback_budget":            warn("is not needed: the budgets of keys, teams, users and customers hold for fallback models too"),
	"allow_requests_on_db_unavailable": warn("is left out: while the key store is down, keys that are known go on working for 10 minutes (stale_ttl), and others " +
		"are refused"),
	"always_include_stream_usage":       warn("is left out: usage is always asked for, and shown to the clients that asked"),
	"global_max_parallel_requests":      carry(func(c *converter, f field) { c.addAtOnce(&c.limits.gateway, f) }),
	"max_parallel_requests":             warn("is left out: LiteLLM does nothing with it"),
	"self_serve_budget_policy":          warn("is left out: only admins change the budgets of keys"),
	"pass_through_endpoints":            warn("is left out: such calls cannot be metered, so they are not served; write reverse_proxy in a Caddyfile, beside the gateway"),
	"forward_client_headers_to_llm_api": warn("is left out: docs/llmroute.md lists the headers that go upstream"),
	"forward_openai_org_id":             warn("is left out: a client's organization never goes upstream; write `organization` in litellm_params"),
	"cancel_on_disconnect":              warn("is not needed: where it saves money, the upstream call is cancelled when its client hangs up"),
	"max_response_size_mb":              warn("is left out: answers are of any size"),
}.each(refuse(mayCall),
	"custom_auth", "custom_auth_run_common_checks", "enable_jwt_auth", "litellm_jwtauth", "enable_oauth2_auth", "enable_oauth2_proxy_auth",
	"oauth2_config_mappings", "allowed_ips", "allowed_routes", "admin_only_routes", "public_routes", "enforced_params", "enforce_rbac", "role_permissions",
	"role_mappings", "service_account_settings", "allow_user_auth", "custom_key_generate", "custom_key_update", "custom_key_policy",
	"reject_clientside_metadata_tags", "forward_llm_provider_auth_headers").
	each(refuse("secrets come from the environment or from files ({file./path}): take this out, and set the variables that the file names"),
		"key_management_system", "key_management_settings", "use_azure_key_vault", "use_google_kms").
	each(warn(noDatabase),
		"database_url", "database_type", "database_connection_pool_limit", "database_connection_timeout", "database_connection_pool_timeout",
		"database_connect_timeout", "database_socket_timeout", "database_statement_timeout", "database_lock_timeout", "database_extra_connection_params",
		"database_disable_prepared_statements", "disable_prisma_schema_update", "use_redis_transaction_buffer", "proxy_config_reload_interval_seconds").
	each(warn("is left out: models that are kept in LiteLLM's database are not read; write them into model_list"), "store_model_in_db", "supported_db_objects").
	each(warn("is left out: every call has a record on disk, for as long as `retain` of lagobilling says"),
		"disable_spend_logs", "disable_spend_updates", "disable_error_logs", "proxy_batch_write_at", "proxy_batch_polling_interval",
		"proxy_budget_rescheduler_min_time", "proxy_budget_rescheduler_max_time", "disable_reset_budget", "store_prompts_in_spend_logs",
		"maximum_spend_logs_retention_period", "maximum_spend_logs_retention_interval", "spend_report_frequency").
	each(warn(noInterface),
		"ui_access_mode", "disable_master_key_return", "auto_redirect_ui_login_to_sso", "custom_sso", "custom_ui_sso_sign_in_handler", "litellm_license").
	each(warn("is left out: alerts come from the metrics"), "alerting", "alerting_threshold", "alert_types", "alerting_args", "alert_to_webhook_url", "alert_type_config").
	each(warn("is left out: backends are judged by the calls that they answer"),
		"background_health_checks", "health_check_interval", "health_check_details", "use_shared_health_check", "enable_health_check_routing",
		"health_check_concurrency", "health_check_staleness_threshold", "health_check_ignore_transient_errors").
	each(warn("is left out: it has no counterpart"),
		"disable_retry_on_max_parallel_request_limit_error", "disable_adding_master_key_hash_to_db", "disable_responses_id_security", "user_mcp_management_mode",
		"user_api_key_cache_max_size", "use_client_credentials_pass_through_routes", "pass_through_request_timeout", "use_x_forwarded_for", "search_tools",
		"sse_keepalive_ping_interval_seconds", "missing_session_id", "scheduled_job_stagger")

// topRules are the sections of the file.
var topRules = rules{
	"model_list":            carry((*converter).modelList),
	"litellm_settings":      carry(func(c *converter, f field) { c.section(f, litellmRules) }),
	"router_settings":       carry(func(c *converter, f field) { c.section(f, routerRules) }),
	"general_settings":      carry(func(c *converter, f field) { c.section(f, generalRules) }),
	"environment_variables": carry(func(*converter, field) {}), // read before the other sections
	"credential_list":       carry(func(*converter, field) {}), // read before the other sections
	"include":               carry(func(*converter, field) {}), // read before the other sections
	"guardrails":            warn("is left out: what a call says is not looked at"),
	"prompts":               warn("is left out: a request goes upstream as the client wrote it"),
}.each(warn("is left out: it has no counterpart"),
	"callback_settings", "vector_store_registry", "mcp_servers", "mcp_aliases", "search_tools", "assistant_settings", "finetune_settings", "files_settings",
	"worker_registry")

func (c *converter) modelList(f field) {
	for _, entry := range f.items() {
		c.modelEntry(entry)
	}
}

// header returns a header name.
func (c *converter) header(f field) word {
	name := c.plain(f)
	if name != "" && !isToken(name) {
		c.fail(f, "this is no name of a header")
		return word{at: f}
	}
	return word{name, f}
}

// headerMappings reads the headers that identify the caller. Only the role of the customer, who is the end user,
// may come from a header.
func (c *converter) headerMappings(f field) {
	for _, item := range f.items() {
		header, role := item.get("header_name"), item.get("litellm_user_role")
		switch {
		case header.null() || role.null():
			c.fail(item, "header_name and litellm_user_role are needed here")
		case role.raw() == "customer":
			c.userHeaders = append(c.userHeaders, c.header(header))
		default:
			c.fail(role, fmt.Sprintf("a header of role %q would say whose key it is: only customer is taken from a header", role.raw()))
		}
	}
}

func (c *converter) maxRequest(f field) {
	if w := c.count(f); w.set() {
		c.maxBody = word{w.text + "MiB", f}
	}
}
