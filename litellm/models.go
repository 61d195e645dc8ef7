package litellm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// model is the deployments in model_list that share a name, and so the load.
type model struct {
	name        word
	deployments []*deployment
}

// deployment is one entry of model_list.
type deployment struct {
	at           field
	prefix       string // LiteLLM's provider
	mode         string // the model's mode: chat, embedding, ...
	base         word
	key          word
	model        word   // the name sent upstream; empty for the requested name
	lines        []line // further subdirectives of the backend
	weight       word
	rpm, tpm     word
	limits       []line
	order        word
	timeout      word
	retries      word
	environments []string // environments that it belongs to; empty means all
	orgs         []word
	lossy        bool // members that cannot be translated are dropped
}

// line is one directive and the field that it comes from.
type line struct {
	at    field
	words []string
}

func (d *deployment) add(at field, words ...string) { d.lines = append(d.lines, line{at, words}) }

// has reports whether there is a line with that directive.
func (d *deployment) has(name string) bool {
	return slices.ContainsFunc(d.lines, func(l line) bool { return l.words[0] == name })
}

var entryRules = rules{
	"model_name":     carry(nil),
	"litellm_params": carry(nil),
	"model_info":     carry(nil),
}

// paramRules are the rules for the members of litellm_params, except prices.
var paramRules = rules{
	"model":                               carry(func(*converter, field) {}),
	"custom_llm_provider":                 carry(func(*converter, field) {}),
	"litellm_credential_name":             carry(func(*converter, field) {}),
	"api_base":                            carry(func(c *converter, f field) { c.entry.base = c.value(f) }),
	"base_url":                            carry(func(c *converter, f field) { c.entry.base = c.value(f) }),
	"api_key":                             carry(func(c *converter, f field) { c.entry.key = c.value(f) }),
	"api_version":                         carry((*converter).apiVersion),
	"weight":                              carry(func(c *converter, f field) { c.entry.weight = c.amount(f) }),
	"rpm":                                 carry(func(c *converter, f field) { c.entry.rpm = c.amount(f) }),
	"tpm":                                 carry(func(c *converter, f field) { c.entry.tpm = c.amount(f) }),
	"order":                               carry(func(c *converter, f field) { c.entry.order = c.count(f) }),
	"timeout":                             carry(func(c *converter, f field) { c.entry.timeout = c.seconds(f) }),
	"num_retries":                         carry(func(c *converter, f field) { c.entry.retries = c.count(f) }),
	"max_retries":                         carry(func(c *converter, f field) { c.entry.retries = first(c.entry.retries, c.count(f)) }),
	"organization":                        carry((*converter).organization),
	"extra_headers":                       carry((*converter).headers),
	"headers":                             carry((*converter).headers),
	"aws_region_name":                     carry(func(c *converter, f field) { c.cloud(f, "bedrock", "region") }),
	"vertex_project":                      carry(func(c *converter, f field) { c.cloud(f, "vertex_ai", "project") }),
	"vertex_location":                     carry(func(c *converter, f field) { c.cloud(f, "vertex_ai", "location") }),
	"aws_access_key_id":                   carry((*converter).cloudCredential),
	"aws_secret_access_key":               carry((*converter).cloudCredential),
	"aws_session_token":                   carry((*converter).cloudCredential),
	"aws_profile_name":                    carry((*converter).cloudCredential),
	"vertex_credentials":                  carry((*converter).cloudCredential),
	"max_budget":                          carry(func(c *converter, f field) { c.addLine(&c.entry.limits, f, "max_budget") }),
	"budget_duration":                     carry(func(c *converter, f field) { c.addLine(&c.entry.limits, f, "budget_duration") }),
	"max_parallel_requests":               carry(func(c *converter, f field) { c.addAtOnce(&c.entry.limits, f) }),
	"stream_timeout":                      warn("is left out: timeout holds for streams too, up to the first byte"),
	"tags":                                warn("is left out: calls are not routed by tags"),
	"region_name":                         warn("is left out: calls are not routed by region"),
	"drop_params":                         carry(func(c *converter, f field) { c.entry.lossy = f.isTrue() }),
	"allowed_openai_params":               warn("is left out: parameters go upstream as the client wrote them"),
	"additional_drop_params":              warn("is left out: parameters go upstream as the client wrote them"),
	"configurable_clientside_auth_params": refuse("clients cannot bring a base URL or a key of their own: such a call would go to an unmetered server"),
	"mock_response":                       warn("is left out: for a built-in answer write `backend mock` in a Caddyfile"),
	"use_in_pass_through":                 warn("is left out: pass-through endpoints are not metered, so they are not served"),
}.each(refuse("the credentials of a cloud come from its own chain (environment, profile, role of the machine): set them up there, and take this out"),
	"aws_role_name", "aws_session_name", "aws_web_identity_token", "aws_sts_endpoint", "aws_external_id", "azure_ad_token", "tenant_id", "client_id", "client_secret",
	"azure_username", "azure_password").
	each(warn("is left out: a request goes upstream as the client wrote it, nothing is put into it"),
		"temperature", "max_tokens", "max_completion_tokens", "top_p", "n", "seed", "stop", "user", "frequency_penalty", "presence_penalty", "response_format",
		"reasoning_effort", "thinking", "extra_body", "cache_control_injection_points", "merge_reasoning_content_in_choices", "initial_prompt_value", "roles",
		"final_prompt_value", "bos_token", "eos_token")

