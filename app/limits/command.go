package limits

import (
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/price"
)

func init() { operator.AddCommand(command) }

func command() *cobra.Command {
	cmd := &cobra.Command{Use: "limits", Short: "Manages the store of limits"}
	cmd.AddCommand(rebuildCommand())
	return cmd
}

func rebuildCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rebuild", Short: "Counts what was spent again, from the records in the spools", Args: cobra.NoArgs,
		Long: "Has the store of limits forget what was spent, and counts the records again that are still in the spools.\n" +
			"What older records had spent is forgotten, and so is spend that was imported: --dry-run shows how far back\n" +
			"the records reach. Other instances with the same store count their own records again within seconds.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			method := http.MethodPost
			if operator.IsSet(cmd, "dry-run") {
				method = http.MethodGet
			}
			_, err := operator.Show(cmd, operator.AskWork, method, rebuildPath, nil, printRebuilt)
			return err
		},
	}
	operator.JSONFlag(cmd, "Print JSON")
	cmd.Flags().Bool("dry-run", false, "Only show how far back the records reach")
	return cmd
}

func printRebuilt(w io.Writer, res Rebuilt) error {
	table := operator.NewTable(w, "ACCOUNT", "SPOOL", "RECORDS SINCE")
	for _, a := range res.Accounts {
		since := "-"
		if a.Oldest != nil {
			since = a.Oldest.UTC().Format(time.RFC3339)
		}
		table.Row(a.Account, a.Spool, since)
	}
	if err := table.End(); err != nil {
		return err
	}
	p := operator.NewPrinter(w)
	for _, s := range res.Stores {
		if res.DryRun {
			p.Line("spent by the store: %s USD; nothing was changed", s.Before)
		} else {
			p.Line("spent by the store: %s USD before, %s USD now", s.Before, s.After)
			if lost := s.forgotten(); !lost.IsZero() {
				p.Line("warning: %s USD are forgotten, as their records are no longer in the spools: budgets have that much more room", lost)
			}
		}
	}
	if res.DryRun {
		p.Line("warning: a rebuild forgets what was spent before these times, and spend that was imported: budgets then have that much more room")
	}
	return p.Err()
}

// forgotten returns the spend that the store had counted and lost in the rebuild.
func (s *RebuiltStore) forgotten() price.Amount {
	before, err := price.ParseUSD(s.Before)
	after, err2 := price.ParseUSD(s.After)
	if err != nil || err2 != nil {
		return price.Amount{}
	}
	return before.Sub(after)
}
