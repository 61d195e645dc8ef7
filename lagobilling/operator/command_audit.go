package operator

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/audit"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Asks Lago whether everything that is sent will be billed", Args: cobra.NoArgs,
		Long: "Asks Lago whether everything that is sent will be billed: the key, the events store, batches, billable metrics\n" +
			"and the property that they sum, and for each payer of the ledger its subscription and its plan's charges. Lago\n" +
			"answers 200 to events that it will never bill. Nothing is stored. It fails when there is a problem.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			uri := "/tollgate/billing/check?" + operator.Parameters(cmd, "account").Encode()
			list, err := operator.Show(cmd, operator.AskWork, http.MethodGet, uri, nil, printCheck)
			if err != nil {
				return err
			}
			problems := 0
			for _, r := range list.Accounts {
				for _, f := range r.Findings {
					if f.Level == audit.LevelProblem {
						problems++
					}
				}
			}
			if problems > 0 {
				return fmt.Errorf("%s: not everything is billed", operator.Counted(problems, "problem"))
			}
			return nil
		},
	}
	operator.JSONFlag(cmd, jsonHelp)
	accountFlag(cmd)
	return cmd
}

func printCheck(w io.Writer, list audit.CheckList) error {
	p := operator.NewPrinter(w)
	for i, r := range list.Accounts {
		if i > 0 {
			p.Line("")
		}
		p.Line("account %s  %s", r.Account, r.Lago)
		for _, f := range r.Findings {
			p.Line("  %-8s %s: %s", strings.ToUpper(f.Level), f.About, f.Message)
		}
	}
	return p.Err()
}

func setupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "setup", Short: "Creates the billable metrics for the configured events in Lago", Args: cobra.NoArgs,
		Long: "Creates the billable metrics for the configured events in Lago: for per_request the sum of total_tokens, for\n" +
			"per_token_type the sum of value for each kind, for cost the sum of unit. Those that are there stay as they are, so it\n" +
			"may be repeated. Plans and prices are yours to make. It fails when a metric is there and cannot bill the events.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			method, uri := http.MethodPost, "/tollgate/billing/setup"
			var body any = setupRequest{operator.Text(cmd, "account")}
			if operator.IsSet(cmd, "dry-run") {
				method, uri, body = http.MethodGet, uri+"?"+operator.Parameters(cmd, "account").Encode(), nil
			}
			list, err := operator.Show(cmd, operator.AskWork, method, uri, body, printSetup)
			if err != nil {
				return err
			}
			if !list.OK {
				return errors.New("not every billable metric is as the events need it")
			}
			return nil
		},
	}
	operator.JSONFlag(cmd, jsonHelp)
	accountFlag(cmd)
	cmd.Flags().Bool("dry-run", false, "Only show what would be created")
	return cmd
}

func printSetup(w io.Writer, list audit.SetupList) error {
	for _, r := range list.Accounts {
		p := operator.NewTable(w)
		p.Line("account %s  %s", r.Account, r.Lago)
		for _, m := range r.Metrics {
			state := m.State
			if state == audit.MetricMissing {
				state = "would be created"
			}
			p.Line("  %s\t%s\t%s of %s\t%s", state, m.Code, m.Aggregation, m.Field, m.Message)
		}
		if r.Error != "" {
			p.Line("  %s", r.Error)
		}
		if err := p.End(); err != nil {
			return err
		}
	}
	return nil
}

func reconcileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "reconcile", Short: "Compares the ledger with what Lago lists and bills", Args: cobra.NoArgs,
		Long: "Compares the ledger with what Lago lists (GET /events) and bills (current_usage), for each subscription and code.\n" +
			"Where the ledger reaches back to the beginning of the billing period, Lago must bill exactly what its events make.\n" +
			"Otherwise it must bill at least what the ledger holds. Events younger than --lag may be counted or not. Lago's\n" +
			"figures may lag behind for longer after a backlog. It fails when there are differences. " + momentsHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			uri := "/tollgate/billing/reconcile?" + operator.Parameters(cmd, "account", "since", "until", "payer", "lag").Encode()
			report, err := operator.Show(cmd, operator.AskWork, http.MethodGet, uri, nil, printReconcile)
			if err != nil {
				return err
			}
			if report.Differences > 0 {
				return fmt.Errorf("%s between the ledger and Lago", operator.Counted(report.Differences, "difference"))
			}
			return nil
		},
	}
	operator.JSONFlag(cmd, jsonHelp)
	accountFlag(cmd)
	cmd.Flags().String("since", "", "Only records of this time or later")
	cmd.Flags().String("until", "", "Only records before this time")
	cmd.Flags().String("payer", "", "Only this subscription")
	cmd.Flags().String("lag", "", "How long Lago may take to count an event (default 5m)")
	return cmd
}

func printReconcile(w io.Writer, report audit.ReconcileReport) error {
	if len(report.Lines) == 0 {
		_, err := fmt.Fprintln(w, "the ledger holds no events to compare")
		return err
	}
	table := operator.NewTable(w, "ACCOUNT", "PAYER", "CODE", "EVENTS", "UNITS", "UNSENT", "AT LAGO", "OTHERS", "BILLED EVENTS", "BILLED UNITS", "DIFFERENCES")
	for i := range report.Lines {
		l := &report.Lines[i]
		differences := "none"
		if n := len(l.Differences); n > 0 {
			differences = strconv.Itoa(n)
		}
		table.Row(l.Account, l.Payer, l.Code, l.Events, operator.OrDash(l.Units), l.Pending+l.Rejected, l.AtLago,
			l.Others, l.UsageEvents, operator.OrDash(l.UsageUnits), differences)
	}
	if err := table.End(); err != nil {
		return err
	}
	p := operator.NewPrinter(w)
	for i := range report.Lines {
		l := &report.Lines[i]
		for _, d := range l.Differences {
			p.Line("%s, %s: %s", l.Payer, l.Code, d)
		}
		if len(l.Missing) > 0 {
			p.Line("  missing: %s", strings.Join(l.Missing, " "))
		}
		if len(l.Twice) > 0 {
			p.Line("  twice: %s", strings.Join(l.Twice, " "))
		}
	}
	return p.Err()
}
