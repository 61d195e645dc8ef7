package litellm

import (
	"fmt"
	"strings"
)

// model is what several entries of model_list with one name make: deployments that share the load.
type model struct {
	name        string
	deployments []*deployment
}

// deployment is one entry of model_list.
type deployment struct {
	provider string
	base     string
	lines    [][]string // subdirectives of the backend
	weight   string
	rpm, tpm string
}

// preset is what a provider prefix of LiteLLM stands for here.
type preset struct {
	name     string
	needBase bool // the preset has no URL of its own
}

// prefixes maps LiteLLM's provider prefixes to presets.
var prefixes = map[string]preset{
	"openai":                 {name: "openai"},
	"text-completion-openai": {name: "openai"},
	"openai_like":            {name: "openai", needBase: true},
	"custom_openai":          {name: "openai", needBase: true},
	"litellm_proxy":          {name: "openai", needBase: true},
	"lm_studio":              {name: "openai", needBase: true},
	"llamafile":              {name: "openai", needBase: true},
	"azure":                  {name: "azure", needBase: true},
	"anthropic":              {name: "anthropic"},
	"gemini":                 {name: "gemini"},
	"vertex_ai":              {name: "vertex"},
	"bedrock":                {name: "bedrock"},
	"mistral":                {name: "mistral"},
	"groq":                   {name: "groq"},
	"deepseek":               {name: "deepseek"},
	"xai":                    {name: "xai"},
	"together_ai":            {name: "together"},
	"fireworks_ai":           {name: "fireworks"},
	"openrouter":             {name: "openrouter"},
	"perplexity":             {name: "perplexity"},
	"cohere":                 {name: "cohere"},
	"cohere_chat":            {name: "cohere"},
	"ollama":                 {name: "ollama"},
	"ollama_chat":            {name: "ollama"},
	"hosted_vllm":            {name: "vllm", needBase: true},
	"vllm":                   {name: "vllm", needBase: true},
}

// families are beginnings of well-known model names that LiteLLM takes without a prefix.
var families = []struct{ prefix, provider string }{
	{"gpt-", "openai"},
	{"chatgpt-", "openai"},
	{"o1", "openai"},
	{"o3", "openai"},
	{"o4", "openai"},
	{"text-embedding-", "openai"},
	{"dall-e", "openai"},
	{"whisper-", "openai"},
	{"tts-", "openai"},
	{"omni-moderation", "openai"},
	{"claude-", "anthropic"},
	{"command", "cohere"},
	{"deepseek-", "deepseek"},
	{"gemini-", "vertex_ai"},
}

// prices maps LiteLLM's price fields, in USD per unit, to the names of `price` lines, in USD per million units.
var prices = map[string]string{
	"input_cost_per_token":                          "input",
	"output_cost_per_token":                         "output",
	"cache_read_input_token_cost":                   "cache_read",
	"cache_creation_input_token_cost":               "cache_write_5m",
	"cache_creation_input_token_cost_above_1hr":     "cache_write_1h",
	"input_cost_per_audio_token":                    "input_audio",
	"output_cost_per_audio_token":                   "output_audio",
	"output_cost_per_reasoning_token":               "reasoning",
	"input_cost_per_image_token":                    "input_image",
	"output_cost_per_image_token":                   "output_image",
	"input_cost_per_token_flex":                     "input@flex",
	"output_cost_per_token_flex":                    "output@flex",
	"cache_read_input_token_cost_flex":              "cache_read@flex",
	"input_cost_per_token_priority":                 "input@priority",
	"output_cost_per_token_priority":                "output@priority",
	"cache_read_input_token_cost_priority":          "cache_read@priority",
	"input_cost_per_token_batches":                  "input@batch",
	"output_cost_per_token_batches":                 "output@batch",
	"cache_creation_input_token_cost_flex":          "cache_write_5m@flex",
	"cache_creation_input_token_cost_priority":      "cache_write_5m@priority",
	"cache_creation_input_audio_token_cost":         "",
	"input_cost_per_character":                      "input_characters",
	"output_cost_per_image":                         "images",
	"input_cost_per_query":                          "search_units",
	"ocr_cost_per_page":                             "pages",
	"cache_read_input_audio_token_cost":             "cache_read_audio",
	"input_cost_per_audio_token_cached":             "cache_read_audio",
	"input_cost_per_video_token":                    "input_video",
	"output_cost_per_video_token":                   "output_video",
	"input_cost_per_token_above_200k_tokens":        "",
	"output_cost_per_token_above_200k_tokens":       "",
	"input_cost_per_token_above_128k_tokens":        "",
	"output_cost_per_token_above_128k_tokens":       "",
	"cache_read_input_token_cost_above_200k_tokens": "",
}

