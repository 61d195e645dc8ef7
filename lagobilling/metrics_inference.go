package lagobilling

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate-llm/tollgate/internal/genai"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
)

// inferenceNames are the labels of OpenTelemetry's metrics of model calls.
var inferenceNames = []string{genai.OperationName, genai.ProviderName, genai.RequestModel, genai.ErrorType}

// inferenceLabels are their values. The model is the configured name.
type inferenceLabels struct{ endpoint, provider, model, fault string }

func (l *inferenceLabels) values() []string {
	return []string{genai.Operation(l.endpoint), genai.Provider(l.provider), l.model, l.fault}
}

// inferenceSeries are the series of calls with the same labels.
type inferenceSeries struct{ duration, firstChunk kept[prometheus.Observer] }

func newInference() (duration, firstChunk *prometheus.HistogramVec) {
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: genai.DurationBuckets}, inferenceNames)
	}
	return histogram(genai.InferenceDuration, "Seconds until a model call was settled, by OpenTelemetry's conventions."),
		histogram(genai.InferenceFirstChunk, "Seconds until the first piece of a streamed answer, by OpenTelemetry's conventions.")
}

// observeInference counts a settled call by OpenTelemetry's names.
func (m *callMetrics) observeInference(c *llm.Settlement) {
	if c.Endpoint == nil {
		return
	}
	l := inferenceLabels{endpoint: c.Endpoint.Name, provider: c.Target.Provider, model: c.Target.Model}
	if c.Outcome != record.OutcomeCompleted {
		l.fault = c.Outcome
	}
	s := m.inferenceOf(l)
	s.duration.get(func() prometheus.Observer { return m.inference.WithLabelValues(l.values()...) }).Observe(c.Duration.Seconds())
	if c.Stream && c.FirstByte >= 0 {
		s.firstChunk.get(func() prometheus.Observer { return m.firstChunk.WithLabelValues(l.values()...) }).Observe(c.FirstByte.Seconds())
	}
}

func (m *callMetrics) inferenceOf(l inferenceLabels) *inferenceSeries {
	m.mu.RLock()
	s := m.kinds[l]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s = m.kinds[l]; s == nil {
		s = new(inferenceSeries)
		m.kinds[l] = s
	}
	return s
}
