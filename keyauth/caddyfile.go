package keyauth

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("keyauth", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("keyauth", httpcaddyfile.Before, "basic_auth")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	keyauth [<matcher>] {
//	    store file [<dir>]
//	    store redis <address...> {
//	        username <name>
//	        password <secret>
//	        db <n>
//	        prefix <text>
//	        tls
//	        sentinel <master-name>
//	    }
//	    master_key <key>
//	    cache_ttl <duration>
//	    stale_ttl <duration>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := once(d, seen); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "store":
			h.Store, err = unmarshalStore(d)
		case "master_key":
			err = value(d, &h.MasterKey, nil)
		case "cache_ttl":
			err = value(d, &h.CacheTTL, func(s string) error {
				_, err := parseDuration("cache_ttl", s, maxCacheTTL)
				return err
			})
		case "stale_ttl":
			err = value(d, &h.StaleTTL, func(s string) error {
				_, err := parseDuration("stale_ttl", s, maxStaleTTL)
				return err
			})
		default:
			err = d.Errf("unrecognized subdirective: %s", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func unmarshalStore(d *caddyfile.Dispenser) (*StoreConfig, error) {
	if !d.NextArg() {
		return nil, d.ArgErr()
	}
	switch d.Val() {
	case "file":
		f := new(FileConfig)
		if args := d.RemainingArgs(); len(args) == 1 && args[0] != "" {
			f.Dir = args[0]
		} else if len(args) > 0 {
			return nil, d.ArgErr()
		}
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			return nil, d.Errf("store file has no subdirectives: %s", d.Val())
		}
		return &StoreConfig{File: f}, nil
	case "redis":
		r, err := unmarshalRedis(d)
		return &StoreConfig{Redis: r}, err
	}
	return nil, d.Errf("unknown store %s: file or redis", d.Val())
}

func unmarshalRedis(d *caddyfile.Dispenser) (*RedisConfig, error) {
	r := &RedisConfig{Addresses: d.RemainingArgs()}
	if len(r.Addresses) == 0 {
		return nil, d.ArgErr()
	}
	for _, address := range r.Addresses {
		if hasPlaceholder(address) {
			continue
		}
		if err := checkAddress(address); err != nil {
			return nil, d.WrapErr(err)
		}
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := once(d, seen); err != nil {
			return nil, err
		}
		var err error
		switch d.Val() {
		case "username":
			err = value(d, &r.Username, nil)
		case "password":
			err = value(d, &r.Password, nil)
		case "db":
			err = value(d, &r.DB, func(s string) error {
				_, err := parseDB(s)
				return err
			})
		case "prefix":
			err = value(d, &r.Prefix, checkPrefix)
		case "sentinel":
			err = value(d, &r.Sentinel, nil)
		case "tls":
			r.TLS = true
			if d.NextArg() {
				err = d.ArgErr()
			}
		default:
			err = d.Errf("unrecognized subdirective of store redis: %s", d.Val())
		}
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// once refuses a subdirective that was there before.
func once(d *caddyfile.Dispenser, seen map[string]bool) error {
	if seen[d.Val()] {
		return d.Errf("%s is given twice", d.Val())
	}
	seen[d.Val()] = true
	return nil
}

// value takes the one argument of a subdirective. check, which may be nil, looks at it unless it holds placeholders, which
// are resolved and checked when the configuration starts.
func value(d *caddyfile.Dispenser, to *string, check func(string) error) error {
	if !d.NextArg() || d.Val() == "" {
		return d.ArgErr()
	}
	*to = d.Val()
	if d.NextArg() {
		return d.ArgErr()
	}
	if check != nil && !hasPlaceholder(*to) {
		if err := check(*to); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

func hasPlaceholder(s string) bool {
	return strings.Contains(s, "{") && strings.Contains(s, "}")
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Handler)(nil)