// model reads one entry of model_list.
func (c *converter) model(entry field) {
	var name, params field
	var info []field
	for f := range entry.members() {
		switch f.key {
		case "model_name":
			name = f
		case "litellm_params":
			params = f
		case "model_info":
			for m := range f.members() {
				info = append(info, m)
			}
		default:
			c.dropped(f, "is not known")
		}
	}
	if name.node == nil || name.raw() == "" {
		c.fail(entry, "an entry of model_list needs a model_name")
		return
	}
	if params.node == nil {
		c.fail(entry, "an entry of model_list needs litellm_params")
		return
	}
	d := &deployment{}
	public := c.value(name)
	var upstream field
	var base, custom string
	var rest []field
	for f := range params.members() {
		switch f.key {
		case "model":
			upstream = f
		case "api_base", "base_url":
			base = strings.TrimRight(c.value(f), "/")
		case "custom_llm_provider":
			custom = f.raw()
		default:
			rest = append(rest, f)
		}
	}
	if upstream.node == nil {
		c.fail(params, "litellm_params needs a model")
		return
	}
	p, sent, err := providerOf(c.value(upstream), custom, base)
	if err != nil {
		c.fail(upstream, err.Error())
		return
	}
	if p.needBase && base == "" {
		c.fail(params, fmt.Sprintf("provider %s needs an api_base", p.name))
		return
	}
	d.provider, d.base = p.name, base
	if sent != public {
		d.lines = append(d.lines, []string{"model", sent})
	}
	for _, f := range append(rest, info...) {
		c.param(d, f)
	}
	d.weigh()
	for _, m := range c.models {
		if m.name == public {
			m.deployments = append(m.deployments, d)
			return
		}
	}
	c.models = append(c.models, &model{name: public, deployments: []*deployment{d}})
}

// providerOf tells LiteLLM's provider prefix from the name sent upstream.
func providerOf(name, custom, base string) (preset, string, error) {
	if custom != "" {
		p, ok := prefixes[custom]
		if !ok {
			return preset{}, "", fmt.Errorf("provider %q is not known", custom)
		}
		return p, strings.TrimPrefix(name, custom+"/"), nil
	}
	if prefix, rest, ok := strings.Cut(name, "/"); ok {
		if p, known := prefixes[prefix]; known {
			if prefix == "bedrock" {
				rest = strings.TrimPrefix(strings.TrimPrefix(rest, "converse/"), "invoke/")
			}
			return p, rest, nil
		}
		if base == "" {
			return preset{}, "", fmt.Errorf("provider %q is not known; for an OpenAI-compatible server write openai/%s and its api_base", prefix, rest)
		}
	}
	for _, f := range families {
		if strings.HasPrefix(name, f.prefix) {
			return prefixes[f.provider], name, nil
		}
	}
	if base != "" {
		return prefixes["openai"], name, nil
	}
	return preset{}, "", fmt.Errorf("the name %q does not say which provider serves it; write provider/%s", name, name)
}

// param reads one member of litellm_params or model_info.
func (c *converter) param(d *deployment, f field) {
	if f.null() {
		return
	}
	add := func(line ...string) { d.lines = append(d.lines, line) }
	switch f.key {
	case "api_key":
		add("api_key", c.value(f))
	case "weight":
		d.weight = c.count(f)
	case "rpm":
		d.rpm = c.count(f)
	case "tpm":
		d.tpm = c.count(f)
	case "order":
		add("order", c.count(f))
	case "timeout":
		c.timeoutLine(d, f)
	case "stream_timeout":
		c.dropped(f, "is not told apart from timeout, which runs to the first byte of the answer")
	case "api_version":
		if d.provider == "azure" {
			add("api_version", c.value(f))
			return
		}
		c.dropped(f, "belongs to azure alone")
	case "aws_region_name", "vertex_location", "region_name":
		add("region", c.value(f))
	case "vertex_project":
		add("project", c.value(f))
	case "vertex_credentials":
		add("credentials", c.value(f))
	case "aws_access_key_id":
		add("access_key_id", c.value(f))
	case "aws_secret_access_key":
		add("secret_access_key", c.value(f))
	case "aws_session_token":
		add("session_token", c.value(f))
	case "aws_profile_name":
		add("profile", c.value(f))
	case "max_budget", "budget_duration":
		c.fail(f, "a deployment's budget is not enforced here; take the field out to go on without it")
	case "max_parallel_requests":
		add("max_conns_per_host", c.count(f)) // placed in the transport block by write
	case "access_groups":
		c.fail(f, "access groups are not known here; name the models in each key's models")
	case "id", "mode", "base_model", "max_tokens", "max_input_tokens", "max_output_tokens", "litellm_provider", "description", "team_id",
		"team_public_model_name", "db_model", "created_at", "updated_at":
		if f.key == "team_id" {
			c.fail(f, "a team's own models are not known here; name the models in the team's keys")
			return
		}
		c.dropped(f, "is not needed")
	case "tags":
		c.dropped(f, "tag routing has no counterpart")
	case "max_retries", "num_retries":
		c.dropped(f, "is set for all models, by router_settings.num_retries")
	default:
		if target, isPrice := prices[f.key]; isPrice && target != "" {
			add("price", target, c.scaled(f, 1_000_000))
			return
		}
		if strings.Contains(f.key, "cost") || f.key == "tiered_pricing" {
			c.fail(f, "this price has no `price` line; put the model into a price file (`prices`) in LiteLLM's own format")
			return
		}
		c.dropped(f, "has no counterpart")
	}
}

func (c *converter) timeoutLine(d *deployment, f field) {
	if s := c.seconds(f); s != "" {
		d.lines = append(d.lines, []string{"timeout", s})
	}
}

// weigh settles the weight as LiteLLM's simple-shuffle does: weight, else rpm, else tpm.
func (d *deployment) weigh() {
	for _, w := range []string{d.weight, d.rpm, d.tpm} {
		if w != "" && w != "0" {
			d.lines = append(d.lines, []string{"weight", w})
			return
		}
	}
}
