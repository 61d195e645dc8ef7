package spend

import (
	"encoding/csv"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

func init() { caddy.RegisterModule(Admin{}) }

// Admin serves the books on Caddy's admin API, below /tollgate/books/.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.tollgate_books", New: func() caddy.Module { return new(Admin) }}
}

// Routes returns the admin routes.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		operator.Route("/tollgate/books/spend", operator.Methods{Get: serveSpend}),
		operator.Route("/tollgate/books/statement", operator.Methods{Get: serveStatement}),
	}
}

// figure is a column of sums.
type figure struct {
	name    string
	measure string
	money   bool
}

// figures are the columns that follow the groups in every answer.
var figures = []figure{
	{"calls", spend.Calls, false},
	{"cost", spend.Cost, true},
	{"base_cost", spend.BaseCost, true},
	{"input_tokens", spend.InputTokens, false},
	{"output_tokens", spend.OutputTokens, false},
	{"failed", spend.Failed, false},
	{"unpriced", spend.Unpriced, false},
	{"provider_cost", spend.ProviderCost, true},
	{"provider_stated", spend.Stated, false},
	{"provider_stated_cost", spend.StatedCost, true},
}

func (f *figure) text(s spend.Sums) string {
	if f.money {
		return s[f.measure].String()
	}
	return strconv.FormatInt(s.Count(f.measure), 10)
}

// serveSpend answers a query as JSON lines, CSV or FOCUS rows.
func serveSpend(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	q, err := parse(v, time.Now())
	if err != nil {
		return operator.Refuse(http.StatusBadRequest, "%w", err)
	}
	switch format := v.Get("format"); format {
	case "", "json", "csv":
		rows, err := Ask(r.Context(), q)
		if err != nil {
			return err
		}
		if format == "csv" {
			w.Header().Set("Content-Type", "text/csv; charset=utf-8")
			return writeCSV(w, q.Columns, rows)
		}
		return operator.WriteLines(w, func(out io.Writer) error { return writeJSON(out, q.Columns, rows) })
	case "focus":
		return serveFocus(w, r, q, v.Get("version"))
	default:
		return operator.Refuse(http.StatusBadRequest, "format %q is none of json, csv, focus", format)
	}
}

// writeJSON writes one JSON object per row.
func writeJSON(w io.Writer, columns []string, rows []Row) error {
	var b []byte
	for _, r := range rows {
		o := record.OpenObject(b[:0])
		for i, name := range columns {
			o = o.Str(name, r.Groups[i])
		}
		for i := range figures {
			if f := &figures[i]; f.money {
				o = o.Str(f.name, f.text(r.Sums))
			} else {
				o = o.Num(f.name, r.Sums.Count(f.measure))
			}
		}
		b = append(o.Close(), '\n')
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// writeCSV writes a header and the rows. Amounts are plain decimals in USD.
func writeCSV(w io.Writer, columns []string, rows []Row) error {
	out := csv.NewWriter(w)
	cells := append([]string{}, columns...)
	for i := range figures {
		cells = append(cells, figures[i].name)
	}
	if err := out.Write(cells); err != nil {
		return err
	}
	for _, r := range rows {
		cells = append(cells[:0], r.Groups...)
		for i := range figures {
			cells = append(cells, figures[i].text(r.Sums))
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// Interface guards.
var _ caddy.AdminRouter = Admin{}
