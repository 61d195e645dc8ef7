package spend

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
)

func init() { operator.AddCommand(command) }

const momentsHelp = "--since and --until take a time (RFC 3339, whole hours), a date or month (2026-11) in UTC, or a duration before now such\n" +
	"as 24h, which begins with its hour. --until is not included."

func command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "spend", Short: "Shows what was spent, by whom and on what",
		Long: "Shows what was spent, by whom and on what, from the books of the running instance.\n\n" +
			"--by takes any of hour, day or month, account, payer, team, user, key, key_alias, end_user, session, model, upstream, provider, backend,\n" +
			"endpoint, outcome, source, billed, factor, with commas between.\n" + momentsHelp + "\nWithout --since it is the month under way.",
		Args: cobra.NoArgs,
		RunE: runSpend,
	}
	f := cmd.Flags()
	f.String("by", "", "What to split by, such as day,team,model")
	f.String("since", "", "From this time on")
	f.String("until", "", "Before this time")
	f.String("account", "", "Only this account")
	f.String("limit", "", "At most so many rows, in the order of time: of a long answer, the first are there at once. The total is theirs")
	f.String("page", "", "With --limit: which page of so many rows, from 1 on")
	f.StringArray("where", nil, "Only calls with this value, such as team=red; may be repeated")
	operator.JSONFlag(cmd, "Print JSON, one object a line")
	f.Bool("csv", false, "Print CSV")
	f.String("focus", "", "Print FinOps FOCUS rows (CSV) of a version of that format")
	f.Lookup("focus").NoOptDefVal = defaultFocus
	f.Bool("margin", false, "Show what is billed against the base cost and the cost that providers state")
	cmd.MarkFlagsMutuallyExclusive("json", "csv", "focus", "margin")
	cmd.AddCommand(statementCommand())
	return cmd
}

func runSpend(cmd *cobra.Command, _ []string) error {
	v := operator.Parameters(cmd, "by", "since", "until", "account", "limit", "page")
	where, err := cmd.Flags().GetStringArray("where")
	if err != nil {
		return err
	}
	for _, w := range where {
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return fmt.Errorf("--where %q is not name=value", w)
		}
		v.Add(name, value)
	}
	plain := false
	switch version := operator.Text(cmd, "focus"); {
	case cmd.Flags().Changed("focus"):
		v.Set("format", "focus")
		v.Set("version", version)
		plain = true
	case operator.IsSet(cmd, "csv"):
		v.Set("format", "csv")
		plain = true
	}
	answer, err := operator.Ask(cmd, http.MethodGet, "/tollgate/books/spend?"+v.Encode(), nil, nil)
	if err != nil {
		return err
	}
	table := printSpend
	if operator.IsSet(cmd, "margin") {
		table = printMargin
	}
	show := func(w io.Writer, lines io.Reader) error { return table(w, v.Get("by"), lines) }
	if plain {
		show = nil
	}
	return operator.Print(cmd, answer, show)
}

// shown is a row as returned by the admin API.
type shown struct {
	groups         map[string]any
	Calls          int64  `json:"calls"`
	Cost           string `json:"cost"`
	BaseCost       string `json:"base_cost"`
	InputTokens    int64  `json:"input_tokens"`
	OutputTokens   int64  `json:"output_tokens"`
	Failed         int64  `json:"failed"`
	ProviderCost   string `json:"provider_cost"`
	ProviderStated int64  `json:"provider_stated"`
	StatedCost     string `json:"provider_stated_cost"`
}

// UnmarshalJSON decodes a row with any set of columns.
func (s *shown) UnmarshalJSON(b []byte) error {
	type figures shown
	return errors.Join(json.Unmarshal(b, (*figures)(s)), json.Unmarshal(b, &s.groups))
}

func (s *shown) cells(columns []string) []any {
	cells := make([]any, len(columns))
	for i, name := range columns {
		text, _ := s.groups[name].(string)
		if name == "key" && len(text) > 12 {
			text = text[:12]
		}
		cells[i] = operator.OrDash(text)
	}
	return cells
}

