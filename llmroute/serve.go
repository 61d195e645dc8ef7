package llmroute

import (
	"cmp"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

const invalidRequest = "invalid_request_error"

func refusal(status int, kind, param, message string) *llm.Error {
	return &llm.Error{Status: status, Type: kind, Param: param, Message: message}
}

func invalid(param, message string) *llm.Error {
	return refusal(http.StatusBadRequest, invalidRequest, param, message)
}

// ServeHTTP serves a call, or refuses it in the error format of the caller's API.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if llm.IsPreflight(r) {
		preflight(w, r)
		return nil
	}
	if served, err := h.app.ServeHealth(w, r); served {
		return err
	}
	llm.AllowOrigin(w, r)
	ctx, call := llm.Ensure(r.Context())
	if call.Inquire != nil {
		call.Inquire(h)
		return nil
	}
	if ctx != r.Context() {
		r = r.WithContext(ctx)
	}
	if refused := h.serve(w, r, call); refused != nil {
		if c := h.logger.Check(zap.DebugLevel, "refused"); c != nil {
			c.Write(zap.Int("status", refused.Status), zap.String("reason", refused.Message), zap.NamedError("cause", refused.Err))
		}
		return endpoint.Refuse(w, r, refused)
	}
	return nil
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, call *llm.Call) *llm.Error {
	ep, named, refused := h.route(r, call)
	if refused != nil {
		return refused
	}
	if ep.Billing == llm.Local {
		return h.serveLocal(w, r, call, ep, named)
	}
	call.Endpoint = &ep.Endpoint
	arriving := h.arrive(w, r, call.Identity)
	defer arriving.over()
	b, refused := h.read(r, ep, named)
	arriving.read()
	if refused != nil {
		return refused
	}
	user, refused := h.endUser(r, b)
	session := session(r, b)
	if refused != nil {
		return refused
	}
	bounds := llm.BoundMembers(&ep.Endpoint)
	if member := b.Contradiction(bounds); member != "" {
		return invalid(member, member+" bounds nothing, and another member bounds the answer: send one of them")
	}
	call.Request = llm.Request{
		Asked: b.ModelName, Stream: b.Stream, IncludeUsage: b.UsageAsked, User: user, Session: session,
		N: llm.Answers(&ep.Endpoint, b.N, b.Candidates, b.BestOf, b.Prompts), MaxOutput: b.MaxOutput(bounds), Tier: tierAsked(b, r.Header, ep.API), CacheTTL: b.CacheTTL, TextUnits: b.Units, Audio: b.Audio,
		SoundUnknown: b.SoundUnknown || b.Audio == nil, AnswerFormat: b.AnswerFormat,
		Others: b.Others, Reasoning: b.Reasoning, Data: b.Data,
	}
	if ep.Reader == usage.OpenAISpeech {
		call.Request.InputCharacters = b.InputCharacters()
	}
	name, e := h.catalog.resolve(b.ModelName, call.Identity)
	if e == nil {
		return noModel(b.ModelName)
	}
	var space [4]attempt
	attempts := plan(space[:0], e, name, ep, call.Identity)
	d := &dispatch{call: call, arrival: arriving, endpoint: ep, body: b, entry: e}
	if len(attempts) == 0 {
		if answered, refused := h.countEstimated(w, r, d, name); answered {
			return refused
		}
		return invalid("model", "model "+b.ModelName+" is not served at "+r.URL.Path+": none of its backends speaks that API")
	}
	if h.translates {
		if refused := d.unseal(); refused != nil {
			return refused
		}
	}
	d.attempts = priced(attempts, call)
	if refused := h.translatable(d, r.URL.RawQuery); refused != nil {
		return refused
	}
	call.Plan(d.attempts[0].target())
	call.Candidates = d.candidates
	call.LeaveOut = h.leaveOut(w, d)
	if refused := uncounted(call, call.Target()); refused != nil {
		return refused
	}
	if refused := call.Admit(r.Context()); refused != nil {
		return refused
	}
	if call.Open != nil {
		if refused := call.Open(r.Context(), call); refused != nil {
			return refused
		}
	}
	return h.forward(w, r, d)
}

