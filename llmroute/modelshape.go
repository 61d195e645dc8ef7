package llmroute

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/modelinfo"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// Clients expect the creation time of each model. The gateway does not know it and reports LiteLLM's.
const (
	madeAt     = 1677610602
	madeAtText = "2023-02-28T18:56:42Z"
)

type members = map[string]any

// set sets each of the names to a number unless it is unknown.
func set(m members, value int64, names ...string) {
	for _, name := range names {
		if value > 0 {
			m[name] = value
		}
	}
}

// listed removes the models that the wanted endpoint does not serve from Cohere's list.
func listed(api llm.API, entries []members, wanted string) []members {
	if api != llm.Cohere || wanted == "" {
		return entries
	}
	return slices.DeleteFunc(entries, func(m members) bool {
		endpoints, _ := m["endpoints"].([]string)
		return !slices.Contains(endpoints, wanted)
	})
}

// modelList formats a page as an API's list. next is the token of the next page, or empty.
func modelList(api llm.API, entries []members, next string) members {
	switch api {
	case llm.Anthropic:
		list := members{"data": entries, "has_more": next != "", "first_id": nil, "last_id": nil}
		if n := len(entries); n > 0 {
			list["first_id"], list["last_id"] = entries[0]["id"], entries[n-1]["id"]
		}
		return list
	case llm.Gemini:
		list := members{"models": entries}
		if next != "" {
			list["nextPageToken"] = next
		}
		return list
	case llm.Ollama:
		return members{"models": entries}
	case llm.Cohere:
		list := members{"models": entries, "next_page_token": nil}
		if next != "" {
			list["next_page_token"] = next
		}
		return list
	default:
		return members{"object": "list", "data": entries}
	}
}

// modelEntries describes models in an API's format.
func (h *Handler) modelEntries(call *llm.Call, api llm.API, offers []offer) []members {
	entries := make([]members, 0, len(offers))
	for i := range offers {
		o := &offers[i]
		m := o.known()
		if m == nil {
			m = new(modelinfo.Model)
		}
		switch api {
		case llm.Anthropic:
			entries = append(entries, anthropicModel(o.name, m))
		case llm.Gemini:
			entries = append(entries, geminiModel(o.name, m))
		case llm.Cohere:
			entries = append(entries, cohereModel(o.name, m))
		case llm.Ollama:
			entries = append(entries, ollamaModel(o.name))
		default:
			entries = append(entries, openAIModel(o.name, m, listPrices(call, o.target())))
		}
	}
	return entries
}

// openAIModel returns OpenAI's members, and the members with which Groq, OpenRouter and Mistral describe a
// model's abilities. Mistral's SDK requires `type` and `capabilities`.
func openAIModel(name string, m *modelinfo.Model, prices map[string]string) members {
	can := make(members)
	entry := members{
		"id": name, "object": "model", "created": madeAt, "owned_by": "tollgate", "type": "base", "capabilities": can,
	}
	set(entry, m.ContextWindow, "context_window", "context_length", "max_context_length")
	set(entry, m.MaxOutput, "max_completion_tokens", "max_output_tokens")
	if m.Mode != "" {
		can["completion_chat"] = m.IsChat()
		can["function_calling"] = m.Functions
		can["vision"] = slices.Contains(m.Input, "image")
		can["reasoning"] = m.Reasoning
		entry["mode"] = m.Mode
		entry["architecture"] = members{"input_modalities": m.Input, "output_modalities": m.Output}
	}
	pricing := make(members)
	for ours, theirs := range map[string]string{
		"input": "prompt", "output": "completion", "cache_read": "input_cache_read", "cache_write": "input_cache_write", "reasoning": "internal_reasoning",
	} {
		if p, ok := prices[ours]; ok {
			pricing[theirs] = perToken(p)
		}
	}
	for ours, theirs := range map[string]string{"request": "request", "web_searches": "web_search", "images": "image"} {
		if p, ok := prices[ours]; ok {
			pricing[theirs] = p
		}
	}
	if len(pricing) > 0 {
		entry["pricing"] = pricing
	}
	return entry
}

func anthropicModel(name string, m *modelinfo.Model) members {
	entry := members{"id": name, "type": "model", "display_name": name, "created_at": madeAtText}
	set(entry, m.ContextWindow, "max_input_tokens")
	set(entry, m.MaxOutput, "max_tokens")
	return entry
}

func geminiModel(name string, m *modelinfo.Model) members {
	methods := []string{"generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"} // for unknown models
	switch {
	case m.Mode == "embedding":
		methods = methods[2:]
	case m.Mode != "":
		methods = methods[:3]
	}
	entry := members{
		"name": provider.GeminiModels + name, "baseModelId": name, "version": "001", "displayName": name, "supportedGenerationMethods": methods,
	}
	set(entry, m.ContextWindow, "inputTokenLimit")
	set(entry, m.MaxOutput, "outputTokenLimit")
	if m.Reasoning {
		entry["thinking"] = true
	}
	return entry
}

