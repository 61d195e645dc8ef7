package llmroute

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/modelinfo"
)

// offer is a name that a caller may use for a model.
type offer struct {
	name    string
	entry   *entry
	meant   string // the name after aliases
	backend int    // the first backend that serves the caller's API
}

// target returns the target at the offer's backend.
func (o *offer) target() *llm.Target { return o.entry.target(o.backend, o.meant) }

// known returns the model's data, or nil if the model is unknown.
func (o *offer) known() *modelinfo.Model {
	b := o.entry.model.Backends[o.backend]
	return modelinfo.Find(b.providers(o.entry.pattern), o.target().Upstream)
}

// serveLocal answers requests for model lists without a backend.
func (h *Handler) serveLocal(w http.ResponseWriter, r *http.Request, call *llm.Call, ep *endpoint.Endpoint, one string) *llm.Error {
	api := ep.For(r.Header)
	switch ep.Name {
	case "model/info":
		h.answer(w, h.modelInfo(call, r.URL.Query().Get("litellm_model_id")))
		return nil
	case "api/version":
		h.answer(w, members{"version": ollamaVersion})
		return nil
	}
	offers := h.offers(call.Identity, api, one)
	switch {
	case one == "":
		query := r.URL.Query()
		entries, next, refused := page(api, listed(api, h.modelEntries(call, api, offers), query.Get("endpoint")), query)
		if refused != nil {
			return refused
		}
		h.answer(w, modelList(api, entries, next))
	case len(offers) == 0:
		return noModel(one)
	default:
		h.answer(w, h.modelEntries(call, api, offers)[0])
	}
	return nil
}

// answer writes one of the gateway's own answers.
func (h *Handler) answer(w http.ResponseWriter, answer any) {
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
}

// offers returns the names that the caller may use in an API, sorted: configured names, aliases, the key's
// aliases, and the known models that patterns match. If one is set, it returns only that name, which may match a
// pattern without being a known model.
func (h *Handler) offers(id *llm.Identity, api llm.API, one string) []offer {
	list := make(map[string]offer)
	add := func(name, meant string, e *entry) {
		if e == nil || one != "" && one != name || !id.Allows(name) && !id.Allows(e.pattern) {
			return
		}
		o := offer{name: name, entry: e, meant: meant}
		o.backend = slices.IndexFunc(e.model.Backends, func(b *Backend) bool { return b.offers(api, e.pattern, meant) })
		if o.backend >= 0 {
			list[name] = o
		}
	}
	resolve := func(name string) {
		meant, e := h.catalog.resolve(name, id)
		add(name, meant, e)
	}
	if one != "" {
		resolve(one)
	} else {
		for _, e := range h.catalog.wild {
			for _, name := range e.known() {
				if h.catalog.find(name) == e && h.catalog.aliases[name] == "" {
					add(name, name, e)
				}
			}
		}
		for name, e := range h.catalog.exact {
			add(name, name, e)
		}
		for name, to := range h.catalog.aliases {
			add(name, to, h.catalog.find(to))
		}
		if id != nil {
			for name := range id.Aliases {
				resolve(name)
			}
			for _, name := range slices.Concat(id.Models, id.TeamModels) {
				if !strings.Contains(name, "*") {
					resolve(name)
				}
			}
		}
	}
	offers := make([]offer, 0, len(list))
	for _, o := range list {
		offers = append(offers, o)
	}
	slices.SortFunc(offers, func(a, b offer) int { return strings.Compare(a.name, b.name) })
	return offers
}

// listedModes are the modes of known models to list for a pattern, by the API that serves them.
var listedModes = map[llm.API]string{
	llm.OpenAI:    " chat responses completion embedding rerank image_generation image_edit audio_speech audio_transcription moderation ocr ",
	llm.Anthropic: " chat responses ",
	llm.Gemini:    " chat responses embedding image_generation ",
	llm.Cohere:    " chat embedding rerank ",
	llm.Ollama:    " chat completion embedding ",
	llm.Bedrock:   " chat embedding rerank image_generation ",
}

// offers reports whether the backend serves a model in that API. An unknown model is offered if the backend
// speaks the API or translates calls in it.
func (b *Backend) offers(api llm.API, pattern, name string) bool {
	if b.server.Mock {
		return api == llm.OpenAI || api == llm.Anthropic
	}
	upstream := b.upstreamModel(pattern, name)
	if !b.server.Offers(api, upstream) && !b.translates(api, upstream) {
		return false
	}
	m := modelinfo.Find(b.providers(pattern), upstream)
	return m == nil || strings.Contains(listedModes[api], " "+m.Mode+" ")
}

// providers returns the names of the backend's provider in the data. If the provider of the address is unknown,
// a pattern with text before its `*` is taken to mean OpenAI's models.
func (b *Backend) providers(pattern string) []string {
	return (&llm.Target{Provider: b.Provider, BaseURL: b.server.Base.String(), Model: pattern}).Providers()
}

// knownNames returns the backends' known models that match the pattern.
func (e *entry) knownNames() []string {
	var names []string
	for _, b := range e.model.Backends {
		for _, m := range modelinfo.Of(b.providers(e.pattern)) {
			if name, ok := b.nameFor(e.pattern, m.Name); ok && strings.Contains(listedModes[llm.OpenAI], " "+m.Mode+" ") {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// nameFor returns the name under the pattern that clients use for a backend's model: the reverse of
// upstreamModel.
func (b *Backend) nameFor(pattern, upstream string) (name string, ok bool) {
	name = upstream
	if b.upstream != "" {
		head, tail, star := strings.Cut(b.upstream, "*")
		if !star || !strings.HasPrefix(upstream, head) || !strings.HasSuffix(upstream[len(head):], tail) {
			return "", false
		}
		before, after, _ := strings.Cut(pattern, "*")
		name = before + strings.TrimSuffix(upstream[len(head):], tail)
		if !strings.Contains(after, "*") {
			name += after
		}
	}
	return name, llm.Match(pattern, name) && b.upstreamModel(pattern, name) == upstream
}
