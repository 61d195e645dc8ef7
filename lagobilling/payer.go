package lagobilling

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
)

// The sources of a payer that have a name.
const (
	byEndUser  = "end_user_id"
	byUser     = "user_id"
	byTeam     = "team_id"
	byKeyAlias = "key_alias"
)

// Where a payer came from, when no rule of charge_by gave it.
const (
	fromSubscription = "lago_subscription_id"
	fromDefault      = "default"
)

// payerRule says what names the payer.
type payerRule struct {
	by   string   // one of the names above; empty for a text with placeholders
	text template // evaluated for each request
	own  bool     // the text's placeholders all tell of the key, so that no client can choose what they say
}

// ownPlaceholders are those that keyauth sets from a key's record.
var ownPlaceholders = strings.NewReplacer("{http.tollgate.user_id}", "", "{http.tollgate.team_id}", "",
	"{http.tollgate.key_alias}", "", "{http.auth.user.id}", "")

// parsePayerRule resolves `charge_by`.
func parsePayerRule(value string) (payerRule, error) {
	if value == "" {
		return payerRule{by: byEndUser}, nil
	}
	t, err := newTemplate("charge_by", value)
	if err != nil {
		return payerRule{}, err
	}
	switch t.text {
	case byEndUser, byUser, byTeam, byKeyAlias:
		return payerRule{by: t.text}, nil
	}
	if !t.live {
		return payerRule{}, fmt.Errorf("charge_by is %q, but must be one of %s, %s, %s, %s, or hold a placeholder", t.text, byEndUser, byUser, byTeam, byKeyAlias)
	}
	return payerRule{text: t, own: !strings.Contains(ownPlaceholders.Replace(t.text), "{")}, nil
}

// template is a configured text whose request placeholders are evaluated for each request.
type template struct {
	name string
	text string
	live bool // it holds placeholders
}

func newTemplate(name, value string) (template, error) {
	text, err := setting.Template(name, value)
	if err != nil {
		return template{}, err
	}
	t := template{name: name, text: text, live: strings.Contains(text, "{")}
	if !t.live {
		err = printable(name, text)
	}
	return t, err
}

// eval returns the text for one request. Placeholders nobody knows stand as they are written, so that a slip shows.
func (t *template) eval(repl *caddy.Replacer) string {
	if !t.live {
		return t.text
	}
	return repl.ReplaceKnown(t.text, "")
}

// printable reports a value that cannot be an identifier in Lago.
func printable(what, value string) error {
	if err := llm.CheckName(value); err != nil {
		return fmt.Errorf("%s %w", what, err)
	}
	return nil
}

// payer decides who pays for a call. An empty payer without an error is a call that nobody pays for and that is served
// all the same.
func (h *Handler) payer(call *llm.Call, repl *caddy.Replacer) (payer, by string, refusal *llm.Error) {
	payer, by = h.named(call, repl)
	payer = strings.TrimSpace(payer) // Lago trims the ids that it stores, not those in events
	if err := printable("the payer ("+by+")", payer); err != nil {
		return "", "", &llm.Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: by, Message: err.Error()}
	}
	if payer != "" || (call.Endpoint != nil && call.Endpoint.Billing != llm.Billable) {
		return payer, by, nil
	}
	switch h.missing {
	case "default":
		return h.defaultPayer, fromDefault, nil
	case "unbilled":
		return "", "", nil
	}
	return "", "", &llm.Error{Status: http.StatusForbidden, Type: "missing_payer", Param: h.missingParam(call), Message: h.missingText(call)}
}

// named returns the payer that the key or the request names.
func (h *Handler) named(call *llm.Call, repl *caddy.Replacer) (payer, by string) {
	id := call.Identity
	if id != nil && id.Subscription != "" {
		return id.Subscription, fromSubscription
	}
	by = h.chargeBy.by
	switch {
	case h.ownPayer(call):
		return id.UserID, byUser
	case by == "":
		return h.chargeBy.text.eval(repl), "charge_by"
	case by == byEndUser:
		return call.Request.User, by
	}
	if id == nil {
		return "", by
	}
	switch by {
	case byUser:
		return id.UserID, by
	case byTeam:
		return id.TeamID, by
	}
	return id.KeyAlias, by
}

// ownPayer reports whether the call is charged to its key's own user although charge_by lets requests name the payer: the
// key forbids that.
func (h *Handler) ownPayer(call *llm.Call) bool {
	named := h.chargeBy.by == byEndUser || h.chargeBy.by == "" && !h.chargeBy.own
	return named && call.Identity != nil && call.Identity.FixedPayer
}

func (h *Handler) missingParam(call *llm.Call) string {
	if h.chargeBy.by == byEndUser && !h.ownPayer(call) {
		return "user"
	}
	return ""
}

// missingText says what is missing and how to give it.
func (h *Handler) missingText(call *llm.Call) string {
	const orSubscription = ", or a lago_subscription_id in its metadata"
	keyed := call.Identity != nil
	if h.ownPayer(call) {
		return "nobody pays for this call: the key may not name an end user; give the key a user_id" + orSubscription
	}
	switch h.chargeBy.by {
	case byEndUser:
		return "nobody pays for this call: it names no end user; send the member `user` in the body or the header x-litellm-end-user-id"
	case "":
		return "nobody pays for this call: what charge_by names is empty for it"
	}
	if !keyed {
		return "nobody pays for this call: it is charged by " + h.chargeBy.by + " of a key, but came without a key"
	}
	return "nobody pays for this call: the key has no " + h.chargeBy.by + "; give it one" + orSubscription
}

// evaluate returns the configured properties with their values for one request. Empty ones are left out.
func (h *Handler) evaluate(repl *caddy.Replacer) ([]record.Property, *llm.Error) {
	if len(h.properties) == 0 {
		return nil, nil
	}
	out := make([]record.Property, 0, len(h.properties))
	for i := range h.properties {
		t := &h.properties[i]
		v := strings.TrimSpace(t.eval(repl))
		if err := printable("property "+t.name, v); err != nil {
			return nil, &llm.Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: t.name, Message: err.Error()}
		}
		if v != "" {
			out = append(out, record.Property{Name: t.name, Value: v})
		}
	}
	return out, nil
}
