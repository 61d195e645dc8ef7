package audit

import (
	"context"
	"errors"
	"net/http"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// States of a billable metric after setup.
const (
	MetricExists  = "exists"
	MetricMissing = "missing" // a dry run would create it
	MetricCreated = "created"
	MetricDiffers = "differs" // it is left as it is
)

// MetricReport is a required billable metric.
type MetricReport struct {
	Code        string `json:"code"`
	Name        string `json:"name"`
	Aggregation string `json:"aggregation_type"`
	Field       string `json:"field_name,omitempty"`
	State       string `json:"state"` // exists, missing, created, differs
	Message     string `json:"words,omitempty"`
}

// SetupReport is the result of setup for an account.
type SetupReport struct {
	Account string         `json:"account"`
	Lago    string         `json:"lago,omitempty"`
	OK      bool           `json:"ok"` // all metrics are as required, or would be
	Error   string         `json:"error,omitempty"`
	Metrics []MetricReport `json:"metrics"`
}

// SetupList is the body of a setup's answer.
type SetupList struct {
	OK       bool          `json:"ok"`
	DryRun   bool          `json:"dry_run"`
	Accounts []SetupReport `json:"accounts"`
}

// SetUp creates the required billable metrics that Lago does not have. With dry it only reports them.
func (a *Account) SetUp(ctx context.Context, dry bool, report Progress) SetupReport {
	r := SetupReport{Account: a.Name, Metrics: []MetricReport{}}
	client := a.Lago
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
	required := a.requiredMetrics()
	for i := range required {
		report("billable metrics", i, len(required))
		m, err := a.setUpMetric(ctx, client, &required[i], have, dry)
		if err != nil {
			r.OK, r.Error = false, "metric "+required[i].Code+": "+err.Error()
			return r
		}
		r.OK = r.OK && m.State != MetricDiffers
		r.Metrics = append(r.Metrics, m)
	}
	return r
}

func (a *Account) setUpMetric(
	ctx context.Context, client *lago.Client, w *tariff.Metric, have map[string]lago.BillableMetric, dry bool,
) (MetricReport, error) {
	m := MetricReport{Code: w.Code, Name: w.Name, Aggregation: tariff.SumAgg, Field: w.Field, State: MetricMissing}
	known, there := have[w.Code]
	if !there && !dry {
		created, err := client.CreateBillableMetric(ctx, lago.BillableMetric{
			Name: w.Name, Code: w.Code, AggregationType: tariff.SumAgg, FieldName: w.Field,
			Description: "Created by Tollgate for its events " + w.Shape,
		})
		if err == nil {
			m.Name, m.State = created.Name, MetricCreated
			return m, nil
		}
		if e, ok := errors.AsType[*lago.Error](err); !ok || e.Status != http.StatusUnprocessableEntity {
			return m, err
		}
		// Another instance may have created it meanwhile.
		var lookErr error
		if known, lookErr = client.BillableMetric(ctx, w.Code); lookErr != nil {
			return m, err
		}
		there = true
	}
	if there {
		m.Name, m.Aggregation, m.Field, m.State = known.Name, known.AggregationType, known.FieldName, MetricExists
		problem, warning := w.Fits(known)
		if m.Message = warning; problem != "" {
			m.State, m.Message = MetricDiffers, problem
		}
	}
	return m, nil
}
