package llmroute

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/tollgate-llm/tollgate/internal/genai"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// tracerName is the name of the instrumentation scope.
const tracerName = "github.com/tollgate-llm/tollgate/llmroute"

// trail records the spans of a call as children of the span of Caddy's `tracing`: one for the call and below it
// one per attempt. They are created once the call is settled and its answer has been sent, with the tokens and
// cost of its record. The trail of an untraced request is nil.
type trail struct {
	ctx        context.Context // contains the request's span
	call       *llm.Call
	settlement *llm.Settlement
	over       time.Time // when the last attempt ended; zero before
	begun      time.Time
	done       bool
}

// trace starts the trail of a call if its request is traced.
func (h *Handler) trace(ctx context.Context, d *dispatch) *trail {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return nil
	}
	t := &trail{ctx: ctx, call: d.call, begun: time.Now()}
	d.call.OnSettle(func(s *llm.Settlement) {
		kept := *s
		t.settlement = &kept
		t.tell()
	})
	return t
}

// end ends the last attempt. It is deferred, because the reverse proxy panics if an answer is truncated.
func (t *trail) end() {
	if t != nil {
		t.over = time.Now()
		t.tell()
	}
}

// tell creates the spans when the attempts are over and the call is settled or never will be.
func (t *trail) tell() {
	if t.done || t.over.IsZero() || t.settlement == nil && t.call.Opened {
		return
	}
	t.done = true
	tracer := trace.SpanFromContext(t.ctx).TracerProvider().Tracer(tracerName, trace.WithInstrumentationAttributes(
		attribute.String("gen_ai.conventions", genai.Revision)))
	ctx, span := tracer.Start(t.ctx, "tollgate.call", trace.WithTimestamp(t.call.Start), trace.WithAttributes(t.callAttributes()...))
	last := t.call.Attempt()
	for a := last; a != nil; a = a.Before {
		t.attempt(ctx, tracer, a, a == last)
	}
	if s := t.settlement; s != nil && s.Outcome == "error" {
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(t.over))
}

// callAttributes returns the attributes of the call's span.
func (t *trail) callAttributes() []attribute.KeyValue {
	c := t.call
	list := []attribute.KeyValue{
		attribute.String(genai.CallID, c.ID), attribute.String(genai.Endpoint, c.Endpoint.Name), attribute.Int(genai.Attempts, c.Attempts()),
	}
	if to := c.Target(); to != nil {
		list = append(list, attribute.String(genai.Model, to.Model))
	}
	if id := c.Identity; id != nil {
		list = named(list, genai.Team, id.TeamID)
		list = named(list, genai.KeyAlias, id.KeyAlias)
	}
	if s := t.settlement; s != nil {
		list = append(list, attribute.String(genai.Outcome, s.Outcome))
		list = named(list, genai.Unpriced, s.Unpriced)
		if s.Cost != "" {
			list = append(list, attribute.String(genai.Cost, s.Cost), attribute.String(genai.CostCurrency, "USD"))
		}
	}
	return list
}

// attempt creates the span of one attempt. Only the last attempt has usage, because only it is billed.
func (t *trail) attempt(ctx context.Context, tracer trace.Tracer, a *llm.Attempt, last bool) {
	operation := genai.Operation(t.call.Endpoint.Name)
	list := []attribute.KeyValue{
		attribute.String(genai.OperationName, operation), attribute.String(genai.ProviderName, genai.Provider(a.Target.Provider)),
		attribute.String(genai.RequestModel, a.Target.Upstream), attribute.String(genai.Model, a.Target.Model),
		attribute.String(genai.Backend, a.Target.Backend), attribute.Int(genai.Attempt, a.Number),
	}
	list = server(list, a.Target.BaseURL)
	q := &t.call.Request
	if q.Stream {
		list = append(list, attribute.Bool(genai.RequestStream, true))
	}
	if q.MaxOutput > 0 {
		list = append(list, attribute.Int64(genai.RequestMaxTokens, q.MaxOutput))
	}
	if q.N > 1 {
		list = append(list, attribute.Int64(genai.RequestChoiceCount, q.N))
	}
	list = named(list, genai.ConversationID, q.Session)
	begun, over := a.Begun, a.Fault.Over
	if begun.IsZero() {
		begun = t.begun
	}
	if over.IsZero() {
		over = t.over
	}
	fault := faultOf(a)
	if s := t.settlement; last && s != nil {
		list = append(list, settled(s, q.Stream, begun.Sub(t.call.Start))...)
		if s.Outcome != "completed" && fault == "" {
			fault = s.Outcome
			if s.Status >= 400 {
				fault = strconv.Itoa(s.Status)
			}
		}
	}
	list = named(list, genai.ErrorType, fault)
	_, span := tracer.Start(ctx, operation+" "+a.Target.Upstream, trace.WithTimestamp(begun), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(list...))
	if fault != "" {
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(over))
}

// settled returns the attributes of an answer. begun is how long after the call its attempt began.
func settled(s *llm.Settlement, stream bool, begun time.Duration) []attribute.KeyValue {
	var list []attribute.KeyValue
	list = named(list, genai.ResponseModel, s.Response)
	list = named(list, genai.ResponseID, s.AnswerID)
	if stream && s.FirstByte >= 0 {
		list = append(list, attribute.Float64(genai.ResponseTimeToFirstChunk, (s.FirstByte-begun).Seconds()))
	}
	if s.Counts.Empty() {
		return list
	}
	list = append(list, attribute.Int64(genai.InputTokens, s.Counts.InputTokens()), attribute.Int64(genai.OutputTokens, s.Counts.OutputTokens()))
	for name, n := range map[string]int64{
		genai.CacheReadTokens: genai.CacheReads(s.Counts), genai.CacheWriteTokens: genai.CacheWrites(s.Counts), genai.ReasoningTokens: genai.Reasoning(s.Counts),
	} {
		if n > 0 {
			list = append(list, attribute.Int64(name, n))
		}
	}
	return list
}

func faultOf(a *llm.Attempt) string {
	switch f := &a.Fault; {
	case f.Over.IsZero():
		return ""
	case f.Status != 0:
		return strconv.Itoa(f.Status)
	default:
		return f.Why
	}
}

func named(list []attribute.KeyValue, name, value string) []attribute.KeyValue {
	if value == "" {
		return list
	}
	return append(list, attribute.String(name, value))
}

// server appends the attributes for a backend's address.
func server(list []attribute.KeyValue, base string) []attribute.KeyValue {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return list
	}
	port := map[string]int{"https": 443, "http": 80}[u.Scheme]
	if p, err := strconv.Atoi(u.Port()); err == nil {
		port = p
	}
	return append(list, attribute.String(genai.ServerAddress, u.Hostname()), attribute.Int(genai.ServerPort, port))
}
