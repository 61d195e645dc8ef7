package console

import (
	"context"
	"time"

	"github.com/tollgate-llm/tollgate/internal/books"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
)

// spentSection shows the spend of a key or a team, and how much of each of its limits is used, reserved and
// left.
func (v *visit) spentSection(ctx context.Context, scope limit.Scope, l *keys.Limits, err error) (section, error) {
	if err != nil {
		return section{Title: "Limits", Alarms: []string{"The limits cannot be read: " + err.Error()}}, nil
	}
	totals, states, err := v.site.keys.Spent(ctx, scope, l, time.Now())
	if err != nil {
		return section{}, err
	}
	t := &table{
		Caption: "Limits and their use", Empty: "Nothing is limited.",
		Head: []string{"Limit of", "Model", "Limit", "Spent or used", "Reserved", "Left", "Resets"},
	}
	for i := range states {
		st := &states[i]
		row := []cell{text(string(st.Metric)), orDash(st.Model)}
		if st.Metric == limit.Cost {
			row[0].Text = "cost in USD"
			if st.Soft {
				row[0].Text += ", soft"
			}
			row = append(row, figure(st.Money.String()), figure(st.Spent.String()), figure(st.Reserved.String()), figure(st.Left().String()))
		} else {
			row = append(row, number(st.Max), number(st.Used), orDash(""), number(st.Remaining()))
		}
		t.Rows = append(t.Rows, append(row, moment(st.ResetsAt)))
	}
	return section{Title: "Spend and limits", Facts: []fact{{"Spent in all, in USD", text(totals[books.Cost].String())}}, Tables: []*table{t}}, nil
}

// keySpent is spentSection for a key. A key that replaced another continues with that key's spend.
func (v *visit) keySpent(ctx context.Context, k *keys.Key) (section, error) {
	id := k.SpendID
	if id == "" {
		id = k.Token
	}
	l, err := k.Limits()
	return v.spentSection(ctx, limit.Scope{Kind: limit.Key, ID: id}, l, err)
}