// infoRules are the rules for the members of model_info, except prices.
var infoRules = rules{
	"mode":                   carry(func(*converter, field) {}),
	"supported_environments": carry((*converter).environments),
	"id":                     warn("is left out: backends have names of their own"),
	"base_model":             warn("is left out: the price is that of the model that the answer names"),
	"access_groups":          refuse("access groups are not known here: name the models themselves in `models` of each key, and take this out"),
	"team_id":                refuse("a model of one team alone is not known here: name it in `models` of the team's keys, and take this out"),
	"team_public_model_name": refuse("a model of one team alone is not known here: name it in `models` of the team's keys, and take this out"),
}.each(warn("is left out: nothing is decided by it"),
	"version", "description", "litellm_provider", "max_tokens", "max_input_tokens", "max_output_tokens", "db_model", "created_at", "updated_at",
	"created_by", "updated_by", "custom_tokenizer", "health_check_model", "disable_background_health_check", "supports_vision", "supports_function_calling",
	"supports_system_messages", "supports_response_schema", "supports_reasoning", "supports_prompt_caching")

// modelEntry reads one entry of model_list.
func (c *converter) modelEntry(entry field) {
	if !entry.isMapping() {
		c.fail(entry, "a mapping with model_name and litellm_params is expected here")
		return
	}
	for _, m := range entry.members() {
		if _, ok := entryRules[m.key]; !ok && !m.off() {
			c.warn(m, "is not known here, and is left out")
		}
	}
	name, params, info := entry.get("model_name"), entry.get("litellm_params"), entry.get("model_info")
	switch {
	case name.null():
		c.fail(entry, "an entry of model_list needs a model_name")
		return
	case !params.isMapping() || params.get("model").null():
		c.fail(entry, "an entry of model_list needs litellm_params with a model")
		return
	}
	d := &deployment{at: entry}
	c.entry = d
	members := params.members()
	if cred := params.get("litellm_credential_name"); !cred.null() {
		members = append(members, c.credential(cred, params)...)
	}
	if m := info.get("mode"); !m.null() {
		d.mode = c.plain(m)
	}
	public := word{c.plain(name), name}
	upstream := params.get("model")
	written := c.plain(upstream)
	custom := ""
	if f := params.get("custom_llm_provider"); !f.null() {
		custom = c.plain(f)
	}
	hasBase := slices.ContainsFunc(members, func(m field) bool { return (m.key == "api_base" || m.key == "base_url") && !m.null() })
	if written == "*" && custom == "" && !hasBase {
		c.everyProvider(d, public, params, info)
		return
	}
	base := ""
	if hasBase {
		base = "given"
	}
	prefix, sent, err := providerOf(written, custom, base)
	if err != nil {
		c.fail(upstream, err.Error())
		return
	}
	d.prefix = prefix
	c.params(members, info.members())
	c.complete(d, params, sent)
	if sent != public.text {
		d.model = word{sent, upstream}
	}
	if strings.Count(sent, "*") > 1 && sent != public.text {
		c.fail(upstream, "a name with several `*` must be the same in model_name and model")
	}
	c.place(public, d)
}

// params reads the members of litellm_params and model_info.
func (c *converter) params(params, info []field) {
	for _, m := range params {
		if m.key == "model_info" && m.isMapping() { // LiteLLM treats it as the deployment's own model_info
			info = append(m.members(), info...)
		}
	}
	for i, list := range [][]field{params, info} {
		known := paramRules
		if i == 1 {
			known = infoRules
		}
		for _, m := range list {
			if i == 0 && m.key == "model_info" && m.isMapping() {
				continue
			}
			r, ok := known[m.key]
			switch {
			case ok:
				c.apply(m, r)
			case price.IsLiteLLMPrice(m.key):
				c.price(m)
			case !m.off():
				c.warn(m, "is not known here, and is left out")
			}
		}
	}
}

