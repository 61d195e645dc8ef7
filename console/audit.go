package console

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/audit"
	"github.com/tollgate-llm/tollgate/internal/keys"
	billing "github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// auditTime is the time limit of an audit, which queries Lago.
const auditTime = 60 * time.Second

// showAudit lists the audits and shows the one named in the path.
func showAudit(v *visit) (*content, error) {
	a, release, err := v.holdAccount()
	if err != nil {
		return nil, err
	}
	defer release()
	page := &content{Sections: []section{{First: true, Forms: []form{
		{Title: "Would Lago accept calls and not bill them?", Action: root + "audit/check", Button: "Check"},
		{Title: "Has Lago drifted from the ledger?", Action: root + "audit/reconcile", Button: "Reconcile"},
		{Title: "Who changed keys and teams, and decided on records?", Action: root + "audit/log", Button: "Audit log"},
	}}}}
	ctx, cancel := context.WithTimeout(v.r.Context(), auditTime)
	defer cancel()
	quiet := func(string, int, int) {}
	switch v.arg {
	case "":
		return page, nil
	case "check":
		list, err := billing.Check(ctx, a.Name(), quiet)
		if err != nil {
			return nil, err
		}
		for i := range list.Accounts {
			page.Sections = append(page.Sections, findings(&list.Accounts[i]))
		}
	case "log":
		s, err := v.auditLog(ctx)
		if err != nil {
			return nil, err
		}
		page.Sections = append(page.Sections, s)
	case "reconcile":
		report, err := billing.Reconcile(ctx, a.Name(), audit.Query{Lag: audit.DefaultLag}, quiet)
		if err != nil {
			return nil, err
		}
		page.Sections = append(page.Sections, differences(&report))
	default:
		return nil, noPage()
	}
	return page, nil
}

// auditLog shows the latest changes to keys, teams and other objects.
func (v *visit) auditLog(ctx context.Context) (section, error) {
	s, release, err := v.site.keys.Service(ctx)
	if err != nil {
		return section{}, err
	}
	defer release()
	var last []*keys.AuditEntry
	total := 0
	err = s.Audit(ctx, keys.AuditFilter{}, func(e *keys.AuditEntry) error {
		total++
		if last = append(last, e); len(last) > maxListed {
			last = last[1:]
		}
		return nil
	})
	if err != nil {
		return section{}, err
	}
	t := &table{
		Caption: operator.Counted(total, "change") + ", the latest first", Empty: "Nothing was changed.",
		Head: []string{"Time", "By", "Action", "Changes"},
	}
	for _, e := range slices.Backward(last) {
		var changed []string
		for _, c := range e.Changes {
			what := c.Kind + " " + c.ID + " " + c.What
			if raw := c.After["reason"]; raw != nil && c.Kind == "record" {
				what += ", because " + string(raw)
			}
			changed = append(changed, what)
		}
		by := e.Actor
		if e.Behalf != "" {
			by += ", as it states for " + e.Behalf
		}
		t.Rows = append(t.Rows, []cell{moment(e.At), orDash(by), orDash(e.Action), orDash(strings.Join(changed, "; "))})
	}
	return section{Title: "Audit log", Tables: []*table{t}}, nil
}

func levelTone(level string) tone {
	return map[string]tone{audit.LevelOK: goodTone, audit.LevelWarning: waitTone, audit.LevelProblem: badTone}[level]
}

func findings(r *audit.CheckReport) section {
	s := section{Title: "Check of account " + r.Account, Text: "There is no problem."}
	if !r.OK {
		s.Text, s.Alarms = "", []string{"There are problems: calls would not be billed."}
	}
	t := &table{Caption: "What was found", Head: []string{"Level", "About", "Finding"}, Empty: "Nothing was found."}
	for _, f := range r.Findings {
		t.Rows = append(t.Rows, []cell{state(f.Level, levelTone(f.Level)), text(f.About), text(f.Message)})
	}
	s.Tables = []*table{t}
	return s
}

func differences(r *audit.ReconcileReport) section {
	s := section{Title: "Ledger and Lago", Text: "They agree."}
	if !r.OK {
		s.Text, s.Alarms = "", []string{"Differences: " + number(r.Differences).Text}
	}
	t := &table{
		Caption: "By payer and metric", Empty: "The ledger has no events.",
		Head: []string{"Payer", "Code", "Events", "At Lago", "Pending", "Rejected", "Units", "Units that Lago bills", "Differences"},
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		t.Rows = append(t.Rows, []cell{
			text(l.Payer), text(l.Code), number(l.Events), number(l.AtLago), number(l.Pending), number(l.Rejected),
			figure(l.Units), figure(l.UsageUnits), orDash(strings.Join(l.Differences, "; ")),
		})
	}
	s.Tables = []*table{t}
	return s
}
