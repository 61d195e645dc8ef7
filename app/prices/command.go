// Package prices implements the command `caddy tollgate prices`. It shows the prices of models and their
// sources, models without a price, and the effect of a price file.
package prices

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/price"
)

func init() { operator.AddCommand(command) }

func command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prices <command>",
		Short: "Shows and checks prices",
		Long: "Shows what models cost and by which source, which have no price, and what a price file would change.\n" +
			"show and check need no running instance, nor does diff, which then leaves out the ledger.",
	}
	cmd.PersistentFlags().Bool("json", false, "Print JSON, one object a line")
	cmd.AddCommand(showCommand(), listCommand(), diffCommand(), checkCommand(), statusCommand())
	return cmd
}

func showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show <model>", Short: "Shows each price of a model, its unit, its source and the date of that",
		Long: "Shows each price of a model, its unit, its source and the date of that. Without --provider, at each provider that has the model.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			table, err := tableWith(operator.Text(cmd, "prices"))
			if err != nil {
				return err
			}
			q := price.Query{Model: args[0], BaseURL: operator.Text(cmd, "base-url"), At: time.Now()}
			if at := operator.Text(cmd, "at"); at != "" {
				if q.At, err = moment(at); err != nil {
					return err
				}
			}
			providers := []string{operator.Text(cmd, "provider")}
			if providers[0] == "" {
				providers = price.Providers()
			}
			out := newOutput(cmd, "PROVIDER", "PRICE OF", "USD", "PER", "SOURCE", "AS OF", "FROM")
			for _, p := range providers {
				q.Provider = p
				list, err := table.List(q)
				if err != nil {
					return err
				}
				for _, l := range list {
					v := shown{Provider: p, Model: l.Model, Name: l.Name, Price: l.Price.String(), Unit: l.Unit.String(), Source: l.Source, Date: l.Date, From: l.From}
					out.row(v, p, l.Name, v.Price, v.Unit, l.Source, operator.OrDash(l.Date), operator.OrDash(l.From))
				}
			}
			if out.rows == 0 {
				return fmt.Errorf("no price for model %q", args[0])
			}
			return out.end()
		},
	}
	cmd.Flags().String("provider", "", "A backend's provider (openai, bedrock, ...) or one of the price data")
	cmd.Flags().String("base-url", "", "The backend's base URL, where it sets the price")
	cmd.Flags().String("at", "", "The prices of that time (RFC 3339) or date")
	cmd.Flags().String("prices", "", "Lay this price file over the built-in data")
	return cmd
}

// shown is a line of `show --json`.
type shown struct {
	Provider string `json:"provider"`
	Model    string `json:"model"` // the matching entry
	Name     string `json:"name"`
	Price    string `json:"price"` // USD per unit, a plain decimal
	Unit     string `json:"unit"`
	Source   string `json:"source"`
	Date     string `json:"date,omitempty"` // when the source was last updated
	From     string `json:"from,omitempty"` // when the price takes effect
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check <file>", Short: "Checks a price file", Long: "Checks a price file as the start does, and names the prices in it that nothing is billed by.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			models, table, err := readPrices(args[0])
			if err != nil {
				return err
			}
			if operator.AsJSON(cmd) {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{
					"models": len(models), "version": table.Version(), "unused": append([]string{}, table.Ignored()...),
				})
			}
			printf(cmd, "%s is in order: %d models, version %s\n", args[0], len(models), table.Version())
			if unused := table.Ignored(); len(unused) > 0 {
				printf(cmd, "nothing is billed by: %s\n", strings.Join(unused, ", "))
			}
			return nil
		},
	}
}

// readPrices returns the models of a price file, and the built-in prices overridden by that file.
func readPrices(file string) ([]price.FileModel, *price.Table, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	models, err := price.Models(data, file)
	if err != nil {
		return nil, nil, err
	}
	table, err := price.Default().Overlay(bytes.NewReader(data), file)
	return models, table, err
}

// tableWith returns the built-in prices overridden by a price file. Without a file, it returns the
// built-in prices.
func tableWith(file string) (*price.Table, error) {
	if file == "" {
		return price.Default(), nil
	}
	_, table, err := readPrices(file)
	return table, err
}

func moment(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a time (RFC 3339) nor a date", s)
}

// output is a table for people, or JSON lines.
type output struct {
	table *operator.Table
	enc   *json.Encoder // nil for a table
	rows  int
	err   error
}

func newOutput(cmd *cobra.Command, head ...string) *output {
	if operator.AsJSON(cmd) {
		return &output{enc: json.NewEncoder(cmd.OutOrStdout())}
	}
	return &output{table: operator.NewTable(cmd.OutOrStdout(), head...)}
}

// row writes a row: its cells to the table, or v as JSON.
func (o *output) row(v any, cells ...any) {
	o.rows++
	if o.enc == nil {
		o.table.Row(cells...)
	} else if o.err == nil {
		o.err = o.enc.Encode(v)
	}
}

func (o *output) end() error {
	if o.table != nil {
		return o.table.End()
	}
	return o.err
}

// printf prints to the command's output. Errors are ignored, because there is nowhere to report them.
func printf(cmd *cobra.Command, format string, args ...any) {
	_, _ = fmt.Fprintf(cmd.OutOrStdout(), format, args...)
}
