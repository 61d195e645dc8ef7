package lagobilling

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/price/feed"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("lagobilling", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("lagobilling", httpcaddyfile.After, "encode")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	handler.Files = setting.Files(h.Dispenser, handler.Prices)
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	lagobilling [<matcher>] {
//		account       <name>
//		api_base      <url>
//		api_key       <secret>
//		event_code    <code>
//		charge_by     end_user_id|user_id|team_id|key_alias|<placeholder> ...
//		missing_payer reject|unbilled|default <subscription>
//		payer_check   off|warn|reject
//		events        per_request|cost
//		events        per_token_type [disjoint|sdk]
//		property      <name> <value>
//		spool         <dir>
//		spool_max     <size>
//		durability    process|fsync
//		retain        <duration>
//		interrupted   hold|estimate
//		late          keep|restamp
//		on_disconnect auto|cancel|drain <longest>
//		max_drains    <count>
//		unpriced      allow|reject
//		prices        <file or URL>
//		prices_refresh    <duration>
//		prices_max_change <factor>|off
//		markup        [<provider>] <percent>
//		discount      [<provider>] <percent>
//	}
//
// `token_counts disjoint|sdk` may be on its own line. property, markup and discount may be repeated.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		args := d.RemainingArgs()
		if slices.Contains(args, "") {
			return d.Errf("%s: a value is empty", name)
		}
		if d.NextBlock(nesting + 1) {
			return d.Errf("%s takes no block", name)
		}
		repeats := name == "property" || name == "markup" || name == "discount"
		if seen[name] && !repeats {
			return d.Errf("%s is given twice", name)
		}
		seen[name] = true
		if err := h.subdirective(name, args); err != nil {
			if errors.Is(err, errUnknown) {
				return d.Errf("unrecognized subdirective: %s", name)
			}
			if errors.Is(err, errArgs) {
				return d.Errf("wrong number of arguments for %s", name)
			}
			return d.WrapErr(err)
		}
	}
	if err := h.consistent(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

var (
	errUnknown = errors.New("unrecognized subdirective")
	errArgs    = errors.New("wrong number of arguments")
)

// subdirective parses one line of the block.
func (h *Handler) subdirective(name string, args []string) error {
	plain := map[string]*string{
		"account": &h.Account, "api_base": &h.APIBase, "api_key": &h.APIKey, "event_code": &h.EventCode,
		"payer_check": &h.PayerCheck, "token_counts": &h.TokenCounts, "spool": &h.Spool,
		"spool_max": &h.SpoolMax, "durability": &h.Durability, "retain": &h.Retain, "interrupted": &h.Interrupted,
		"late": &h.Late, "max_drains": &h.MaxDrains, "unpriced": &h.Unpriced, "prices": &h.Prices,
		"prices_refresh": &h.PricesRefresh, "prices_max_change": &h.PricesMaxChange,
	}
	if to, ok := plain[name]; ok {
		if len(args) != 1 {
			return errArgs
		}
		*to = args[0]
		return checkValue(name, args[0])
	}
	switch name {
	case "charge_by":
		if len(args) == 0 {
			return errArgs
		}
		h.ChargeBy = strings.Join(args, " ")
		return checkValue(name, h.ChargeBy)
	case "missing_payer":
		return h.setPair(name, args, "default", &h.MissingPayer, &h.DefaultPayer)
	case "on_disconnect":
		return h.setPair(name, args, "drain", &h.OnDisconnect, &h.DrainTimeout)
	case "events":
		return h.setEvents(args)
	case "property":
		if len(args) != 2 {
			return errArgs
		}
		if err := checkPropertyName(args[0]); err != nil {
			return err
		}
		if slices.ContainsFunc(h.Properties, func(p Property) bool { return p.Name == args[0] }) {
			return fmt.Errorf("property %s is given twice", args[0])
		}
		h.Properties = append(h.Properties, Property{Name: args[0], Value: args[1]})
		return nil
	case "markup":
		return addPercent(name, &h.Markup, args, 1000)
	case "discount":
		return addPercent(name, &h.Discount, args, 100)
	}
	return errUnknown
}

// setPair parses a choice one of whose values takes an argument.
func (h *Handler) setPair(name string, args []string, withArg string, choice, arg *string) error {
	if len(args) == 0 || len(args) > 2 || (len(args) == 2) != (args[0] == withArg) {
		if len(args) == 1 && args[0] == withArg {
			return fmt.Errorf("%s %s needs an argument", name, withArg)
		}
		return errArgs
	}
	*choice = args[0]
	if err := checkValue(name, args[0]); err != nil || len(args) == 1 {
		return err
	}
	*arg = args[1]
	return checkValue(name+" "+withArg, args[1])
}

func (h *Handler) setEvents(args []string) error {
	if len(args) == 0 || len(args) > 2 {
		return errArgs
	}
	h.Events = args[0]
	if err := checkValue("events", args[0]); err != nil || len(args) == 1 {
		return err
	}
	if args[0] != tariff.PerTokenType || h.TokenCounts != "" {
		return errArgs
	}
	h.TokenCounts = args[1]
	return checkValue("token_counts", args[1])
}

func addPercent(name string, list *[]Percent, args []string, highest int64) error {
	var p Percent
	switch len(args) {
	case 1:
		p.Percent = args[0]
	case 2:
		p.Provider, p.Percent = args[0], args[1]
	default:
		return errArgs
	}
	if slices.ContainsFunc(*list, func(q Percent) bool { return q.Provider == p.Provider }) {
		return fmt.Errorf("%s is given twice for the same provider", name)
	}
	*list = append(*list, p)
	if !setting.Literal(p.Percent) {
		return nil
	}
	_, err := tariff.ParsePercent(name, p.Percent, highest)
	return err
}

// checkValue checks a written value that holds no placeholders.
func checkValue(name, value string) error {
	if !setting.Literal(value) {
		return nil
	}
	var probe Handler
	var err error
	switch name {
	case "account":
		probe.Account = value
	case "event_code":
		probe.EventCode = value
	case "api_base":
		probe.APIBase = value
	case "spool_max":
		probe.SpoolMax = value
	case "retain":
		probe.Retain = value
	case "max_drains":
		probe.MaxDrains = value
	case "charge_by":
		_, err = parsePayerRules(value)
		return err
	case "prices_refresh":
		_, err = setting.Duration(name, value, 0, shortestRefresh, longestRefresh)
		return err
	case "prices_max_change":
		_, err = maxChange(value, 0)
		return err
	case "prices":
		if pricesByURL(value) {
			return feed.CheckURL(value)
		}
		return nil
	case "missing_payer default":
		return printable(name, value)
	case "on_disconnect drain":
		_, err = setting.Duration(name, value, 0, shortestDrain, longestDrain)
		return err
	default:
		if choices[name] != nil {
			_, err = choose(name, value)
		}
		return err
	}
	_, err = probe.accountSettings()
	return err
}

// Interface guards.
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
