package operator

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/delivery"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// maxLine bounds a line of the ledger, which is one record.
const maxLine = 16 << 20

func spoolFlag(cmd *cobra.Command) {
	cmd.Flags().String("spool", "", "Read this spool's directory offline instead of asking the running instance")
}

const momentsHelp = "--since and --until take a time (RFC 3339), a date, or a duration before now such as 24h."

// listingCommand is a command that shows a listing. show formats it for people; nil prints it verbatim.
func listingCommand(name, short, long string, show func(io.Writer, io.Reader) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: short, Long: short + ".\n" + long, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := openListing(cmd, name)
			if err != nil {
				return err
			}
			if err = operator.Print(cmd, body, show); errors.Is(err, io.ErrUnexpectedEOF) {
				err = errors.New("the list is incomplete: the instance broke off; its log has the reason")
			}
			return err
		},
	}
	if show != nil {
		operator.JSONFlag(cmd, "Print the records as they are, one a line")
	}
	spoolFlag(cmd)
	accountFlag(cmd)
	cmd.Flags().String("since", "", "Only records of this time or later")
	cmd.Flags().String("until", "", "Only records before this time")
	cmd.Flags().Int("limit", 0, "The most records to list")
	return cmd
}

// openListing requests a listing from the instance, or reads it from a spool offline.
func openListing(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	v := operator.Parameters(cmd, "since", "until", "account")
	n, err := cmd.Flags().GetInt("limit")
	if err != nil {
		return nil, err
	}
	if n != 0 {
		v.Set("limit", strconv.Itoa(n))
	}
	dir := operator.Text(cmd, "spool")
	if dir == "" {
		return operator.Ask(cmd, http.MethodGet, "/tollgate/billing/"+name+"?"+v.Encode(), nil, nil)
	}
	q, err := parseLedgerQuery(v, time.Now())
	if err != nil {
		return nil, err
	}
	sp, err := openLedger(dir)
	if err != nil {
		return nil, err
	}
	l := listings[name]
	if name == "interrupted" {
		l.states = append(slices.Clip(l.states), spool.StateOpen)
	}
	r, w := io.Pipe()
	go func() { // ends when the listing is written, or the reader is closed
		_, err := l.write(cmd.Context(), w, ledger{spool: sp}, q)
		w.CloseWithError(errors.Join(err, sp.Close()))
	}()
	return r, nil
}

func eventsCommand() *cobra.Command {
	return listingCommand("events", "Lists the usage records of the ledger", "Those that are still readable, oldest first. "+momentsHelp, printLedger)
}

func rejectedCommand() *cobra.Command {
	return listingCommand("rejected", "Lists the records that Lago rejected, with its errors",
		"Fix the cause and send them again (retry), or settle them as never to be billed (discard).\n"+momentsHelp, printRejected)
}

func interruptedCommand() *cobra.Command {
	return listingCommand("interrupted", "Lists the calls that were under way when an instance ended",
		"What they used is not known. Bill them for the input of their requests (estimate), or settle them as never to be\n"+
			"billed (discard). Read offline (--spool), calls that are still under way in a running instance are among them.\n"+momentsHelp,
		printInterrupted)
}

func exportCommand() *cobra.Command {
	return listingCommand("export", "Prints the bodies of the events exactly as Lago gets them, one a line (NDJSON)",
		"Of all settled records, whether Lago has them or not. "+momentsHelp, nil)
}

// Entry is a line of a listing.
type Entry struct {
	record.Record
	State   string          `json:"state"`
	Because json.RawMessage `json:"rejected_because,omitempty"`
}

// printEntries prints records for people, one a line.
func printEntries(w io.Writer, body io.Reader, head []string, row func(e *Entry) []any) error {
	table := operator.NewTable(w, head...)
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		var e Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("reading the ledger: %w", err)
		}
		table.Row(row(&e)...)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the ledger: %w", err)
	}
	return table.End()
}

// printLedger prints one line for each call.
func printLedger(w io.Writer, body io.Reader) error {
	return printEntries(w, body, []string{"TIME", "ID", "PAYER", "MODEL", "OUTCOME", "IN", "OUT", "USAGE", "USD", "STATE", "NOTE"}, func(e *Entry) []any {
		return []any{
			e.when(), e.ID, operator.OrDash(e.Payer), e.model(), operator.OrDash(e.Outcome), e.Counts.InputTokens(), e.Counts.OutputTokens(),
			operator.OrDash(string(e.Source)), operator.OrDash(e.Cost), e.State, e.note(),
		}
	})
}

// printRejected prints each record with Lago's errors.
func printRejected(w io.Writer, body io.Reader) error {
	return printEntries(w, body, []string{"TIME", "ID", "PAYER", "MODEL", "IN", "OUT", "USD", "LAGO SAYS"}, func(e *Entry) []any {
		return []any{e.when(), e.ID, operator.OrDash(e.Payer), e.model(), e.Counts.InputTokens(), e.Counts.OutputTokens(), operator.OrDash(e.Cost), e.because()}
	})
}

// printInterrupted prints what was known when the calls began.
func printInterrupted(w io.Writer, body io.Reader) error {
	return printEntries(w, body, []string{"OPENED", "ID", "PAYER", "MODEL", "ENDPOINT", "KEY", "INPUT (ESTIMATED)", "STATE"}, func(e *Entry) []any {
		return []any{
			e.when(), e.ID, operator.OrDash(e.Payer), e.model(), e.Endpoint, operator.OrDash(cmp.Or(e.KeyAlias, e.Key)), (e.InputUnits + 999) / 1000, e.State,
		}
	})
}

func (e *Entry) when() string {
	at := e.Settled
	if at.IsZero() {
		at = e.Opened
	}
	return at.Local().Format(time.DateTime)
}

func (e *Entry) model() string { return operator.OrDash(cmp.Or(e.Upstream, e.Asked)) }

// because returns why the record was rejected, in one line: Lago's error for each event.
func (e *Entry) because() string {
	var note delivery.Rejection
	if json.Unmarshal(e.Because, &note) != nil {
		return string(e.Because)
	}
	var all []string
	if note.Error != "" {
		all = append(all, note.Error)
	}
	for _, f := range note.Events {
		words := string(f.Error)
		var s string
		if json.Unmarshal(f.Error, &s) == nil {
			words = s
		}
		if f.Status != 0 {
			words = strconv.Itoa(f.Status) + " " + words
		}
		if len(e.Events) > 1 {
			words = fmt.Sprintf("event %d of %d: %s", f.Event+1, len(e.Events), words)
		}
		all = append(all, words)
	}
	return operator.OrDash(strings.Join(all, "; "))
}

// note returns the remarks on a record.
func (e *Entry) note() string {
	var notes []string
	for _, s := range []string{e.NotBilled, e.Hangup} {
		if s != "" {
			notes = append(notes, s)
		}
	}
	if e.Unpriced != "" {
		notes = append(notes, "unpriced")
	}
	if e.Discarded != "" {
		notes = append(notes, "discarded: "+e.Discarded)
	}
	return strings.Join(notes, ", ")
}
