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
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/tollgate-llm/tollgate/app"
)

func init() {
	app.AddCommand(billingCommand)
}

// maxLine bounds a line of the ledger, which is one record.
const maxLine = 16 << 20

// billingCommand is `caddy tollgate billing`.
func billingCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "billing", Short: "Shows what was billed and how delivery to Lago stands"}
	cmd.AddCommand(statusCommand(), eventsCommand())
	return cmd
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Shows spool and delivery of each account", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := adminGet(cmd, "/tollgate/billing")
			if err != nil {
				return err
			}
			defer body.Close() //nolint:errcheck // read only
			if asJSON(cmd) {
				_, err = io.Copy(cmd.OutOrStdout(), body)
				return err
			}
			return printStatus(cmd.OutOrStdout(), body)
		},
	}
	cmd.Flags().Bool("json", false, "Print what the admin API says")
	return cmd
}

func eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "events", Short: "Lists the usage records of the ledger", Args: cobra.NoArgs,
		Long: "Lists the usage records that are still readable, oldest first.\n" +
			"--since and --until take a time (RFC 3339), a date, or a duration before now such as 24h.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			for _, name := range []string{"since", "until", "account"} {
				if v, err := cmd.Flags().GetString(name); err != nil {
					return err
				} else if v != "" {
					q.Set(name, v)
				}
			}
			if n, err := cmd.Flags().GetInt("limit"); err != nil {
				return err
			} else if n > 0 {
				q.Set("limit", strconv.Itoa(n))
			}
			body, err := adminGet(cmd, "/tollgate/billing/events?"+q.Encode())
			if err != nil {
				return err
			}
			defer body.Close() //nolint:errcheck // read only
			if asJSON(cmd) {
				_, err = io.Copy(cmd.OutOrStdout(), body)
				return err
			}
			return printLedger(cmd.OutOrStdout(), body)
		},
	}
	cmd.Flags().Bool("json", false, "Print the records as they are, one a line")
	cmd.Flags().String("since", "", "Leave out older records")
	cmd.Flags().String("until", "", "Leave out this moment and later")
	cmd.Flags().String("account", "", "Only this account's records")
	cmd.Flags().Int("limit", 0, "At most so many records")
	return cmd
}

func asJSON(cmd *cobra.Command) bool {
	on, err := cmd.Flags().GetBool("json")
	return err == nil && on
}

// adminGet asks the running instance's admin API. The caller closes the body.
func adminGet(cmd *cobra.Command, uri string) (io.ReadCloser, error) {
	address, err := cmd.Flags().GetString("address")
	if err != nil {
		return nil, err
	}
	res, err := caddycmd.AdminAPIRequest(address, http.MethodGet, uri, nil, nil) //nolint:bodyclose // the caller closes it
	if err != nil {
		return nil, fmt.Errorf("asking the instance at %s: %w", address, err)
	}
	if res.StatusCode == http.StatusNotFound {
		return nil, errors.Join(fmt.Errorf("the instance at %s has no Tollgate billing", address), res.Body.Close())
	}
	return res.Body, nil
}

// printStatus prints the admin API's status for people.
func printStatus(w io.Writer, body io.Reader) error {
	var status struct {
		Accounts []accountStatus `json:"accounts"`
	}
	if err := json.NewDecoder(body).Decode(&status); err != nil {
		return fmt.Errorf("reading the status: %w", err)
	}
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
		if a.Lago == "" {
			line("  Lago         none: records stay in the ledger")
		} else {
			line("  Lago         %s", a.Lago)
		}
		line("  spool        %s (%s)", a.Spool, humanize.Bytes(uint64(max(0, a.Bytes)))) //nolint:gosec // not negative
		line("  open         %d", a.Open)
		line("  pending      %d", a.Pending)
		if a.Pending > 0 {
			line("  oldest       %s", time.Duration(a.OldestAge)*time.Second)
		}
		line("  delivered    %d events since the start", a.Delivered)
		line("  rejected     %d", a.Rejected)
		line("  interrupted  %d", a.Interrupted)
		line("  finished     %d", a.Finished)
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

// ledgerEntry is a line of the ledger.
type ledgerEntry struct {
	record
	State string `json:"state"`
}

// printLedger prints records for people, one a line.
func printLedger(w io.Writer, body io.Reader) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	if _, err := fmt.Fprintln(table, "TIME\tID\tPAYER\tMODEL\tOUTCOME\tIN\tOUT\tUSAGE\tUSD\tSTATE\tNOTE"); err != nil {
		return err
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	n := 0
	for lines.Scan() {
		var e ledgerEntry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("reading the ledger: %w", err)
		}
		n++
		at := e.Settled
		if at.IsZero() {
			at = e.Opened
		}
		model := e.Upstream
		if model == "" {
			model = e.Asked
		}
		_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n",
			at.Local().Format("2006-01-02 15:04:05"), e.ID, orDash(e.Payer), model, orDash(e.Outcome),
			e.Counts.InputTokens(), e.Counts.OutputTokens(), orDash(string(e.Source)), orDash(e.Cost), e.State, e.note())
		if err != nil {
			return err
		}
		if n%1000 == 0 { // the table is not held in memory
			if err := table.Flush(); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the ledger: %w", err)
	}
	return table.Flush()
}

// note says in a few words what is particular about a record.
func (e *ledgerEntry) note() string {
	var notes []string
	for _, s := range []string{e.NotBilled, e.Hangup} {
		if s != "" {
			notes = append(notes, s)
		}
	}
	if e.Unpriced != "" {
		notes = append(notes, "unpriced")
	}
	return strings.Join(notes, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
