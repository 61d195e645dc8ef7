package operator

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/litellmdb"
)

func init() {
	operator.AddCommand(keysCommand)
}

// keysCommand is `caddy tollgate keys`.
func keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "Shows keys, and brings them from LiteLLM and back",
		Long: "Shows keys, and brings them from LiteLLM and back. The commands talk to the running instance (--address).",
		Args: cobra.NoArgs, // a name that is no command is an error
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().String("store", "", "Which key store, when the configuration has several, such as 'file /var/lib/keys'")
	cmd.AddCommand(importCommand(), exportCommand(), listCommand(), infoCommand())
	return cmd
}

// ask asks the running instance for a path, of the store that --store names.
func ask(cmd *cobra.Command, method, path string, q url.Values, body any) (io.ReadCloser, error) {
	if store := operator.Text(cmd, "store"); store != "" {
		q.Set("store", store)
	}
	return operator.Ask(cmd, method, path+"?"+q.Encode(), nil, body)
}

// showAnswer is a command that requests a path with parameters from flags (flag to parameter), and prints the answer as it is or as a table.
func showAnswer(path string, flags map[string]string, print func(io.Writer, io.Reader) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		q := url.Values{}
		for flag, name := range flags {
			if v := operator.Text(cmd, flag); v != "" {
				q.Set(name, v)
			}
		}
		body, err := ask(cmd, http.MethodGet, path, q, nil)
		if err != nil {
			return err
		}
		return printAnswer(cmd, body, print)
	}
}

// printAnswer prints an answer as it is, with --json, or for people.
func printAnswer(cmd *cobra.Command, body io.ReadCloser, print func(io.Writer, io.Reader) error) (err error) {
	if operator.AsJSON(cmd) {
		_, err = io.Copy(cmd.OutOrStdout(), body)
	} else {
		err = print(cmd.OutOrStdout(), body)
	}
	return errors.Join(err, body.Close())
}

func exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export [FILE]", Short: "Writes all keys, teams, users, end users and budgets as LiteLLM's tables", Args: cobra.MaximumNArgs(1),
		Long: "Writes one JSON object with LiteLLM's tables as members, a row a line, to FILE or to standard output;\n" +
			"`import` reads it. With --csv and --table it writes one table as COPY ... CSV HEADER reads it. FILE is\n" +
			"replaced when the export is complete; one that fails leaves it as it was.\n" +
			"The hashes of all keys are in it in full: keep it as you keep the key store.",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			table, asCSV := operator.Text(cmd, "table"), operator.IsSet(cmd, "csv")
			tables := litellmdb.Tables
			if table != "" {
				t := litellmdb.Find(table)
				if t == nil {
					return fmt.Errorf("unknown table %s: one of %s", table, litellmdb.Names())
				}
				tables = []*litellmdb.Table{t}
			} else if asCSV {
				return errors.New("CSV holds one table: name it with --table, one of " + litellmdb.Names())
			}
			export := func(out io.Writer) error {
				w := bufio.NewWriter(out)
				var err error
				if asCSV {
					err = exportCSV(cmd, w, tables[0])
				} else {
					err = exportJSON(cmd, w, tables)
				}
				return errors.Join(err, w.Flush())
			}
			if len(args) == 1 && args[0] != "-" {
				err = operator.WriteFile(args[0], export)
			} else {
				err = export(cmd.OutOrStdout())
			}
			if err != nil {
				return err
			}
			if slices.ContainsFunc(tables, (*litellmdb.Table).IsKeys) {
				cmd.PrintErrln("This export holds the hashes of all keys in full: keep it as you keep the key store.")
			}
			return nil
		},
	}
	cmd.Flags().String("table", "", "Only this table")
	cmd.Flags().Bool("csv", false, "Write the table as CSV")
	return cmd
}

func exportRows(cmd *cobra.Command, t *litellmdb.Table, fn func(map[string]json.RawMessage) error) error {
	body, err := ask(cmd, http.MethodGet, "/tollgate/keys/export", url.Values{"table": {t.Name}}, nil)
	if err != nil {
		return err
	}
	return errors.Join(operator.EachLine(body, fn), body.Close())
}

func exportJSON(cmd *cobra.Command, w *bufio.Writer, tables []*litellmdb.Table) error {
	open := "{\n"
	for _, t := range tables {
		_, _ = fmt.Fprintf(w, "%s%q: [", open, t.Name) // errors of a bufio.Writer stay until Flush
		open = ",\n"
		comma := "\n"
		err := exportRows(cmd, t, func(row map[string]json.RawMessage) error {
			line, err := json.Marshal(row)
			if err != nil {
				return err
			}
			_, err = w.WriteString(comma + string(line))
			comma = ",\n"
			return err
		})
		if err != nil {
			return err
		}
		_, _ = fmt.Fprint(w, "]")
	}
	_, err := w.WriteString("\n}\n")
	return err
}

