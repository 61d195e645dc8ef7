package lagobilling

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// askLong asks for work that takes long, tells its progress on stderr and reads its result into v.
func askLong(cmd *cobra.Command, method, uri string, body, v any) error {
	answer, err := askInstance(cmd, method, uri, body, http.Header{"Accept": {progressType}})
	if err != nil {
		return err
	}
	defer answer.Close() //nolint:errcheck // read only
	lines := bufio.NewReader(answer)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return errors.New("the instance broke off before it had a result; its log says why")
		}
		var p progress
		if err := json.Unmarshal(line, &p); err != nil {
			return fmt.Errorf("reading the instance's answer: %w", err)
		}
		switch {
		case p.Error != "":
			return errors.New(p.Error)
		case p.Result != nil:
			if asJSON(cmd) {
				if _, err := cmd.OutOrStdout().Write(append(p.Result, '\n')); err != nil {
					return err
				}
			}
			return json.Unmarshal(p.Result, v)
		case p.Of > 0:
			cmd.PrintErrf("%s: %d of %d\n", p.Progress, p.Done, p.Of)
		default:
			cmd.PrintErrf("%s: %d\n", p.Progress, p.Done)
		}
	}
}

func accountQuery(cmd *cobra.Command, flags ...string) string {
	v := url.Values{}
	for _, name := range append(flags, "account") {
		if value := text(cmd, name); value != "" {
			v.Set(name, value)
		}
	}
	return "?" + v.Encode()
}

// printer writes lines until one fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Asks Lago whether everything that is sent will be billed", Args: cobra.NoArgs,
		Long: "Asks Lago whether everything that is sent will be billed: the key, the store of events, batches, billable metrics\n" +
			"and the property that they sum, and for each payer of the ledger its subscription and its plan's charges. Lago\n" +
			"answers 200 to events that it will never bill. Nothing is stored. It fails when there is a problem.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list checkList
			if err := askLong(cmd, http.MethodGet, "/tollgate/billing/check"+accountQuery(cmd), nil, &list); err != nil {
				return err
			}
			problems := 0
			p := printer{w: cmd.OutOrStdout()}
			for i, r := range list.Accounts {
				if i > 0 && !asJSON(cmd) {
					p.line("")
				}
				if !asJSON(cmd) {
					p.line("account %s  %s", r.Account, r.Lago)
				}
				for _, f := range r.Findings {
					if f.Level == levelProblem {
						problems++
					}
					if !asJSON(cmd) {
						p.line("  %-8s %s: %s", strings.ToUpper(f.Level), f.About, f.Words)
					}
				}
			}
			if p.err == nil && problems > 0 {
				return fmt.Errorf("%s: as it stands, not everything is billed", counted(problems, "problem"))
			}
			return p.err
		},
	}
	jsonFlag(cmd)
	accountFlag(cmd)
	return cmd
}

func setupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "setup", Short: "Creates the billable metrics for the configured events in Lago", Args: cobra.NoArgs,
		Long: "Creates the billable metrics for the configured events in Lago: for per_request the sum of total_tokens, for\n" +
			"per_token_type the sum of value for each kind, for cost the sum of unit. Those that are there stay as they are, so it\n" +
			"may be repeated. Plans and prices are yours to make. It fails when a metric is there and cannot bill the events.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			method, uri := http.MethodPost, "/tollgate/billing/setup"
			var body any = setupRequest{text(cmd, "account")}
			if isSet(cmd, "dry-run") {
				method, uri, body = http.MethodGet, uri+accountQuery(cmd), nil
			}
			var list setupList
			if err := askLong(cmd, method, uri, body, &list); err != nil {
				return err
			}
			if !asJSON(cmd) {
				if err := printSetup(cmd.OutOrStdout(), list); err != nil {
					return err
				}
			}
			if !list.OK {
				return errors.New("not every billable metric is as the events need it")
			}
			return nil
		},
	}
	jsonFlag(cmd)
	accountFlag(cmd)
	cmd.Flags().Bool("dry-run", false, "Only say what would be created")
	return cmd
}

func printSetup(w io.Writer, list setupList) error {
	for _, r := range list.Accounts {
		table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		p := printer{w: table}
		p.line("account %s  %s", r.Account, r.Lago)
		for _, m := range r.Metrics {
			state := m.State
			if state == setupMissing {
				state = "would be created"
			}
			p.line("  %s\t%s\t%s of %s\t%s", state, m.Code, m.Aggregation, m.Field, m.Words)
		}
		if r.Error != "" {
			p.line("  %s", r.Error)
		}
		if err := errors.Join(p.err, table.Flush()); err != nil {
			return err
		}
	}
	return nil
}

func reconcileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "reconcile", Short: "Compares the ledger with what Lago lists and bills", Args: cobra.NoArgs,
		Long: "Compares the ledger with what Lago lists (GET /events) and bills (current_usage), for each subscription and code.\n" +
			"Where the ledger reaches back to the beginning of the billing period, Lago must bill exactly what its events make;\n" +
			"else no less than the ledger holds. Events younger than --lag may be counted or not. Lago's figures may lag behind\n" +
			"for longer after a backlog. It fails when there are differences. " + momentsHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var report reconcileReport
			query := accountQuery(cmd, "since", "until", "payer", "lag")
			if err := askLong(cmd, http.MethodGet, "/tollgate/billing/reconcile"+query, nil, &report); err != nil {
				return err
			}
			if !asJSON(cmd) {
				if err := printReconcile(cmd.OutOrStdout(), report); err != nil {
					return err
				}
			}
			if report.Differences > 0 {
				return fmt.Errorf("%s between the ledger and Lago", counted(report.Differences, "difference"))
			}
			return nil
		},
	}
	jsonFlag(cmd)
	accountFlag(cmd)
	cmd.Flags().String("since", "", "Leave out older records")
	cmd.Flags().String("until", "", "Leave out this moment and later")
	cmd.Flags().String("payer", "", "Only this subscription")
	cmd.Flags().String("lag", "", "How long Lago may take to count an event (default 5m)")
	return cmd
}

func printReconcile(w io.Writer, report reconcileReport) error {
	if len(report.Lines) == 0 {
		_, err := fmt.Fprintln(w, "the ledger holds no events to compare")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	p := printer{w: table}
	p.line("ACCOUNT\tPAYER\tCODE\tEVENTS\tUNITS\tUNSENT\tAT LAGO\tOTHERS\tBILLED EVENTS\tBILLED UNITS\tDIFFERENCES")
	for i := range report.Lines {
		l := &report.Lines[i]
		differences := "none"
		if n := len(l.Differences); n > 0 {
			differences = strconv.Itoa(n)
		}
		p.line("%s\t%s\t%s\t%d\t%s\t%d\t%d\t%d\t%d\t%s\t%s", l.Account, l.Payer, l.Code, l.Events, orDash(l.Units), l.Pending+l.Rejected, l.AtLago,
			l.Others, l.UsageEvents, orDash(l.UsageUnits), differences)
	}
	if err := errors.Join(p.err, table.Flush()); err != nil {
		return err
	}
	p = printer{w: w}
	for i := range report.Lines {
		l := &report.Lines[i]
		for _, d := range l.Differences {
			p.line("%s, %s: %s", l.Payer, l.Code, d)
		}
		if len(l.Missing) > 0 {
			p.line("  missing: %s", strings.Join(l.Missing, " "))
		}
		if len(l.Twice) > 0 {
			p.line("  twice: %s", strings.Join(l.Twice, " "))
		}
	}
	return p.err
}
