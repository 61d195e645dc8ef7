package litellmdb

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

func eachDirectory(t *testing.T, test func(t *testing.T, open func() *keys.Cache)) {
	t.Run("file", func(t *testing.T) {
		test(t, func() *keys.Cache {
			d := fileCache(t)
			return d
		})
	})
	t.Run("redis", func(t *testing.T) {
		test(t, func() *keys.Cache {
			return newTestCache(t, keystore.OpenRedis(keystore.RedisOptions{Addresses: []string{testkit.Redis(t).Addr}, Prefix: "tollgate:"}))
		})
	})
}

func fileCache(t *testing.T) *keys.Cache {
	t.Helper()
	s, err := keystore.OpenFile(t.TempDir())
	require.NoError(t, err)
	return newTestCache(t, s)
}

func newTestCache(t *testing.T, s keystore.Store) *keys.Cache {
	t.Helper()
	c := keys.NewCache(s, zaptest.NewLogger(t), time.Now)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func fields(t *testing.T, text string) keys.Fields {
	t.Helper()
	f, refusal := keys.ParseFields([]byte(text))
	require.Nil(t, refusal)
	return f
}

func importRow(t *testing.T, table, row string) Row {
	t.Helper()
	var m map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(row), &m))
	return Row{Table: table, Columns: m}
}

func actions(t *testing.T, d *keys.Cache, o Options, rows ...Row) []string {
	t.Helper()
	results, err := Import(t.Context(), keys.NewService(d, nil), rows, o)
	require.NoError(t, err)
	out := make([]string, len(results))
	for i, r := range results {
		out[i] = r.Action
	}
	return out
}

func exported(t *testing.T, d *keys.Cache) map[string][]Row {
	t.Helper()
	all := make(map[string][]Row)
	for _, table := range Tables {
		require.NoError(t, Export(t.Context(), keys.NewService(d, nil), table, func(row map[string]json.RawMessage) error {
			all[table.Name] = append(all[table.Name], Row{table.Name, row})
			return nil
		}))
	}
	return all
}

// records are all records of a store as they are kept.
func records(t *testing.T, d *keys.Cache) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, kind := range []keystore.Kind{keystore.KeyKind, keystore.TeamKind, keystore.UserKind, keystore.EndUserKind, keystore.BudgetKind, keystore.MemberKind} {
		rows, err := d.Store().List(t.Context(), kind, "", 1000)
		require.NoError(t, err)
		for _, r := range rows {
			all[string(kind)+" "+r.ID] = string(r.Data)
		}
	}
	return all
}

func litellmDump(t *testing.T) []Row {
	return []Row{
		importRow(t, "LiteLLM_BudgetTable", `{"budget_id":"b","max_budget":100.10,"soft_budget":null,"model_max_budget":{"gpt-4o":{"max_budget":1}},"created_by":"admin"}`),
		importRow(t, userTable, `{"user_id":"u","user_email":"u@example.com","password":"scrypt:secret","spend":12.340000000000001,"teams":["t"],"created_at":"2024-05-06T07:08:09.123"}`),
		importRow(t, "LiteLLM_EndUserTable", `{"user_id":"e/1:2","alias":"Eve","spend":0.1,"blocked":true}`),
		importRow(t, TeamTable, `{"team_id":"t","team_alias":"Blue","models":["gpt-*"],"members_with_roles":[{"role":"admin","user_id":"u"}],"metadata":{"lago_subscription_id":"sub-t"},"max_budget":5,"blocked":false,"model_id":3}`),
		importRow(t, memberTable, `{"user_id":"u","team_id":"t","spend":1.25,"total_spend":7,"budget_id":"b"}`),
		importRow(t, KeyTable, `{"token":"`+hashOf("sk-old-key-of-litellm")+`","key_name":"sk-...tllm","key_alias":"ann","spend":3.0000000000000004,"models":["gpt-4o"],
			"aliases":{"best":"gpt-4o"},"config":{"a":1},"user_id":"u","team_id":"t","permissions":{},"metadata":{"note":"<&>","model_rpm_limit":{"gpt-4o":5}},
			"tpm_limit":1000,"max_budget":10.5,"budget_duration":"30d","budget_id":"b","expires":"2099-01-01T00:00:00","created_at":"2024-05-06T07:08:09.123",
			"created_by":"admin","soft_budget_cooldown":false,"rotation_count":2}`),
	}
}

