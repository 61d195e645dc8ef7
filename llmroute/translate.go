package llmroute

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/modelinfo"
	"github.com/tollgate-llm/tollgate/internal/translate"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// Translate lets a backend serve calls in APIs that its provider does not speak, by translating requests and
// answers. docs/translate.md lists the pairs of APIs and what happens to each member.
type Translate struct {
	// Lossy drops members without an equivalent. They are named in the header X-Tollgate-Dropped and in the
	// usage record. Default: calls with such members are refused.
	Lossy bool `json:"lossy,omitempty"`

	// Calls lists endpoints whose calls are translated even if the provider speaks their API: chat/completions,
	// messages or responses. Default: none.
	Calls []string `json:"calls,omitempty"`

	// TokenCounts defines how token counting is served if the API is translated. The value estimate counts by
	// the number of characters and adds the header X-Tollgate-Estimated. The value refuse refuses such calls.
	// Default: estimate.
	TokenCounts string `json:"token_counts,omitempty"`

	calls  []string
	counts bool
}

func (t *Translate) provision() error {
	for _, written := range t.Calls {
		name, err := setting.Resolve("calls", written)
		if err == nil {
			err = checkCalls(name)
		}
		if err != nil {
			return err
		}
		t.calls = append(t.calls, name)
	}
	word, err := setting.Resolve("token_counts", t.TokenCounts)
	if err == nil && word != "" {
		err = checkCounts(word)
	}
	t.counts = word != "refuse"
	return err
}

func checkCalls(name string) error {
	switch translate.API(name) {
	case translate.Chat, translate.Messages, translate.Responses:
		return nil
	}
	return fmt.Errorf("calls %s: use chat/completions, messages or responses", name)
}

func checkCounts(word string) error {
	if word != "estimate" && word != "refuse" {
		return fmt.Errorf("token_counts %s: use estimate or refuse", word)
	}
	return nil
}

// unmarshalTranslate parses a backend's translate subdirective.
func unmarshalTranslate(d *caddyfile.Dispenser) (*Translate, error) {
	t := new(Translate)
	if d.NextArg() {
		if d.Val() != "lossy" {
			return nil, d.Errf("translate %s: the only argument is lossy", d.Val())
		}
		t.Lossy = true
	}
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	seen := make(setting.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch word := d.Val(); word {
		case "calls":
			if err := setting.List(d, &t.Calls); err != nil {
				return nil, err
			}
			for _, name := range t.Calls {
				if err := setting.Check(d, name, checkCalls); err != nil {
					return nil, err
				}
			}
		case "token_counts":
			if err := seen.Value(d, &t.TokenCounts, checkCounts); err != nil {
				return nil, err
			}
		default:
			return nil, d.Errf("unrecognized subdirective of translate: %s", word)
		}
	}
	return t, nil
}

// targets are the endpoints that calls may be translated to, in order of preference.
var targets = []*endpoint.Endpoint{
	endpoint.Find(llm.OpenAI, string(translate.Chat)),
	endpoint.Find(llm.Anthropic, string(translate.Messages)),
	endpoint.Find(llm.Bedrock, "invoke"),
}

// invokeStream replaces invoke if the answer is streamed.
var invokeStream = endpoint.Find(llm.Bedrock, "invoke-with-response-stream")

// takes returns the API of the body that a target takes. For Bedrock's invoke it depends on the model, which is
// one that speaks Messages.
func takes(to *endpoint.Endpoint) translate.API {
	if to.API == llm.Bedrock {
		return translate.Messages
	}
	return translate.API(to.Name)
}

// native reports whether the backend takes calls to an endpoint untranslated.
func (b *Backend) native(ep *endpoint.Endpoint, model string) bool {
	if !b.server.Serves(ep, model) {
		return false
	}
	t := b.Translate
	if t == nil {
		return true
	}
	name, _, _ := strings.Cut(ep.Name, "/")
	if name == "chat" {
		name = string(translate.Chat)
	}
	return !slices.Contains(t.calls, name) && (!b.server.NoResponses || name != string(translate.Responses))
}

