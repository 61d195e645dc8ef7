package prices

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
)

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "Lists the models of the running configuration, with the prices of their text",
		Long: "Lists the models of the running configuration, with the prices of their text. With --unpriced, those of the configuration\n" +
			"and of the ledger that have no price.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := running(cmd)
			if err != nil {
				return err
			}
			table, err := in.table()
			if err != nil {
				return err
			}
			if operator.IsSet(cmd, "unpriced") {
				return listUnpriced(cmd, in, table)
			}
			out := newOutput(cmd, "MODEL", "PROVIDER", "UPSTREAM", "INPUT", "OUTPUT")
			for _, r := range in.routes {
				list, err := table.List(r.query())
				if err != nil {
					return err
				}
				prices := make(map[string]string)
				for _, l := range list {
					prices[l.Name] = l.Price.String()
				}
				out.row(listed{r.model, r.provider, r.upstream, prices}, r.model, r.provider, r.upstream, operator.OrDash(prices["input"]), operator.OrDash(prices["output"]))
			}
			return out.end()
		},
	}
	cmd.Flags().Bool("unpriced", false, "Only models without a price, those of the ledger too")
	cmd.Flags().String("since", "720h", "How far to look back in the ledger: a time, a date, or a duration before now")
	return cmd
}

// listed is a line of `list --json`.
type listed struct {
	Model    string            `json:"model"`
	Provider string            `json:"provider"`
	Upstream string            `json:"upstream"`
	Prices   map[string]string `json:"prices"`
}

// unpriced is a line of `list --unpriced --json`.
type unpriced struct {
	Where    string `json:"where"` // configuration or ledger
	Model    string `json:"model"`
	Provider string `json:"provider"`
	Upstream string `json:"upstream"`
	Calls    int    `json:"calls,omitempty"`
	Why      string `json:"why"`
}

func listUnpriced(cmd *cobra.Command, in *instance, table *price.Table) error {
	out := newOutput(cmd, "WHERE", "MODEL", "PROVIDER", "UPSTREAM", "CALLS", "WHY")
	add := func(u unpriced) {
		calls := "-"
		if u.Calls > 0 {
			calls = strconv.Itoa(u.Calls)
		}
		out.row(u, u.Where, u.Model, u.Provider, u.Upstream, calls, u.Why)
	}
	for _, r := range in.routes {
		if strings.Contains(r.upstream, "*") {
			continue // a pattern matches many models
		}
		if err := table.Priced(r.query()); err != nil {
			add(unpriced{"configuration", r.model, r.provider, r.upstream, 0, strings.TrimPrefix(err.Error(), price.ErrUnpriced.Error()+": ")})
		}
	}
	calls := make(map[unpriced]int)
	err := eachRecord(cmd, operator.Text(cmd, "since"), func(r *record.Record) error {
		if r.Unpriced != "" {
			calls[unpriced{"ledger", r.Model, r.Provider, r.Upstream, 0, r.Unpriced}]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	keys := slices.SortedFunc(maps.Keys(calls), func(a, b unpriced) int {
		return strings.Compare(a.Model+"\t"+a.Provider+"\t"+a.Why, b.Model+"\t"+b.Provider+"\t"+b.Why)
	})
	for _, u := range keys {
		u.Calls = calls[u]
		add(u)
	}
	if out.rows == 0 && out.enc == nil {
		printf(cmd, "every model has a price\n")
		return nil
	}
	return out.end()
}
