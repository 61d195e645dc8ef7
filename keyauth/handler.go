package keyauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/limits"
	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler lets calls through that carry a valid API key, and identifies its owner to the handlers after it. The key comes
// from `Authorization: Bearer`, `x-api-key`, `api-key` or `x-goog-api-key`; every credential of the client is removed
// before the call goes on. All values may hold placeholders such as {env.X} or {file./path}.
//
// Placeholders set for the handlers after it and for logs: {http.auth.user.id} (the key's alias, or the beginning of
// its hash), {http.tollgate.key_alias}, {http.tollgate.team_id}, {http.tollgate.user_id}.
type Handler struct {
	// Store is where keys are kept. Default: a file store in Caddy's data directory.
	Store *StoreConfig `json:"store,omitempty"`

	// MasterKey is the administrator's key. When it is set, the key API is served on the same site to those who send
	// it, and calls that carry it may use every model. Default: none.
	MasterKey string `json:"master_key,omitempty"`

	// CacheTTL is how long a key serves before the store is asked for it again: the longest that a change made through
	// another instance takes while its announcement does not arrive. A duration from 0s to 24h. Default: 10s.
	CacheTTL string `json:"cache_ttl,omitempty"`

	// StaleTTL is how long a key goes on working while the store is down, since the store last confirmed it. A
	// duration from 0s to 168h. Default: 10m.
	StaleTTL string `json:"stale_ttl,omitempty"`

	// Limits are the limits of all calls together, and settings of those that the records of keys and teams hold.
	Limits *LimitsConfig `json:"limits,omitempty"`

	// NewKeys are defaults and upper bounds of the fields of keys, and NewTeams and NewUsers defaults of those of teams and users, for the key
	// API. Records that are there stay as they are. Default: none.
	NewKeys  *NewKeysConfig  `json:"new_keys,omitempty"`
	NewTeams *NewTeamsConfig `json:"new_teams,omitempty"`
	NewUsers *NewUsersConfig `json:"new_users,omitempty"`

	// CustomerBudget is the budget_id of the budget that limits each customer who has no own budget, and whose key names none by
	// end_user_budget_id. While it has no record, calls that such customers pay for are refused. Default: none.
	CustomerBudget string `json:"customer_budget,omitempty"`

	// The state of the files that the Caddyfile names in placeholders, as its adapter saw them: with it a changed file is a
	// changed configuration, which a reload does not skip. It has no other effect.
	Files map[string]string `json:"files,omitempty"`

	logger     *zap.Logger
	ctx        caddy.Context // of the configuration, for events
	events     *caddyevents.App
	app        *app.App
	keys       *app.Ref[*keys.Cache]
	bounds     keys.Bounds
	policy     *keys.Policy
	master     *keys.Digest // nil without a master key
	limits     *app.Ref[*limits.Keeper]
	limitsDeny bool // calls with limits are refused while their store is away
	spent      int  // the status of a call that a budget does not admit

	tokens           limit.Metric  // what token limits count whose record does not name it
	gateway, session []limit.Limit // those that the configuration sets; a session's have no scope yet
}

const (
	defaultCacheTTL = 10 * time.Second
	defaultStaleTTL = 10 * time.Minute
	maxCacheTTL     = 24 * time.Hour
	maxStaleTTL     = 7 * 24 * time.Hour
)

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.keyauth", New: func() caddy.Module { return new(Handler) }}
}

