package console

import (
	"context"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/audit"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// auditTime bounds an audit, which asks Lago.
const auditTime = 60 * time.Second

// showAudit offers the audits, and shows the one that the path names.
func showAudit(v *visit) (*content, error) {
	a, release, err := v.holdAccount()
	if err != nil {
		return nil, err
	}
	defer release()
	page := &content{Sections: []section{{Forms: []form{
		{Title: "Would Lago accept calls and not bill them?", Action: root + "audit/check", Button: "Check"},
		{Title: "Has Lago what the ledger has?", Action: root + "audit/reconcile", Button: "Reconcile"},
	}}}}
	ctx, cancel := context.WithTimeout(v.r.Context(), auditTime)
	defer cancel()
	quiet := func(string, int, int) {}
	switch v.arg {
	case "":
		return page, nil
	case "check":
		list, err := operator.Check(ctx, a.Name(), quiet)
		if err != nil {
			return nil, err
		}
		for i := range list.Accounts {
			page.Sections = append(page.Sections, findings(&list.Accounts[i]))
		}
	case "reconcile":
		report, err := operator.Reconcile(ctx, a.Name(), audit.Query{Lag: audit.DefaultLag}, quiet)
		if err != nil {
			return nil, err
		}
		page.Sections = append(page.Sections, differences(&report))
	default:
		return nil, noPage()
	}
	return page, nil
}

func findings(r *audit.CheckReport) section {
	s := section{Title: "Check of account " + r.Account, Text: "There is no problem."}
	if !r.OK {
		s.Text, s.Alarms = "", []string{"There are problems: calls would not be billed."}
	}
	s.Table = &table{Caption: "What was found", Head: []string{"Level", "About", "Finding"}, Empty: "Nothing was found."}
	for _, f := range r.Findings {
		s.Table.Rows = append(s.Table.Rows, []cell{text(f.Level), text(f.About), text(f.Message)})
	}
	return s
}

func differences(r *audit.ReconcileReport) section {
	s := section{Title: "Ledger and Lago", Text: "They agree."}
	if !r.OK {
		s.Text, s.Alarms = "", []string{"Differences: " + number(r.Differences).Text}
	}
	s.Table = &table{
		Caption: "By payer and metric", Empty: "The ledger has no events.",
		Head: []string{"Payer", "Code", "Events", "At Lago", "Pending", "Rejected", "Units", "Units that Lago bills", "Differences"},
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		s.Table.Rows = append(s.Table.Rows, []cell{
			text(l.Payer), text(l.Code), number(l.Events), number(l.AtLago), number(l.Pending), number(l.Rejected),
			figure(l.Units), figure(l.UsageUnits), orDash(strings.Join(l.Differences, "; ")),
		})
	}
	return s
}
