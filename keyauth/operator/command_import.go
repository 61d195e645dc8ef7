package operator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/litellmdb"
)

func importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "import FILE...", Short: "Brings keys, teams and their members, users, end users and budgets from LiteLLM", Args: cobra.MinimumNArgs(1),
		Long: "Reads dumps of LiteLLM's tables: " + litellmdb.Names() + ".\n\n" +
			"A dump is CSV as \\copy \"LiteLLM_VerificationToken\" TO 'LiteLLM_VerificationToken.csv' CSV HEADER writes it, or JSON: an array of\n" +
			"rows (SELECT json_agg(t)), a row a line, or one object with the tables' names as members. The table is known by\n" +
			"--table, by the file's name or by the columns. Old keys go on working, as their hashes are what is kept.\n\n" +
			"All files are read to their end before anything changes. A row that cannot be taken is refused and listed,\n" +
			"and the exit status is 1. What is imported again changes nothing.",
		RunE: func(cmd *cobra.Command, args []string) error {
			im, err := newImporter(cmd, args)
			if err != nil {
				return err
			}
			err = im.run()
			if err == nil || im.report.begun {
				err = errors.Join(err, im.print())
			}
			return err
		},
	}
	cmd.Flags().String("table", "", "The table that the files hold, when neither their names nor their columns show it")
	cmd.Flags().Bool("dry-run", false, "Show what would change, and change nothing")
	cmd.Flags().Bool("overwrite", false, "Replace records that were made or changed here and differ from the dump")
	operator.JSONFlag(cmd, "Print the report as JSON")
	return cmd
}

const (
	progressEvery = 2 * time.Second
	batchBytes    = 8 << 20 // of rows sent at once, at most
	listedRows    = 10_000  // refused or changed rows that a report lists, of each
	printedRows   = 50      // of those, how many are printed for people
)

// importReport is what came of an import.
type importReport struct {
	DryRun     bool           `json:"dry_run"`
	Tables     []*tableReport `json:"tables"`
	Changed    []reportedRow  `json:"changed"`
	Refused    []reportedRow  `json:"refused"`
	Unenforced map[string]int `json:"kept_without_effect"` // table and column to rows
	NoModels   map[string]int `json:"without_models"`      // table to keys or teams that have their models from access groups alone
	Truncated  bool           `json:"truncated,omitempty"` // more rows were changed or refused than are listed

	begun bool // something was sent to the instance
}

type tableReport struct {
	Table   string `json:"table"`
	Rows    int    `json:"rows"`
	Added   int    `json:"added"`
	Changed int    `json:"changed"`
	Same    int    `json:"same"`
	Refused int    `json:"refused"`
}

// reportedRow is a row that is listed, with its place.
type reportedRow struct {
	File    string   `json:"file"`
	Line    int      `json:"line"`
	Row     int      `json:"row"`
	Table   string   `json:"table"`
	ID      string   `json:"id,omitempty"`
	Columns []string `json:"columns,omitempty"`
	Column  string   `json:"column,omitempty"`
	Reason  string   `json:"reason,omitempty"`
}

func (r *importReport) table(name string) *tableReport {
	for _, t := range r.Tables {
		if t.Table == name {
			return t
		}
	}
	t := &tableReport{Table: name}
	r.Tables = append(r.Tables, t)
	return t
}

// list adds a row to a list of bounded length.
func (r *importReport) list(to *[]reportedRow, row reportedRow) {
	if len(*to) >= listedRows {
		r.Truncated = true
		return
	}
	*to = append(*to, row)
}

// importer brings files to the running instance in batches, so that neither side holds more than one.
type importer struct {
	cmd    *cobra.Command
	dumps  []*litellmdb.Dump
	query  url.Values
	report importReport
	seed   maphash.Seed
	teams  map[string]bool // of the dumps: whether their row was taken
	seen   map[uint64]bool // ids and aliases of the dumps, hashed
	batch  []*litellmdb.DumpRow
	files  []string // of the rows of batch
	size   int
	shown  time.Time // when progress was last shown
	total  int       // rows in all files
	sent   int
}

func newImporter(cmd *cobra.Command, files []string) (*importer, error) {
	im := &importer{
		cmd: cmd, query: url.Values{}, seed: maphash.MakeSeed(), teams: make(map[string]bool), seen: make(map[uint64]bool), shown: time.Now(),
		report: importReport{Tables: []*tableReport{}, Changed: []reportedRow{}, Refused: []reportedRow{}, Unenforced: map[string]int{}, NoModels: map[string]int{}},
	}
	im.report.DryRun = operator.IsSet(cmd, "dry-run")
	if im.report.DryRun {
		im.query.Set("dry_run", "true")
	}
	if operator.IsSet(cmd, "overwrite") {
		im.query.Set("overwrite", "true")
	}
	name := operator.Text(cmd, "table")
	table := litellmdb.Find(name)
	if name != "" && table == nil {
		return nil, fmt.Errorf("unknown table %s: one of %s", name, litellmdb.Names())
	}
	for _, f := range files {
		im.dumps = append(im.dumps, &litellmdb.Dump{Name: f, Table: table})
	}
	return im, nil
}

