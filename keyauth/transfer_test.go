package keyauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/internal/testkit"
)

func eachDirectory(t *testing.T, test func(t *testing.T, open func() *Directory)) {
	t.Run("file", func(t *testing.T) {
		test(t, func() *Directory {
			d, _ := fileDirectory(t, time.Now)
			return d
		})
	})
	t.Run("redis", func(t *testing.T) {
		test(t, func() *Directory {
			d, _ := newTestDirectory(t, openRedis(testkit.Redis(t)), time.Now)
			return d
		})
	})
}

func importRow(t *testing.T, table, row string) ImportRow {
	t.Helper()
	var m map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(row), &m))
	return ImportRow{Table: table, Row: m}
}

func actions(t *testing.T, d *Directory, o ImportOptions, rows ...ImportRow) []string {
	t.Helper()
	results, err := NewService(d).Import(t.Context(), rows, o)
	require.NoError(t, err)
	out := make([]string, len(results))
	for i, r := range results {
		out[i] = r.Action
	}
	return out
}

func exported(t *testing.T, d *Directory) map[string][]ImportRow {
	t.Helper()
	all := make(map[string][]ImportRow)
	for _, table := range litellmTables {
		require.NoError(t, NewService(d).Export(t.Context(), table.Name, func(row map[string]json.RawMessage) error {
			all[table.Name] = append(all[table.Name], ImportRow{table.Name, row})
			return nil
		}))
	}
	return all
}

// records are all records of a store as they are kept.
func records(t *testing.T, d *Directory) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, kind := range kinds {
		rows, err := d.store.List(t.Context(), kind, "", 1000)
		require.NoError(t, err)
		for _, r := range rows {
			all[string(kind)+" "+r.ID] = string(r.Data)
		}
	}
	return all
}

func litellmDump(t *testing.T) []ImportRow {
	return []ImportRow{
		importRow(t, "LiteLLM_BudgetTable", `{"budget_id":"b","max_budget":100.10,"soft_budget":null,"model_max_budget":{"gpt-4o":{"max_budget":1}},"created_by":"admin"}`),
		importRow(t, userTable, `{"user_id":"u","user_email":"u@example.com","password":"scrypt:secret","spend":12.340000000000001,"teams":["t"],"created_at":"2024-05-06T07:08:09.123"}`),
		importRow(t, "LiteLLM_EndUserTable", `{"user_id":"e/1:2","alias":"Eve","spend":0.1,"blocked":true}`),
		importRow(t, teamTable, `{"team_id":"t","team_alias":"Blue","models":["gpt-*"],"members_with_roles":[{"role":"admin","user_id":"u"}],"metadata":{"lago_subscription_id":"sub-t"},"max_budget":5,"blocked":false,"model_id":3}`),
		importRow(t, keyTable, `{"token":"`+hashOf("sk-old-key-of-litellm")+`","key_name":"sk-...tllm","key_alias":"ann","spend":3.0000000000000004,"models":["gpt-4o"],
			"aliases":{"best":"gpt-4o"},"config":{"a":1},"user_id":"u","team_id":"t","permissions":{},"metadata":{"note":"<&>","model_rpm_limit":{"gpt-4o":5}},
			"tpm_limit":1000,"max_budget":10.5,"budget_duration":"30d","budget_id":"b","expires":"2099-01-01T00:00:00","created_at":"2024-05-06T07:08:09.123",
			"created_by":"admin","soft_budget_cooldown":false,"rotation_count":2}`),
	}
}