// complete adds what LiteLLM takes from the environment. sent is the name sent upstream, or empty if it is
// unknown.
func (c *converter) complete(d *deployment, params field, sent string) {
	p := providers[d.prefix]
	at := params.get("model")
	given := d.base.set()
	if !given {
		if d.base = c.firstEnv(p.bases...); !d.base.set() && p.base != "" {
			d.base = word{p.base, at}
		}
	}
	if d.base.set() {
		d.base.text = baseFor(d.prefix, d.base.text)
	} else if p.needBase {
		c.fail(at, "provider "+d.prefix+" needs an api_base")
	}
	switch {
	case d.key.set() || len(p.keys) == 0:
	case given && !p.keyless && !p.needBase:
		if name := c.firstEnv(p.keys...); name.set() {
			c.warn(at, "there is no api_key: LiteLLM would send "+name.at.path+" to this api_base, here no key is sent. Write api_key: os.environ/NAME if one belongs there")
		}
	default:
		if d.key = c.firstEnv(p.keys...); !d.key.set() && !p.keyless {
			d.key = c.envWord(p.keys[0])
			c.warn(at, "there is no api_key, and "+p.keys[0]+" is not set: the gateway does not start without it")
		}
	}
	c.listPrices(d, at)
	switch d.prefix {
	case "azure":
		if v := c.firstEnv("AZURE_API_VERSION"); v.set() && !d.has("api_version") {
			d.add(v.at, "api_version", v.text)
		}
	case "bedrock":
		if !d.base.set() && !d.has("region") {
			v := first(c.firstEnv("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"), word{"us-west-2", at}) // LiteLLM's default
			d.add(v.at, "region", v.text)
		}
	case "vertex_ai":
		if v := c.firstEnv("VERTEXAI_PROJECT"); v.set() && !d.has("project") {
			d.add(v.at, "project", v.text)
		}
		if !d.base.set() && !d.has("location") {
			v := first(c.firstEnv("VERTEXAI_LOCATION"), word{"us-central1", at}) // LiteLLM's default
			d.add(v.at, "location", v.text)
		}
	}
	switch {
	case p.compat != "" && !d.base.set():
		c.warn(at, "calls to chat/completions go to the provider's own API in OpenAI's manner; its native API is served as well")
	case p.preset == "bedrock" && strings.Contains(sent, "openai."), p.preset == "vertex" && !strings.HasPrefix(sent, "claude"):
		c.warn(at, "calls to chat/completions go to the cloud's own API in OpenAI's manner; its native API is served as well")
	case p.preset == "bedrock" && strings.Contains(sent, "anthropic.claude-"): // these are translated
	case p.preset == "bedrock":
		c.warn(at, "of Bedrock's models Anthropic's and OpenAI's alone are known to serve chat/completions: calls to others are refused")
	case p.compat != "":
		c.warn(at, "the model is served by the provider's own API: calls to chat/completions are not translated for it, and are refused")
	}
}

// place adds a deployment to the model of that name, once per organization.
func (c *converter) place(public word, d *deployment) {
	if env := c.env("LITELLM_ENVIRONMENT"); len(d.environments) > 0 && env != "" && !slices.Contains(d.environments, env) {
		return
	}
	list := []*deployment{d}
	if len(d.orgs) > 0 {
		list = nil
		for _, org := range d.orgs {
			copied := *d
			copied.lines = append(slices.Clone(d.lines), line{org.at, []string{"header_up", "OpenAI-Organization", org.text}})
			list = append(list, &copied)
		}
	}
	for _, m := range c.models {
		if m.name.text == public.text {
			m.deployments = append(m.deployments, list...)
			return
		}
	}
	c.models = append(c.models, &model{name: public, deployments: list})
}

// everyProvider reads the entry `model: "*"`, which means all providers whose key is in the environment.
func (c *converter) everyProvider(d *deployment, public word, params, info field) {
	if public.text != "*" {
		c.fail(params.get("model"), "`*` alone stands for every provider only where model_name is `*` too: write provider/*")
		return
	}
	any := false
	serve := func(prefix, name, sent string) {
		one := &deployment{at: d.at, prefix: prefix, mode: d.mode, lossy: d.lossy}
		c.entry = one
		c.params(params.members(), info.members())
		c.complete(one, params, sent)
		if sent != name {
			one.model = word{sent, params.get("model")}
		}
		c.place(word{name, public.at}, one)
		any = true
	}
	warnings := c.warnings
	for _, prefix := range slices.Sorted(maps.Keys(providers)) {
		if p := providers[prefix]; !p.needBase && len(p.keys) > 0 && c.firstEnv(p.keys...).set() && prefix != "text-completion-openai" && prefix != "cohere_chat" {
			serve(prefix, prefix+"/*", "*")
		}
	}
	for _, f := range families {
		if c.firstEnv(providers[f.provider].keys...).set() {
			serve(f.provider, f.prefix+"*", f.prefix+"*")
		}
	}
	c.warnings = warnings // the warnings would repeat for each provider
	if !any {
		c.fail(params.get("model"), "`*` stands for every provider whose key is in the environment, and there is none, such as OPENAI_API_KEY")
		return
	}
	c.warn(params.get("model"), "`*` stands for the providers whose keys are in the environment now: a new one needs a reload")
}