func TestImportGivesKeysThatWork(t *testing.T) {
	eachDirectory(t, func(t *testing.T, open func() *keys.Cache) {
		c := open()
		service := keys.NewService(c, nil)
		const key = "sk-old-key-of-litellm"
		bounds := keys.Bounds{Cache: time.Hour, Stale: time.Hour}
		_, err := c.Lookup(t.Context(), keys.DigestOf(key), bounds)
		require.ErrorIs(t, err, keys.ErrUnknown)
		require.Equal(t, []string{"added", "added", "added", "added", "added", "added"}, actions(t, c, Options{}, litellmDump(t)...))
		state, err := c.Lookup(t.Context(), keys.DigestOf(key), bounds)
		require.NoError(t, err, "at once, although it was unknown a moment ago")
		require.Equal(t, "sub-t", state.Identity.Subscription)
		require.Equal(t, []string{"gpt-*"}, state.Identity.TeamModels)

		rec, err := service.Info(t.Context(), key)
		require.NoError(t, err)
		budget, err := ShowBudget(t.Context(), service, rec)
		require.NoError(t, err)
		require.Equal(t, "100.10", string(budget["max_budget"]))
		shown, err := json.Marshal(ShowKey(rec))
		require.NoError(t, err)
		var info map[string]any
		require.NoError(t, json.Unmarshal(shown, &info))
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
			"total_spend": nil, "tpd_limit": nil, "key_type": nil, "budget_fallbacks": map[string]any{}, "settings_updated_at": nil,
		}, info)
		for _, data := range records(t, c) {
			require.NotContains(t, data, "scrypt", "a password is not kept")
		}
	})
}

func TestImportTwiceAndRoundTrip(t *testing.T) {
	eachDirectory(t, func(t *testing.T, open func() *keys.Cache) {
		d := open()
		dump := litellmDump(t)
		require.Equal(t, []string{"added", "added", "added", "added", "added", "added"}, actions(t, d, Options{DryRun: true}, dump...))
		require.Empty(t, records(t, d), "a dry run changes nothing")
		actions(t, d, Options{}, dump...)
		first := records(t, d)
		require.Len(t, first, 6)
		require.Equal(t, []string{"same", "same", "same", "same", "same", "same"}, actions(t, d, Options{}, dump...))
		require.Equal(t, first, records(t, d))

		out := exported(t, d)
		var again []Row
		for _, table := range Tables {
			require.Len(t, out[table.Name], 1)
			again = append(again, out[table.Name]...)
		}
		require.Equal(t, json.RawMessage("3.0000000000000004"), out[KeyTable][0].Columns["spend"])
		require.Equal(t, json.RawMessage("12.340000000000001"), out[userTable][0].Columns["spend"])
		require.Equal(t, []string{"same", "same", "same", "same", "same", "same"}, actions(t, d, Options{}, again...))
		empty := open()
		actions(t, empty, Options{}, again...)
		require.Equal(t, first, records(t, empty))
		require.Equal(t, out, exported(t, empty))
	})
}

// TestImportKeepsWhatWasChangedHere brings the same dump again, and a newer one, after an operator has blocked a key here.
func TestImportKeepsWhatWasChangedHere(t *testing.T) {
	eachDirectory(t, func(t *testing.T, open func() *keys.Cache) {
		d := open()
		hash := hashOf("sk-old-key-of-litellm")
		old := importRow(t, KeyTable, `{"token":"`+hash+`","key_alias":"a","max_budget":1}`)
		newer := importRow(t, KeyTable, `{"token":"`+hash+`","key_alias":"b","max_budget":2}`)
		newest := importRow(t, KeyTable, `{"token":"`+hash+`","key_alias":"c","max_budget":3}`)
		actions(t, d, Options{}, old)

		results, err := Import(t.Context(), keys.NewService(d, nil), []Row{newer}, Options{DryRun: true})
		require.NoError(t, err)
		require.Equal(t, []Result{{ID: hash[:12] + " b", Action: "changed", Columns: []string{"key_alias", "max_budget"}}}, results)
		require.Equal(t, []string{"changed"}, actions(t, d, Options{}, newer), "the dump has changed, nobody here has")
		_, err = d.Store().ByAlias(t.Context(), keystore.KeyKind, "a")
		require.ErrorIs(t, err, keystore.ErrNotFound, "the old alias is given up")

		_, err = keys.NewService(d, nil).Block(t.Context(), fields(t, `{"key":"`+hash+`"}`), true)
		require.NoError(t, err)
		blocked := records(t, d)
		require.Equal(t, []string{"same"}, actions(t, d, Options{}, newer), "the same dump unblocks nobody")
		require.Equal(t, []string{"refused"}, actions(t, d, Options{}, newest), "both have changed: somebody must decide")
		require.Equal(t, blocked, records(t, d))
		require.Equal(t, []string{"changed"}, actions(t, d, Options{Overwrite: true}, newest))
		rec, err := keys.NewService(d, nil).Info(t.Context(), hash)
		require.NoError(t, err)
		require.False(t, rec.Blocked)
		require.Equal(t, "c", rec.Alias)
	})
}

