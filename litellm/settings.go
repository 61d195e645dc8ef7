package litellm

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// reliability contains the settings that both litellm_settings and router_settings may have. router_settings
// take precedence.
type reliability struct {
	retries, timeout, cooldown, allowedFails word
	fallbacks                                map[string]map[string]fallbackList // by field, then by model
	defaults                                 []word                             // for models without a list in `fallbacks`
}

// fallbackList are the fallbacks of one model.
type fallbackList struct {
	names []word
	at    field
}

// fallbackKinds maps the fields with such lists to their subdirectives.
var fallbackKinds = []struct{ field, directive string }{
	{"fallbacks", "fallback"},
	{"context_window_fallbacks", "context_fallback"},
	{"content_policy_fallbacks", "content_fallback"},
}

// adjustment is a discount or a markup for one provider or for all.
type adjustment struct {
	directive, prefix string
	percent           word
}

var litellmRules = rules{
	"callbacks":            carry((*converter).callbacks),
	"success_callback":     carry((*converter).callbacks),
	"num_retries":          carry(func(c *converter, f field) { c.lite.retries = c.count(f) }),
	"request_timeout":      carry(func(c *converter, f field) { c.lite.timeout = c.seconds(f) }),
	"allowed_fails":        carry(func(c *converter, f field) { c.lite.allowedFails = c.count(f) }),
	"cooldown_time":        carry(func(c *converter, f field) { c.lite.cooldown = c.seconds(f) }),
	"default_fallbacks":    carry(func(c *converter, f field) { c.lite.defaults = c.words(f) }),
	"cost_discount_config": carry((*converter).discounts),
	"cost_margin_config":   carry((*converter).margins),
	"cache":                carry(func(c *converter, f field) { c.cache = f }),
	"cache_params": carry(func(c *converter, f field) {
		c.cacheParams = f
		c.section(f, cacheRules)
	}),
	"disable_end_user_cost_tracking":            warn("is left out: every call has a record that names who pays"),
	"model_alias_map":                           warn("is left out: router_settings.model_group_alias names models in another way"),
	"service_callback":                          warn("is left out: /metrics of the admin API shows the store and the delivery to Lago"),
	"ssl_verify":                                warn("is left out: the certificates of upstreams are verified; `transport http` of a backend in a Caddyfile has TLS settings").unless("true"),
	"failure_callback":                          warn("is left out: failed calls are records in the ledger, and metrics"),
	"key_generation_settings":                   warn("is left out: the master key, keys of the type management and admins of teams make keys"),
	"max_budget":                                carry((*converter).gatewayBudget),
	"budget_duration":                           carry((*converter).gatewayWindow),
	"max_end_user_budget_id":                    carry(func(c *converter, f field) { c.limits.customerBudget = c.value(f) }),
	"max_internal_user_budget":                  carry(func(c *converter, f field) { c.limits.maxInternal = c.value(f) }),
	"default_max_internal_user_budget":          carry(func(c *converter, f field) { c.limits.fallback = c.value(f) }),
	"internal_user_budget_duration":             carry((*converter).internalUserWindow),
	"default_internal_user_params":              carry(func(c *converter, f field) { c.section(f, userDefaultRules) }),
	"default_team_params":                       carry(func(c *converter, f field) { c.section(f, teamDefaultRules) }),
	"default_team_settings":                     carry((*converter).teamSettings),
	"upperbound_key_generate_params":            carry(func(c *converter, f field) { c.section(f, keyBoundRules) }),
	"default_key_generate_params":               carry(func(c *converter, f field) { c.section(f, keyDefaultRules) }),
	"budget_exceeded_status_code":               carry(func(c *converter, f field) { c.addLine(&c.limits.settings, f, "budget_status") }),
	"drop_params":                               carry(func(c *converter, f field) { c.lossy = f.isTrue() }),
	"block_requests_for_models_without_pricing": carry(func(c *converter, f field) { c.priced = f }),
	"max_end_user_budget":                       refuse("LiteLLM does nothing with it: make a budget by /budget/new, name it by max_end_user_budget_id, and take this out"),
	"max_user_budget":                           refuse("LiteLLM does nothing with it: write max_budget into default_internal_user_params, and take this out"),
	"tag_budget_config":                         refuse("nothing is counted by tags here: give budgets to keys, teams or customers, and take this out"),
	"overwrite_user_with_key_hash":              refuse("the end user would be the key: set LAGO_API_CHARGE_BY to user_id or team_id, and take this out"),
}.each(carry(func(c *converter, f field) { c.fallbacks(&c.lite, f) }), "fallbacks", "context_window_fallbacks", "content_policy_fallbacks").
	each(warn("is left out: parameters go upstream as the client wrote them"),
		"modify_params", "add_function_to_prompt", "disable_stop_sequence_limit", "enable_preview_features", "route_all_chat_openai_to_responses",
		"use_chat_completions_url_for_anthropic_messages", "enable_json_schema_validation").
	each(warn("is left out: Caddy has its own logging and TLS settings"),
		"set_verbose", "json_logs", "request_correlation_in_logs", "turn_off_message_logging", "redact_user_api_key_info", "log_raw_request_response",
		"langfuse_default_tags", "telemetry", "store_audit_logs", "force_ipv4", "disable_aiohttp_transport", "http2").
	each(warn("is left out: it has no counterpart"),
		"return_response_headers", "forward_traceparent_to_llm_provider", "enable_redis_auth_cache", "enable_end_user_cost_tracking_prometheus_only",
		"disable_hf_tokenizer_download", "enable_key_alias_format_validation", "require_managed_files", "user_url_validation", "user_url_allowed_hosts",
		"budget_reset_time", "max_ui_session_budget", "mcp_aliases", "guardrails", "enable_loadbalancing_on_batch_endpoints", "num_retries_per_request",
		"disable_add_transform_inline_image_block", "skip_system_message_in_guardrail", "skip_tool_message_in_guardrail", "disable_copilot_system_to_assistant")

