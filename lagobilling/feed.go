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
	"github.com/tollgate-llm/tollgate/internal/price/feed"
)

// Bounds of prices_refresh and prices_max_change.
const (
	defaultRefresh   = time.Hour
	shortestRefresh  = time.Second
	longestRefresh   = 30 * 24 * time.Hour
	defaultMaxChange = 10
	leastMaxChange   = 2
	mostMaxChange    = 1_000_000
)

// pricesByURL reports whether prices are fetched from a URL.
func pricesByURL(prices string) bool {
	return strings.HasPrefix(prices, "https://") || strings.HasPrefix(prices, "http://")
}

// pricedView is the handler with the prices of one document.
type pricedView struct {
	table   *price.Table
	handler *Handler
}

// feedOptions resolves the source of prices, a URL or a file; nil without one.
func (h *Handler) feedOptions() (o feed.Options, err error) {
	if o.Every, err = setting.Duration("prices_refresh", h.PricesRefresh, defaultRefresh, shortestRefresh, longestRefresh); err != nil {
		return o, err
	}
	written, err := setting.Resolve("prices", h.Prices)
	if err != nil || h.Prices == "" {
		return o, err
	}
	byDefault := 0 // a file is read again only on reload
	if pricesByURL(written) {
		if err := feed.CheckURL(written); err != nil {
			return o, err
		}
		o.URL, byDefault = written, defaultMaxChange
	} else if o.File, err = filepath.Abs(written); err != nil {
		return o, err
	}
	factor, err := maxChange(h.PricesMaxChange, byDefault)
	if err != nil {
		return o, err
	}
	o.MaxChange = uint64(factor) //nolint:gosec // it is not negative
	o.CacheDir = filepath.Join(caddy.AppDataDir(), "tollgate", "prices")
	log := caddy.Log().Named("http.handlers.lagobilling")
	o.Report = func(result, version string, err error) {
		theMetrics.prices.WithLabelValues(result).Inc()
		switch {
		case err != nil && result == feed.Updated:
			log.Warn("prices were updated", zap.String("version", version), zap.Error(err))
		case err != nil:
			log.Error("prices were not updated: the previous ones apply", zap.String("result", result), zap.String("version", version), zap.Error(err))
		case result == feed.Updated:
			log.Info("prices were updated", zap.String("version", version))
		}
	}
	return o, nil
}

// maxChange resolves prices_max_change; 0 allows any change.
func maxChange(written string, byDefault int) (int, error) {
	value, err := setting.Resolve("prices_max_change", written)
	if err != nil || value == "off" {
		return 0, err
	}
	return setting.Int("prices_max_change", written, byDefault, leastMaxChange, mostMaxChange)
}

// loadPrices overlays the price file, if any, on the built-in prices. Prices from a URL arrive once the app has started.
func (h *Handler) loadPrices() (*price.Table, error) {
	o, err := h.feedOptions()
	if err != nil || o.File == "" {
		return price.Default(), err
	}
	if h.priceFile, err = feed.ReadFile(o); err != nil {
		return nil, fmt.Errorf("prices: %w", err)
	}
	table := h.priceFile.Table()
	if ignored := table.Ignored(); len(ignored) > 0 {
		h.logger.Info("the price file has prices that are never used", zap.String("file", o.File), zap.Strings("names", ignored))
	}
	return table, nil
}

// useFeed subscribes to the app's feed for a URL, or registers the prices of a file.
func (h *Handler) useFeed() error {
	o, err := h.feedOptions()
	if err != nil {
		return err
	}
	key := "lagobilling prices " + feed.Cache(o.CacheDir, o.URL+o.File)
	switch {
	case o.URL != "":
		h.views = new(atomic.Pointer[pricedView])
		key = fmt.Sprintf("%s every %s factor %d", key, o.Every, o.MaxChange)
		h.feed = app.Use(h.app, key, func() (*feed.Feed, error) { return feed.Open(o) }, nil)
	case o.File != "":
		file, log := h.priceFile, h.logger
		app.Use(h.app, key+" "+file.Status().Checksum, func() (*feed.Feed, error) {
			if err := file.Keep(); err != nil {
				log.Error("the accepted prices cannot be kept: the next start compares the price file with none", zap.Error(err))
			}
			return file, nil
		}, func(open *feed.Feed) { open.Take(file) })
	}
	return nil
}

// current returns the handler with the current prices. A call keeps it to its end.
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