// TestImportRefusesOnlyWhatStandsAgainstIt imports a batch in which some rows cannot be taken.
func TestImportRefusesOnlyWhatStandsAgainstIt(t *testing.T) {
	eachDirectory(t, func(t *testing.T, open func() *keys.Cache) {
		d := open()
		_, _, err := keys.NewService(d, nil).Generate(t.Context(), fields(t, `{"key_alias":"taken"}`))
		require.NoError(t, err)
		var rows []Row
		var want []string
		for i := range MaxRows - 4 {
			rows = append(rows, importRow(t, KeyTable, fmt.Sprintf(`{"token":%q,"key_alias":"k%d"}`, hashOf(fmt.Sprint(i)), i)))
			want = append(want, "added")
		}
		rows = append(rows,
			importRow(t, KeyTable, `{"token":"`+hashOf("x")+`","key_alias":"taken"}`),
			importRow(t, KeyTable, `{"token":"`+hashOf("y")+`","key_alias":"k7"}`),
			importRow(t, KeyTable, `{"token":"`+hashOf("7")+`"}`),
			importRow(t, "LiteLLM_SpendLogs", `{"request_id":"r"}`))
		want = append(want, "refused", "refused", "refused", "refused")
		require.Equal(t, want, actions(t, d, Options{DryRun: true}, rows...), "a dry run tells the same")
		results, err := Import(t.Context(), keys.NewService(d, nil), rows, Options{})
		require.NoError(t, err)
		for i, r := range results {
			require.Equal(t, want[i], r.Action, i)
			require.NotRegexp(t, `[0-9a-f]{64}`, r.ID+r.Reason)
		}
		require.Equal(t, "key_alias", results[len(results)-4].Column)
		require.Len(t, exported(t, d)[KeyTable], MaxRows-3)
	})
}

func TestImportIntoAStoreThatIsDown(t *testing.T) {
	server := testkit.Redis(t)
	d := newTestCache(t, keystore.OpenRedis(keystore.RedisOptions{Addresses: []string{server.Addr}, Prefix: "tollgate:"}))
	server.Stop()
	_, err := Import(t.Context(), keys.NewService(d, nil), litellmDump(t), Options{})
	require.ErrorContains(t, err, "the key store is not available")
}

func TestExportToCSVAndBack(t *testing.T) {
	table := Find(KeyTable)
	row := importRow(t, KeyTable, `{"token":"`+hashOf("k")+`","models":["a,b","c\"d","e\\f",""],"metadata":{"q":"\"x\", y"},"spend":1.5e-7,"user_id":"u, u","created_by":" u ","blocked":true}`).Columns
	rec, fault := table.fromRow(row)
	require.Nil(t, fault)
	stored, err := table.readStored(rec.id, rec.data)
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
	again, fault := table.fromRow(rows[0].Columns)
	require.Nil(t, fault)
	require.Equal(t, string(rec.data), string(again.data))
}

// TestKeysComeInOnlyBesideTheirTeam imports keys whose team is there, is not there, cannot be read and is being deleted.
func TestKeysComeInOnlyBesideTheirTeam(t *testing.T) {
	eachDirectory(t, func(t *testing.T, open func() *keys.Cache) {
		c := open()
		key := func(team string) Row {
			return importRow(t, KeyTable, `{"token":"`+hashOf(team)+`","team_id":"`+team+`"}`)
		}
		teams := []Row{
			importRow(t, TeamTable, `{"team_id":"taken","models":["gpt-4o"]}`),
			importRow(t, TeamTable, `{"team_id":"refused","metadata":{"lago_subscription_id":42}}`),
			importRow(t, TeamTable, `{"team_id":"refused too","metadata":{"fixed_payer":"true"}}`),
		}
		for id, record := range map[string]string{"broken": `{}`, "deleting": `{"team_id":"deleting","blocked":true,"deleting":true}`} {
			require.NoError(t, c.Store().Apply(t.Context(), keystore.Change{Kind: keystore.TeamKind, ID: id, New: []byte(record)}))
		}
		rows := append(teams, key("taken"), key("refused"), key("refused too"), key("unheard of"), key("broken"), key("deleting"))
		want := []string{"added", "refused", "refused", "added", "refused", "refused", "refused", "refused", "refused"}
		require.Equal(t, want, actions(t, c, Options{}, rows...))
		results, err := Import(t.Context(), keys.NewService(c, nil), []Row{key("unheard of")}, Options{DryRun: true})
		require.NoError(t, err)
		require.Equal(t, "unheard of", results[0].Team, "a dry run leaves it to the one who knows the dump")

		_, _, err = keys.NewService(c, nil).Generate(t.Context(), fields(t, `{"team_id":"by a key"}`))
		require.NoError(t, err)
		require.Equal(t, []string{"changed"}, actions(t, c, Options{}, importRow(t, TeamTable, `{"team_id":"by a key","blocked":true}`)),
			"a record that says nothing but its id gives way")
	})
}