// cacheRules are the rules for the members of cache_params if they describe a response cache in Redis: only the
// address of Redis matters.
var cacheRules = rules{}.each(carry(func(*converter, field) {}), "type", "host", "port", "username", "password", "db", "ssl").
	each(warn("is left out: answers are not cached"),
		"namespace", "max_connections", "ttl", "mode", "supported_call_types", "similarity_threshold", "default_in_memory_ttl", "default_in_redis_ttl",
		"s3_bucket_name", "s3_region_name", "s3_aws_access_key_id", "s3_aws_secret_access_key", "s3_endpoint_url", "gcs_bucket_name",
		"gcs_path_service_account", "gcs_path", "qdrant_semantic_cache_embedding_model", "qdrant_collection_name", "qdrant_quantization_config",
		"qdrant_semantic_cache_vector_size").
	each(warn("is left out: write `store redis` with several addresses or `sentinel` in a Caddyfile"), "redis_startup_nodes", "service_name", "sentinel_nodes").
	each(warn("is left out: the server's certificate is verified by the system's roots"), "ssl_cert_reqs", "ssl_check_hostname", "gcp_service_account", "gcp_ssl_ca_certs")

var routerRules = rules{
	"routing_strategy":  carry((*converter).strategy),
	"num_retries":       carry(func(c *converter, f field) { c.router.retries = c.count(f) }),
	"timeout":           carry(func(c *converter, f field) { c.router.timeout = c.seconds(f) }),
	"allowed_fails":     carry(func(c *converter, f field) { c.router.allowedFails = c.count(f) }),
	"cooldown_time":     carry(func(c *converter, f field) { c.router.cooldown = c.seconds(f) }),
	"disable_cooldowns": carry(func(c *converter, f field) { c.cooldownsOff = f.isTrue() }),
	"model_group_alias": carry((*converter).aliasMap),
	"default_fallbacks": carry(func(c *converter, f field) { c.router.defaults = c.words(f) }),
	"redis_host":        carry(func(c *converter, f field) { c.redis.host = c.value(f) }),
	"redis_port":        carry(func(c *converter, f field) { c.redis.port = c.value(f) }),
	"redis_password":    carry(func(c *converter, f field) { c.redis.password = c.value(f) }),
	"redis_username":    carry(func(c *converter, f field) { c.redis.username = c.value(f) }),
	"redis_db":          carry(func(c *converter, f field) { c.redis.db = c.value(f) }),
	"redis_ssl":         carry(func(c *converter, f field) { c.redis.tls = f.isTrue() }),
	"redis_url":         carry((*converter).redisURL),

	"provider_budget_config":        carry((*converter).providerBudgets),
	"optional_pre_call_checks":      carry((*converter).preCallChecks),
	"default_max_parallel_requests": carry(func(c *converter, f field) { c.limits.parallel = c.atOnce(f) }),
	"enable_tag_filtering":          refuse("calls are not routed by tags: every key that may use a model would reach all its deployments. Make models of them, and take this out"),
	"tag_filtering_match_any":       warn("is left out: calls are not routed by tags"),
	"tag_routing_prefix":            warn("is left out: calls are not routed by tags"),
	"stream_timeout":                warn("is left out: timeout holds for streams too, up to the first byte"),
	"max_fallbacks":                 warn("is left out: all models of the list are tried"),
	"retry_policy":                  warn("is left out: lost connections, 408, 429 and 5xx are tried again, as often as num_retries says"),
	"model_group_retry_policy":      warn("is left out: lost connections, 408, 429 and 5xx are tried again, as often as num_retries says"),
	"allowed_fails_policy":          warn("is left out: allowed_fails counts lost connections, 408, 429 and 5xx alike"),
	"retry_after":                   warn("is left out: a backend is asked again after 0.2s, doubled each round, or when its Retry-After says"),
	"enable_pre_call_checks":        warn("is left out: the provider itself refuses what is too long"),
	"enable_pre_call_check":         warn("is left out: the provider itself refuses what is too long"),
	"default_litellm_params":        warn("is left out: a request goes upstream as the client wrote it, nothing is put into it"),
	"cache_responses":               warn("is left out: answers are not cached, so that each call goes upstream and is billed"),
}.each(carry(func(c *converter, f field) { c.fallbacks(&c.router, f) }), "fallbacks", "context_window_fallbacks", "content_policy_fallbacks").
	each(warn("is left out: it has no counterpart"),
		"routing_strategy_args", "routing_groups", "enable_weighted_failover", "default_priority",
		"polling_interval", "debug_level", "set_verbose", "client_ttl", "cache_kwargs", "caching_groups", "alerting_config", "assistants_config",
		"router_general_settings", "ignore_invalid_deployments", "search_tools", "guardrail_list", "enable_health_check_routing", "health_check_staleness_threshold",
		"health_check_ignore_transient_errors", "deployment_affinity_ttl_seconds", "model_group_affinity_config", "ttft_timeout", "stream_idle_timeout",
		"keepalive_seconds")