// passOf returns when the rows of a table are imported: budgets first, as others name them, and keys last.
func passOf(table string) int {
	switch table {
	case litellmdb.BudgetTable:
		return 0
	case litellmdb.KeyTable:
		return 2
	}
	return 1
}

// run reads all files once to see that they can be read, and then imports them: keys last, so that no key works before what
// restricts it is there.
func (im *importer) run() error {
	refused := make(map[int]bool) // rows, in the order of the files
	for _, d := range im.dumps {
		err := im.eachRow(d, func(row *litellmdb.DumpRow) error {
			im.total++
			t := im.report.table(row.Table)
			t.Rows++
			if r := im.check(row); r != nil {
				t.Refused++
				refused[im.total] = true
				im.report.list(&im.report.Refused, reported(d.Name, row, r))
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("nothing was imported: %w", err)
		}
	}
	im.seen = nil
	for pass := range 3 {
		n := 0
		for _, d := range im.dumps {
			err := im.eachRow(d, func(row *litellmdb.DumpRow) error {
				if n++; passOf(row.Table) != pass || refused[n] {
					return nil
				}
				if team := text(row, "team_id"); row.Table == litellmdb.KeyTable && team != "" {
					if taken, there := im.teams[team]; there && !taken {
						im.refuse(d.Name, row, &litellmdb.Result{Column: "team_id", Reason: "the row of the key's team was refused"})
						return nil
					}
				}
				return im.add(d, row)
			})
			if err != nil {
				return err
			}
		}
		if err := im.send(); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) eachRow(d *litellmdb.Dump, fn func(*litellmdb.DumpRow) error) error {
	f, err := os.Open(d.Name)
	if err != nil {
		return err
	}
	return errors.Join(d.Each(f, fn), f.Close())
}

func reported(file string, row *litellmdb.DumpRow, r *litellmdb.Result) reportedRow {
	return reportedRow{
		File: file, Line: row.Line, Row: row.N, Table: row.Table, ID: r.ID, Columns: r.Columns, Column: r.Column, Reason: r.Reason,
	}
}

// check finds what is wrong with a row whatever the store holds.
func (im *importer) check(row *litellmdb.DumpRow) *litellmdb.Result {
	rec, refused := litellmdb.Check(&row.Row)
	if row.Fault != nil {
		refused = &litellmdb.Result{Column: row.Fault.Column, Reason: row.Fault.Reason}
	}
	if refused != nil {
		im.refusedTeam(row)
		return refused
	}
	if im.twice("id", row.Table, rec.ID) {
		im.refusedTeam(row)
		return &litellmdb.Result{ID: rec.Label, Column: rec.Table.ID(), Reason: "is in the dump twice"}
	}
	if rec.Alias != "" && im.twice("alias", row.Table, rec.Alias) {
		return &litellmdb.Result{ID: rec.Label, Column: "key_alias", Reason: "another key of the dump has this alias: rename one of them"}
	}
	for _, c := range rec.Unenforced {
		im.report.Unenforced[row.Table+"."+c]++
	}
	if rec.NoModels {
		im.report.NoModels[row.Table]++
	}
	if row.Table == litellmdb.TeamTable {
		im.teams[rec.ID] = true
	}
	return nil
}

// refusedTeam notes the team of a row that is refused: its keys are kept out.
func (im *importer) refusedTeam(row *litellmdb.DumpRow) {
	if row.Table == litellmdb.TeamTable {
		im.teams[text(row, "team_id")] = false
	}
}

// text returns the text of a column; empty when it has none.
func text(row *litellmdb.DumpRow, column string) string {
	var s string
	if json.Unmarshal(row.Columns[column], &s) != nil {
		return ""
	}
	return s
}

func (im *importer) twice(what ...string) bool {
	sum := maphash.String(im.seed, strings.Join(what, "\x00"))
	was := im.seen[sum]
	im.seen[sum] = true
	return was
}

// add puts a row into the batch, and sends that when it is full.
func (im *importer) add(d *litellmdb.Dump, row *litellmdb.DumpRow) error {
	size := 0
	for n, v := range row.Columns {
		size += len(n) + len(v) + 4
	}
	if len(im.batch) == litellmdb.MaxRows || im.size+size > batchBytes {
		if err := im.send(); err != nil {
			return err
		}
	}
	im.batch, im.files, im.size = append(im.batch, row), append(im.files, d.Name), im.size+size
	return nil
}

// send imports the batch and notes what became of its rows.
func (im *importer) send() error {
	if len(im.batch) == 0 {
		return nil
	}
	im.report.begun = true
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // which would make it longer
	for _, row := range im.batch {
		if err := enc.Encode(row.Row); err != nil {
			return err
		}
	}
	answer, err := ask(im.cmd, http.MethodPost, "/tollgate/keys/import", im.query, &body)
	n := 0
	if err == nil {
		err = errors.Join(operator.EachLine(answer, func(r litellmdb.Result) error {
			if n < len(im.batch) {
				im.note(n, &r)
			}
			n++
			return nil
		}), answer.Close())
	}
	if err == nil && n != len(im.batch) {
		err = errors.New("the instance's answer breaks off")
	}
	if err != nil {
		first := im.batch[0]
		return fmt.Errorf("stopped at %s:%d (row %d of %s), %d of %d rows are done; importing again goes on from there: %w",
			im.files[0], first.Line, first.N, first.Table, im.sent, im.total, err)
	}
	im.sent += n
	im.batch, im.files, im.size = im.batch[:0], im.files[:0], 0
	if now := time.Now(); now.Sub(im.shown) >= progressEvery {
		im.shown = now
		im.cmd.PrintErrf("%s of %s rows\n", humanize.Comma(int64(im.sent)), humanize.Comma(int64(im.total)))
	}
	return nil
}

func (im *importer) note(i int, r *litellmdb.Result) {
	row := im.batch[i]
	if r.Team != "" && !im.teams[r.Team] { // of a dry run, in which the dump's teams are not made
		r = &litellmdb.Result{ID: r.ID, Action: litellmdb.Refused, Column: "team_id", Reason: litellmdb.NoTeam}
	}
	if r.Action == litellmdb.Refused {
		im.refusedTeam(row)
	}
	t := im.report.table(row.Table)
	at := reported(im.files[i], row, r)
	switch r.Action {
	case litellmdb.Added:
		t.Added++
	case litellmdb.Changed:
		t.Changed++
		im.report.list(&im.report.Changed, at)
	case litellmdb.Same:
		t.Same++
	default:
		im.refuse(im.files[i], row, r)
	}
}

// refuse reports a row that is not taken.
func (im *importer) refuse(file string, row *litellmdb.DumpRow, r *litellmdb.Result) {
	im.report.table(row.Table).Refused++
	im.report.list(&im.report.Refused, reported(file, row, r))
}

// errRefused makes the exit status 1 when some rows were refused.
var errRefused = errors.New("some rows were refused")

func (im *importer) print() error {
	r := &im.report
	refused := 0
	for _, t := range r.Tables {
		refused += t.Refused
	}
	var err error
	if operator.AsJSON(im.cmd) {
		err = json.NewEncoder(im.cmd.OutOrStdout()).Encode(r)
	} else {
		err = r.print(im.cmd.OutOrStdout())
	}
	if err == nil && refused > 0 {
		err = errRefused
	}
	return err
}

// print writes the report for people.
func (r *importReport) print(w io.Writer) error {
	table := operator.NewTable(w, "TABLE", "ROWS", "ADDED", "CHANGED", "SAME", "REFUSED")
	for _, t := range r.Tables {
		table.Row(t.Table, t.Rows, t.Added, t.Changed, t.Same, t.Refused)
	}
	if err := table.End(); err != nil {
		return err
	}
	p := operator.NewPrinter(w)
	printRows(p, "changed", r.Changed)
	printRows(p, "refused", r.Refused)
	if len(r.Unenforced) > 0 {
		p.Line("\nKept and shown, but no call is refused by them here (rows):")
		for _, n := range slices.Sorted(maps.Keys(r.Unenforced)) {
			p.Line("  %s (%d)", n, r.Unenforced[n])
		}
	}
	for _, table := range slices.Sorted(maps.Keys(r.NoModels)) {
		p.Line("\n%d rows of %s have their models from access groups alone, which are not known here: they may use no model.", r.NoModels[table], table)
	}
	if r.DryRun {
		p.Line("\nThis was a dry run: nothing was changed.")
	}
	return p.Err()
}

func printRows(p *operator.Printer, title string, rows []reportedRow) {
	for i, row := range rows {
		if i == 0 {
			p.Line("")
		}
		if i == printedRows {
			p.Line("... and %d more %s rows: --json lists them", len(rows)-i, title)
			break
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s  %s:%d (row %d)", title, row.File, row.Line, row.Row)
		for _, s := range []string{row.ID, strings.Join(row.Columns, ", ")} {
			if s != "" {
				b.WriteString("  " + s)
			}
		}
		if row.Column != "" {
			b.WriteString("  " + row.Column + ":")
		}
		if row.Reason != "" {
			b.WriteString(" " + row.Reason)
		}
		p.Line("%s", b.String())
	}
}
