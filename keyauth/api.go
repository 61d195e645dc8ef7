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
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/litellmdb"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// maxBody bounds the body of a request to the key API.
const maxBody = 1 << 20

// operation is one path of the key API, which is LiteLLM's.
type operation struct {
	method string
	// own says that a key may do this to itself; the rest is the master key's.
	own bool
	run func(ctx context.Context, c *apiCall) (any, error)
}

// apiCall is a request to the key API, after its caller was found to be who may make it.
type apiCall struct {
	handler  *Handler
	now      time.Time
	service  *keys.Service
	identity *llm.Identity
	fields   keys.Fields // of a POST
	query    url.Values
}

// operations are the paths of the key API; /key/{key}/regenerate is one more.
var operations = map[string]*operation{
	"/key/generate":   {method: http.MethodPost, run: generateKey},
	"/key/update":     {method: http.MethodPost, run: updateKey},
	"/key/delete":     {method: http.MethodPost, run: deleteKeys},
	"/key/block":      {method: http.MethodPost, run: blockKey(true)},
	"/key/unblock":    {method: http.MethodPost, run: blockKey(false)},
	"/key/regenerate": {method: http.MethodPost, run: regenerateKey},
	"/key/info":       {method: http.MethodGet, own: true, run: keyInfo},
	"/key/list":       {method: http.MethodGet, run: listKeys},
	"/team/new":       {method: http.MethodPost, run: newTeam},
	"/team/update":    {method: http.MethodPost, run: updateTeam},
	"/team/delete":    {method: http.MethodPost, run: deleteTeams},
	"/team/info":      {method: http.MethodGet, run: teamInfo},
	"/team/list":      {method: http.MethodGet, run: listTeams},
}

// operation returns what a request asks of the key API: nil when it is no request to it or the key API is not served.
func (h *Handler) operation(r *http.Request) *operation {
	if h.master == nil || !strings.HasPrefix(r.URL.Path, "/key/") && !strings.HasPrefix(r.URL.Path, "/team/") {
		return nil
	}
	if op := operations[r.URL.Path]; op != nil {
		return op
	}
	if regenerated(r.URL.Path) != "" {
		return operations["/key/regenerate"]
	}
	return nil
}

// regenerated returns the key in /key/{key}/regenerate.
func regenerated(path string) string {
	key, ok := strings.CutPrefix(path, "/key/")
	if !ok {
		return ""
	}
	if key, ok = strings.CutSuffix(key, "/regenerate"); !ok || strings.Contains(key, "/") {
		return ""
	}
	return key
}

