package spend

import (
	"cmp"
	"encoding/csv"
	"io"
	"net/http"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

var defaultFocus = spend.FocusVersions[0]

// issuer is the default invoice issuer.
const issuer = "Tollgate"

// serveFocus answers with FOCUS rows, one per day, payer, team, key, model, kind and unit price.
func serveFocus(w http.ResponseWriter, r *http.Request, q *Query, version string) error {
	if len(q.Columns) > 0 {
		return operator.Refuse(http.StatusBadRequest, "by: the rows of FOCUS are split as that format has it")
	}
	if q.Limit > 0 {
		return operator.Refuse(http.StatusBadRequest, "limit: a file in this format is whole")
	}
	columns, err := spend.FocusColumns(cmp.Or(version, defaultFocus))
	if err != nil {
		return operator.Refuse(http.StatusBadRequest, "%w", err)
	}
	q.Each, q.Lines, q.By = spend.Day, true, spend.FocusDimensions
	q.Columns = []string{string(spend.Day)}
	for _, d := range q.By {
		q.Columns = append(q.Columns, d.String())
	}
	rows, err := Ask(r.Context(), q)
	if err != nil {
		return err
	}
	err = operator.WriteLines(w, func(out io.Writer) error {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		table := csv.NewWriter(out)
		if err := table.Write(columns); err != nil {
			return err
		}
		cells := make([]string, len(columns))
		for _, row := range rows {
			list, err := spend.Focus(&spend.Row{Start: row.Start, Values: row.Groups[1:], Sums: row.Sums}, issuer)
			if err != nil {
				return err
			}
			for _, by := range list {
				for i, name := range columns {
					cells[i] = by[name]
				}
				if err := table.Write(cells); err != nil {
					return err
				}
			}
		}
		table.Flush()
		return table.Error()
	})
	return err
}
