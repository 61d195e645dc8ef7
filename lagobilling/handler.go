package lagobilling

import (
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price/feed"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler meters the answers of model calls, writes a usage record for each to a durable spool before the client has the
// last byte, and bills the payer through Lago. It runs before llmroute.
//
// Every value is text, in which `{env.*}` and `{file.*}` are replaced at start; one that resolves to nothing is an error.
//
// It sets these placeholders once a call is settled, for access logs: `{http.tollgate.id}`, `outcome`, `payer`, `session`, `model`,
// `upstream`, `backend`, `provider`, `cost`, `usage` (reported, partial or estimated), `input_tokens`, `output_tokens`,
// `total_tokens`, and each kind of docs/records.md as `{http.tollgate.kinds.<kind>}`.
type Handler struct {
	// The name of this Lago account: part of every record and of the spool's default directory. Letters, digits, dots,
	// dashes and underscores. Default: default.
	Account string `json:"account,omitempty"`

	// The base URL of Lago's API, such as `https://api.getlago.com`. Without it, records stay in the local ledger and
	// nothing is sent.
	APIBase string `json:"api_base,omitempty"`

	// The API key of the Lago organization. Needed with `api_base`.
	APIKey string `json:"api_key,omitempty"`

	// The code of the billable metric. Needed with `api_base` for events per request; default for events `cost`:
	// llm_cost; not used by events per token type, whose codes are those of Lago's agent SDK.
	EventCode string `json:"event_code,omitempty"`

	// The source of the Lago subscription that pays: `end_user_id`, `user_id`, `team_id`, `key_alias`, or text with
	// placeholders that are evaluated for each request. Of several, separated by spaces, the first that is not empty
	// applies. A `lago_subscription_id` in the metadata of the key or its team takes precedence. Default: end_user_id.
	ChargeBy string `json:"charge_by,omitempty"`

	// What happens to a call without a payer: `reject` answers 403, `default` charges `default_payer`, `unbilled`
	// serves it and records it as not billed. Default: reject.
	MissingPayer string `json:"missing_payer,omitempty"`

	// The subscription that pays when `missing_payer` is `default`; may hold placeholders, evaluated for each request.
	DefaultPayer string `json:"default_payer,omitempty"`

	// What happens to a payer that Lago does not know, for which Lago would accept events and bill nothing: `warn` counts
	// and lists it, `reject` also refuses its calls, `off` does not ask. Default: warn.
	PayerCheck string `json:"payer_check,omitempty"`

	// The shape of the events: `per_request`, `per_token_type` or `cost`. Default: per_request.
	Events string `json:"events,omitempty"`

	// For events per token type, whether counts are `disjoint` or overlap as in Lago's agent SDK (`sdk`).
	// Default: disjoint.
	TokenCounts string `json:"token_counts,omitempty"`

	// Properties that are added to every event. Values may hold placeholders, which are evaluated for each request; a
	// property whose value is empty is left out.
	Properties []Property `json:"properties,omitempty"`

	// The directory of the spool. Each account has its own. Default: Caddy's data directory, then
	// `tollgate/spool/<account>`.
	Spool string `json:"spool,omitempty"`

	// The size of the spool at which new calls are refused. Default: 10GB.
	SpoolMax string `json:"spool_max,omitempty"`

	// What an acknowledged record survives: `process` a crash of the process at any instruction, `fsync` also a power
	// loss. Default: process.
	Durability string `json:"durability,omitempty"`

	// How long finished records stay readable before they are deleted. Default: 72h.
	Retain string `json:"retain,omitempty"`

	// What happens at start to calls that were in progress when the previous process ended: `hold` keeps them for the
	// operator, `estimate` bills the estimated input of the request. Default: hold.
	Interrupted string `json:"interrupted,omitempty"`

	// What happens to the timestamp of a record that is first sent after its billing period has closed: `keep` or
	// `restamp`. Default: keep.
	Late string `json:"late,omitempty"`

	// What happens when the client hangs up: `cancel` the upstream and bill the usage so far, `drain` the answer for at
	// most `drain_timeout`, or `auto`, which drains if the provider keeps billing or if the answer so far does not show
	// what it bills. An answer that is about to end is always read to its end. Default: auto.
	OnDisconnect string `json:"on_disconnect,omitempty"`

	// How long an answer is drained at most. Default: 2m.
	DrainTimeout string `json:"drain_timeout,omitempty"`

	// How many answers of the account are drained at the same time; further ones are cancelled. Default: 1000.
	MaxDrains string `json:"max_drains,omitempty"`

	// What happens to a call whose model has no price: `allow` bills its tokens without an amount, `reject` refuses it
	// before it is forwarded. Default: allow; with events `cost`, reject.
	Unpriced string `json:"unpriced,omitempty"`

	// A file of prices, or its http or https URL, in the format of docs/prices.md or LiteLLM's. They override the
	// built-in prices.
	Prices string `json:"prices,omitempty"`

	// How often prices are fetched from a URL, from 1s to 720h. Default: 1h.
	PricesRefresh string `json:"prices_refresh,omitempty"`

	// The largest factor by which a price may change between two versions of the prices, from 2 to 1000000, or `off`. A
	// version that changes a price by more, or drops one, is refused. Default: 10 for a URL, off for a file.
	PricesMaxChange string `json:"prices_max_change,omitempty"`

	// The state of the files named in placeholders and in `prices` when the Caddyfile was adapted, so that a changed file
	// changes the configuration and a reload is not skipped. It has no other effect.
	Files map[string]string `json:"files,omitempty"`

	// Percentages added to the cost.
	Markup []Percent `json:"markup,omitempty"`

	// Percentages taken off the cost.
	Discount []Percent `json:"discount,omitempty"`

	missing      string
	defaultPayer payerRule
	chargeBy     []payerRule
	properties   []template
	disconnect   string
	drain        time.Duration
	rejectPrice  bool
	tariff       *tariff.Tariff
	feed         *app.Ref[*feed.Feed]        // nil where prices are not fetched
	views        *atomic.Pointer[pricedView] // the latest of current
	bounds       bounds
	priceFile    *feed.Feed // nil where no price file is named
	app          *app.App
	account      *app.Ref[*account.Account]
	logger       *zap.Logger
	metrics      *callMetrics
}

// Property is an extra property of events.
type Property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Percent is a percentage with at most six decimals, for one provider or, without one, for all that have none.
type Percent struct {
	Provider string `json:"provider,omitempty"`
	Percent  string `json:"percent"`
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.lagobilling", New: func() caddy.Module { return new(Handler) }}
}

// Provision resolves the settings. It opens nothing: the app does when it starts.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.metrics, h.bounds = theMetrics, usualBounds
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	if err := h.consistent(); err != nil {
		return err
	}
	s, err := h.accountSettings()
	if err != nil {
		return err
	}
	if err := h.resolveRest(s); err != nil {
		return err
	}
	if h.app, err = app.Load(ctx); err != nil {
		return err
	}
	if err := errors.Join(agree(h.app, s), checkOpenAccounts(s)); err != nil {
		return err
	}
	warehouse, err := h.warehouse()
	if err != nil {
		return err
	}
	logger, fallback, inForce := h.logger, h.tariff, tariffsOf(h, s.Name)
	h.account = app.Use(h.app, "lagobilling "+s.Dir,
		func() (*account.Account, error) {
			return account.Open(s, fallback, account.Options{
				Logger: logger, OnResult: theMetrics.delivered, Exiting: caddy.Exiting, Spend: h.spendStore(s.Name), Warehouse: warehouse,
			})
		},
		func(a *account.Account) {
			a.Configure(s)
			h.keepBooks(a)
			a.KeepSpend(h.spendStore(s.Name))
			a.KeepWarehouse(warehouse)
			a.Use(inForce.list)
		})
	if err := h.useFeed(); err != nil {
		return err
	}
	h.app.OnHealth(h.account.Key(), h.health)
	return nil
}