// Provision resolves the configuration and asks the app for the store. It opens nothing.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger, h.ctx = ctx.Logger(), ctx
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	h.events = events.(*caddyevents.App) //nolint:forcetypeassert // of Caddy's own module
	if h.bounds.Cache, err = setting.Duration("cache_ttl", h.CacheTTL, defaultCacheTTL, 0, maxCacheTTL); err != nil {
		return err
	}
	if h.bounds.Stale, err = setting.Duration("stale_ttl", h.StaleTTL, defaultStaleTTL, 0, maxStaleTTL); err != nil {
		return err
	}
	if h.MasterKey != "" {
		key, err := resolveMasterKey(h.MasterKey)
		if err != nil {
			return err
		}
		sum := keys.DigestOf(key)
		h.master = &sum
	}
	if err := h.usePolicy(); err != nil {
		return err
	}
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	shared, err := app.Load(ctx)
	if err != nil {
		return err
	}
	if h.keys, err = h.Store.use(shared); err != nil {
		return err
	}
	h.app = shared
	shared.OnHealth("store "+h.keys.Key(), h.health)
	return h.useLimits(shared)
}

// ServeHTTP authenticates a call, or serves the key API.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if served, err := h.app.ServeHealth(w, r); served {
		return err
	}
	ctx, call := llm.Ensure(r.Context())
	if call.Inquire != nil {
		call.Inquire(h)
		return next.ServeHTTP(w, r)
	}
	r = r.WithContext(ctx)
	operation := h.operation(r)
	query := r.URL.RawQuery // before `key`, which is an argument of the key API, is taken for a credential
	sent := takeCredentials(r)
	report := h.reportOf(r)
	if llm.IsPreflight(r) {
		switch {
		case report != nil:
			servePreflight(w, r, report.method)
		case operation != nil:
			servePreflight(w, r, operation.Method)
		default:
			return next.ServeHTTP(w, r)
		}
		return nil
	}
	state, refusal := h.choose(ctx, &sent)
	if refusal == nil && operation == nil {
		refusal = routeDenied(state, r.URL.Path, report != nil)
	}
	if refusal != nil {
		refusalsTotal.WithLabelValues(refusal.Type).Inc()
		return h.refuse(w, r, refusal)
	}
	if report != nil {
		return h.serveReport(w, r, report, query, state)
	}
	if operation != nil {
		return h.serveAPI(w, r, operation, query, state)
	}
	identity := state.Identity
	call.Keyed, call.Identity = true, identity
	call.OnAdmit(admit)
	held := &reservation{h: h, state: state, header: w.Header()}
	call.OnReserve(held.reserve)
	call.OnNext(held.next)
	defer held.end(call)
	publish(r, identity)
	return next.ServeHTTP(w, r)
}

// rank is how close a value is to a key of this gateway.
type rank uint8

const (
	foreign  rank = iota // it does not look like one
	unknown              // it looks like one, and there is none
	unjudged             // the store could not be asked
	ours
)

// verdict is what a value that a request carries comes to, as of now.
type verdict struct {
	rank    rank
	state   *keys.State
	refusal *llm.Error
}

// judge judges one value.
func (h *Handler) judge(ctx context.Context, key string) verdict {
	if len(key) > keys.MaxBytes {
		return verdict{rank: foreign, refusal: authError("the API key is too long to be one")}
	}
	sum := keys.DigestOf(key)
	if h.isMaster(sum) {
		return verdict{rank: ours, state: &masterState}
	}
	if len(key) <= len(keys.Prefix) || key[:len(keys.Prefix)] != keys.Prefix {
		return verdict{rank: foreign, refusal: authError("the API key is not one of this gateway's: those begin with sk-")}
	}
	return h.lookup(ctx, sum, key)
}

func (h *Handler) isMaster(sum keys.Digest) bool {
	return h.master != nil && subtle.ConstantTimeCompare(sum[:], h.master[:]) == 1
}

