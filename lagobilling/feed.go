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

// feedOptions resolves where prices come from: a URL or a file. Without either there are none.
func (h *Handler) feedOptions() (o feed.Options, err error) {
	if o.Every, err = setting.Duration("prices_refresh", h.PricesRefresh, defaultRefresh, shortestRefresh, longestRefresh); err != nil {
		return o, err
	}
	written, err := setting.Resolve("prices", h.Prices)
	if err != nil || h.Prices == "" {
		return o, err
	}
	byDefault := 0 // a file changes by a reload, which the operator starts
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
			log.Error("prices were not updated: those of before hold", zap.String("result", result), zap.String("version", version), zap.Error(err))
		case result == feed.Updated:
			log.Info("prices were updated", zap.String("version", version))
		}
	}
	return o, nil
}

// maxChange resolves prices_max_change; 0 is any change.
func maxChange(written string, byDefault int) (int, error) {
	value, err := setting.Resolve("prices_max_change", written)
	if err != nil || value == "off" {
		return 0, err
	}
	return setting.Int("prices_max_change", written, byDefault, leastMaxChange, mostMaxChange)
}

// loadPrices lays the price file, if there is one, over the built-in prices. Those of a URL come when the app has started.
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
		h.logger.Info("the price file has prices that nothing is billed by", zap.String("file", o.File), zap.Strings("names", ignored))
	}
	return table, nil
}

// useFeed asks the app for the prices of a URL, or registers those of a file, where the configuration names one.
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
