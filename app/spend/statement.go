package spend

import (
	"encoding/csv"
	"errors"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

// entry is a line of a statement: the usage and cost of one kind of unit of one model at one price.
type entry struct {
	Provider string `json:"provider"`
	Model    string `json:"model"` // the name sent upstream
	Kind     string `json:"kind"`
	Quantity string `json:"quantity"`
	Price    string `json:"price"` // in USD, before markup and discount
	Per      string `json:"per"`
	Factor   string `json:"factor"`
	Cost     string `json:"cost"` // in USD, as billed
}

var entryColumns = []string{"provider", "model", "kind", "quantity", "price", "per", "factor", "cost"}

func (e *entry) cells() []string {
	return []string{e.Provider, e.Model, e.Kind, e.Quantity, e.Price, e.Per, e.Factor, e.Cost}
}

// serveStatement answers with what one payer was billed in one month (UTC).
func serveStatement(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	if err := operator.OnlyParameters(v, "payer", "month", accountColumn, "format"); err != nil {
		return err
	}
	month, err := time.Parse("2006-01", v.Get("month"))
	if err != nil || v.Get("payer") == "" {
		return operator.Refuse(http.StatusBadRequest, "a statement needs a payer and a month such as 2026-11")
	}
	q := &Query{Account: v.Get(accountColumn)}
	q.Since, q.Until, q.Lines = month, month.AddDate(0, 1, 0), true
	q.Where = map[spend.Dimension][]string{spend.Payer: {v.Get("payer")}, spend.Billed: {"billed"}}
	q.By = []spend.Dimension{spend.Provider, spend.Upstream, spend.Factor}
	q.Columns = []string{"provider", "upstream", "factor"}
	rows, err := Ask(r.Context(), q)
	if err != nil {
		return err
	}
	var list []entry
	for _, row := range rows {
		lines, err := spend.LinesOf(row.Sums)
		if err != nil {
			return err
		}
		for _, l := range lines {
			e := entry{
				Provider: row.Groups[0], Model: row.Groups[1], Factor: row.Groups[2], Kind: l.Kind, Price: l.Price, Per: l.Per,
				Quantity: string(quantity(spend.Sums{"q": l.Count}.Count("q"))), Cost: l.Cost.String(),
			}
			if l.Model != "" {
				e.Model = l.Model
			}
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int { return slices.Compare(a.cells()[:3], b.cells()[:3]) })
	switch format := v.Get("format"); format {
	case "", "json":
		return operator.WriteLines(w, func(out io.Writer) error {
			var b []byte
			for i := range list {
				o := record.OpenObject(b[:0])
				for at, cell := range list[i].cells() {
					o = o.Str(entryColumns[at], cell)
				}
				b = append(o.Close(), '\n')
				if _, err := out.Write(b); err != nil {
					return err
				}
			}
			return nil
		})
	case "csv":
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		out := csv.NewWriter(w)
		err := out.Write(entryColumns)
		for i := range list {
			err = errors.Join(err, out.Write(list[i].cells()))
		}
		out.Flush()
		return errors.Join(err, out.Error())
	default:
		return operator.Refuse(http.StatusBadRequest, "format %q is none of json, csv", format)
	}
}

// quantity formats thousandths as a plain decimal.
func quantity(n int64) []byte {
	if n%1000 == 0 {
		return big.NewInt(n/1000).Append(nil, 10)
	}
	return record.AppendThousandths(big.NewInt(n/1000).Append(nil, 10), n%1000)
}

func statementCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "statement", Short: "Shows what was billed to one payer in one month",
		Long: "Shows what was billed to one payer in one month (UTC), by model, kind and unit price. The sum is that of the events at Lago.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, show := operator.Parameters(cmd, "payer", "month", "account"), printStatement
			if operator.IsSet(cmd, "csv") {
				v.Set("format", "csv")
				show = nil
			}
			answer, err := operator.Ask(cmd, http.MethodGet, "/tollgate/books/statement?"+v.Encode(), nil, nil)
			if err != nil {
				return err
			}
			return operator.Print(cmd, answer, show)
		},
	}
	cmd.Flags().String("payer", "", "The Lago subscription that pays")
	cmd.Flags().String("month", "", "The month, such as 2026-11")
	cmd.Flags().String("account", "", "Only this account")
	operator.JSONFlag(cmd, "Print JSON, one object a line")
	cmd.Flags().Bool("csv", false, "Print CSV")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	return cmd
}

func printStatement(w io.Writer, answer io.Reader) error {
	table := operator.NewTable(w, strings.Split(strings.ToUpper(strings.Join(entryColumns, ",")), ",")...)
	total := new(big.Rat)
	err := operator.EachLine(answer, func(e entry) error {
		total.Add(total, usd(e.Cost))
		cells := make([]any, len(entryColumns))
		for i, cell := range e.cells() {
			cells[i] = operator.OrDash(cell)
		}
		table.Row(cells...)
		return table.Err()
	})
	table.Row("total", "", "", "", "", "", "", decimal(total))
	return errors.Join(err, table.End())
}
