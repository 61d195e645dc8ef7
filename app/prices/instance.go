package prices

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/price/feed"
	"github.com/tollgate-llm/tollgate/internal/record"
)

// route is a model of the running configuration with one of its backends.
type route struct {
	model, backend            string
	provider, baseURL, region string
	upstream                  string
	written                   map[string]string
}

// instance is the part of the running configuration that affects prices.
type instance struct {
	routes []route
	files  []string // price files
}

// running fetches the configuration of the running instance.
func running(cmd *cobra.Command) (*instance, error) {
	answer, err := operator.Ask(cmd, http.MethodGet, "/config/", nil, nil)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(answer)
	if err = errors.Join(err, answer.Close()); err != nil {
		return nil, err
	}
	var config any
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	in := new(instance)
	return in, in.walk(config)
}

// walk finds the handlers anywhere in the configuration.
func (in *instance) walk(v any) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := in.walk(e); err != nil {
				return err
			}
		}
	case map[string]any:
		switch v["handler"] {
		case "llmroute":
			return in.addRoutes(v)
		case "lagobilling":
			if file, _ := v["prices"].(string); file != "" {
				file = caddy.NewReplacer().ReplaceKnown(file, "")
				in.files = append(in.files, accepted(file))
			}
			return nil
		}
		for _, e := range v {
			if err := in.walk(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// accepted returns the file with the prices that the instance last accepted from a source, if the
// instance's data directory is on this machine.
func accepted(source string) string {
	url := feed.CheckURL(source) == nil
	name := source
	if abs, err := filepath.Abs(source); err == nil && !url {
		name = abs
	}
	kept := feed.Cache(filepath.Join(caddy.AppDataDir(), "tollgate", "prices"), name)
	if _, err := os.Stat(kept); err != nil && !url {
		return source
	}
	return kept
}

func (in *instance) addRoutes(handler map[string]any) error {
	b, err := json.Marshal(handler)
	if err != nil {
		return err
	}
	var h struct {
		Models []struct {
			Names    []string `json:"names"`
			Backends []struct {
				Provider string            `json:"provider"`
				BaseURL  string            `json:"base_url"`
				Region   string            `json:"region"`
				Location string            `json:"location"`
				Model    string            `json:"model"`
				Prices   map[string]string `json:"prices"`
			} `json:"backends"`
		} `json:"models"`
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return fmt.Errorf("reading the configuration of llmroute: %w", err)
	}
	replacer := caddy.NewReplacer()
	for _, m := range h.Models {
		for _, b := range m.Backends {
			for _, name := range m.Names {
				r := route{
					model: name, backend: b.Provider, provider: b.Provider, baseURL: replacer.ReplaceKnown(b.BaseURL, ""),
					region:   replacer.ReplaceKnown(cmp.Or(b.Region, b.Location), ""),
					upstream: replacer.ReplaceKnown(b.Model, ""), written: b.Prices,
				}
				if r.upstream == "" {
					r.upstream = name
				}
				in.routes = append(in.routes, r)
			}
		}
	}
	slices.SortStableFunc(in.routes, func(a, b route) int { return strings.Compare(a.model, b.model) })
	return nil
}

// query returns the price query for the route's calls.
func (r *route) query() price.Query {
	return price.Query{Provider: r.provider, BaseURL: r.baseURL, Region: r.region, Model: r.upstream, Written: r.written}
}

// of returns the route that a ledger record used. If there is none any more, it makes one from the
// record.
func (in *instance) of(r *record.Record) route {
	for _, x := range in.routes {
		if x.model == r.Model && x.provider == r.Provider {
			x.upstream = r.Upstream
			return x
		}
	}
	return route{model: r.Model, provider: r.Provider, upstream: r.Upstream}
}

// table returns the prices of the running instance. Price files that cannot be read from here are left
// out.
func (in *instance) table() (*price.Table, error) {
	if len(in.files) == 0 {
		return price.Default(), nil
	}
	return tableWith(in.files[0])
}

// eachRecord calls fn for each settled ledger record since a time, a date or a duration before now.
func eachRecord(cmd *cobra.Command, since string, fn func(*record.Record) error) error {
	answer, err := operator.Ask(cmd, http.MethodGet, "/tollgate/billing/events?"+url.Values{"since": {since}}.Encode(), nil, nil)
	if err != nil {
		return err
	}
	defer answer.Close() //nolint:errcheck // read only
	return operator.EachLine(answer, func(r record.Record) error { return fn(&r) })
}
