package keyauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/manage"
)

const (
	// maxBody bounds the body of a request to the key API.
	maxBody = 1 << 20
	// behalfHeader is LiteLLM's: for whom the caller makes a change. It goes into the audit log.
	behalfHeader = "Litellm-Changed-By"
	maxBehalf    = 255
)

// operation returns what a request asks of the key API: nil when it is no request to it or the key API is not served.
func (h *Handler) operation(r *http.Request) *manage.Operation {
	if h.master == nil {
		return nil
	}
	op, _ := manage.Find(r.URL.Path)
	return op
}

// serveAPI serves a request to the key API by a caller whose key is valid.
func (h *Handler) serveAPI(w http.ResponseWriter, r *http.Request, op *manage.Operation, rawQuery string, caller *keys.State) error {
	w.Header().Set("Cache-Control", "no-store")
	_, path := manage.Find(r.URL.Path)
	answer, err := h.runAPI(w, r, op, rawQuery, caller)
	if err != nil {
		refusal, ok := errors.AsType[*llm.Error](err)
		if !ok {
			refusal = &llm.Error{
				Status: http.StatusInternalServerError, Type: "internal_server_error",
				Message: "the key API has failed: see the gateway's log", Err: err,
			}
		}
		if refusal.Status >= http.StatusInternalServerError {
			h.logger.Error("key API", zap.String("path", path), zap.Error(refusal.Err))
		}
		return h.refuse(w, r, refusal)
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	if r.Method != http.MethodGet {
		h.logger.Info("key API", zap.String("path", path))
	}
	llm.AllowOrigin(w, r)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err = w.Write(body)
	return err
}

func (h *Handler) runAPI(w http.ResponseWriter, r *http.Request, op *manage.Operation, rawQuery string, caller *keys.State) (any, error) {
	if op.Method != "" && r.Method != op.Method {
		return nil, &llm.Error{
			Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Message: "use " + op.Method, Allow: op.Method,
		}
	}
	id := caller.Identity
	c := &manage.Call{Path: r.URL.Path, State: caller, Actor: keys.Actor{
		Who: cmp.Or(id.KeyAlias, id.KeyHash[:min(len(id.KeyHash), 12)]), UserID: id.UserID, Behalf: r.Header.Get(behalfHeader),
	}}
	if len(c.Actor.Behalf) > maxBehalf {
		return nil, keys.Invalid(behalfHeader, "is longer than 255 bytes")
	}
	var err error
	if c.Query, err = url.ParseQuery(rawQuery); err != nil {
		return nil, keys.Invalid("query", "cannot be read")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return nil, &llm.Error{
			Status: http.StatusRequestEntityTooLarge, Type: "invalid_request_error", Param: "body",
			Message: "the request's body is longer than 1 MiB",
		}
	}
	if err != nil {
		return nil, keys.Invalid("body", "cannot be read")
	}
	if op.Method == http.MethodGet {
		body = nil
	}
	var refusal *llm.Error
	if c.Fields, refusal = keys.ParseFields(body); refusal != nil {
		return nil, refusal
	}
	service, release, err := h.Service(r.Context())
	if err != nil {
		return nil, err
	}
	defer release()
	c.Service = service
	c.Spend = func(ctx context.Context, row map[string]any, scope limit.Scope, l *keys.Limits) error {
		by, err := referenced(ctx, service, row["budget_id"])
		if err != nil {
			return err
		}
		return h.showSpend(ctx, row, scope, l, by, time.Now())
	}
	return op.Run(r.Context(), c)
}

// budget is a budget that a record names.
type budget struct {
	id     string
	limits *keys.Limits
}

// referenced returns the budget that a row names; an empty one where it names none.
func referenced(ctx context.Context, service *keys.Service, id any) (b budget, err error) {
	switch v := id.(type) {
	case string:
		b.id = v
	case json.RawMessage:
		if json.Unmarshal(v, &b.id) != nil {
			b.id = ""
		}
	}
	if b.id == "" {
		return b, nil
	}
	e, err := service.Get(ctx, keys.Budgets, b.id)
	if err != nil {
		return b, err
	}
	if b.limits, err = e.Limits(); err != nil {
		return b, service.Refusal(err)
	}
	return b, nil
}

// servePreflight answers a browser that asks what it may send to the key API or for a report; method may be empty. Any page may call
// them, as none can without a key.
func servePreflight(w http.ResponseWriter, r *http.Request, method string) {
	llm.AllowOrigin(w, r)
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", cmp.Or(method, "GET, POST")+", OPTIONS")
	h.Set("Access-Control-Allow-Headers", cmp.Or(r.Header.Get("Access-Control-Request-Headers"), "*"))
	h.Set("Access-Control-Max-Age", "86400")
	h.Set("Vary", "Access-Control-Request-Headers")
	w.WriteHeader(http.StatusNoContent)
}
