package proof

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// report is the result of a run.
type report struct {
	mode mode
	took time.Duration

	calls, whole, http2, hangUps, broken       int
	providerCalls, upstreamFaults              int
	kills, killsBeforeNote, killsAtLastByte    int
	reloads, stops                             int
	events, lagoFaults, answersLost, sentAgain int
	lost, twice                                int

	providerWhole, lagoWhole, lago big.Rat // USD
	rows                           map[string]*row
}

// row sums up the records of one kind.
type row struct {
	records, events int
	provider, lago  big.Rat // USD: reported by the provider, and billed
}

func (r *report) row(name string) *row {
	if r.rows == nil {
		r.rows = make(map[string]*row)
	}
	if r.rows[name] == nil {
		r.rows[name] = new(row)
	}
	return r.rows[name]
}

// tell adds the counts of faults to the report.
func (tr *trouble) tell(r *report) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	r.lagoFaults, r.answersLost, r.sentAgain, r.upstreamFaults = tr.lagoFaults, tr.lost, tr.resent, tr.upstream
}

// audit checks that every intended fault occurred.
func (tr *trouble) audit(r *report) {
	t := tr.w.t
	tr.mu.Lock()
	defer tr.mu.Unlock()
	require.Empty(t, tr.answered, "the gateway was killed before it could note these, and did not send them again: it cannot have known them to be delivered")
	require.Positive(t, r.killsBeforeNote, "kills between Lago's 200 and the note of it")
	require.Positive(t, r.killsAtLastByte, "kills at an answer's last byte")
	require.Positive(t, r.whole, "answers received whole")
	require.Positive(t, r.http2, "answers received whole over HTTP/2")
	require.Positive(t, r.hangUps, "hang-ups")
	require.Positive(t, r.sentAgain, "events that were sent again")
	require.Positive(t, r.row("interrupted").records, "calls that a kill interrupted")
}

// usd formats an amount in full.
func usd(r *big.Rat) string {
	if r == nil {
		return "none"
	}
	return r.FloatString(15)
}

// table prints reports side by side.
func table(reports []*report) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight|tabwriter.TabIndent)
	line := func(name string, value func(r *report) any) {
		fmt.Fprint(w, name)
		for _, r := range reports {
			fmt.Fprintf(w, "\t%v", value(r))
		}
		fmt.Fprintln(w, "\t")
	}
	line("Lago's store", func(r *report) any { return r.mode.store })
	line("durability", func(r *report) any { return r.mode.durability })
	line("calls made", func(r *report) any { return r.calls })
	line("answers received whole", func(r *report) any { return r.whole })
	line("of them: over HTTP/2", func(r *report) any { return r.http2 })
	line("hang-ups", func(r *report) any { return r.hangUps })
	line("broken off or refused", func(r *report) any { return r.broken })
	line("calls that the provider had", func(r *report) any { return r.providerCalls })
	line("faults of the provider", func(r *report) any { return r.upstreamFaults })
	line("faults of Lago", func(r *report) any { return r.lagoFaults })
	line("of them: answer lost after its commit", func(r *report) any { return r.answersLost })
	line("kills (SIGKILL)", func(r *report) any { return r.kills })
	line("of them: between Lago's 200 and our note", func(r *report) any { return r.killsBeforeNote })
	line("of them: at an answer's last byte", func(r *report) any { return r.killsAtLastByte })
	line("reloads", func(r *report) any { return r.reloads })
	line("graceful stops", func(r *report) any { return r.stops })
	var rows []string
	for _, r := range reports {
		for name := range r.rows {
			if !slices.Contains(rows, name) {
				rows = append(rows, name)
			}
		}
	}
	slices.Sort(rows)
	for _, name := range rows {
		line("records: "+name, func(r *report) any { return r.row(name).records })
	}
	line("events at Lago", func(r *report) any { return r.events })
	line("events that were sent again", func(r *report) any { return r.sentAgain })
	line("answers lost", func(r *report) any { return r.lost })
	line("events billed twice", func(r *report) any { return r.twice })
	line("USD, answers received whole: at the provider", func(r *report) any { return usd(&r.providerWhole) })
	line("USD, answers received whole: at Lago", func(r *report) any { return usd(&r.lagoWhole) })
	for _, name := range rows {
		if !slices.ContainsFunc(reports, func(r *report) bool { return r.row(name).provider.Sign()+r.row(name).lago.Sign() > 0 }) {
			continue
		}
		line("USD, "+name+": at the provider", func(r *report) any { return usd(&r.row(name).provider) })
		line("USD, "+name+": at Lago", func(r *report) any { return usd(&r.row(name).lago) })
	}
	line("took", func(r *report) any { return r.took.Round(time.Second) })
	_ = w.Flush() // into memory
	return b.String()
}