// credential returns the parameters that a named credential adds.
func (c *converter) credential(name, params field) []field {
	values, ok := c.credentials[c.plain(name)]
	if !ok {
		c.fail(name, "credential_list has no credential of that name")
		return nil
	}
	var add []field
	for _, m := range values.members() {
		if params.get(m.key).null() {
			add = append(add, m)
		}
	}
	return add
}

func (c *converter) apiVersion(f field) {
	if c.entry.prefix != "azure" {
		c.warn(f, "is left out: it belongs to azure alone")
		return
	}
	c.entry.add(f, "api_version", c.value(f).text)
}

// cloud adds a directive that belongs to one provider.
func (c *converter) cloud(f field, prefix, name string) {
	if c.entry.prefix != prefix {
		c.warn(f, "is left out: it belongs to "+prefix+" alone")
		return
	}
	c.entry.add(f, name, c.value(f).text)
}

// chains are the variables that the clouds' default credential chains read.
var chains = map[string]string{
	"aws_access_key_id":     "AWS_ACCESS_KEY_ID",
	"aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
	"aws_session_token":     "AWS_SESSION_TOKEN",
	"aws_profile_name":      "AWS_PROFILE",
	"vertex_credentials":    "GOOGLE_APPLICATION_CREDENTIALS",
}

// cloudCredential accepts a credential that the cloud's default chain also finds. Any other could belong to
// another payer.
func (c *converter) cloudCredential(f field) {
	name := chains[f.key]
	if _, declared := c.declared[name]; f.raw() == environ+name && !declared {
		c.used[name] = true
		return
	}
	c.fail(f, "the credentials of a cloud come from its own chain: set "+name+" in the environment, and write os.environ/"+name+" here or take this out")
}

func (c *converter) organization(f field) {
	if f.isList() {
		for _, item := range f.items() {
			c.entry.orgs = append(c.entry.orgs, c.value(item))
		}
		return
	}
	c.entry.add(f, "header_up", "OpenAI-Organization", c.value(f).text)
}

func (c *converter) headers(f field) {
	if !f.isMapping() {
		c.fail(f, "a mapping of headers is expected here")
		return
	}
	for _, h := range f.members() {
		if !isToken(h.key) {
			c.fail(h, "this is no name of a header")
			continue
		}
		if v := c.value(h); v.set() {
			c.entry.add(h, "header_up", h.key, v.text)
		}
	}
}

func (c *converter) environments(f field) {
	for _, item := range f.items() {
		c.entry.environments = append(c.entry.environments, c.plain(item))
	}
}

// price adds a field's price lines. The amount is exact, taken from the file's text.
func (c *converter) price(f field) {
	if f.null() {
		return
	}
	if !f.isScalar() {
		c.fail(f, "prices by range and by size have no `price` line: put the model into a price file, in LiteLLM's own format")
		return
	}
	name, amount, err := price.LiteLLMLine(f.key, c.plain(f), c.entry.prefix, c.entry.mode)
	if err != nil {
		c.fail(f, err.Error())
		return
	}
	names := []string{name}
	if rest, ok := strings.CutPrefix(name, "cache_write"); ok && !strings.HasPrefix(rest, "_") {
		// LiteLLM bills cache writes of unknown and of short lifetime alike. A list price for the short lifetime
		// must not override this price.
		names = append(names, "cache_write_5m"+rest)
	}
	for _, name := range names {
		same := slices.IndexFunc(c.entry.lines, func(l line) bool { return l.words[0] == "price" && l.words[1] == name })
		switch {
		case same < 0:
			c.entry.add(f, "price", name, amount)
		case c.entry.lines[same].words[2] != amount:
			c.fail(f, fmt.Sprintf("this price is given twice, also in line %d", c.entry.lines[same].at.line()))
		}
	}
}

// deployments returns the deployments of all models.
func (c *converter) deployments() (all []*deployment) {
	for _, m := range c.models {
		all = append(all, m.deployments...)
	}
	return all
}

// find returns the model that a name resolves to, by alias, name or pattern, or nil.
func (c *converter) find(name string) *model {
	if to, ok := c.aliases[name]; ok {
		name = to.text
	}
	var best *model
	for _, m := range c.models {
		if m.name.text == name {
			return m
		}
		if strings.Contains(m.name.text, "*") && llm.Match(m.name.text, name) &&
			(best == nil || strings.IndexByte(m.name.text, '*') > strings.IndexByte(best.name.text, '*')) {
			best = m
		}
	}
	return best
}

// isToken reports whether a name is a valid header name.
func isToken(name string) bool {
	// In the Caddyfile some characters before a name mean an operation on the header.
	return name != "" && !strings.ContainsAny(name[:1], "+-?>") && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}