// exportCSV writes a table's own columns and those that its rows have besides, which it looks for first.
func exportCSV(cmd *cobra.Command, w *bufio.Writer, t *litellmdb.Table) error {
	columns := t.Columns()
	var more []string
	err := exportRows(cmd, t, func(row map[string]json.RawMessage) error {
		for n := range row {
			if !slices.Contains(columns, n) && !slices.Contains(more, n) {
				more = append(more, n)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(more)
	columns = append(columns, more...)
	write := func(cells []string) error {
		_, err := w.WriteString(strings.Join(cells, ",") + "\n")
		return err
	}
	cells := make([]string, len(columns))
	for i, n := range columns {
		cells[i] = litellmdb.QuoteCSV(n)
	}
	if err := write(cells); err != nil {
		return err
	}
	return exportRows(cmd, t, func(row map[string]json.RawMessage) error {
		for i, n := range columns {
			cells[i] = t.CSV(n, row[n])
		}
		return write(cells)
	})
}

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "Lists keys", Args: cobra.NoArgs,
		RunE: showAnswer("/tollgate/keys/list", map[string]string{"user": "user_id", "team": "team_id", "alias": "key_alias"}, printKeys),
	}
	cmd.Flags().String("user", "", "Only keys of this user_id")
	cmd.Flags().String("team", "", "Only keys of this team_id")
	cmd.Flags().String("alias", "", "Only the key with this alias")
	operator.JSONFlag(cmd, "Print the records as they are, one a line")
	return cmd
}

// shownKey is what a table shows of a key.
type shownKey struct {
	ID      string          `json:"id"`
	Name    string          `json:"key_name"`
	Alias   string          `json:"key_alias"`
	UserID  string          `json:"user_id"`
	TeamID  string          `json:"team_id"`
	Models  []string        `json:"models"`
	Spend   json.RawMessage `json:"spend"`
	Blocked bool            `json:"blocked"`
	Expires *time.Time      `json:"expires"`
}

func (k *shownKey) state(now time.Time) string {
	switch {
	case k.Blocked:
		return "blocked"
	case k.Expires != nil && !now.Before(*k.Expires):
		return "expired"
	}
	return "active"
}

func printKeys(w io.Writer, body io.Reader) error {
	table := operator.NewTable(w, "ID", "NAME", "ALIAS", "USER", "TEAM", "MODELS", "SPEND", "EXPIRES", "STATE")
	now := time.Now()
	err := operator.EachLine(body, func(k shownKey) error {
		expires := "never"
		if k.Expires != nil {
			expires = k.Expires.Local().Format("2006-01-02 15:04")
		}
		models := cmp.Or(strings.Join(k.Models, ","), "all")
		dash := operator.OrDash
		table.Row(k.ID, dash(k.Name), dash(k.Alias), dash(k.UserID), dash(k.TeamID), models, k.Spend, expires, k.state(now))
		return table.Err()
	})
	return errors.Join(err, table.End())
}

func infoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "info KEY", Short: "Shows a key's record", Args: cobra.ExactArgs(1),
		Long: "KEY is a key, its hash, its alias, or the first digits of its hash as `list` shows them.",
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := ask(cmd, http.MethodPost, "/tollgate/keys/info", url.Values{}, map[string]string{"key": args[0]})
			if err != nil {
				return err
			}
			return printAnswer(cmd, body, printKey)
		},
	}
	operator.JSONFlag(cmd, "Print the record as it is")
	return cmd
}

// printKey prints the fields of a record that are not empty.
func printKey(w io.Writer, body io.Reader) error {
	var row map[string]json.RawMessage
	if err := json.NewDecoder(body).Decode(&row); err != nil {
		return fmt.Errorf("reading the record: %w", err)
	}
	names := make([]string, 0, len(row))
	for n, v := range row {
		switch string(v) {
		case "null", "[]", "{}":
		default:
			names = append(names, n)
		}
	}
	slices.Sort(names)
	table := operator.NewTable(w)
	for _, n := range names {
		value := string(row[n])
		var text string
		if json.Unmarshal(row[n], &text) == nil { // any other value is shown as it is
			value = text
		}
		table.Row(n, value)
	}
	return table.End()
}