// callbacks accepts the lago callback and Prometheus metrics.
func (c *converter) callbacks(f field) {
	for _, cb := range f.items() {
		switch name := cb.raw(); name {
		case "lago":
			c.lago = cb
		case "prometheus":
			c.metrics = true
			c.warn(cb, "metrics are at /metrics of Caddy's admin API (localhost:2019), under other names: docs/lagobilling.md")
		default:
			c.warn(cb, fmt.Sprintf("callback %q has no counterpart, and is left out", name))
		}
	}
}

func (c *converter) words(f field) (list []word) {
	for _, item := range f.items() {
		if item.isMapping() {
			c.warn(item, "is left out: a fallback is the name of a model, without parameters of its own")
			continue
		}
		if w := c.value(item); w.set() {
			list = append(list, w)
		}
	}
	return list
}

// fallbacks reads `[{model: [others]}]`. The entry `*` is for models without their own.
func (c *converter) fallbacks(r *reliability, f field) {
	if f.off() {
		return
	}
	if r.fallbacks == nil {
		r.fallbacks = make(map[string]map[string]fallbackList)
	}
	lists := r.fallbacks[f.key]
	if lists == nil {
		lists = make(map[string]fallbackList)
		r.fallbacks[f.key] = lists
	}
	for _, item := range f.items() {
		if !item.isMapping() {
			c.fail(item, "a mapping from a model to its fallbacks is expected here")
			continue
		}
		for _, m := range item.members() {
			list := fallbackList{c.words(m), m}
			if _, twice := lists[m.key]; !twice { // LiteLLM uses the first
				lists[m.key] = list
			}
		}
	}
}