func TestImportGivesKeysThatWork(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gate) {
		const key = "sk-old-key-of-litellm"
		require.Equal(t, 401, g.model(key).Code)
		require.Equal(t, []string{"added", "added", "added", "added", "added"}, actions(t, g.dir, ImportOptions{}, litellmDump(t)...))
		require.Equal(t, 200, g.model(key).Code, "at once, although it was unknown a moment ago")
		require.Equal(t, "sub-t", g.call.Identity.Subscription)
		require.Equal(t, []string{"gpt-*"}, g.call.Identity.TeamModels)

		for _, by := range []string{testMaster, key} {
			status, m := g.do("GET", "/key/info?key="+hashOf(key), by, "")
			require.Equal(t, 200, status)
			info := m["info"].(map[string]any)
			budget := info["litellm_budget_table"].(map[string]any)
			require.Equal(t, 100.10, budget["max_budget"])
			delete(info, "litellm_budget_table")
			require.Equal(t, map[string]any{
				"key_name": "sk-...tllm", "key_alias": "ann", "spend": 3.0000000000000004, "models": []any{"gpt-4o"}, "aliases": map[string]any{"best": "gpt-4o"},
				"config": map[string]any{"a": 1.0}, "user_id": "u", "team_id": "t", "permissions": map[string]any{},
				"metadata":  map[string]any{"note": "<&>", "model_rpm_limit": map[string]any{"gpt-4o": 5.0}},
				"tpm_limit": 1000.0, "rpm_limit": nil, "max_parallel_requests": nil, "max_budget": 10.5, "budget_duration": "30d", "budget_reset_at": nil,
				"budget_id": "b", "expires": "2099-01-01T00:00:00Z", "blocked": false, "created_at": "2024-05-06T07:08:09.123Z", "updated_at": nil,
				"created_by": "admin", "updated_by": nil, "soft_budget_cooldown": false, "rotation_count": 2.0, "auto_rotate": false, "rotation_interval": nil,
				"last_rotation_at": nil, "key_rotation_at": nil, "last_active": nil, "agent_id": nil, "project_id": nil, "organization_id": nil,
				"object_permission_id": nil, "router_settings": map[string]any{}, "model_spend": map[string]any{}, "model_max_budget": map[string]any{},
				"allowed_cache_controls": []any{}, "allowed_routes": []any{}, "policies": []any{}, "access_group_ids": []any{}, "budget_limits": nil,
			}, info)
		}
		for _, data := range records(t, g.dir) {
			require.NotContains(t, data, "scrypt", "a password is not kept")
		}
	})
}

func TestImportTwiceAndRoundTrip(t *testing.T) {
	eachDirectory(t, func(t *testing.T, open func() *Directory) {
		d := open()
		dump := litellmDump(t)
		require.Equal(t, []string{"added", "added", "added", "added", "added"}, actions(t, d, ImportOptions{DryRun: true}, dump...))
		require.Empty(t, records(t, d), "a dry run changes nothing")
		actions(t, d, ImportOptions{}, dump...)
		first := records(t, d)
		require.Len(t, first, 5)
		require.Equal(t, []string{"same", "same", "same", "same", "same"}, actions(t, d, ImportOptions{}, dump...))
		require.Equal(t, first, records(t, d))

		out := exported(t, d)
		var again []ImportRow
		for _, table := range litellmTables {
			require.Len(t, out[table.Name], 1)
			again = append(again, out[table.Name]...)
		}
		require.Equal(t, json.RawMessage("3.0000000000000004"), out[keyTable][0].Row["spend"])
		require.Equal(t, json.RawMessage("12.340000000000001"), out[userTable][0].Row["spend"])
		require.Equal(t, []string{"same", "same", "same", "same", "same"}, actions(t, d, ImportOptions{}, again...))
		empty := open()
		actions(t, empty, ImportOptions{}, again...)
		require.Equal(t, first, records(t, empty))
		require.Equal(t, out, exported(t, empty))
	})
}

// TestImportKeepsWhatWasChangedHere brings the same dump again, and a newer one, after an operator has blocked a key here.
func TestImportKeepsWhatWasChangedHere(t *testing.T) {
	eachDirectory(t, func(t *testing.T, open func() *Directory) {
		d := open()
		hash := hashOf("sk-old-key-of-litellm")
		old := importRow(t, keyTable, `{"token":"`+hash+`","key_alias":"a","max_budget":1}`)
		newer := importRow(t, keyTable, `{"token":"`+hash+`","key_alias":"b","max_budget":2}`)
		newest := importRow(t, keyTable, `{"token":"`+hash+`","key_alias":"c","max_budget":3}`)
		actions(t, d, ImportOptions{}, old)

		results, err := NewService(d).Import(t.Context(), []ImportRow{newer}, ImportOptions{DryRun: true})
		require.NoError(t, err)
		require.Equal(t, []ImportResult{{ID: hash[:12] + " b", Action: "changed", Columns: []string{"key_alias", "max_budget"}}}, results)
		require.Equal(t, []string{"changed"}, actions(t, d, ImportOptions{}, newer), "the dump has changed, nobody here has")
		_, err = d.store.ByAlias(t.Context(), KeyKind, "a")
		require.ErrorIs(t, err, ErrNotFound, "the old alias is given up")

		_, err = NewService(d).Block(t.Context(), hash, true)
		require.NoError(t, err)
		blocked := records(t, d)
		require.Equal(t, []string{"same"}, actions(t, d, ImportOptions{}, newer), "the same dump unblocks nobody")
		require.Equal(t, []string{"refused"}, actions(t, d, ImportOptions{}, newest), "both have changed: somebody must decide")
		require.Equal(t, blocked, records(t, d))
		require.Equal(t, []string{"changed"}, actions(t, d, ImportOptions{Overwrite: true}, newest))
		rec, err := NewService(d).Info(t.Context(), hash)
		require.NoError(t, err)
		require.False(t, rec.Blocked)
		require.Equal(t, "c", rec.Alias)
	})
}

