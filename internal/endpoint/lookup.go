package endpoint

import (
	"cmp"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

func row(pattern string, api llm.API, reader usage.API, billing llm.Billing, set ...func(*Endpoint)) *Endpoint {
	_, name, found := strings.Cut(pattern, "{model}")
	if !found || name == "" {
		name = strings.TrimSuffix(pattern, "/{model}")
	}
	e := &Endpoint{
		Endpoint: llm.Endpoint{Name: name[1:], API: api, Reader: reader, Billing: billing}, Method: http.MethodPost, path: pattern,
	}
	for _, f := range set {
		f(e)
	}
	return e
}

func streams(e *Endpoint)   { e.Streams = true }
func multipart(e *Endpoint) { e.Multipart = true }
func inPath(e *Endpoint)    { e.InPath = true }
func streamed(e *Endpoint)  { e.Streamed = true }
func mocked(e *Endpoint)    { e.Mocked = true }
func get(e *Endpoint)       { e.Method = http.MethodGet }

// unnamed is set if calls need not name a model.
func unnamed(model string) func(*Endpoint) { return func(e *Endpoint) { e.Default = model } }

func named(name string) func(*Endpoint) { return func(e *Endpoint) { e.Name = name } }

// group is the patterns that begin alike: with head, up to the model's name.
type group struct {
	head  string
	tails []tail // longest first
}

type tail struct {
	text string
	ep   *Endpoint
}

var exact, groups = compile()

// compile puts the bases before the rows.
func compile() (exact map[string]*Endpoint, groups []*group) {
	exact = make(map[string]*Endpoint)
	heads := make(map[string]*group)
	for _, b := range bases {
		for _, ep := range rows {
			pattern := b.path + ep.path
			if b.api != ep.API || strings.Count(pattern, "{model}") > 1 || strings.Contains(b.path, "{model}") && ep.Billing == llm.Local {
				continue
			}
			head, end, inside := strings.Cut(pattern, "{model}")
			if !inside {
				if exact[pattern] == nil {
					exact[pattern] = ep
				}
				continue
			}
			g := heads[head]
			if g == nil {
				g = &group{head: head}
				heads[head], groups = g, append(groups, g)
			}
			g.tails = append(g.tails, tail{end, ep})
		}
	}
	for _, g := range groups {
		slices.SortStableFunc(g.tails, func(a, b tail) int { return cmp.Compare(len(b.text), len(a.text)) })
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(len(b.head), len(a.head)) })
	return exact, groups
}

// Lookup finds the endpoint of a URL, and the name of the model in its path, empty where the path names none. It returns nil
// where there is no endpoint. Doubled slashes, and those at the end, count as clients' slips.
func Lookup(u *url.URL) (ep *Endpoint, model string) {
	if ep := exact[u.Path]; ep != nil {
		return ep, ""
	}
	p, ok := clean(u.EscapedPath())
	if !ok {
		return nil, ""
	}
	if rest, ok := strings.CutPrefix(p, azureBase); ok && exact[p] == nil && strings.Contains(u.RawQuery, "api-version=") {
		if ep := exact[rest]; ep != nil && ep.API == llm.OpenAI {
			return ep, ""
		}
	}
	ep, escaped := match(p)
	if ep == nil || escaped == "" {
		return ep, ""
	}
	model, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, ""
	}
	return ep, model
}

// match finds the endpoint of a path, and the model's name as it is in the path.
func match(p string) (ep *Endpoint, model string) {
	if ep := exact[p]; ep != nil {
		return ep, ""
	}
	for _, g := range groups {
		if !strings.HasPrefix(p, g.head) {
			continue
		}
		for _, t := range g.tails {
			if at := len(p) - len(t.text); at > len(g.head) && p[at:] == t.text {
				return t.ep, p[len(g.head):at]
			}
		}
	}
	return nil, ""
}

// clean takes doubled slashes and those at the end out of a path, and the project and the location out of Vertex AI's,
// whose version is v1 then. It is not ok where a model's name is left empty.
func clean(p string) (_ string, ok bool) {
	if strings.Contains(p, "//") {
		for _, head := range [...]string{"/deployments//", "/engines//", "/model//"} {
			if strings.Contains(p, head) {
				return "", false
			}
		}
		for strings.Contains(p, "//") {
			p = strings.ReplaceAll(p, "//", "/")
		}
	}
	p = strings.TrimRight(p, "/")
	vertex, ok := strings.CutPrefix(p, "/v1beta1/")
	if !ok {
		vertex, ok = strings.CutPrefix(p, "/v1/")
	}
	if parts := strings.SplitN(vertex, "/", 5); ok && len(parts) == 5 && parts[0] == "projects" && parts[2] == "locations" {
		vertex = parts[4]
	}
	if strings.HasPrefix(vertex, "publishers/") {
		return "/v1/" + vertex, true
	}
	return p, true
}

// Shape returns the API whose format the caller expects, even if its path is not an endpoint: refusals must be readable before,
// or without, a route. The default is OpenAI's.
func Shape(r *http.Request) llm.API {
	anthropic := r.Header.Get("Anthropic-Version") != ""
	if ep, _ := Lookup(r.URL); ep != nil {
		return ep.For(r.Header)
	}
	p := r.URL.Path
	begins := func(head string) bool { return strings.HasPrefix(p, head+"/") }
	switch {
	case begins("/v2/key"), begins("/v2/user"), begins("/v2/team"): // the key API
		return llm.OpenAI
	case begins("/gemini"), begins("/v1beta"), strings.Contains(p, "/publishers/google/"), strings.HasSuffix(p, "Content"):
		return llm.Gemini
	case begins("/bedrock"):
		return llm.Bedrock
	case begins("/model"):
		switch path.Base(p) {
		case "converse", "converse-stream", "invoke", "invoke-with-response-stream":
			return llm.Bedrock
		}
	case begins("/api"):
		return llm.Ollama
	case begins("/cohere"), begins("/v2"):
		return llm.Cohere
	case anthropic, begins("/anthropic"), strings.Contains(p, "/publishers/anthropic/"), strings.Contains(p, "/messages"):
		return llm.Anthropic
	}
	return llm.OpenAI
}

// Refuse writes a refusal as the whole answer, in the caller's format and with the call's id.
func Refuse(w http.ResponseWriter, r *http.Request, e *llm.Error) error {
	llm.AllowOrigin(w, r)
	id := ""
	if call := llm.FromContext(r.Context()); call != nil {
		id = call.ID
	}
	return llm.WriteError(w, Shape(r), id, e)
}