// resolveRest resolves the handler's own settings.
func (h *Handler) resolveRest(s account.Settings) (err error) {
	if h.missing, err = choose("missing_payer", h.MissingPayer); err != nil {
		return err
	}
	text, err := newTemplate("missing_payer default", h.DefaultPayer)
	if err != nil {
		return err
	}
	h.defaultPayer = textRule(text)
	if h.chargeBy, err = parsePayerRules(h.ChargeBy); err != nil {
		return err
	}
	if h.disconnect, err = choose("on_disconnect", h.OnDisconnect); err != nil {
		return err
	}
	if h.drain, err = setting.Duration("on_disconnect drain", h.DrainTimeout, 2*time.Minute, shortestDrain, longestDrain); err != nil {
		return err
	}
	return h.resolveTariff(s)
}

// resolveTariff resolves the prices and the shape of the events.
func (h *Handler) resolveTariff(s account.Settings) (err error) {
	c := tariff.Config{Code: s.EventCode}
	if c.Events, err = choose("events", h.Events); err != nil {
		return err
	}
	if c.TokenCounts, err = choose("token_counts", h.TokenCounts); err != nil {
		return err
	}
	unpriced, err := choose("unpriced", h.Unpriced)
	if err != nil {
		return err
	}
	if c.Events == tariff.Cost && h.Unpriced != "" && unpriced == "allow" {
		return errors.New("events cost needs a price for every call: unpriced allow contradicts it")
	}
	h.rejectPrice = unpriced == "reject" || c.Events == tariff.Cost
	for _, p := range h.Properties {
		if err := checkPropertyName(p.Name); err != nil {
			return err
		}
		t, err := newTemplate("property "+p.Name, p.Value)
		if err != nil {
			return err
		}
		t.name = p.Name
		h.properties = append(h.properties, t)
		c.Properties = append(c.Properties, p.Name)
	}
	if c.Markup, err = percents("markup", h.Markup); err != nil {
		return err
	}
	if c.Discount, err = percents("discount", h.Discount); err != nil {
		return err
	}
	if c.Prices, err = h.loadPrices(); err != nil {
		return err
	}
	h.tariff, err = tariff.New(c)
	return err
}

