package prices

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/price/feed"
)

func init() { caddy.RegisterModule(Admin{}) }

// Admin serves the sources of prices on Caddy's admin API.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.tollgate_prices", New: func() caddy.Module { return new(Admin) }}
}

// Routes returns the admin routes.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{operator.Route("/tollgate/prices", operator.Methods{Get: serveStatus})}
}

// status is the response: the built-in prices, and the price documents that override them.
type status struct {
	BuiltIn string        `json:"built_in"` // version of the built-in prices
	Sources []feed.Status `json:"sources"`
}

func serveStatus(w http.ResponseWriter, r *http.Request) error {
	if err := operator.OnlyParameters(r.URL.Query()); err != nil {
		return err
	}
	s := status{BuiltIn: price.Default().Version(), Sources: []feed.Status{}}
	app.Each(func(_ string, f *feed.Feed) { s.Sources = append(s.Sources, f.Status()) })
	slices.SortFunc(s.Sources, func(a, b feed.Status) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), a.Looked.Compare(b.Looked))
	})
	return operator.WriteJSON(w, s)
}

func statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Shows where the running instance has its prices from",
		Long: "Shows each document of prices of the running instance: its version and checksum, when it was taken and when it was last looked for, and the\n" +
			"latest one that was refused, with the reason.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := operator.Ask(cmd, http.MethodGet, "/tollgate/prices", nil, nil)
			if err != nil {
				return err
			}
			defer answer.Close() //nolint:errcheck // read only
			var s status
			if err := json.NewDecoder(answer).Decode(&s); err != nil {
				return err
			}
			out := newOutput(cmd, "SOURCE", "VERSION", "SHA-256", "TAKEN", "LOOKED FOR", "RESULT", "LATEST PROBLEM")
			out.row(feed.Status{Source: "built-in", Version: s.BuiltIn}, "built-in", s.BuiltIn, "-", "-", "-", "-", "-")
			for _, f := range s.Sources {
				problem := "-"
				if p := f.Problem; p != nil {
					problem = clock(p.At) + " " + p.Result + ": " + p.Why
				}
				out.row(f, f.Source, f.Version, f.Checksum, clock(f.Accepted), clock(f.Looked), operator.OrDash(f.Result), problem)
			}
			return out.end()
		},
	}
}

// clock formats a time for people.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

var _ caddy.AdminRouter = (*Admin)(nil)