// serveAPI serves a request to the key API by a caller whose key is valid.
func (h *Handler) serveAPI(w http.ResponseWriter, r *http.Request, op *operation, rawQuery string, id *llm.Identity) error {
	w.Header().Set("Cache-Control", "no-store")
	answer, err := h.runAPI(w, r, op, rawQuery, id)
	if err != nil {
		refusal, ok := errors.AsType[*llm.Error](err)
		if !ok {
			refusal = &llm.Error{
				Status: http.StatusInternalServerError, Type: "internal_server_error",
				Message: "the key API has failed: see the gateway's log", Err: err,
			}
		}
		if refusal.Status >= http.StatusInternalServerError {
			h.logger.Error("key API", zap.String("path", loggedPath(r)), zap.Error(refusal.Err))
		}
		return h.refuse(w, r, refusal)
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost {
		h.logger.Info("key API", zap.String("path", loggedPath(r)))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err = w.Write(body)
	return err
}

// loggedPath is the path of a request to the key API without a key in it.
func loggedPath(r *http.Request) string {
	if regenerated(r.URL.Path) != "" {
		return "/key/regenerate"
	}
	return r.URL.Path
}

func (h *Handler) runAPI(w http.ResponseWriter, r *http.Request, op *operation, rawQuery string, id *llm.Identity) (any, error) {
	if r.Method != op.method {
		return nil, &llm.Error{
			Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Message: "use " + op.method, Allow: op.method,
		}
	}
	if !id.Master && !op.own {
		return nil, &llm.Error{
			Status: http.StatusForbidden, Type: "auth_error", Param: noParam,
			Message: "Authentication Error, Only the master key can be used for " + loggedPath(r),
		}
	}
	c := &apiCall{handler: h, identity: id}
	var err error
	if c.query, err = url.ParseQuery(rawQuery); err != nil {
		return nil, keys.Invalid("query", "cannot be read")
	}
	if op.method == http.MethodPost {
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
		var refusal *llm.Error
		if c.fields, refusal = keys.ParseFields(body); refusal != nil {
			return nil, refusal
		}
		if key := regenerated(r.URL.Path); key != "" {
			c.fields.SetKey(key)
		}
	}
	service, release, err := h.Service(r.Context())
	if err != nil {
		return nil, err
	}
	defer release()
	c.service, c.now = service, time.Now()
	return op.run(r.Context(), c)
}

func generateKey(ctx context.Context, c *apiCall) (any, error) {
	rec, plain, err := c.service.Generate(ctx, c.fields)
	if err != nil {
		return nil, err
	}
	return withToken(rec, plain), nil
}

func regenerateKey(ctx context.Context, c *apiCall) (any, error) {
	rec, plain, err := c.service.Regenerate(ctx, c.fields)
	if err != nil {
		return nil, err
	}
	return withToken(rec, plain), nil
}

// withToken is the answer that shows a new key: GenerateKeyResponse of LiteLLM.
func withToken(rec *keys.Key, plain string) map[string]any {
	row := litellmdb.ShowKey(rec)
	row["key"], row["token"], row["token_id"] = plain, rec.Token, rec.Token
	return row
}

func updateKey(ctx context.Context, c *apiCall) (any, error) {
	rec, err := c.service.Update(ctx, c.fields)
	if err != nil {
		return nil, err
	}
	row := litellmdb.ShowKey(rec)
	row["key"] = c.fields.Key()
	return row, nil
}

func blockKey(blocked bool) func(context.Context, *apiCall) (any, error) {
	return func(ctx context.Context, c *apiCall) (any, error) {
		rec, err := c.service.Block(ctx, c.fields, blocked)
		if err != nil {
			return nil, err
		}
		row := litellmdb.ShowKey(rec)
		row["token"] = rec.Token
		return row, nil
	}
}

func deleteKeys(ctx context.Context, c *apiCall) (any, error) {
	deleted, err := c.service.Delete(ctx, c.fields)
	if err != nil {
		return nil, err
	}
	return map[string]any{"deleted_keys": deleted}, nil
}

func keyInfo(ctx context.Context, c *apiCall) (any, error) {
	asked := c.query.Get("key")
	if asked == "" {
		if c.identity.Master {
			return nil, keys.Invalid("key", "is missing: the master key has no record")
		}
		asked = c.identity.KeyHash
	}
	if !c.identity.Master {
		if id, refusal := keys.ID(asked); refusal != nil || id != c.identity.KeyHash {
			return nil, &llm.Error{
				Status: http.StatusForbidden, Type: "auth_error", Param: "key",
				Message: "You are not allowed to access this key's info: a key may read its own",
			}
		}
	}
	rec, err := c.service.Info(ctx, asked)
	if err != nil {
		return nil, err
	}
	info := litellmdb.ShowKey(rec)
	l, err := rec.Limits()
	if err != nil {
		return nil, c.service.Refusal(err)
	}
	if err := c.handler.showSpend(ctx, info, limit.Scope{Kind: limit.Key, ID: cmp.Or(rec.SpendID, rec.Token)}, l, c.now); err != nil {
		return nil, err
	}
	budget, err := litellmdb.ShowBudget(ctx, c.service, rec)
	if err != nil {
		return nil, err
	}
	if budget != nil {
		info["litellm_budget_table"] = budget
	}
	return map[string]any{"key": asked, "info": info}, nil
}

const (
	listSize    = 10
	listMaxSize = 100
)

func listKeys(ctx context.Context, c *apiCall) (any, error) {
	full := false
	var f keys.Filter
	page, size := 1, listSize
	for name, values := range c.query {
		value := values[0]
		var refusal *llm.Error
		switch name {
		case "user_id":
			f.UserID = value
		case "team_id":
			f.TeamID = value
		case "organization_id":
			f.OrganizationID = value
		case "key_hash":
			f.KeyHash = value
		case "key_alias":
			f.KeyAlias = value
		case "page":
			page, refusal = parseCount(name, value, 1<<31-1)
		case "size":
			size, refusal = parseCount(name, value, listMaxSize)
		case "return_full_object":
			full = strings.EqualFold(value, "true")
		case "include_team_keys", "include_created_by_keys": // the master key sees all keys in any case
		default:
			refusal = keys.Invalid(name, "unknown parameter")
		}
		if refusal != nil {
			return nil, refusal
		}
	}
	found, total, err := c.service.List(ctx, f, (page-1)*size, size)
	if err != nil {
		return nil, err
	}
	rows := make([]any, 0, len(found))
	for _, k := range found {
		if !full {
			rows = append(rows, k.Token)
			continue
		}
		row := litellmdb.ShowKey(k)
		row["token"] = k.Token
		rows = append(rows, row)
	}
	return map[string]any{
		"keys": rows, "total_count": total, "current_page": page, "total_pages": (total + size - 1) / size,
	}, nil
}

func parseCount(name, value string, most int) (int, *llm.Error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > most {
		return 0, keys.Invalid(name, "must be a whole number from 1 to "+strconv.Itoa(most))
	}
	return n, nil
}

func newTeam(ctx context.Context, c *apiCall) (any, error) {
	t, err := c.service.NewTeam(ctx, c.fields)
	if err != nil {
		return nil, err
	}
	return litellmdb.ShowTeam(t), nil
}

func updateTeam(ctx context.Context, c *apiCall) (any, error) {
	t, err := c.service.UpdateTeam(ctx, c.fields)
	if err != nil {
		return nil, err
	}
	return map[string]any{"team_id": t.ID, "data": litellmdb.ShowTeam(t)}, nil
}

func deleteTeams(ctx context.Context, c *apiCall) (any, error) {
	deleted, err := c.service.DeleteTeams(ctx, c.fields)
	if err != nil {
		return nil, err
	}
	return map[string]any{"deleted_teams": deleted}, nil
}

func teamInfo(ctx context.Context, c *apiCall) (any, error) {
	t, err := c.service.Team(ctx, c.query.Get("team_id"))
	if err != nil {
		return nil, err
	}
	info := litellmdb.ShowTeam(t)
	l, err := t.Limits()
	if err != nil {
		return nil, c.service.Refusal(err)
	}
	if err := c.handler.showSpend(ctx, info, limit.Scope{Kind: limit.Team, ID: t.ID}, l, c.now); err != nil {
		return nil, err
	}
	return map[string]any{"team_id": t.ID, "team_info": info}, nil
}

func listTeams(ctx context.Context, c *apiCall) (any, error) {
	teams, err := c.service.Teams(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([]any, 0, len(teams))
	for _, t := range teams {
		rows = append(rows, litellmdb.ShowTeam(t))
	}
	return rows, nil
}
