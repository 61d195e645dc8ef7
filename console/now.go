package console

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/account"
	billing "github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// lateAfter is the age of the oldest undelivered record above which an alarm is shown.
const lateAfter = 10 * time.Minute

// showNow shows the current state of the site.
func showNow(v *visit) (*content, error) {
	if v.site.bills == nil {
		return &content{Sections: []section{{Text: "This site has no lagobilling: nothing is metered here."}}}, nil
	}
	a, release, err := v.site.bills.HoldAccount(v.r.Context())
	if err != nil {
		return nil, err
	}
	defer release()
	now := time.Now()
	st := billing.StatusOf(a, now)
	r, err := ratesOf(v.r.Context(), a, now)
	if err != nil {
		return nil, err
	}
	charts, err := r.charts()
	if err != nil {
		return nil, err
	}
	page := &content{Live: true, Sections: []section{{Bare: true, Alarms: alarms(&st), Tiles: tilesOf(&st, r, a.Settings().SpoolMax)}}}
	minutes := section{Title: "The last " + number(ratesMinutes).Text + " minutes", Charts: charts, Tables: []*table{r.table()}}
	if r.short {
		minutes.Text = "There are more records than could be read in one second, so the latest minutes are incomplete."
	}
	page.Sections = append(page.Sections, minutes, lagoOf(&st))
	if st.Postgres != nil {
		page.Sections = append(page.Sections, postgresOf(st.Postgres))
	}
	return page, nil
}

// tilesOf returns the key figures.
func tilesOf(st *billing.Status, r *rates, limit int64) []tile {
	m := r.last()
	counted := func(n int64, bad tone) tone {
		if n > 0 {
			return bad
		}
		return plainTone
	}
	queue := tile{Name: "Waiting for Lago", Value: number(st.Pending).Text, Note: "nothing waits"}
	switch {
	case st.Lago == "":
		queue.Note = "ledger only: nothing is sent"
	case st.Pending > 0:
		queue.Note = "the oldest for " + ageOf(st)
	}
	if time.Duration(st.OldestAge)*time.Second > lateAfter {
		queue.Tone = badTone
	}
	spool := tile{Name: "Spool", Value: humanize.Bytes(uint64(max(0, st.Bytes))), Note: "no limit"} //nolint:gosec // not negative
	if limit > 0 {
		spool.Note = fmt.Sprintf("%d %% of %s", st.Bytes/max(1, limit/100), humanize.Bytes(uint64(limit))) //nolint:gosec // positive
	}
	if st.Full {
		spool.Tone = badTone
	}
	return []tile{
		{Name: "Calls in flight", Value: number(st.Open).Text, Note: operator.Counted(int(st.Drains), "answer") + " read on after a hang-up"},
		{Name: "Calls a minute", Value: number(m.calls).Text, Note: "settled in the minute before this one"},
		{Name: "Failed a minute", Value: number(m.failed).Text, Note: "errors and cut answers", Tone: counted(int64(m.failed), waitTone)},
		{Name: "Cost a minute", Value: "$" + m.cost.String(), Note: "in the minute before this one"},
		queue,
		{Name: "Dead-lettered", Value: number(st.Rejected).Text, Note: "records that Lago rejected", Link: root + "decide", Tone: counted(st.Rejected, badTone)},
		{Name: "Interrupted", Value: number(st.Interrupted).Text, Note: "calls that wait for a decision", Link: root + "decide", Tone: counted(st.Interrupted, waitTone)},
		spool,
	}
}

// lagoOf shows the state of the delivery to Lago.
func lagoOf(st *billing.Status) section {
	s := section{Title: "Lago", Text: "No api_base is configured: records stay in the ledger and nothing is billed."}
	d := st.Delivery
	if d == nil {
		return s
	}
	s.Text = ""
	s.Facts = []fact{
		{"Address", text(st.Lago)},
		{"Last success", moment(d.LastSuccess)},
		{"Events accepted by Lago since the start", number(st.Delivered)},
		{"Events on their way", number(d.InFlight)},
	}
	if d.LastError != "" {
		s.Facts = append(s.Facts, fact{"Last error", text(d.LastError)}, fact{"At", moment(d.LastErrorAt)})
	}
	if !d.DeliveryPaused.IsZero() {
		s.Facts = append(s.Facts, fact{"Paused until", moment(d.DeliveryPaused)})
	}
	s.Facts = append(s.Facts, fact{"Finished records that are readable", number(st.Finished)})
	return s
}

// postgresOf shows how up to date the copy in PostgreSQL is.
func postgresOf(w *account.WarehouseStatus) section {
	s := section{Title: "PostgreSQL", Facts: []fact{
		{"Database", text(w.Database)},
		{"Records that it does not have yet", number(w.Waiting)},
		{"The oldest waits for", text((time.Duration(w.OldestSeconds) * time.Second).String())},
	}}
	if w.LastError != "" {
		s.Facts = append(s.Facts, fact{"Last error", text(w.LastError)}, fact{"At", moment(w.LastErrorAt)})
	}
	return s
}

func ageOf(st *billing.Status) string { return (time.Duration(st.OldestAge) * time.Second).String() }

// alarms lists the problems that need an operator's attention.
func alarms(st *billing.Status) []string {
	var list []string
	add := func(when bool, format string, args ...any) {
		if when {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	add(st.Full, "The spool is full: new calls are refused.")
	add(st.Rejected > 0, "Lago rejected %s: decide what to do.", operator.Counted(int(st.Rejected), "record"))
	add(st.Interrupted > 0, "%s left open when a process ended: decide what to do.", operator.Counted(int(st.Interrupted), "call"))
	add(time.Duration(st.OldestAge)*time.Second > lateAfter, "No record has reached Lago for %s.", ageOf(st))
	if st.Delivery != nil {
		add(st.Delivery.Stopped != "", "Nothing is sent to Lago: %s", st.Delivery.Stopped)
	}
	if w := st.Postgres; w != nil {
		add(!w.LostSince.IsZero(), "PostgreSQL accepts no records: %s are waiting in the spool and filling it up.", operator.Counted(int(w.Waiting), "record"))
	}
	if st.Payers != nil {
		add(len(st.Payers.Unknown) > 0, "Lago does not know %s and bills nothing for their calls.", operator.Counted(len(st.Payers.Unknown), "payer"))
	}
	add(st.LastError != "" && st.Lago == "", "The spool reports: %s", st.LastError)
	return list
}
