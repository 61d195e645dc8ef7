package keyauth

import (
	"cmp"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/limits"
	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

// LimitsConfig holds settings of limits. The limits themselves are in the records of keys and teams, and what is spent is kept
// in the store of the configuration's first keyauth.
type LimitsConfig struct {
	// OnStoreFailure says what happens to calls with limits while the store is away: `local` has each instance go on from
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
	c, err := h.Store.limits()
	if err != nil {
		return err
	}
	c.Deny = failure == "deny" && !c.File // a file is not away
	c.Logger = caddy.Log().Named("http.handlers.keyauth")
	h.limits, err = limits.Use(a, c)
	return err
}

// limits says where limits are kept beside the keys of the store.
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

// describe names a scope for people: a key by its abbreviation, all others by their ids.
func describe(s limit.Scope, keyName string) string {
	if s.Kind == limit.Key {
		return cmp.Or(keyName, "key")
	}
	return s.ID
}
