package keyauth

import (
	"cmp"
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/limits"
	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

// LimitsConfig holds settings of limits, and the limits of all calls together. Those of keys, teams, users and customers are in
// their records. What is spent is kept in the store of the configuration's first keyauth.
type LimitsConfig struct {
	// The limits of the whole gateway: of all calls, with whatever key.
	setting.Limits

	// Session are limits of each session: of the calls with one key that name the same session. A session's budget lasts as long as
	// the session, and is forgotten a week after its last call. Default: none.
	Session *setting.Limits `json:"session,omitempty"`

	// TokenRateLimitType is what token limits count where their record does not name it: `total`, `input` or `output`. Default: total.
	TokenRateLimitType string `json:"token_rate_limit_type,omitempty"`

	// OnStoreFailure is what happens to calls with limits while the store is away: `local` has each instance go on from
	// what it last knew, within its share; `deny` answers 503. Default: local.
	OnStoreFailure string `json:"on_store_failure,omitempty"`

	// BudgetStatus is the status of the answer to a call that a budget does not admit: 422, as LiteLLM has it, 429 or 400.
	// Default: 422.
	BudgetStatus string `json:"budget_status,omitempty"`
}

// The values of the settings, the default first.
var (
	onStoreFailure = []string{"local", "deny"}
	budgetStatus   = []string{"422", "429", "400"}
	tokenTypes     = []string{"total", "input", "output"}
)

// useLimits resolves the settings and asks the app for the store.
func (h *Handler) useLimits(a *app.App) error {
	written := LimitsConfig{}
	if h.Limits != nil {
		written = *h.Limits
	}
	failure, err := setting.Choice("on_store_failure", written.OnStoreFailure, onStoreFailure...)
	if err != nil {
		return err
	}
	status, err := setting.Choice("budget_status", written.BudgetStatus, budgetStatus...)
	if err != nil {
		return err
	}
	h.spent, _ = strconv.Atoi(status) // one of the choices
	if err := h.resolveOwn(&written); err != nil {
		return err
	}
	c, err := h.Store.limits()
	if err != nil {
		return err
	}
	c.Deny = failure == "deny" && !c.File // a file is not away
	h.limitsDeny = c.Deny
	c.Logger = caddy.Log().Named("http.handlers.keyauth")
	h.limits, err = limits.Use(a, c)
	return err
}

// resolveOwn resolves the limits that the configuration sets.
func (h *Handler) resolveOwn(written *LimitsConfig) error {
	text, err := setting.Choice("token_rate_limit_type", written.TokenRateLimitType, tokenTypes...)
	if err != nil {
		return err
	}
	h.tokens, _ = keys.TokenMetric(text) // one of the choices
	if h.gateway, err = written.Resolve(h.tokens); err != nil {
		return err
	}
	for i := range h.gateway {
		h.gateway[i].Scope.Kind = limit.Gateway
	}
	if s := written.Session; s != nil && (s.BudgetDuration != "" || len(s.BudgetLimits) > 0) {
		return errors.New("session: its budget has no budget_duration: it lasts as long as the session")
	}
	h.session, err = written.Session.Resolve(h.tokens)
	return err
}

// ownLimits appends the limits that the configuration sets on a call: those of the gateway and of the call's session.
func (h *Handler) ownLimits(list []limit.Limit, id *llm.Identity, session string) []limit.Limit {
	list = append(list, h.gateway...)
	if session == "" {
		return list
	}
	for _, l := range h.session {
		l.Scope = limit.Scope{Kind: limit.Session, ID: limit.SessionID(id.SpendID, session)}
		list = append(list, l)
	}
	return list
}

// limits returns where limits are kept beside the keys of the store.
func (c *StoreConfig) limits() (limits.Config, error) {
	if c == nil || c.Redis == nil {
		file := new(FileConfig)
		if c != nil && c.File != nil {
			file = c.File
		}
		dir, err := file.dir()
		return limits.Config{Name: "file " + dir, File: true, Open: func() (limit.Store, io.Closer, error) {
			s, err := limit.OpenFile(dir)
			return s, nil, err
		}}, err
	}
	options, secret, err := c.Redis.resolve()
	if err != nil {
		return limits.Config{}, err
	}
	name := redisName(options, secret)
	current := secretOf(name)
	connect := func() redis.UniversalClient {
		logRedis()
		current.CompareAndSwap(nil, secret)
		return keystore.NewClient(*options, func() (string, string) {
			s := current.Load()
			return s.username, s.password
		})
	}
	return limits.Config{
		Name: name,
		Open: func() (limit.Store, io.Closer, error) {
			client := connect()
			return limit.NewRedis(client, options.Prefix), client, nil
		},
		Books: func(account string, o spend.Options) (*spend.Book, error) {
			return spend.NewRedis(connect(), options.Prefix, account, o), nil
		},
		Configure: func() { current.Store(secret) },
	}, nil
}

// secrets are the credentials in force of each store in Redis, by its name: few, and they stay.
var secrets sync.Map

func secretOf(name string) *atomic.Pointer[redisSecret] {
	p, _ := secrets.LoadOrStore(name, new(atomic.Pointer[redisSecret]))
	return p.(*atomic.Pointer[redisSecret])
}

// describe names a scope for people: a key by its abbreviation, a session by the name that the client gave it, all others by
// their ids.
func describe(s limit.Scope, keyName, session string) string {
	switch s.Kind {
	case limit.Key:
		return cmp.Or(keyName, "key")
	case limit.Session:
		return session
	default:
		return s.ID
	}
}
