package lagobilling

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
)

// Rules of charge_by that have a name.
const (
	byEndUser  = "end_user_id"
	byUser     = "user_id"
	byTeam     = "team_id"
	byKeyAlias = "key_alias"
)

// Sources of a payer other than charge_by.
const (
	fromSubscription = "lago_subscription_id"
	fromDefault      = "default"
)

// payerRule is one rule of charge_by.
type payerRule struct {
	by   string   // one of the names above; empty for a text with placeholders
	text template // evaluated for each request
	own  bool     // all placeholders come from the key's record, which clients cannot choose
}

// ownPlaceholders are set by keyauth from a key's record.
var ownPlaceholders = strings.NewReplacer("{http.tollgate.user_id}", "", "{http.tollgate.team_id}", "",
	"{http.tollgate.key_alias}", "", "{http.auth.user.id}", "")

// parsePayerRules resolves `charge_by`: one rule, or several with spaces between.
func parsePayerRules(value string) ([]payerRule, error) {
	if value == "" {
		return []payerRule{{by: byEndUser}}, nil
	}
	all, err := setting.Template("charge_by", value)
	if err != nil {
		return nil, err
	}
	var rules []payerRule
	for word := range strings.FieldsSeq(all) {
		t := template{name: "charge_by", text: word, live: strings.Contains(word, "{")}
		switch t.text {
		case byEndUser, byUser, byTeam, byKeyAlias:
			rules = append(rules, payerRule{by: t.text})
			continue
		}
		if !t.live {
			return nil, fmt.Errorf("charge_by is %q, but must be one of %s, %s, %s, %s, or hold a placeholder", t.text, byEndUser, byUser, byTeam, byKeyAlias)
		}
		rules = append(rules, textRule(t))
	}
	if len(rules) == 0 {
		return nil, errors.New("charge_by is blank")
	}
	return rules, nil
}

func textRule(t template) payerRule {
	return payerRule{text: t, own: !strings.Contains(ownPlaceholders.Replace(t.text), "{")}
}

// chosen reports whether a client can choose the payer by this rule.
func (p *payerRule) chosen() bool { return p.by == byEndUser || p.by == "" && !p.own }

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

// eval returns the text for one request. Unknown placeholders stay as written, so that mistakes show.
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

// payer determines who pays for a call. An empty payer without an error means that the call is served unbilled.
func (h *Handler) payer(call *llm.Call, repl *caddy.Replacer) (payer, by string, refusal *llm.Error) {
	if payer, by, refusal = h.named(call, repl); refusal != nil {
		return "", "", refusal
	}
	if payer != "" || (call.Endpoint != nil && call.Endpoint.Billing != llm.Billable) {
		return payer, by, nil
	}
	switch h.missing {
	case "default":
		if payer, _ = h.defaultPayer.eval(call, repl); payer != "" {
			payer, refusal = checkedPayer(payer, fromDefault)
		}
		if payer != "" || refusal != nil {
			return payer, fromDefault, refusal
		}
	case "unbilled":
		return "", "", nil
	}
	return "", "", &llm.Error{Status: http.StatusForbidden, Type: "missing_payer", Param: h.missingParam(call), Message: h.missingText(call)}
}

// checkedPayer returns a payer as Lago stores it, or refuses one that Lago could not store. Names from clients are taken
// as they are. Others are trimmed, as Lago trims the ids that it stores, but not those in events.
func checkedPayer(payer, by string) (string, *llm.Error) {
	if by != byEndUser {
		payer = strings.TrimSpace(payer)
	}
	err := llm.CheckName(payer)
	if err == nil && by == byEndUser && strings.ContainsRune(payer, utf8.RuneError) {
		err = errors.New("holds an invalid character")
	}
	if err != nil {
		return "", &llm.Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: by, Message: "the payer (" + by + ") " + err.Error()}
	}
	return payer, nil
}

// named returns the payer by the first rule that yields one.
func (h *Handler) named(call *llm.Call, repl *caddy.Replacer) (payer, by string, refusal *llm.Error) {
	if id := call.Identity; id != nil && id.Subscription != "" {
		payer, refusal = checkedPayer(id.Subscription, fromSubscription)
		return payer, fromSubscription, refusal
	}
	for i := range h.chargeBy {
		payer, by = h.chargeBy[i].eval(call, repl)
		if payer == "" {
			continue
		}
		if payer, refusal = checkedPayer(payer, by); payer != "" || refusal != nil {
			return payer, by, refusal
		}
	}
	return "", by, nil
}

// eval returns the payer that the rule yields for a call, and its source. Where clients could choose the payer and the key
// forbids that, the key's own user pays.
func (p *payerRule) eval(call *llm.Call, repl *caddy.Replacer) (payer, by string) {
	id := call.Identity
	switch {
	case id != nil && id.FixedPayer && p.chosen():
		return id.UserID, byUser
	case p.by == "":
		return p.text.eval(repl), "charge_by"
	case p.by == byEndUser:
		return call.Request.User, p.by
	case id == nil:
		return "", p.by
	}
	switch p.by {
	case byUser:
		return id.UserID, p.by
	case byTeam:
		return id.TeamID, p.by
	}
	return id.KeyAlias, p.by
}

func (h *Handler) missingParam(call *llm.Call) string {
	fixed := call.Identity != nil && call.Identity.FixedPayer
	if slices.ContainsFunc(h.chargeBy, func(p payerRule) bool { return p.by == byEndUser }) && !fixed {
		return "user"
	}
	return ""
}

// missingText explains how to supply a payer.
func (h *Handler) missingText(call *llm.Call) string {
	const orSubscription = ", or a lago_subscription_id in its metadata"
	id, rule := call.Identity, &h.chargeBy[0]
	switch {
	case len(h.chargeBy) > 1:
		names := make([]string, len(h.chargeBy))
		for i := range h.chargeBy {
			if names[i] = h.chargeBy[i].by; names[i] == "" {
				names[i] = "a text of the configuration"
			}
		}
		return "no payer for this call: it has none of " + strings.Join(names, ", ")
	case id != nil && id.FixedPayer && rule.chosen():
		return "no payer for this call: the key may not name an end user; give the key a user_id" + orSubscription
	case rule.by == byEndUser:
		return "no payer for this call: it names no end user; send the member `user` in the body or the header x-litellm-end-user-id"
	case rule.by == "":
		return "no payer for this call: what charge_by names is empty for it"
	case id == nil:
		return "no payer for this call: it is charged by " + rule.by + " of a key, but came without a key"
	}
	return "no payer for this call: the key has no " + rule.by + "; give it one" + orSubscription
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