// aliasMap reads `{name: model}` or `{name: {model: model, hidden: bool}}`.
func (c *converter) aliasMap(f field) {
	for _, m := range f.members() {
		target := m
		if m.isMapping() {
			if target = m.get("model"); target.null() {
				c.fail(m, "an alias needs a model")
				continue
			}
			if hidden := m.get("hidden"); hidden.isTrue() {
				c.warn(hidden, "is left out: GET /v1/models lists this alias")
			}
		}
		c.aliases[m.key] = word{c.plain(target), target}
		c.aliasAt = append(c.aliasAt, m)
	}
}

func (c *converter) strategy(f field) {
	s := f.raw()
	if strings.HasPrefix(s, "usage-based-routing") {
		c.limits.enforced = f
	}
	if s != "simple-shuffle" {
		c.warn(f, fmt.Sprintf("strategy %q has no counterpart: deployments share by weight, as simple-shuffle does", s))
	}
}

// discounts reads `{provider: fraction}`.
func (c *converter) discounts(f field) {
	for _, p := range f.members() {
		c.adjust("discount", p, p)
	}
}

// margins reads `{provider or global: fraction, or {percentage: fraction, fixed_amount: USD}}`.
func (c *converter) margins(f field) {
	for _, p := range f.members() {
		share := p
		if p.isMapping() {
			if fixed := p.get("fixed_amount"); !fixed.null() && fixed.raw() != "0" {
				c.fail(fixed, "a fixed amount cannot be added to what a call costs: write a share, such as 0.05")
				continue
			}
			if share = p.get("percentage"); share.null() {
				c.fail(p, "a share is expected here, such as 0.05")
				continue
			}
		}
		c.adjust("markup", p, share)
	}
}

func (c *converter) adjust(directive string, provider, share field) {
	prefix := provider.key
	if prefix == "global" && directive == "markup" {
		prefix = ""
	} else if _, ok := providers[prefix]; !ok {
		c.fail(provider, "this provider is not known here")
		return
	}
	if w := c.percent(share); w.set() {
		c.adjustments = append(c.adjustments, adjustment{directive, prefix, w})
	}
}

// redisConfig is the Redis shared by the instances.
type redisConfig struct {
	host, port, username, password, db word
	tls                                bool
}

// redisURL parses a Redis URL. Messages do not repeat it, because it may contain a password.
func (c *converter) redisURL(f field) {
	if strings.HasPrefix(f.raw(), environ) {
		c.fail(f, "the parts of a URL are needed here: write redis_host, redis_port and redis_password")
		return
	}
	u, err := url.Parse(f.raw())
	if err != nil || u.Hostname() == "" || !slices.Contains([]string{"redis", "rediss"}, u.Scheme) {
		c.fail(f, "redis://host:port or rediss://host:port is expected here")
		return
	}
	at := func(s string) word { return word{c.text(f, s, 0), f} }
	c.redis.host, c.redis.port, c.redis.username = at(u.Hostname()), at(u.Port()), at(u.User.Username())
	password, _ := u.User.Password()
	c.redis.password, c.redis.db, c.redis.tls = at(password), at(strings.Trim(u.Path, "/")), u.Scheme == "rediss"
}

// cacheRedis uses the Redis of the response cache if the router has none. LiteLLM keeps limits and budgets there
// too.
func (c *converter) cacheRedis() {
	if !c.cache.isTrue() {
		return
	}
	c.warn(c.cache, "answers are not cached: each call goes upstream and is billed")
	kind := c.cacheParams.get("type").raw()
	if kind != "" && kind != "redis" || c.redis.host.set() {
		return
	}
	take := func(to *word, key, env string) {
		if f := c.cacheParams.get(key); !f.null() {
			*to = c.value(f)
		} else {
			*to = c.firstEnv(env)
		}
	}
	take(&c.redis.host, "host", "REDIS_HOST")
	if !c.redis.host.set() {
		return
	}
	take(&c.redis.port, "port", "REDIS_PORT")
	take(&c.redis.username, "username", "REDIS_USERNAME")
	take(&c.redis.password, "password", "REDIS_PASSWORD")
	take(&c.redis.db, "db", "REDIS_DB")
	c.redis.tls = c.cacheParams.get("ssl").isTrue()
}

// address returns host:port.
func (r *redisConfig) address() string {
	port := r.port.text
	if port == "" {
		port = "6379"
	}
	if strings.Contains(r.host.text, "{") {
		return r.host.text + ":" + port
	}
	return net.JoinHostPort(r.host.text, port)
}