func columnsOf(by string) (columns, head []string) {
	if by == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(by, ",") {
		name = strings.TrimSpace(name)
		columns, head = append(columns, name), append(head, strings.ToUpper(name))
	}
	return columns, head
}

// usd parses an amount from the admin API.
func usd(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return new(big.Rat)
	}
	return r
}

// decimal formats an amount without trailing zeros. No amount has more than 15 decimals.
func decimal(r *big.Rat) string {
	text := r.FloatString(15)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// printSpend prints a table with a total.
func printSpend(w io.Writer, by string, answer io.Reader) error {
	columns, head := columnsOf(by)
	table := operator.NewTable(w, append(head, "CALLS", "FAILED", "INPUT TOKENS", "OUTPUT TOKENS", "COST (USD)")...)
	var total shown
	cost, rows := new(big.Rat), 0
	err := operator.EachLine(answer, func(s shown) error {
		rows++
		total.Calls, total.Failed = total.Calls+s.Calls, total.Failed+s.Failed
		total.InputTokens, total.OutputTokens = total.InputTokens+s.InputTokens, total.OutputTokens+s.OutputTokens
		cost.Add(cost, usd(s.Cost))
		table.Row(append(s.cells(columns), s.Calls, s.Failed, s.InputTokens, s.OutputTokens, s.Cost)...)
		return table.Err()
	})
	if err == nil && (len(columns) > 0 || rows == 0) {
		table.Row(append(totalCells(columns), total.Calls, total.Failed, total.InputTokens, total.OutputTokens, decimal(cost))...)
	}
	return errors.Join(err, table.End())
}

// totalCells are the first cells of the total row.
func totalCells(columns []string) []any {
	cells := make([]any, len(columns))
	for i := range cells {
		cells[i] = ""
	}
	if len(cells) > 0 {
		cells[0] = "total"
	}
	return cells
}

// printMargin prints the billed amount beside the cost.
func printMargin(w io.Writer, by string, answer io.Reader) error {
	columns, head := columnsOf(by)
	table := operator.NewTable(w, append(head,
		"CALLS", "BILLED", "BASE COST", "MARGIN", "%", "PROVIDER'S", "OF CALLS", "BILLED FOR THESE", "MARGIN", "%")...)
	margin := func(billed, cost *big.Rat) (string, string) {
		m := new(big.Rat).Sub(billed, cost)
		if cost.Sign() == 0 {
			return decimal(m), "-"
		}
		return decimal(m), new(big.Rat).Mul(new(big.Rat).Quo(m, cost), big.NewRat(100, 1)).FloatString(2)
	}
	sums := make([]*big.Rat, 4)
	for i := range sums {
		sums[i] = new(big.Rat)
	}
	var calls, stated int64
	row := func(cells []any, calls, stated int64, of [4]*big.Rat) {
		m, p := margin(of[0], of[1])
		cells = append(cells, calls, decimal(of[0]), decimal(of[1]), m, p)
		if stated == 0 {
			table.Row(append(cells, "-", 0, "-", "-", "-")...)
			return
		}
		m, p = margin(of[3], of[2])
		table.Row(append(cells, decimal(of[2]), stated, decimal(of[3]), m, p)...)
	}
	err := operator.EachLine(answer, func(s shown) error {
		of := [4]*big.Rat{usd(s.Cost), usd(s.BaseCost), usd(s.ProviderCost), usd(s.StatedCost)}
		for i := range of {
			sums[i].Add(sums[i], of[i])
		}
		calls, stated = calls+s.Calls, stated+s.ProviderStated
		row(s.cells(columns), s.Calls, s.ProviderStated, of)
		return table.Err()
	})
	if err == nil && len(columns) > 0 {
		row(totalCells(columns), calls, stated, [4]*big.Rat(sums))
	}
	return errors.Join(err, table.End())
}
