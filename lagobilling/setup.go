package lagobilling

import (
	"context"
	"errors"
	"net/http"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// What setup found or did about a billable metric.
const (
	setupExists  = "exists"
	setupMissing = "missing" // a dry run would create it
	setupCreated = "created"
	setupDiffers = "differs" // it is left as it is
)

// setupMetric is a billable metric of the configured shape of events.
type setupMetric struct {
	Code        string `json:"code"`
	Name        string `json:"name"`
	Aggregation string `json:"aggregation_type"`
	Field       string `json:"field_name,omitempty"`
	State       string `json:"state"` // exists, missing, created, differs
	Words       string `json:"words,omitempty"`
}

// setupReport is what setup found or did for an account.
type setupReport struct {
	Account string        `json:"account"`
	Lago    string        `json:"lago,omitempty"`
	OK      bool          `json:"ok"` // every metric is there as it must be, or would be
	Error   string        `json:"error,omitempty"`
	Metrics []setupMetric `json:"metrics"`
}

// setupList is the body of a setup.
type setupList struct {
	OK       bool          `json:"ok"`
	DryRun   bool          `json:"dry_run"`
	Accounts []setupReport `json:"accounts"`
}

// setUp creates the billable metrics of the account's events that Lago does not have; with dry, it says which.
func (a *Account) setUp(ctx context.Context, dry bool, tell func(string, int, int)) setupReport {
	r := setupReport{Account: a.name, Metrics: []setupMetric{}}
	client := a.lago()
	if client == nil {
		r.Error = "no api_base is configured: there is no Lago to set up"
		return r
	}
	r.Lago = client.Base()
	list, err := client.BillableMetrics(ctx)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	have := make(map[string]lago.BillableMetric, len(list))
	for _, m := range list {
		have[m.Code] = m
	}
	r.OK = true
	wanted := a.wantedMetrics()
	for i := range wanted {
		tell("billable metrics", i, len(wanted))
		m, err := a.setUpMetric(ctx, client, &wanted[i], have, dry)
		if err != nil {
			r.OK, r.Error = false, "metric "+wanted[i].Code+": "+err.Error()
			return r
		}
		r.OK = r.OK && m.State != setupDiffers
		r.Metrics = append(r.Metrics, m)
	}
	return r
}

func (a *Account) setUpMetric(
	ctx context.Context, client *lago.Client, w *tariff.Metric, have map[string]lago.BillableMetric, dry bool,
) (setupMetric, error) {
	m := setupMetric{Code: w.Code, Name: w.Name, Aggregation: tariff.SumAgg, Field: w.Field, State: setupMissing}
	known, there := have[w.Code]
	if !there && !dry {
		created, err := client.CreateBillableMetric(ctx, lago.BillableMetric{
			Name: w.Name, Code: w.Code, AggregationType: tariff.SumAgg, FieldName: w.Field,
			Description: "Created by Tollgate for its events " + w.Shape,
		})
		if err == nil {
			m.Name, m.State = created.Name, setupCreated
			return m, nil
		}
		if e, ok := errors.AsType[*lago.Error](err); !ok || e.Status != http.StatusUnprocessableEntity {
			return m, err
		}
		// Somebody else, another instance perhaps, has created it meanwhile.
		var lookErr error
		if known, lookErr = client.BillableMetric(ctx, w.Code); lookErr != nil {
			return m, err
		}
		there = true
	}
	if there {
		m.Name, m.Aggregation, m.Field, m.State = known.Name, known.AggregationType, known.FieldName, setupExists
		problem, warning := w.Fits(known)
		if m.Words = warning; problem != "" {
			m.State, m.Words = setupDiffers, problem
		}
	}
	return m, nil
}
