package llmroute

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// Clients expect a time at which each model was made; the gateway knows none, and gives LiteLLM's.
const (
	listed   = 1677610602
	listedAt = "2023-02-28T18:56:42Z"
)

// listModels answers `GET /v1/models`, or one of them, with what the caller's key may use: in the shape of the path's API, or
// in Anthropic's where the client speaks that, with the models then that this API can call.
func (h *Handler) listModels(w http.ResponseWriter, r *http.Request, call *llm.Call, api llm.API, one string) *llm.Error {
	if r.Header.Get("Anthropic-Version") != "" {
		api = llm.Anthropic
	}
	var names []string
	add := func(name string, e *entry) {
		if e == nil || one != "" && one != name || !call.Identity.Allows(name) && !call.Identity.Allows(e.pattern) {
			return
		}
		if api == llm.OpenAI || e.model.speaks(api) {
			names = append(names, name)
		}
	}
	for name, e := range h.catalog.exact {
		add(name, e)
	}
	for name, to := range h.catalog.aliases {
		add(name, h.catalog.find(to))
	}
	if id := call.Identity; id != nil {
		for name := range id.Aliases {
			_, e := h.catalog.resolve(name, id)
			add(name, e)
		}
	}
	if one != "" && len(names) == 0 {
		_, e := h.catalog.resolve(one, call.Identity) // a name that a pattern matches
		add(one, e)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if one != "" && len(names) == 0 {
		return noModel(one)
	}
	entries := make([]map[string]any, 0, len(names))
	for _, name := range names {
		entries = append(entries, modelEntry(api, name))
	}
	var answer any
	switch {
	case one != "":
		answer = entries[0]
	case api == llm.Anthropic:
		list := map[string]any{"data": entries, "has_more": false, "first_id": nil, "last_id": nil}
		if n := len(names); n > 0 {
			list["first_id"], list["last_id"] = names[0], names[n-1]
		}
		answer = list
	case api == llm.Gemini:
		answer = map[string]any{"models": entries}
	default:
		answer = map[string]any{"object": "list", "data": entries}
	}
	text, err := json.Marshal(answer)
	if err == nil {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.WriteHeader(http.StatusOK)
		_, err = w.Write(text)
	}
	if err != nil {
		h.logger.Debug("the list of models did not reach the client: " + err.Error())
	}
	return nil
}

// modelEntry describes a model in the shape of an API.
func modelEntry(api llm.API, name string) map[string]any {
	switch api {
	case llm.Anthropic:
		return map[string]any{"id": name, "type": "model", "display_name": name, "created_at": listedAt}
	case llm.Gemini:
		return map[string]any{
			"name": provider.GeminiModels + name, "displayName": name,
			"supportedGenerationMethods": []string{"generateContent", "countTokens", "embedContent"},
		}
	default:
		return map[string]any{"id": name, "object": "model", "created": listed, "owned_by": "tollgate"}
	}
}

// speaks reports whether one of the model's backends takes calls in that API.
func (m *Model) speaks(api llm.API) bool {
	return slices.ContainsFunc(m.Backends, func(b *Backend) bool { return b.server.Mock && api != llm.Gemini || b.server.Speaks(api) })
}
