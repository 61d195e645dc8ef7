package operator

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/litellmdb"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

func init() {
	caddy.RegisterModule(Admin{})
}

// Admin serves the operator's side of the key stores in use, below /tollgate/keys of Caddy's admin API. It is what
// `caddy tollgate keys` talks to, as a file store is held by the running process.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.tollgate_keys", New: func() caddy.Module { return new(Admin) }}
}

// Routes returns the routes. Each takes `store`, the name of a store, when several are in use.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		operator.Route("/tollgate/keys", operator.Methods{Get: serveStores}),
		operator.Route("/tollgate/keys/list", operator.Methods{Get: withStore(serveList)}),
		operator.Route("/tollgate/keys/info", operator.Methods{Post: withStore(serveInfo)}),
		operator.Route("/tollgate/keys/export", operator.Methods{Get: withStore(serveExport)}),
		operator.Route("/tollgate/keys/audit", operator.Methods{Get: withStore(serveAudit)}),
		operator.Route("/tollgate/keys/import", operator.Methods{Post: withStore(serveImport)}),
	}
}

// storePrefix begins the app's name of a key store.
const storePrefix = "keyauth "

func storeNames() []string {
	names := []string{}
	app.Each(func(key string, _ *keys.Cache) { names = append(names, strings.TrimPrefix(key, storePrefix)) })
	slices.Sort(names)
	return names
}

// serveStores lists the stores in use.
func serveStores(w http.ResponseWriter, _ *http.Request) error {
	return operator.WriteJSON(w, map[string]any{"stores": storeNames()})
}

// withStore finds the store that a request names, or the only one, and holds it open while the request is served.
func withStore(serve func(w http.ResponseWriter, r *http.Request, s *keys.Service) error) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		names := storeNames()
		name := r.URL.Query().Get("store")
		switch {
		case name == "" && len(names) == 1:
			name = names[0]
		case len(names) == 0:
			return operator.Refuse(http.StatusNotFound, "no key store is in use: the configuration has no keyauth")
		case !slices.Contains(names, name):
			return operator.Refuse(http.StatusBadRequest, "name the store, one of: %s", strings.Join(names, "; "))
		}
		d, release, ok := app.Hold[*keys.Cache](storePrefix + name)
		if !ok {
			return operator.Refuse(http.StatusNotFound, "the store was closed meanwhile")
		}
		defer release()
		err := serve(w, r, keys.NewService(d, nil).As(keys.Actor{Who: "admin API"}, r.URL.Path))
		if refusal, ok := errors.AsType[*llm.Error](err); ok {
			return caddy.APIError{HTTPStatus: refusal.Status, Err: refusal}
		}
		return err
	}
}

// maxImportBody bounds a request of rows.
const maxImportBody = 16 << 20

// serveImport takes at most MaxRows rows, one a line as {"table", "row"}, and answers what became of each, one a line. With
// dry_run it changes nothing; with overwrite it replaces records that were changed here since their import.
func serveImport(w http.ResponseWriter, r *http.Request, s *keys.Service) error {
	var o litellmdb.Options
	for name, values := range r.URL.Query() {
		var err error
		switch name {
		case "store":
		case "dry_run":
			o.DryRun, err = strconv.ParseBool(values[0])
		case "overwrite":
			o.Overwrite, err = strconv.ParseBool(values[0])
		default:
			err = errors.New("unknown")
		}
		if err != nil { // what was meant as a dry run must not become an import
			return operator.Refuse(http.StatusBadRequest, "parameter %s: only store, dry_run and overwrite, of which the latter are true or false", name)
		}
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxImportBody))
	rows := make([]litellmdb.Row, 0, litellmdb.MaxRows)
	for {
		var row litellmdb.Row
		err := dec.Decode(&row)
		if errors.Is(err, io.EOF) {
			break
		}
		if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong || len(rows) == litellmdb.MaxRows {
			return operator.Refuse(http.StatusRequestEntityTooLarge, "at most %d rows and %d MB at once", litellmdb.MaxRows, maxImportBody>>20)
		}
		if err != nil {
			return operator.Refuse(http.StatusBadRequest, "row %d is not an object of table and row", len(rows)+1)
		}
		rows = append(rows, row)
	}
	keeper, release, err := keeperOf(r)
	if err != nil {
		return err
	}
	defer release()
	if keeper != nil {
		if err := keeper.Await(r.Context()); err != nil {
			return err
		}
		o.Spent = counted(keeper)
	}
	results, err := litellmdb.Import(r.Context(), s, rows, o)
	if err != nil {
		return err
	}
	return stream(w, func(write func(any) error) error {
		for _, result := range results {
			if err := write(result); err != nil {
				return err
			}
		}
		return nil
	})
}

// serveExport writes the rows of a table, one a line. The hashes of keys are among them.
func serveExport(w http.ResponseWriter, r *http.Request, s *keys.Service) error {
	t := litellmdb.Find(r.URL.Query().Get("table"))
	if t == nil {
		return operator.Refuse(http.StatusBadRequest, "table: one of %s", litellmdb.Names())
	}
	return stream(w, func(write func(any) error) error {
		return litellmdb.Export(r.Context(), s, t, func(row map[string]json.RawMessage) error { return write(row) })
	})
}

// serveList writes keys, one a line, without their hashes.
func serveList(w http.ResponseWriter, r *http.Request, s *keys.Service) error {
	q := r.URL.Query()
	f := keys.Filter{UserID: q.Get("user_id"), TeamID: q.Get("team_id"), KeyAlias: q.Get("key_alias")}
	return stream(w, func(write func(any) error) error {
		return keys.Each(r.Context(), s, keystore.KeyKind, s.Skip, func(k *keys.Key) error {
			if !f.Matches(k) {
				return nil
			}
			return write(shownRow(k))
		})
	})
}

// shownRow is a key as operators see it, with the beginning of its hash as id.
func shownRow(k *keys.Key) map[string]any {
	row := litellmdb.ShowKey(k)
	row["id"] = k.Short()
	return row
}

// stream writes values, one a line.
func stream(w http.ResponseWriter, produce func(write func(any) error) error) error {
	return operator.WriteLines(w, func(out io.Writer) error { return produce(json.NewEncoder(out).Encode) })
}

// serveInfo answers one key's record. The body names it: {"key": a key, its hash, the first digits of that, or an alias}.
func serveInfo(w http.ResponseWriter, r *http.Request, s *keys.Service) error {
	var asked struct {
		Key string `json:"key"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&asked); err != nil || asked.Key == "" {
		return operator.Refuse(http.StatusBadRequest, "the body must be an object with the member key")
	}
	k, err := s.Find(r.Context(), asked.Key)
	if err != nil {
		return err
	}
	return operator.WriteJSON(w, shownRow(k))
}

// Interface guard.
var _ caddy.AdminRouter = Admin{}