// TestImportRefusesOnlyWhatStandsAgainstIt imports a batch in which some rows cannot be taken.
func TestImportRefusesOnlyWhatStandsAgainstIt(t *testing.T) {
	eachDirectory(t, func(t *testing.T, open func() *Directory) {
		d := open()
		generate(t, d, `{"key_alias":"taken"}`)
		var rows []ImportRow
		var want []string
		for i := range maxImport - 4 {
			rows = append(rows, importRow(t, keyTable, fmt.Sprintf(`{"token":%q,"key_alias":"k%d"}`, hashOf(fmt.Sprint(i)), i)))
			want = append(want, "added")
		}
		rows = append(rows,
			importRow(t, keyTable, `{"token":"`+hashOf("x")+`","key_alias":"taken"}`),
			importRow(t, keyTable, `{"token":"`+hashOf("y")+`","key_alias":"k7"}`),
			importRow(t, keyTable, `{"token":"`+hashOf("7")+`"}`),
			importRow(t, "LiteLLM_SpendLogs", `{"request_id":"r"}`))
		want = append(want, "refused", "refused", "refused", "refused")
		require.Equal(t, want, actions(t, d, ImportOptions{DryRun: true}, rows...), "a dry run tells the same")
		results, err := NewService(d).Import(t.Context(), rows, ImportOptions{})
		require.NoError(t, err)
		for i, r := range results {
			require.Equal(t, want[i], r.Action, i)
			require.NotRegexp(t, `[0-9a-f]{64}`, r.ID+r.Reason)
		}
		require.Equal(t, "key_alias", results[len(results)-4].Column)
		require.Len(t, exported(t, d)[keyTable], maxImport-3)
	})
}

func TestImportIntoAStoreThatIsDown(t *testing.T) {
	server := testkit.Redis(t)
	d, _ := newTestDirectory(t, openRedis(server), time.Now)
	server.Stop()
	_, err := NewService(d).Import(t.Context(), litellmDump(t), ImportOptions{})
	require.ErrorContains(t, err, "the key store is not available")
}

func TestExportToCSVAndBack(t *testing.T) {
	table := tableByName(keyTable)
	row := importRow(t, keyTable, `{"token":"`+hashOf("k")+`","models":["a,b","c\"d","e\\f",""],"metadata":{"q":"\"x\", y"},"spend":1.5e-7,"user_id":"u, u","created_by":" u ","blocked":true}`).Row
	rec, fault := table.fromRow(row)
	require.Nil(t, fault)
	stored, err := table.readStored(rec.data)
	require.NoError(t, err)
	var header, cells string
	for i, c := range table.columns {
		if i > 0 {
			header, cells = header+",", cells+","
		}
		header += c.name
		cells += c.typ.toCSV(stored.row[c.name])
	}
	rows := readDump(t, "x.csv", header+"\n"+cells+"\n")
	require.Nil(t, rows[0].Fault)
	again, fault := table.fromRow(rows[0].Row)
	require.Nil(t, fault)
	require.Equal(t, string(rec.data), string(again.data))
}

// TestAdminRefusesWhatItDoesNotUnderstand: what was meant as a dry run must not become an import.
func TestAdminRefusesWhatItDoesNotUnderstand(t *testing.T) {
	d, _ := fileDirectory(t, time.Now)
	row := `{"table":"LiteLLM_VerificationToken","row":{"token":"` + hashOf("k") + `"}}`
	post := func(query, body string) error {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/tollgate/keys/import?"+query, strings.NewReader(body))
		return serveImport(httptest.NewRecorder(), r, NewService(d))
	}
	for query, status := range map[string]int{"dry_run=yes": 400, "dryrun=true": 400, "overwrite=": 400} {
		refusal, ok := errors.AsType[caddy.APIError](post(query, row))
		require.True(t, ok, query)
		require.Equal(t, status, refusal.HTTPStatus)
	}
	require.NoError(t, post("dry_run=1", row))
	require.Empty(t, records(t, d))
	refusal, ok := errors.AsType[caddy.APIError](post("", strings.Repeat(row+"\n", maxImport+1)))
	require.True(t, ok)
	require.Equal(t, http.StatusRequestEntityTooLarge, refusal.HTTPStatus)
	refusal, ok = errors.AsType[caddy.APIError](post("", row+"[]"))
	require.True(t, ok)
	require.Equal(t, http.StatusBadRequest, refusal.HTTPStatus)
	require.Empty(t, records(t, d), "of a request that cannot be read nothing is taken")
	require.NoError(t, post("", row))
	require.Len(t, records(t, d), 1)
}