// via returns the endpoint that calls to an endpoint are translated to for the backend, or nil if they are not
// translated.
func (b *Backend) via(ep *endpoint.Endpoint, model string) *endpoint.Endpoint {
	if b.Translate == nil || ep.InPath {
		return nil
	}
	for _, to := range targets {
		if translate.Known(translate.Pair{Caller: translate.API(ep.Name), Upstream: takes(to)}) && b.server.Serves(to, model) &&
			(to.API != llm.Bedrock || provider.BedrockClaude(model)) && !slices.Contains(b.Translate.calls, to.Name) {
			return to
		}
	}
	return nil
}

// callers are the endpoints whose calls can be translated.
var callers = []*endpoint.Endpoint{
	endpoint.Find(llm.OpenAI, string(translate.Chat)),
	endpoint.Find(llm.OpenAI, string(translate.Responses)),
	endpoint.Find(llm.Anthropic, string(translate.Messages)),
}

// translates reports whether the backend's calls in an API are translated.
func (b *Backend) translates(api llm.API, model string) bool {
	return slices.ContainsFunc(callers, func(ep *endpoint.Endpoint) bool { return ep.API == api && b.via(ep, model) != nil })
}

// sent is the request of an attempt.
type sent struct {
	call        provider.Call
	translation *translate.Translation // nil if the call is not translated
	of          attempt
}

// send returns the request of an attempt, or why the call cannot be translated.
func (d *dispatch) send(a *attempt, target *llm.Target, query string) (sent, *llm.Error) {
	switch {
	case a.via == nil:
		return sent{call: provider.Call{Endpoint: d.endpoint, Body: cmp.Or(d.unsealed, d.body), Upstream: target.Upstream, Query: query}}, nil
	case d.ready.translation != nil && d.ready.of == *a:
		ready := d.ready
		d.ready = sent{}
		return ready, nil
	}
	member, _ := llm.CapMember(&a.via.Endpoint, target)
	limit, reasons := target.OutputCap, false
	if m := modelinfo.Find(target.Providers(), target.Upstream); m != nil {
		reasons = m.Reasoning
		if limit == 0 {
			limit = m.MaxOutput
		}
	}
	t, ok := translate.New(translate.Pair{Caller: translate.API(d.endpoint.Name), Upstream: takes(a.via)}, translate.Options{
		Lossy: a.server().Translate.Lossy, Model: d.call.Request.Asked, Upstream: target.Upstream, Provider: target.Provider,
		Official: target.Official(), Google: target.Google(), OutputLimit: limit, OutputMember: member, ID: strings.ReplaceAll(d.call.ID, "-", ""), Created: time.Now().Unix(),
		Reasons: reasons, Room: d.arrival.answered,
	})
	if !ok {
		return sent{}, refusal(http.StatusInternalServerError, "internal_server_error", "", "the call cannot be translated")
	}
	data, err := t.Request(d.body.Data)
	if err != nil {
		e := invalid("", "the call cannot be translated for the backend of model "+target.Model+", which speaks "+spoken[takes(a.via)]+": "+err.Error())
		if r, ok := errors.AsType[*translate.Refusal](err); ok {
			e.Param = r.Member
		}
		return sent{}, e
	}
	if err := d.arrival.translated(int64(len(data))); err != nil {
		return sent{}, notArrived(err)
	}
	b, err := body.Parse(data)
	if err != nil {
		e := refusal(http.StatusInternalServerError, "internal_server_error", "", "the call was not translated as the provider would read it")
		e.Err = err
		return sent{}, e
	}
	to := a.via
	if to.API == llm.Bedrock && t.Streamed {
		to = invokeStream
	}
	return sent{provider.Call{Endpoint: to, Body: b, Upstream: target.Upstream}, t, *a}, nil
}