// route finds the endpoint of a request and checks that the call is allowed there. named is the model in the
// path.
func (h *Handler) route(r *http.Request, call *llm.Call) (ep *endpoint.Endpoint, named string, refused *llm.Error) {
	if upgrades(r) {
		e := refusal(http.StatusUpgradeRequired, invalidRequest, "Upgrade", "a connection cannot be upgraded here, as the usage of such calls is not metered: use HTTP")
		if r.ProtoMajor == 1 {
			e.Upgrade = "HTTP/2.0, HTTP/1.1"
		}
		return nil, "", e
	}
	ep, named = endpoint.Lookup(r.URL)
	switch {
	case ep == nil:
		return nil, "", refusal(http.StatusNotFound, invalidRequest, "", "unknown path "+r.URL.Path+": it is not an endpoint of this gateway")
	case !ep.Takes(r.Method):
		e := refusal(http.StatusMethodNotAllowed, invalidRequest, "", r.URL.Path+" is called by "+ep.Method+", not by "+r.Method)
		e.Allow = ep.Method
		return nil, "", e
	case !call.Keyed && !h.Anonymous:
		return nil, "", refusal(http.StatusUnauthorized, "auth_error", "",
			"no API key was checked for this call: the gateway's configuration needs `keyauth` before `llmroute`, or `anonymous` in it")
	case ep.Billing == llm.Local:
		return ep, named, nil
	case !call.Metered && !h.Unmetered:
		return nil, "", refusal(http.StatusServiceUnavailable, "service_unavailable", "",
			"this call would not be metered: the gateway's configuration needs `lagobilling` before `llmroute`, or `unmetered` in it")
	}
	return ep, named, nil
}

// upgrades reports whether a request asks for another protocol. An offer of HTTP/2 does not count, because
// servers may ignore it.
func upgrades(r *http.Request) bool {
	asked := r.Header.Get("Upgrade")
	return asked != "" && !strings.EqualFold(asked, "h2c") || r.Method == http.MethodConnect
}

func noModel(name string) *llm.Error {
	return refusal(http.StatusNotFound, "model_not_found", "model", "the model "+name+" does not exist: GET /v1/models lists the available ones")
}

// endUser returns the call's end user, in LiteLLM's order of 2026. A header that occurs twice with different
// values is refused, as is a second `user` in the body, because another reader could choose the other value.
func (h *Handler) endUser(r *http.Request, b *body.Body) (string, *llm.Error) {
	for _, name := range h.users {
		var user string
		for _, v := range r.Header[name] {
			if user != "" && v != "" && v != user {
				return "", invalid(name, "the header "+name+" is there twice with different values: send one")
			}
			user = cmp.Or(user, v)
		}
		if user != "" {
			return user, nil
		}
	}
	metadataUser := b.MetadataUser
	if _, device := device(metadataUser); device {
		metadataUser = ""
	}
	return cmp.Or(b.User, b.LiteLLMUser, metadataUser, b.SafetyUser), nil
}

// publish sets the placeholders. lagobilling sets those of a metered call.
func publish(r *http.Request, d *dispatch) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	d.shown.Publish(repl)
	call := d.call
	if call.Metered {
		return
	}
	repl.Map(func(key string) (any, bool) {
		switch key {
		case "http.tollgate.model":
			return call.Target().Model, true
		case "http.tollgate.backend":
			return call.Target().Backend, true
		case "http.tollgate.provider":
			return call.Target().Provider, true
		}
		return nil, false
	})
}

// preflight answers a CORS preflight request. The call that follows still needs its key.
func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	allowed := "Authorization, X-Api-Key, Api-Key, X-Goog-Api-Key, Content-Type, Anthropic-Version, Anthropic-Beta"
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		allowed = asked
	}
	h.Set("Access-Control-Allow-Headers", allowed)
	h.Set("Access-Control-Max-Age", "86400")
	h.Set("Vary", "Access-Control-Request-Headers")
	w.WriteHeader(http.StatusNoContent)
}
