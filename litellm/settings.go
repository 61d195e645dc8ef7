package litellm

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// chargeBy are the values that LiteLLM takes for LAGO_API_CHARGE_BY.
var chargeBy = []string{"end_user_id", "user_id", "team_id"}

func (c *converter) litellmSettings(section field) {
	for f := range section.members() {
		switch f.key {
		case "callbacks", "success_callback":
			for cb := range f.items() {
				switch cb.raw() {
				case "lago":
					c.lago = true
				case "prometheus":
					c.warn(cb, "Caddy's own metrics take its place; see docs/lagobilling.md")
				default:
					c.warn(cb, fmt.Sprintf("callback %q has no counterpart, and is left out", cb.raw()))
				}
			}
		case "num_retries":
			c.retries = c.count(f)
		case "request_timeout":
			c.timeout = c.seconds(f)
		case "fallbacks":
			c.fallbackList(f)
		case "default_fallbacks":
			for item := range f.items() {
				c.defaults = append(c.defaults, c.value(item))
			}
		case "cost_discount_config":
			for p := range f.members() {
				c.discounts = append(c.discounts, adjustment{c.providerName(p), c.scaled(p, 100)})
			}
		case "cost_margin_config":
			for p := range f.members() {
				if resolve(p.node).Kind != yaml.ScalarNode {
					c.fail(p, "a fixed amount cannot be added to a price; write a percentage")
					continue
				}
				c.markups = append(c.markups, adjustment{c.providerName(p), c.scaled(p, 100)})
			}
		case "model_alias_map":
			c.aliasMap(f)
		case "disable_end_user_cost_tracking":
			c.disableEndUser = f.isTrue()
			if c.disableEndUser {
				c.fail(f, "this would bill nobody for end users; set LAGO_API_CHARGE_BY to team_id or user_id instead")
			}
		case "context_window_fallbacks", "content_policy_fallbacks":
			c.dropped(f, "needs the answer's error text, on which nothing is decided here: fallbacks follow 408, 429, 5xx and lost connections")
		case "max_budget", "budget_duration", "max_end_user_budget", "max_end_user_budget_id", "max_internal_user_budget",
			"internal_user_budget_duration", "default_internal_user_params", "default_team_params", "max_user_budget":
			if !f.off() {
				c.fail(f, "this budget is not enforced here; take the field out to go on without it")
			}
		case "upperbound_key_generate_params", "key_generation_settings", "default_key_generate_params":
			if !f.off() {
				c.fail(f, "limits on new keys are not enforced here; only the master key makes keys")
			}
		case "drop_params", "modify_params":
			c.dropped(f, "is not needed: parameters pass as the client wrote them")
		default:
			c.dropped(f, "has no counterpart")
		}
	}
}

// providerName returns the preset a provider key of a discount or margin stands for; empty for "global".
func (c *converter) providerName(f field) string {
	if f.key == "global" {
		return ""
	}
	if p, ok := prefixes[f.key]; ok {
		return p.name
	}
	c.fail(f, "this provider is not known")
	return ""
}

// fallbackList reads `[{model: [others]}]`.
func (c *converter) fallbackList(f field) {
	for item := range f.items() {
		for m := range item.members() {
			var names []string
			for other := range m.items() {
				names = append(names, c.value(other))
			}
			if m.key == "*" {
				c.defaults = append(c.defaults, names...)
				continue
			}
			c.fallbacks[m.key] = append(c.fallbacks[m.key], names...)
		}
	}
}

// aliasMap reads `{name: model}` or `{name: {model: model, hidden: bool}}`.
func (c *converter) aliasMap(f field) {
	for m := range f.members() {
		target := m
		for inner := range m.members() {
			if inner.key == "model" {
				target = inner
			}
		}
		if _, ok := c.aliases[m.key]; !ok {
			c.aliasKeys = append(c.aliasKeys, m.key)
		}
		c.aliases[m.key] = c.value(target)
	}
}

func (c *converter) routerSettings(section field) {
	c.redis = orMap(c.redis)
	for f := range section.members() {
		switch f.key {
		case "routing_strategy":
			if s := f.raw(); s != "simple-shuffle" && !f.off() {
				c.warn(f, fmt.Sprintf("strategy %q has no counterpart: backends share by weight, as simple-shuffle does", s))
			}
		case "num_retries":
			c.routerRetries = c.count(f)
		case "timeout":
			c.routerTimeout = c.seconds(f)
		case "allowed_fails":
			c.allowedFails = c.count(f)
		case "cooldown_time":
			c.cooldown = c.seconds(f)
		case "disable_cooldowns":
			c.cooldownsOff = f.isTrue()
		case "model_group_alias":
			c.aliasMap(f)
		case "fallbacks":
			c.fallbackList(f)
		case "default_fallbacks":
			for item := range f.items() {
				c.defaults = append(c.defaults, c.value(item))
			}
		case "redis_host", "redis_port", "redis_password", "redis_username", "redis_db", "redis_ssl", "redis_url":
			if f.key == "redis_ssl" && !f.isTrue() {
				continue
			}
			c.redis[strings.TrimPrefix(f.key, "redis_")] = c.value(f)
		case "provider_budget_config":
			if !f.off() {
				c.fail(f, "a provider's budget is not enforced here; take the field out to go on without it")
			}
		case "context_window_fallbacks", "content_policy_fallbacks":
			c.dropped(f, "needs the answer's error text, on which nothing is decided here: fallbacks follow 408, 429, 5xx and lost connections")
		case "enable_tag_filtering":
			c.dropped(f, "tag routing has no counterpart")
		default:
			c.dropped(f, "has no counterpart")
		}
	}
}

