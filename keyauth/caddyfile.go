package keyauth

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/llm"
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
	handler.Files = setting.Files(h.Dispenser)
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
//	    new_keys {
//	        default <field> <value...>
//	        at_most <field> <value>
//	    }
//	    new_teams {
//	        default <field> <value...>
//	    }
//	    new_users {
//	        default <field> <value...>
//	        internal_user <field> <value...>
//	    }
//	    customer_budget <budget_id>
//	    limits {
//	        on_store_failure local|deny
//	        budget_status 422|429|400
//	        token_rate_limit_type total|input|output
//	        max_budget <USD>
//	        soft_budget <USD>
//	        budget_duration <window>
//	        budget_limit <USD> <window>
//	        rpm_limit <n>
//	        tpm_limit <n>
//	        max_parallel_requests <n>
//	        session {
//	            max_budget <USD>
//	            soft_budget <USD>
//	            rpm_limit <n>
//	            tpm_limit <n>
//	            max_parallel_requests <n>
//	        }
//	    }
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(setting.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "store":
			if err = seen.Once(d); err == nil {
				h.Store, err = unmarshalStore(d)
			}
		case "master_key":
			err = seen.Value(d, &h.MasterKey, nil)
		case "cache_ttl":
			err = seen.Value(d, &h.CacheTTL, func(s string) error {
				_, err := setting.Duration("cache_ttl", s, 0, 0, maxCacheTTL)
				return err
			})
		case "stale_ttl":
			err = seen.Value(d, &h.StaleTTL, func(s string) error {
				_, err := setting.Duration("stale_ttl", s, 0, 0, maxStaleTTL)
				return err
			})
		case "limits":
			if err = seen.Once(d); err == nil {
				h.Limits, err = unmarshalLimits(d)
			}
		case "new_keys":
			if err = seen.Once(d); err == nil {
				err = h.unmarshalNewKeys(d)
			}
		case "new_teams":
			if err = seen.Once(d); err == nil {
				err = h.unmarshalNewTeams(d)
			}
		case "new_users":
			if err = seen.Once(d); err == nil {
				err = h.unmarshalNewUsers(d)
			}
		case "customer_budget":
			err = seen.Value(d, &h.CustomerBudget, llm.CheckName)
		default:
			err = d.Errf("unrecognized subdirective: %s", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func unmarshalLimits(d *caddyfile.Dispenser) (*LimitsConfig, error) {
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	c := new(LimitsConfig)
	seen := make(setting.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch word := d.Val(); word {
		case "on_store_failure":
			err = seen.Value(d, &c.OnStoreFailure, func(s string) error {
				_, err := setting.Choice(word, s, onStoreFailure...)
				return err
			})
		case "budget_status":
			err = seen.Value(d, &c.BudgetStatus, func(s string) error {
				_, err := setting.Choice(word, s, budgetStatus...)
				return err
			})
		case "token_rate_limit_type":
			err = seen.Value(d, &c.TokenRateLimitType, func(s string) error {
				_, err := setting.Choice(word, s, tokenTypes...)
				return err
			})
		case "session":
			if err = seen.Once(d); err == nil {
				c.Session, err = unmarshalSession(d)
			}
		default:
			var known bool
			if known, err = c.Unmarshal(d, seen); !known {
				err = d.Errf("unrecognized subdirective of limits: %s", word)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

func unmarshalSession(d *caddyfile.Dispenser) (*setting.Limits, error) {
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	s := new(setting.Limits)
	seen := make(setting.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch word := d.Val(); word {
		case "budget_duration", "budget_limit":
			return nil, d.Errf("a session has no %s: its max_budget lasts as long as the session", word)
		default:
			known, err := s.Unmarshal(d, seen)
			if err != nil {
				return nil, err
			}
			if !known {
				return nil, d.Errf("unrecognized subdirective of session: %s", word)
			}
		}
	}
	return s, nil
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
		if err := setting.Check(d, address, checkAddress); err != nil {
			return nil, err
		}
	}
	seen := make(setting.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "username":
			err = seen.Value(d, &r.Username, nil)
		case "password":
			err = seen.Value(d, &r.Password, nil)
		case "db":
			err = seen.Value(d, &r.DB, func(s string) error {
				_, err := setting.Int("db", s, 0, 0, maxDB)
				return err
			})
		case "prefix":
			err = seen.Value(d, &r.Prefix, checkPrefix)
		case "sentinel":
			err = seen.Value(d, &r.Sentinel, nil)
		case "tls":
			err = seen.Flag(d, &r.TLS)
		default:
			err = d.Errf("unrecognized subdirective of store redis: %s", d.Val())
		}
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Handler)(nil)
