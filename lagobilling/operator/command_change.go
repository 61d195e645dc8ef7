package operator

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
)

// changeCommand is a command that changes records, named by the ids of their calls.
func changeCommand(use, short, long, path, did string, ask func(cmd *cobra.Command, q *Change) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: short + ".\n" + long,
		RunE: func(cmd *cobra.Command, args []string) error {
			q := Change{Account: operator.Text(cmd, "account"), IDs: args, All: operator.IsSet(cmd, "all")}
			if err := ask(cmd, &q); err != nil {
				return err
			}
			_, err := operator.Show(cmd, operator.AskJSON, http.MethodPost, "/tollgate/billing/"+path, q, func(w io.Writer, res changeResult) error {
				_, err := fmt.Fprintf(w, "%s %s\n", operator.Counted(res.Records, "record"), did)
				return res.print(w, err)
			})
			return err
		},
	}
	operator.JSONFlag(cmd, jsonHelp)
	accountFlag(cmd)
	return cmd
}

func retryCommand() *cobra.Command {
	return changeCommand("retry [ID...]", "Sends rejected records again, byte-identical",
		"Without ids, all of them. See `rejected` for Lago's errors, and fix their cause first.",
		"retry", "pending again", func(*cobra.Command, *Change) error { return nil })
}

// allFlag adds --all to a command that otherwise needs ids.
func allFlag(cmd *cobra.Command, what string) {
	cmd.Flags().Bool("all", false, "All "+what)
}

func needsIDs(q *Change) error {
	if q.All == (len(q.IDs) > 0) {
		return errors.New("name the records by their ids, or all of them with --all")
	}
	return nil
}

func estimateCommand() *cobra.Command {
	cmd := changeCommand("estimate ID...", "Bills interrupted calls for the input of their requests",
		"What they answered is not known; see `interrupted`. What `interrupted estimate` does by itself at every start.",
		"estimate", "billed by estimate", func(_ *cobra.Command, q *Change) error { return needsIDs(q) })
	allFlag(cmd, "interrupted calls")
	return cmd
}

func discardCommand() *cobra.Command {
	cmd := changeCommand("discard ID... --reason TEXT", "Settles interrupted and rejected records as never to be billed",
		"The reason is kept in the record, which stays readable for `retain`.",
		"discard", "settled without a bill", func(cmd *cobra.Command, q *Change) error {
			if q.Reason = operator.Text(cmd, "reason"); q.Reason == "" {
				return errors.New("--reason is needed: the record keeps it")
			}
			return needsIDs(q)
		})
	cmd.Flags().String("reason", "", "Why they are not billed")
	allFlag(cmd, "interrupted and rejected records")
	return cmd
}

func replayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "replay --since TIME [--until TIME]", Short: "Sends finished records again, byte-identical", Args: cobra.NoArgs,
		Long: "Sends finished records again, byte-identical: those that Lago took and lost, and those that were kept in the\n" +
			"ledger alone. What Lago has already counts once, on ClickHouse only with clickhouse_deduplication_enabled.\n" +
			"--dry-run only counts them. " + momentsHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := replayRequest{Account: operator.Text(cmd, "account"), Since: operator.Text(cmd, "since"), Until: operator.Text(cmd, "until")}
			if q.Since == "" {
				return errors.New("--since is needed: the time from which records are sent again")
			}
			if q.Until == "" {
				q.Until = "0s"
			}
			method, uri := http.MethodPost, "/tollgate/billing/replay"
			var body any = q
			if operator.IsSet(cmd, "dry-run") {
				v := operator.Parameters(cmd, "account", "since")
				v.Set("until", q.Until)
				method, uri, body = http.MethodGet, uri+"?"+v.Encode(), nil
			}
			_, err := operator.Show(cmd, operator.AskJSON, method, uri, body, printReplay)
			return err
		},
	}
	operator.JSONFlag(cmd, jsonHelp)
	accountFlag(cmd)
	cmd.Flags().String("since", "", "Only records of this time or later")
	cmd.Flags().String("until", "", "Only records before this time (default: now)")
	cmd.Flags().Bool("dry-run", false, "Only count them")
	return cmd
}

func printReplay(w io.Writer, res replayResult) error {
	verb := "to be sent again"
	if res.Sent {
		verb = "pending again"
	}
	if len(res.Accounts) == 0 {
		_, err := fmt.Fprintln(w, "no account has a Lago (api_base) to send to")
		return err
	}
	var err error
	for _, a := range res.Accounts {
		_, werr := fmt.Fprintf(w, "account %s: %s with %s %s\n", a.Account, operator.Counted(a.Records, "record"), operator.Counted(a.Events, "event"), verb)
		if err = errors.Join(err, werr); a.Warning != "" && a.Records > 0 {
			_, werr = fmt.Fprintf(w, "  %s\n", a.Warning)
			err = errors.Join(err, werr)
		}
	}
	if !res.Sent && res.Records > 0 {
		_, werr := fmt.Fprintf(w, "of %s until %s; to send just these, use --since %s --until %s\n",
			res.Since.Format(time.DateTime), res.Until.Format(time.DateTime), res.Since.Format(time.RFC3339), res.Until.Format(time.RFC3339))
		err = errors.Join(err, werr)
	}
	return res.print(w, err)
}

func adoptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "adopt DIR", Short: "Moves the unfinished records of a dead instance's spool into the running one", Args: cobra.ExactArgs(1),
		Long: "Moves the unfinished records of a dead instance's spool into the running instance's spool of the same account:\n" +
			"pending ones are delivered, rejected ones are listed, interrupted calls are treated by the policy `interrupted`. DIR is\n" +
			"on the instance's machine and no process may use it. It is all or nothing and may be repeated after a crash;\n" +
			"a spool that was adopted can be neither opened nor adopted again. Its finished records stay readable with --spool.",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			q := adoptRequest{dir, operator.Text(cmd, "account")}
			_, err = operator.Show(cmd, operator.AskJSON, http.MethodPost, "/tollgate/billing/adopt", q, printAdopt)
			return err
		},
	}
	operator.JSONFlag(cmd, jsonHelp)
	accountFlag(cmd)
	return cmd
}

func printAdopt(w io.Writer, res adoptResult) error {
	estimated := ""
	if res.Estimated > 0 {
		estimated = fmt.Sprintf(" (%d of these billed by estimate)", res.Estimated)
	}
	_, err := fmt.Fprintf(w, "account %s has taken over %s: %d pending, %d rejected, %d interrupted%s\n",
		res.Account, operator.Counted(res.Records, "record"), res.Pending, res.Rejected, res.Interrupted, estimated)
	return res.print(w, err)
}