// unseal makes the body for backends that speak the caller's API. It removes the reasoning that earlier,
// translated answers of other upstreams left in the conversation.
func (d *dispatch) unseal() *llm.Error {
	data, ok := translate.Unseal(translate.API(d.endpoint.Name), d.body.Data)
	if !ok {
		return nil
	}
	b, err := body.Parse(data)
	if err != nil {
		e := refusal(http.StatusInternalServerError, "internal_server_error", "", "the conversation's reasoning could not be left out")
		e.Err = err
		return e
	}
	d.unsealed = b
	return nil
}

// nameLost lists the dropped members that requested something in the answer's header.
func nameLost(header http.Header, t *translate.Translation) {
	delete(header, droppedHeader)
	if t != nil && len(t.Lost()) > 0 {
		header[droppedHeader] = []string{strings.Join(t.Lost(), ", ")}
	}
}

const droppedHeader = "X-Tollgate-Dropped"

// spoken are the names of APIs in messages.
var spoken = map[translate.API]string{translate.Chat: "OpenAI's chat completions", translate.Messages: "Anthropic's Messages"}

// translatable advances the plan to the first attempt whose backend can be sent the call. It returns the refusal
// of the first attempt if there is none.
func (h *Handler) translatable(d *dispatch, query string) (first *llm.Error) {
	for len(d.attempts) > 0 {
		a := &d.attempts[0]
		if a.via == nil {
			return nil
		}
		ready, refused := d.send(a, a.target(), query)
		if refused == nil {
			d.ready = ready
			return nil
		}
		if c := h.logger.Check(zap.DebugLevel, "not translated"); c != nil {
			c.Write(zap.String("model", a.entry.pattern), zap.String("backend", a.server().name), zap.String("reason", refused.Message))
		}
		if first == nil {
			first = refused
		}
		d.attempts = slices.DeleteFunc(d.attempts, func(other attempt) bool { return other.entry == a.entry && other.backend == a.backend })
	}
	return first
}

// countEstimated answers a token count for a model that is served by translation. It returns false if there is
// no such model.
func (h *Handler) countEstimated(w http.ResponseWriter, r *http.Request, d *dispatch, name string) (bool, *llm.Error) {
	of, ok := counted[d.endpoint.Name]
	if !ok || d.endpoint.InPath {
		return false, nil
	}
	var by *Translate
	for i, b := range d.entry.model.Backends {
		if via := b.via(of.calls, d.entry.upstream(i, name)); via != nil {
			by = b.Translate
			a := attempt{entry: d.entry, name: name, api: via.API, via: via, backend: i}
			d.call.Plan(a.target()) // a key may allow the configured model and not the requested alias
			break
		}
	}
	if by == nil {
		return false, nil
	}
	if !by.counts {
		return true, invalid("model", "the tokens of a request to model "+name+" cannot be counted: it is served by translation, and estimates are turned off")
	}
	local := d.endpoint.Endpoint
	local.Billing = llm.Local
	d.call.Endpoint = &local
	if refused := d.call.Admit(r.Context()); refused != nil {
		return true, refused
	}
	answer, err := json.Marshal(of.answer((d.body.Units + 999) / 1000))
	if err != nil {
		return true, refusal(http.StatusInternalServerError, "internal_server_error", "", "the count could not be written")
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("X-Tollgate-Estimated", "input_tokens")
	if _, err := w.Write(answer); err != nil && h.logger.Core().Enabled(zap.DebugLevel) {
		h.logger.Debug("writing a token count", zap.Error(err))
	}
	return true, nil
}

// counted are the endpoints that count the tokens of another endpoint's requests, and the format of their
// answers.
var counted = map[string]struct {
	calls  *endpoint.Endpoint
	answer func(tokens int64) any
}{
	"messages/count_tokens": {endpoint.Find(llm.Anthropic, string(translate.Messages)), func(n int64) any {
		return map[string]any{"input_tokens": n}
	}},
	"responses/input_tokens": {endpoint.Find(llm.OpenAI, string(translate.Responses)), func(n int64) any {
		return map[string]any{"object": "response.input_tokens", "input_tokens": n}
	}},
}
