package lagobilling

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// The bounds of how prices of a URL are followed.
const (
	defaultRefresh   = time.Hour
	shortestRefresh  = time.Second
	longestRefresh   = 30 * 24 * time.Hour
	defaultMaxChange = 10
	leastMaxChange   = 2
	mostMaxChange    = 1_000_000
)

// pricesByURL reports whether prices are fetched.
func pricesByURL(prices string) bool {
	return strings.HasPrefix(prices, "https://") || strings.HasPrefix(prices, "http://")
}

// pricedView is the handler with the prices of one document.
type pricedView struct {
	table   *price.Table
	handler *Handler
}

// useFeed asks the app for the prices of a URL, where the configuration names one.
func (h *Handler) useFeed() error {
	every, err := setting.Duration("prices_refresh", h.PricesRefresh, defaultRefresh, shortestRefresh, longestRefresh)
	if err != nil {
		return err
	}
	factor, err := setting.Int("prices_max_change", h.PricesMaxChange, defaultMaxChange, leastMaxChange, mostMaxChange)
	if err != nil {
		return err
	}
	if h.Prices == "" {
		return nil
	}
	written, err := setting.Resolve("prices", h.Prices)
	if err != nil || !pricesByURL(written) {
		return err
	}
	if err := price.CheckFeedURL(written); err != nil {
		return err
	}
	o := price.FeedOptions{
		URL: written, CacheDir: filepath.Join(caddy.AppDataDir(), "tollgate", "prices"), Every: every, MaxChange: uint64(factor), //nolint:gosec // it is positive
	}
	log := caddy.Log().Named("http.handlers.lagobilling")
	o.Report = func(result, version string, err error) {
		theMetrics.prices.WithLabelValues(result).Inc()
		switch {
		case err != nil:
			log.Error("prices were not updated: those of before hold", zap.String("result", result), zap.String("version", version), zap.Error(err))
		case result == price.FeedUpdated:
			log.Info("prices were updated", zap.String("version", version))
		}
	}
	h.views = new(atomic.Pointer[pricedView])
	key := fmt.Sprintf("lagobilling prices %s every %s factor %d", price.FeedCache(o.CacheDir, written), every, factor)
	h.feed = app.Use(h.app, key, func() (*price.Feed, error) { return price.OpenFeed(o) }, nil)
	return nil
}

// current returns the handler with the prices of now. A call stays with it to its end.
func (h *Handler) current(ctx context.Context) (*Handler, error) {
	if h.feed == nil {
		return h, nil
	}
	feed, release, err := h.feed.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	table := feed.Table()
	release()
	if v := h.views.Load(); v != nil && v.table == table {
		return v.handler, nil
	}
	now := *h
	now.tariff = h.tariff.With(table)
	h.views.Store(&pricedView{table, &now})
	return &now, nil
}
