package console

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/ledger"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

func init() {
	changes["retry"] = decision("Send this record to Lago again?", "pending again", false, operator.Retry)
	changes["estimate"] = decision("Bill this call for its estimated input?", "billed by estimate", false, operator.Estimate)
	changes["discard"] = decision("Discard this record? It will never be billed.", "settled without a bill", true, operator.Discard)
}

// decision is an operator's change to one record.
func decision(title, became string, danger bool, run func(operator.Change) (int, error)) changeDef {
	return changeDef{
		title: title, fields: []string{"id", "reason"}, back: "decide", danger: danger,
		run: func(v *visit, f url.Values) (*done, error) {
			id := strings.TrimSpace(f.Get("id"))
			if id == "" {
				return nil, refuse(http.StatusBadRequest, "The form names no call.")
			}
			a, release, err := v.holdAccount()
			if err != nil {
				return nil, err
			}
			defer release()
			n, err := run(operator.Change{Account: a.Name(), IDs: []string{id}, Reason: f.Get("reason")})
			if err != nil {
				return nil, err
			}
			if n == 0 {
				return &done{notice: "Nothing was changed: someone has decided on the record in the meantime."}, nil
			}
			if err := v.noteDecision(a.Name(), id, f.Get("reason")); err != nil {
				v.h.logger.Error("console: a decision was made but is missing from the audit log", zap.String("id", id), zap.Error(err))
				return &done{notice: "Call " + id + " is " + became + ". The audit log could not be written; the gateway's log has the change."}, nil
			}
			return &done{notice: "Call " + id + " is " + became + "."}, nil
		},
	}
}

// noteDecision adds a decision to the audit log.
func (v *visit) noteDecision(account, id, reason string) error {
	after := make(map[string]json.RawMessage)
	for name, value := range map[string]string{"account": account, "reason": reason} {
		if value == "" {
			continue
		}
		raw, err := json.Marshal(value)
		if err != nil {
			return err
		}
		after[name] = raw
	}
	_, err := withService(v, func(ctx context.Context, s *keys.Service) (*done, error) {
		return nil, s.Note(ctx, keys.AuditChange{Kind: "record", ID: id, What: v.r.PostForm.Get("do"), After: after})
	})
	return err
}

// decisions returns the forms for the decisions that a record allows.
func decisions(c *ledger.Call) []form {
	id := []field{{Name: "id", Value: c.ID}}
	discard := form{
		Action: root + "decide", Do: "discard", Button: "Discard", Danger: true, Hidden: id,
		Fields: []field{{Name: "reason", Label: "Reason", Required: true}},
	}
	if c.State == spool.StateRejected {
		return []form{{Action: root + "decide", Do: "retry", Button: "Retry", Hidden: id}, discard}
	}
	return []form{{Action: root + "decide", Do: "estimate", Button: "Bill the estimate", Hidden: id}, discard}
}

// showDecide lists the records that need an operator's decision.
func showDecide(v *visit) (*content, error) {
	a, release, err := v.holdAccount()
	if err != nil {
		return nil, err
	}
	defer release()
	page := &content{Sections: []section{{Bare: true, Text: "Open a call to retry, estimate or discard it."}}}
	for _, of := range []struct {
		state spool.State
		title string
		why   string
		none  string
	}{
		{spool.StateRejected, "Dead-lettered", "Lago's error", "No record was rejected by Lago."},
		{spool.StateInterrupted, "Interrupted", "Estimated input", "No call was interrupted."},
	} {
		l, err := find(v.r.Context(), a, ledger.Search{States: []spool.State{of.state}})
		if err != nil {
			return nil, err
		}
		t := &table{
			Caption: "Records that wait", Empty: of.none, Head: []string{"Time", "Call", "Payer", "Model", "Cost in USD", of.why},
		}
		s := section{Title: of.title, Tables: []*table{t}}
		if l.Total > len(l.Calls) {
			s.Text = "Only the newest are shown."
		}
		if l.Broken != nil {
			s.Alarms = []string{"Some records cannot be read: " + l.Broken.Error()}
		}
		for i := range l.Calls {
			c := &l.Calls[i]
			why := orDash(string(c.Note))
			if of.state == spool.StateInterrupted {
				why = orDash(estimateOf(c))
			}
			t.Rows = append(t.Rows, []cell{
				moment(c.At), callLink(c.ID), orDash(c.Payer), orDash(c.Model), figure(c.Cost), why,
			})
		}
		page.Sections = append(page.Sections, s)
	}
	return page, nil
}

// estimateOf shows what an interrupted call would be billed by estimate.
func estimateOf(c *ledger.Call) string {
	if c.Tariff == nil || len(c.Tariff.Estimate) == 0 {
		return ""
	}
	var parts []string
	for _, l := range c.Tariff.Estimate {
		parts = append(parts, l.Count+" "+l.Kind+": $"+l.Base)
	}
	return strings.Join(parts, ", ")
}
