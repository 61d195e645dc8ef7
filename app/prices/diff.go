package prices

import (
	"errors"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
)

func diffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff <file>", Short: "Shows what a price file would change, and what the ledger's calls would have cost by it",
		Long: "Shows what a price file would change of today's prices, in percent, and what the calls of the last 30 days that are in the\n" +
			"ledger would have cost by it, before markup and discount. Today's prices are those of the running instance, or, without one,\n" +
			"the built-in data; --prices names another price file to compare with.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			models, after, err := readPrices(args[0])
			if err != nil {
				return err
			}
			in, err := running(cmd)
			offline := errors.Is(err, operator.ErrNoInstance)
			if offline {
				in, err = new(instance), nil
			}
			if err != nil {
				return err
			}
			before, err := in.table()
			if file := operator.Text(cmd, "prices"); file != "" {
				before, err = tableWith(file)
			}
			if err != nil {
				return err
			}
			d := diff{before: before, after: after, in: in, out: newOutput(cmd, "PROVIDER", "MODEL", "PRICE OF", "BEFORE", "AFTER", "CHANGE")}
			if err := d.prices(models); err != nil {
				return err
			}
			if err := d.out.end(); err != nil {
				return err
			}
			if offline {
				if d.out.enc == nil {
					printf(cmd, "no running instance: the ledger is left out\n")
				}
				return nil
			}
			return d.ledger(cmd)
		},
	}
	cmd.Flags().String("prices", "", "Compare with this price file over the built-in data")
	cmd.Flags().String("since", "720h", "How far to look back in the ledger: a time, a date, or a duration before now")
	return cmd
}

type diff struct {
	before, after *price.Table
	in            *instance
	out           *output
}

// changed is a line of `diff --json`.
type changed struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	Name     string `json:"name"`
	Before   string `json:"before,omitempty"` // USD; empty: no price
	After    string `json:"after,omitempty"`
	Percent  string `json:"percent,omitempty"`
}

// prices prints the changed prices of the models in the file and in the configuration.
func (d *diff) prices(models []price.FileModel) error {
	var queries []price.Query
	for _, m := range models {
		if !strings.Contains(m.Name, "*") {
			queries = append(queries, price.Query{Provider: m.Provider, Model: m.Name})
		}
	}
	for _, r := range d.in.routes {
		queries = append(queries, r.query())
	}
	type thing struct{ provider, model, name string }
	seen := make(map[thing]bool)
	for _, q := range queries {
		before, err := byName(d.before, q)
		if err != nil {
			return err
		}
		after, err := byName(d.after, q)
		if err != nil {
			return err
		}
		names := make([]string, 0, len(before)+len(after))
		for name := range before {
			names = append(names, name)
		}
		for name := range after {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			a, had := before[name]
			b, has := after[name]
			key := thing{q.Provider, q.Model, name}
			if had && has && a.Price == b.Price && a.Unit == b.Unit || seen[key] {
				continue
			}
			seen[key] = true
			c := changed{Provider: q.Provider, Model: q.Model, Name: name}
			if had {
				c.Before = a.Price.String()
			}
			if has {
				c.After = b.Price.String()
			}
			if had && has {
				c.Percent = percent(big.NewInt(int64(a.Price)), big.NewInt(int64(b.Price)))
			}
			d.out.row(c, operator.OrDash(c.Provider), c.Model, name, operator.OrDash(c.Before), operator.OrDash(c.After), operator.OrDash(c.Percent))
		}
	}
	return nil
}

func byName(t *price.Table, q price.Query) (map[string]price.Listed, error) {
	list, err := t.List(q)
	prices := make(map[string]price.Listed, len(list))
	for _, l := range list {
		if l.Source != price.FeeSource { // fees do not depend on the file's entry for the model
			prices[l.Name] = l
		}
	}
	return prices, err
}

// percent returns the change from a to b, such as +12.50%.
func percent(a, b *big.Int) string {
	if a.Sign() == 0 {
		return ""
	}
	r := new(big.Rat).SetFrac(new(big.Int).Sub(b, a), a)
	s := r.Mul(r, big.NewRat(100, 1)).FloatString(2) + "%"
	if r.Sign() >= 0 {
		s = "+" + s
	}
	return s
}

// total is the last line of `diff --json`.
type total struct {
	Calls    int    `json:"calls"`             // calls in the ledger with a price before or after
	Before   string `json:"before"`            // USD
	After    string `json:"after"`             // USD
	Percent  string `json:"percent,omitempty"` // change relative to the cost before
	Stated   int    `json:"stated"`            // calls left out because the provider stated their cost
	Unpriced int    `json:"unpriced"`          // calls without a price before
	Remain   int    `json:"unpriced_after"`    // calls without a price after
}

// ledger compares the cost of the ledger's calls by the prices before and after.
func (d *diff) ledger(cmd *cobra.Command) error {
	var t total
	var before, after price.Amount
	err := eachRecord(cmd, operator.Text(cmd, "since"), func(r *record.Record) error {
		if r.Counts.Empty() || r.Upstream == "" {
			return nil
		}
		route := d.in.of(r)
		if r.ProviderCost != "" && len(route.written) == 0 {
			t.Stated++
			return nil
		}
		q := route.query()
		q.Tier, q.At = r.Tier, r.Settled
		if r.ResponseModel != "" && r.ResponseModel != q.Model {
			q.Model, q.Fallback = r.ResponseModel, []string{q.Model}
		}
		a, had := d.before.Cost(q, &r.Counts.Counts)
		b, has := d.after.Cost(q, &r.Counts.Counts)
		if had != nil {
			t.Unpriced++
		}
		if has != nil {
			t.Remain++
		}
		if had != nil && has != nil {
			return nil
		}
		t.Calls++
		var err error
		if before, err = before.Add(a.Total); err == nil {
			after, err = after.Add(b.Total)
		}
		return err
	})
	if err != nil {
		return err
	}
	t.Before, t.After = before.String(), after.String()
	t.Percent = percent(nano(t.Before), nano(t.After))
	if d.out.enc != nil {
		return d.out.enc.Encode(t)
	}
	printf(cmd, "ledger since %s: %d calls, %s USD before, %s USD after, %s\n", operator.Text(cmd, "since"), t.Calls, t.Before, t.After, operator.OrDash(t.Percent))
	if t.Unpriced > 0 || t.Remain > 0 {
		printf(cmd, "calls without a price: %s before, %s after\n", strconv.Itoa(t.Unpriced), strconv.Itoa(t.Remain))
	}
	if t.Stated > 0 {
		printf(cmd, "billed by the cost that the provider stated, and left out: %d calls\n", t.Stated)
	}
	return nil
}

// nano converts an amount of US dollars to units of 10^-15.
func nano(amount string) *big.Int {
	r, _ := new(big.Rat).SetString(amount)
	r.Mul(r, new(big.Rat).SetInt64(1_000_000_000_000_000))
	return r.Num()
}