func percents(name string, list []Percent) (out []tariff.Percent, err error) {
	for _, p := range list {
		if p.Percent, err = setting.Resolve(name, p.Percent); err != nil {
			return nil, err
		}
		out = append(out, tariff.Percent(p))
	}
	return out, nil
}

// ServeHTTP meters the answers of the next handlers.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	ctx, call := llm.Ensure(r.Context())
	if call.Inquire != nil {
		call.Inquire(h)
		return next.ServeHTTP(w, r)
	}
	if call.Metered {
		return caddyhttp.Error(http.StatusInternalServerError, errors.New("lagobilling: a call may pass it only once"))
	}
	w.Header().Set(llm.CallIDHeader, call.ID)
	account, release, err := h.account.Acquire(ctx)
	if err != nil {
		h.logger.Error("spool is not available", zap.Error(err))
		h.metrics.requests.WithLabelValues("", "", record.OutcomeRefused).Inc()
		return endpoint.Refuse(w, r, unavailable(err))
	}
	defer release()
	h, err = h.current(ctx)
	if err != nil {
		return endpoint.Refuse(w, r, unavailable(err))
	}
	m := newMeter(h, account, call, w, r)
	defer m.finish()
	err = next.ServeHTTP(m, m.attach(ctx, r))
	m.returned(err)
	return err
}

// unavailable refuses a call whose record cannot be written.
func unavailable(err error) *llm.Error {
	return &llm.Error{
		Status: http.StatusServiceUnavailable, Type: "service_unavailable", RetryAfter: 5 * time.Second, Err: err,
		Message: "usage records cannot be written at the moment, so calls are refused; try again later",
	}
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
