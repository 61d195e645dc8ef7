package operator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/account"
)

func init() {
	operator.AddCommand(Command)
}

// Command is `caddy tollgate billing`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "billing", Short: "Shows what was billed and the state of delivery to Lago, and fixes what went wrong",
		Long: "Shows what was billed and the state of delivery to Lago, and fixes what went wrong.\n\n" +
			"The commands talk to the running instance (--address). Those with --spool also read a spool's directory\n" +
			"offline, without changing it, while an instance uses it or after it is gone.",
		Args: cobra.NoArgs, // unknown subcommands are errors
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		statusCommand(), eventsCommand(), rejectedCommand(), interruptedCommand(), exportCommand(),
		retryCommand(), replayCommand(), estimateCommand(), discardCommand(), adoptCommand(),
		checkCommand(), setupCommand(), reconcileCommand(),
	)
	return cmd
}

const jsonHelp = "Print the admin API's answer"

func accountFlag(cmd *cobra.Command) {
	cmd.Flags().String("account", "", "Only this account")
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Shows spool and delivery of each account", Args: cobra.NoArgs,
		Long: "Shows spool and delivery of each account. With --wait it waits until no call is open and no record is pending,\n" +
			"which is when an instance that gets no more calls may be taken away.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir := operator.Text(cmd, "spool"); dir != "" {
				st, err := offlineStatus(dir, time.Now())
				if err != nil {
					return err
				}
				list := StatusList{Accounts: []Status{st}}
				if operator.AsJSON(cmd) {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(list)
				}
				return printStatus(cmd.OutOrStdout(), list)
			}
			wait, err := cmd.Flags().GetDuration("wait")
			if err != nil {
				return err
			}
			if wait > 0 {
				if err := awaitDrained(cmd, wait); err != nil {
					return err
				}
			}
			_, err = operator.Show(cmd, operator.AskJSON, http.MethodGet, "/tollgate/billing", nil, printStatus)
			return err
		},
	}
	operator.JSONFlag(cmd, jsonHelp)
	spoolFlag(cmd)
	cmd.Flags().Duration("wait", 0, "Wait up to this long until nothing is open or pending")
	return cmd
}

// awaitDrained waits until the instance has no open calls and no pending records.
func awaitDrained(cmd *cobra.Command, longest time.Duration) error {
	deadline := time.Now().Add(longest)
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for shown := int64(-1); ; {
		answer, err := operator.Ask(cmd, http.MethodGet, "/tollgate/billing", nil, nil)
		if err != nil {
			return err
		}
		var list StatusList
		err = json.NewDecoder(answer).Decode(&list)
		if err = errors.Join(err, answer.Close()); err != nil {
			return fmt.Errorf("reading the status: %w", err)
		}
		var open, pending int64
		stopped := ""
		for _, a := range list.Accounts {
			open, pending = open+a.Open, pending+a.Pending
			if a.Delivery != nil && a.Delivery.Stopped != "" {
				stopped = "; account " + a.Account + " is stopped: " + a.Delivery.Stopped
			}
		}
		switch {
		case open+pending == 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("after %s, %s open and %s pending still%s", longest, operator.Counted(int(open), "call"), operator.Counted(int(pending), "record"), stopped)
		case shown != open+pending:
			shown = open + pending
			cmd.PrintErrf("%s open, %s pending\n", operator.Counted(int(open), "call"), operator.Counted(int(pending), "record"))
		}
		select {
		case <-ticker.C:
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		}
	}
}

// waitingOf describes how much is yet to be written to a database.
func waitingOf(w *account.WarehouseStatus) string {
	switch {
	case w.Waiting > 0:
	case w.CaughtUp:
		return "has all records"
	default:
		return "state not known yet"
	}
	return operator.Counted(int(w.Waiting), "record") + " to write, the oldest for " + (time.Duration(w.OldestSeconds) * time.Second).String()
}

// printStatus prints the status for people.
func printStatus(w io.Writer, status StatusList) error {
	if len(status.Accounts) == 0 {
		_, err := fmt.Fprintln(w, "no account is open")
		return err
	}
	p := operator.NewPrinter(w)
	for i, a := range status.Accounts {
		if i > 0 {
			p.Line("")
		}
		p.Line("account %s", a.Account)
		switch {
		case a.Offline:
			p.Line("  Lago         not known: this is the spool alone")
		case a.Lago == "":
			p.Line("  Lago         none: records stay in the ledger")
		default:
			p.Line("  Lago         %s", a.Lago)
		}
		p.Line("  spool        %s (%s)", a.Spool, humanize.Bytes(uint64(max(0, a.Bytes)))) //nolint:gosec // not negative
		p.Line("  open         %d", a.Open)
		p.Line("  pending      %d", a.Pending)
		if a.Pending > 0 {
			p.Line("  oldest       %s", time.Duration(a.OldestAge)*time.Second)
		}
		if !a.Offline {
			p.Line("  delivered    %d events since the start", a.Delivered)
		}
		p.Line("  rejected     %d", a.Rejected)
		p.Line("  interrupted  %d", a.Interrupted)
		p.Line("  finished     %d", a.Finished)
		if w := a.Postgres; w != nil {
			p.Line("  PostgreSQL   %s", w.Database)
			p.Line("               %s", waitingOf(w))
			if !w.LostSince.IsZero() {
				p.Line("  NOT WRITTEN  since %s: %s", w.LostSince.UTC().Format(time.RFC3339), w.LastError)
			} else if w.LastError != "" {
				p.Line("               last error at %s, which is over: %s", w.LastErrorAt.UTC().Format(time.RFC3339), w.LastError)
			}
		}
		if a.AdoptedBy != "" {
			p.Line("  ADOPTED      by %s: what is unfinished here is there now", a.AdoptedBy)
		}
		if a.Full {
			p.Line("  FULL         new calls are refused")
		}
		if a.Delivery != nil && a.Delivery.Stopped != "" {
			p.Line("  STOPPED      %s", a.Delivery.Stopped)
		}
		if a.Delivery != nil && a.Delivery.RefusedTotal > 0 {
			p.Line("  REFUSED      %d events, by something in front of Lago; they are sent until they pass, or discarded by the call's id", a.Delivery.RefusedTotal)
			for _, r := range a.Delivery.Refused {
				p.Line("               %s  %d, %d times since %s: %s", r.ID, r.Status, r.Times, r.Since.UTC().Format(time.RFC3339), r.Error)
			}
		}
		if a.Payers != nil && len(a.Payers.Unknown) > 0 {
			p.Line("  UNKNOWN      %d payers that Lago does not know, and bills nothing for", len(a.Payers.Unknown))
		}
		if a.LastError != "" {
			p.Line("  last error   %s", a.LastError)
		}
	}
	return p.Err()
}
