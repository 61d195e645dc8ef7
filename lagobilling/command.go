package lagobilling

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app"
)

func init() {
	app.AddCommand(billingCommand)
}

// billingCommand is `caddy tollgate billing`.
func billingCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "billing", Short: "Shows what was billed, how delivery to Lago stands, and mends what went wrong",
		Long: "Shows what was billed, how delivery to Lago stands, and mends what went wrong.\n\n" +
			"The commands talk to the running instance (--address). Those with --spool also read a spool's directory\n" +
			"offline, without changing it, while an instance uses it or after it is gone.",
		Args: cobra.NoArgs, // a name that is no command is an error
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		statusCommand(), eventsCommand(), rejectedCommand(), interruptedCommand(), exportCommand(),
		retryCommand(), replayCommand(), estimateCommand(), discardCommand(), adoptCommand(),
		checkCommand(), setupCommand(), reconcileCommand(),
	)
	return cmd
}

func jsonFlag(cmd *cobra.Command) {
	cmd.Flags().Bool("json", false, "Print what the admin API says")
}

func accountFlag(cmd *cobra.Command) {
	cmd.Flags().String("account", "", "Only this account")
}

func asJSON(cmd *cobra.Command) bool { return isSet(cmd, "json") }

// isSet returns a flag that the command defines.
func isSet(cmd *cobra.Command, name string) bool {
	on, err := cmd.Flags().GetBool(name)
	return err == nil && on
}

// counted is a number of things in words: 1 record, 2 records.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// text returns the value of a flag, empty when it is not given or not defined.
func text(cmd *cobra.Command, name string) string {
	v, err := cmd.Flags().GetString(name)
	if err != nil {
		return ""
	}
	return v
}

// askInstance asks the running instance's admin API. A body is sent as JSON. The caller closes the answer.
func askInstance(cmd *cobra.Command, method, uri string, body any, header http.Header) (io.ReadCloser, error) {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(b)
	}
	answer, err := app.Admin(cmd, method, uri, header, sent)
	if errors.Is(err, app.ErrNoInstance) && cmd.Flags().Lookup("spool") != nil {
		return nil, fmt.Errorf("%w; or read a spool offline with --spool", err)
	}
	return answer, err
}

// askJSON asks the running instance and reads its answer into v, or prints it as it is with --json.
func askJSON(cmd *cobra.Command, method, uri string, body, v any) error {
	answer, err := askInstance(cmd, method, uri, body, nil)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(answer)
	if err = errors.Join(err, answer.Close()); err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("reading the instance's answer: %w", err)
	}
	if asJSON(cmd) {
		_, err = cmd.OutOrStdout().Write(b)
	}
	return err
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Shows spool and delivery of each account", Args: cobra.NoArgs,
		Long: "Shows spool and delivery of each account. With --wait it waits until no call is open and nothing is pending,\n" +
			"which is when an instance that gets no more calls may be taken away.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir := text(cmd, "spool"); dir != "" {
				st, err := offlineStatus(dir, time.Now())
				if err != nil {
					return err
				}
				list := statusList{Accounts: []accountStatus{st}}
				if asJSON(cmd) {
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
			var list statusList
			if err := askJSON(cmd, http.MethodGet, "/tollgate/billing", nil, &list); err != nil || asJSON(cmd) {
				return err
			}
			return printStatus(cmd.OutOrStdout(), list)
		},
	}
	jsonFlag(cmd)
	spoolFlag(cmd)
	cmd.Flags().Duration("wait", 0, "Wait at most so long until nothing is open or pending")
	return cmd
}

// awaitDrained waits until the instance has no open call and no pending record.
func awaitDrained(cmd *cobra.Command, longest time.Duration) error {
	deadline := time.Now().Add(longest)
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for told := int64(-1); ; {
		answer, err := askInstance(cmd, http.MethodGet, "/tollgate/billing", nil, nil)
		if err != nil {
			return err
		}
		var list statusList
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
			return fmt.Errorf("after %s, %s open and %s pending still%s", longest, counted(int(open), "call"), counted(int(pending), "record"), stopped)
		case told != open+pending:
			told = open + pending
			cmd.PrintErrf("%s open, %s pending\n", counted(int(open), "call"), counted(int(pending), "record"))
		}
		select {
		case <-ticker.C:
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		}
	}
}

// printStatus prints the status for people.
func printStatus(w io.Writer, status statusList) error {
	if len(status.Accounts) == 0 {
		_, err := fmt.Fprintln(w, "no account is open")
		return err
	}
	var err error
	line := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format+"\n", args...)
		}
	}
	for i, a := range status.Accounts {
		if i > 0 {
			line("")
		}
		line("account %s", a.Account)
		switch {
		case a.Offline:
			line("  Lago         not known: this is the spool alone")
		case a.Lago == "":
			line("  Lago         none: records stay in the ledger")
		default:
			line("  Lago         %s", a.Lago)
		}
		line("  spool        %s (%s)", a.Spool, humanize.Bytes(uint64(max(0, a.Bytes)))) //nolint:gosec // not negative
		line("  open         %d", a.Open)
		line("  pending      %d", a.Pending)
		if a.Pending > 0 {
			line("  oldest       %s", time.Duration(a.OldestAge)*time.Second)
		}
		if !a.Offline {
			line("  delivered    %d events since the start", a.Delivered)
		}
		line("  rejected     %d", a.Rejected)
		line("  interrupted  %d", a.Interrupted)
		line("  finished     %d", a.Finished)
		if a.AdoptedBy != "" {
			line("  ADOPTED      by %s: what is unfinished here is there now", a.AdoptedBy)
		}
		if a.Full {
			line("  FULL         new calls are refused")
		}
		if a.Delivery != nil && a.Delivery.Stopped != "" {
			line("  STOPPED      %s", a.Delivery.Stopped)
		}
		if a.Payers != nil && len(a.Payers.Unknown) > 0 {
			line("  UNKNOWN      %d payers that Lago does not know, and bills nothing for", len(a.Payers.Unknown))
		}
		if a.LastError != "" {
			line("  last error   %s", a.LastError)
		}
	}
	return err
}
