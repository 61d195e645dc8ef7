package console

import (
	"fmt"
	"time"

	"github.com/tollgate-llm/tollgate/app/operator"
	billing "github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// lateAfter is how old the oldest record that Lago does not have may be before it is an alarm.
const lateAfter = 10 * time.Minute

// showNow shows how the site is doing.
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
	limit := a.Settings().SpoolMax
	figures := []fact{
		{"Account", text(st.Account)},
		{"Calls in flight", number(st.Open)},
		{"Answers read on after a hang-up", number(st.Drains)},
		{"Records on their way to Lago", number(st.Pending)},
		{"Oldest of them", text(ageOf(&st))},
		{"Dead-lettered records", link(number(st.Rejected).Text, root+"decide")},
		{"Interrupted calls", link(number(st.Interrupted).Text, root+"decide")},
		{"Finished records that are readable", number(st.Finished)},
		{"Spool", text(fill(st.Bytes, limit))},
	}
	lago := section{Title: "Lago", Text: "No api_base is configured: records stay in the ledger and nothing is billed."}
	if d := st.Delivery; d != nil {
		lago = section{Title: "Lago", Facts: []fact{
			{"Address", text(st.Lago)},
			{"Last success", moment(d.LastSuccess)},
			{"Events that Lago took since the start", number(st.Delivered)},
			{"Events on their way", number(d.InFlight)},
			{"Last error", orDash(d.LastError)},
			{"At", moment(d.LastErrorAt)},
			{"Paused until", moment(d.DeliveryPaused)},
		}}
	}
	return &content{Sections: []section{{Alarms: alarms(&st)}, {Title: "Calls and records", Facts: figures}, lago}}, nil
}

func ageOf(st *billing.Status) string {
	if st.Pending == 0 {
		return "–"
	}
	return (time.Duration(st.OldestAge) * time.Second).String()
}

// fill shows how full a spool is.
func fill(bytes, limit int64) string {
	if limit <= 0 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%d of %d bytes (%d %%)", bytes, limit, bytes/max(1, limit/100))
}

// alarms lists what needs an operator.
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
	add(time.Duration(st.OldestAge)*time.Second > lateAfter, "Lago has not got a record for %s.", ageOf(st))
	if st.Delivery != nil {
		add(st.Delivery.Stopped != "", "Nothing is sent to Lago: %s", st.Delivery.Stopped)
	}
	if st.Payers != nil {
		add(len(st.Payers.Unknown) > 0, "Lago does not know %s, and bills nothing for their calls.", operator.Counted(len(st.Payers.Unknown), "payer"))
	}
	add(st.LastError != "" && st.Lago == "", "The spool reports: %s", st.LastError)
	return list
}