// lookup judges a key by its digest. key is for the messages alone.
func (h *Handler) lookup(ctx context.Context, sum keys.Digest, key string) verdict {
	cache, release, err := h.keys.Acquire(ctx)
	if err != nil {
		return verdict{rank: unjudged, refusal: keys.StoreDown(err)}
	}
	defer release()
	state, err := cache.Lookup(ctx, sum, h.bounds)
	switch {
	case errors.Is(err, keys.ErrUnknown):
		return verdict{rank: unknown, refusal: unknownKey(key)}
	case errors.Is(err, keys.ErrMalformed):
		return verdict{rank: ours, refusal: &llm.Error{
			Status: http.StatusInternalServerError, Type: "internal_server_error",
			Message: "the record of this API key cannot be read", Err: err,
		}}
	case err != nil:
		return verdict{rank: unjudged, refusal: keys.StoreDown(err)}
	}
	return verdict{ours, state, refuse(state, key, cache.Now())}
}

// refuse returns why a key that is known may not be used, nil where it may.
func refuse(state *keys.State, key string, now time.Time) *llm.Error {
	switch {
	case state.Blocked:
		return authError("Key is blocked. Update via `/key/unblock` if you're admin.")
	case state.TeamBlocked:
		return authError("Team=" + state.Identity.TeamID + " is blocked. Update via `/team/update` if you're admin.")
	case !state.Expires.IsZero() && !now.Before(state.Expires):
		return expiredKey(key, state.Expires, now)
	}
	return nil
}

// masterIdentity is who calls with the master key. Its hash is kept from records, as people choose master keys.
var masterIdentity = llm.Identity{KeyHash: "master", SpendID: "master", KeyName: "master", KeyAlias: "master", Master: true}

// masterState is what calls with the master key are judged by.
var masterState = keys.State{Identity: &masterIdentity}

// refuse writes a refusal in the shape that callers of the path expect.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, refusal *llm.Error) error {
	if c := h.logger.Check(zap.DebugLevel, "refused"); c != nil {
		c.Write(zap.Int("status", refusal.Status), zap.String("type", refusal.Type), zap.NamedError("cause", refusal.Err))
	}
	if refusal.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	return endpoint.Refuse(w, r, refusal)
}

// admit decides whether a key may use the models of a call.
func admit(_ context.Context, c *llm.Call) *llm.Error {
	if refused := admitAsked(c); refused != nil {
		return refused
	}
	for _, o := range c.Request.Others {
		if o.Name != "" && c.Identity.Allows(o.Name) || c.Identity.AllowsAll() {
			continue
		}
		if o.Name == "" {
			return choiceDenied(o.Member)
		}
		return deniedBy(c, o.Member, o.Name)
	}
	return nil
}

// admitAsked decides whether a key may use the model asked for. A list may hold the name that the client wrote, the name that
// the key's own alias means, or the configured model's name that an alias of the configuration means.
func admitAsked(c *llm.Call) *llm.Error {
	asked := c.Request.Asked
	if asked == "" || c.Identity.Allows(asked) {
		return nil
	}
	if meant, ok := c.Identity.Aliases[asked]; ok && c.Identity.Allows(meant) {
		return nil
	}
	if t := c.Target(); t != nil && c.Identity.Allows(t.Model) {
		return nil
	}
	return deniedBy(c, "model", asked)
}

// deniedBy is the refusal of a model, by the list that does not have it.
func deniedBy(c *llm.Call, member, model string) *llm.Error {
	id := c.Identity
	switch {
	case !(&llm.Identity{Models: id.Models}).Allows(model):
		return modelDenied("key", member, model)
	case !(&llm.Identity{Models: id.TeamModels}).Allows(model):
		return modelDenied("team", member, model)
	}
	return modelDenied("user", member, model)
}

// publish sets the placeholders.
func publish(r *http.Request, id *llm.Identity) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	user := id.KeyAlias
	if user == "" {
		user = id.KeyHash[:min(len(id.KeyHash), 12)]
	}
	repl.Set("http.auth.user.id", user)
	repl.Map(func(name string) (any, bool) {
		switch name {
		case "http.tollgate.key_alias":
			return id.KeyAlias, true
		case "http.tollgate.team_id":
			return id.TeamID, true
		case "http.tollgate.user_id":
			return id.UserID, true
		}
		return nil, false
	})
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
