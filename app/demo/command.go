// Package demo implements the command that generates demo traffic.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
)

func init() { operator.AddCommand(command) }

const (
	defaultSite = "http://localhost:4000"
	// exampleKey is the master key of Caddyfile.example.
	exampleKey = "sk-1234"
	maxRate    = 200
)

func command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "demo", Short: "Makes some minutes of traffic with the built-in demo models",
		Long: "Makes some minutes of traffic at a running gateway, so that the console, the books and the metrics have something to show:\n" +
			"several teams and keys, streamed and whole answers, some that are refused or fail.\n\n" +
			"It calls models whose names begin with demo, as those of Caddyfile.example, and no other unless --model names it. It makes the\n" +
			"teams demo-support, demo-research and demo-website, with the master key in the environment variable MASTER_KEY, or with that of\n" +
			"Caddyfile.example.",
		Args: cobra.NoArgs,
		RunE: run,
	}
	f := cmd.Flags()
	f.String("site", defaultSite, "Address of the gateway's site")
	f.Float64("minutes", 3, "How long")
	f.Float64("rate", 4, fmt.Sprintf("Calls a second, at most %d", maxRate))
	f.StringArray("model", nil, "Call this model, whatever it costs; may be repeated")
	return cmd
}

func run(cmd *cobra.Command, _ []string) error {
	f := cmd.Flags()
	minutes, err := f.GetFloat64("minutes")
	if err != nil {
		return err
	}
	rate, err := f.GetFloat64("rate")
	if err != nil {
		return err
	}
	models, err := f.GetStringArray("model")
	if err != nil {
		return err
	}
	site := strings.TrimSuffix(operator.Text(cmd, "site"), "/")
	if u, err := url.Parse(site); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("--site %s is not an address such as %s", site, defaultSite)
	}
	// This form also rejects NaN.
	if !(minutes > 0 && minutes <= 24*60) {
		return errors.New("--minutes: write a number above 0 and up to 1440")
	}
	if !(rate > 0 && rate <= maxRate) {
		return fmt.Errorf("--rate: write a number above 0 and up to %d", maxRate)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	t, err := newTraffic(ctx, site, cmp.Or(os.Getenv("MASTER_KEY"), exampleKey), models)
	if err != nil {
		return err
	}
	length := time.Duration(minutes * float64(time.Minute))
	if err := t.run(ctx, length, rate, cmd.ErrOrStderr()); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	p := operator.NewPrinter(cmd.OutOrStdout())
	p.Line("%s: %s", operator.Counted(int(t.calls.Load()), "call"), t.summary())
	p.Line("the console: %s/console/", site)
	p.Line("the books:   caddy tollgate spend --by team,model --since 1h")
	return p.Err()
}