func cohereModel(name string, m *modelinfo.Model) members {
	endpoints := []string{"chat", "embed", "rerank"}
	switch m.Mode {
	case "chat":
		endpoints = []string{"chat"}
	case "embedding":
		endpoints = []string{"embed"}
	case "rerank":
		endpoints = []string{"rerank"}
	}
	entry := members{"name": name, "endpoints": endpoints, "default_endpoints": []string{}, "finetuned": false}
	set(entry, m.ContextWindow, "context_length")
	return entry
}

// ollamaVersion is the version of Ollama's API that the gateway implements. Clients refuse servers with an older
// version than they need.
const ollamaVersion = "0.12.6"

// ollamaModel returns the members that Ollama's clients show. Those about the model's file are unknown.
func ollamaModel(name string) members {
	return members{
		"name": name, "model": name, "modified_at": madeAtText, "size": 0, "digest": "",
		"details": members{"format": "", "family": "", "families": nil, "parameter_size": "", "quantization_level": ""},
	}
}

// modelInfo lists the backends of models in the format of LiteLLM's /model/info, without addresses and secrets.
// If only is set, it lists that model alone.
func (h *Handler) modelInfo(call *llm.Call, only string) members {
	data := make([]members, 0)
	seen := make(map[[2]string]bool)
	for _, api := range []llm.API{llm.OpenAI, llm.Anthropic, llm.Gemini, llm.Cohere, llm.Bedrock, llm.Ollama} {
		for _, o := range h.offers(call.Identity, api, "") {
			for i, b := range o.entry.model.Backends {
				o.backend = i
				id := o.entry.modelID(i)
				if seen[[2]string{o.name, id}] || !b.offers(api, o.entry.pattern, o.meant) || only != "" && only != id {
					continue
				}
				seen[[2]string{o.name, id}] = true
				data = append(data, infoEntry(&o, id, o.target(), listPrices(call, o.target())))
			}
		}
	}
	slices.SortStableFunc(data, func(a, b members) int {
		return strings.Compare(a["model_name"].(string), b["model_name"].(string)) //nolint:forcetypeassert // made above
	})
	return members{"data": data}
}

func infoEntry(o *offer, id string, t *llm.Target, prices map[string]string) members {
	info := members{"id": id, "db_model": false, "key": t.Upstream, "litellm_provider": t.Provider}
	if m := o.known(); m != nil {
		info["mode"] = m.Mode
		set(info, m.ContextWindow, "max_input_tokens")
		set(info, m.MaxOutput, "max_output_tokens", "max_tokens")
		info["supports_vision"] = slices.Contains(m.Input, "image")
		info["supports_audio_input"] = slices.Contains(m.Input, "audio")
		info["supports_pdf_input"] = slices.Contains(m.Input, "file")
		info["supports_function_calling"] = m.Functions
		info["supports_reasoning"] = m.Reasoning
		info["supports_response_schema"] = m.Schema
		info["supports_prompt_caching"] = m.Caching
	}
	for ours, theirs := range map[string]string{
		"input": "input_cost_per_token", "output": "output_cost_per_token", "cache_read": "cache_read_input_token_cost",
		"cache_write": "cache_creation_input_token_cost", "reasoning": "output_cost_per_reasoning_token",
	} {
		if p, ok := prices[ours]; ok {
			info[theirs] = json.Number(perToken(p))
		}
	}
	return members{
		"model_name": o.name, "litellm_params": members{"model": t.Provider + "/" + t.Upstream, "custom_llm_provider": t.Provider}, "model_info": info,
	}
}

// listPrices returns a model's prices at a backend in USD per unit, by price name. They come from lagobilling's
// data, or from the built-in data if the call does not pass lagobilling.
func listPrices(call *llm.Call, t *llm.Target) map[string]string {
	if call.ListPrices != nil {
		return call.ListPrices(t)
	}
	return price.Default().Standard(price.Query{Provider: t.Provider, BaseURL: t.BaseURL, Region: t.Region, Model: t.Upstream, At: time.Now(), Written: t.Prices})
}

// perToken converts a decimal price in USD per million tokens to one per token.
func perToken(million string) string {
	whole, part, _ := strings.Cut(million, ".")
	const digits = 6
	if n := digits + 1 - len(whole); n > 0 {
		whole = strings.Repeat("0", n) + whole
	}
	at := len(whole) - digits
	return strings.TrimSuffix(strings.TrimRight(whole[:at]+"."+whole[at:]+part, "0"), ".")
}