func (c *converter) generalSettings(section field) {
	for f := range section.members() {
		switch f.key {
		case "master_key":
			if !f.null() {
				c.masterKey = c.value(f)
			}
		case "user_header_mappings":
			for item := range f.items() {
				c.headerMapping(item)
			}
		case "user_header_name":
			c.endUserHeaders = append(c.endUserHeaders, c.value(f))
		case "enforce_user_param":
			c.enforceUserParam = f.isTrue()
		case "max_request_size_mb":
			if n := c.count(f); n != "" {
				c.maxBody = n + "MB"
			}
		case "user_api_key_cache_ttl":
			c.cacheTTL = c.seconds(f)
		case "database_url", "database_connection_pool_limit", "database_connection_timeout", "store_model_in_db", "use_redis_transaction_buffer":
			c.dropped(f, "has no counterpart: keys live in Redis or in a file. Bring LiteLLM's with `caddy tollgate keys import`")
		case "allow_requests_on_db_unavailable":
			if f.isTrue() {
				c.fail(f, "the door is never left open: while the key store is down, known keys work for stale_ttl and unknown ones are refused")
			}
		case "litellm_key_header_name":
			c.fail(f, "keys come in Authorization, x-api-key, api-key or x-goog-api-key; another header is not read")
		case "custom_auth", "custom_auth_run_common_checks", "enable_jwt_auth", "litellm_jwtauth", "enable_oauth2_auth", "enable_oauth2_proxy_auth",
			"allowed_ips", "allowed_routes", "admin_only_routes", "public_routes", "enforced_params", "role_permissions", "role_mappings",
			"max_parallel_requests", "global_max_parallel_requests", "custom_key_generate", "user_mcp_management_mode":
			if !f.off() && f.raw() != "0" {
				c.fail(f, "this decides who may call, and has no counterpart here; Caddy's own matchers and handlers (remote_ip, forward_auth, ...) go in front of keyauth in a Caddyfile")
			}
		case "pass_through_endpoints":
			if !f.off() {
				c.fail(f, "pass-through endpoints are not metered, so they are not served; use reverse_proxy in a Caddyfile, beside the gateway")
			}
		case "always_include_stream_usage":
			c.dropped(f, "is not needed: usage is always asked for, and kept from clients that did not ask")
		case "disable_spend_logs", "disable_error_logs", "proxy_batch_write_at", "proxy_budget_rescheduler_min_time", "proxy_budget_rescheduler_max_time":
			c.dropped(f, "is not needed: every call has a record on disk")
		default:
			c.dropped(f, "has no counterpart")
		}
	}
}

// headerMapping reads one of user_header_mappings: only the role of a customer says who pays.
func (c *converter) headerMapping(item field) {
	var header, role field
	for f := range item.members() {
		switch f.key {
		case "header_name":
			header = f
		case "litellm_user_role":
			role = f
		}
	}
	switch {
	case header.node == nil || role.node == nil:
		c.fail(item, "header_name and litellm_user_role are needed")
	case role.raw() == "customer":
		c.endUserHeaders = append(c.endUserHeaders, c.value(header))
	default:
		c.fail(role, fmt.Sprintf("role %q would let a header say who the internal user is; only customer is taken from a header", role.raw()))
	}
}

// finish settles what depends on several sections and on the environment.
func (c *converter) finish() {
	here := field{file: c.file, path: "environment", node: zeroNode}
	if len(c.models) == 0 && len(c.errs) == 0 {
		c.fail(field{file: c.file, path: "model_list", node: zeroNode}, "no model is configured")
	}
	if c.masterKey == "" && c.env("LITELLM_MASTER_KEY") != "" {
		c.masterKey = c.envRef("LITELLM_MASTER_KEY")
	}
	if by := c.env("LAGO_API_CHARGE_BY"); c.lago && by != "" && !slices.Contains(chargeBy, by) {
		here.path = "LAGO_API_CHARGE_BY"
		c.fail(here, fmt.Sprintf("%q is none of %s", by, strings.Join(chargeBy, ", ")))
	}
	if c.lago {
		var missing []string
		for _, name := range []string{"LAGO_API_BASE", "LAGO_API_KEY", "LAGO_API_EVENT_CODE"} {
			if c.env(name) == "" {
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			here.path = "callbacks"
			c.fail(here, "the callback lago needs "+strings.Join(missing, ", ")+" in the environment")
		}
	}
	for name, others := range c.fallbacks {
		if !c.has(name) && len(c.errs) == 0 {
			here.path = "fallbacks"
			c.warn(here, fmt.Sprintf("model %q, which has fallbacks (%s), is not in model_list", name, strings.Join(others, ", ")))
		}
	}
	if c.masterKey == "" {
		here.path = "general_settings.master_key"
		c.warn(here, "no master key: ANYONE who reaches this port may call every model; it listens on "+c.host()+" only")
	}
}

func (c *converter) has(name string) bool {
	return slices.ContainsFunc(c.models, func(m *model) bool { return m.name == name })
}
