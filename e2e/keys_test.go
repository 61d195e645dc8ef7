package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

func keyHash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// TestImportFromLiteLLM moves from LiteLLM by the command line: dumps as psql writes them, a dry run, the import, a call with
// an old key, the same import again, and everything out of one store and into another.
func TestImportFromLiteLLM(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	directives := func(store string) string {
		return fmt.Sprintf("keyauth {\n store %s\n master_key %s\n}\nlagobilling {\n spool %s\n charge_by team_id\n}\nllmroute {\n model gpt-4o {\n backend openai %s/v1 {\n api_key %s\n price input 0\n price output 0\n }\n }\n}\n",
			store, gateway.MasterKey, t.TempDir(), provider.URL, gateway.ProviderKey)
	}
	g := gateway.Run(t, directives("file "+t.TempDir()))

	const old, blocked, expired = "sk-an-old-key-of-litellm", "sk-a-blocked-key-of-litellm", "sk-an-expired-key-of-litellm"
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	keys := "token,key_name,key_alias,soft_budget_cooldown,spend,expires,models,aliases,config,user_id,team_id,permissions,max_parallel_requests,metadata,blocked,tpm_limit,rpm_limit,max_budget,budget_duration,budget_id,created_at,created_by\n" +
		keyHash(old) + `,sk-...tllm,ann,f,0.0000123,2099-01-01 00:00:00,{gpt-4o},{},{},ann@example.com,blue,{},,"{""lago_subscription_id"": ""sub-ann""}",f,1000,,10.50,30d,gold,2024-05-06 07:08:09.123,admin` + "\n" +
		keyHash(blocked) + ",sk-...tllm,bob,f,0,,{},{},{},,,{},,{},t,,,,,,2024-05-06 07:08:09.123,admin\n" +
		keyHash(expired) + ",sk-...tllm,eve,f,0,2024-06-01 00:00:00,{},{},{},,,{},,{},,,,,,,2024-05-06 07:08:09.123,admin\n" +
		"not-a-hash,sk-...tllm,,f,0,,{},{},{},,,{},,{},,,,,,,2024-05-06 07:08:09.123,admin\n"
	files := []string{
		file("LiteLLM_VerificationToken.csv", keys),
		file("rest.json", `{"LiteLLM_BudgetTable":[{"budget_id":"gold","max_budget":100}],
			"LiteLLM_TeamTable":[{"team_id":"blue","team_alias":"Blue","spend":1.25,"models":["gpt-*"]}]}`),
		file("users.json", `{"user_id":"ann@example.com","user_email":"ann@example.com","user_role":"internal_user","spend":1.5}`+"\n"),
		file("LiteLLM_EndUserTable.json", `[{"user_id":"customer","spend":2,"blocked":true,"allowed_model_region":"eu"}]`),
	}
	args := append([]string{"import"}, files...)
	call := func(g *gateway.Gateway, key string) int {
		a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
		require.NoError(t, err)
		return a.Status
	}

	out, stderr, err := g.Keys(append(args, "--dry-run")...)
	require.Error(t, err, "a row is refused")
	require.Contains(t, stderr, "some rows were refused")
	require.Regexp(t, `LiteLLM_VerificationToken +4 +3 +0 +0 +1\n`, out)
	require.Contains(t, out, files[0]+":5 (row 4)  token: is not the SHA-256 of a key")
	require.Contains(t, out, "LiteLLM_EndUserTable.allowed_model_region (1)", "what LiteLLM enforced and is only kept here is said")
	for _, enforced := range []string{"LiteLLM_VerificationToken.max_budget", "LiteLLM_VerificationToken.budget_id", "LiteLLM_EndUserTable.blocked"} {
		require.NotContains(t, out, enforced)
	}
	require.Contains(t, out, "nothing was changed")
	require.Equal(t, http.StatusUnauthorized, call(g, old))

	out, _, err = g.Keys(append(args, "--json")...)
	require.Error(t, err)
	var report struct {
		Tables []struct {
			Table                         string
			Added, Changed, Same, Refused int
		}
		Refused []struct{ File, Column, Reason string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Len(t, report.Tables, 5)
	require.Equal(t, "token", report.Refused[0].Column)
	require.Equal(t, http.StatusOK, call(g, old), "an old key works")
	require.Equal(t, http.StatusUnauthorized, call(g, blocked))
	require.Equal(t, http.StatusUnauthorized, call(g, expired))

	info := g.Must(http.StatusOK, http.MethodGet, "/key/info?key="+old, gateway.MasterKey, "").Body
	for _, want := range []string{
		`"user_id":"ann@example.com"`, `"team_id":"blue"`, `"models":["gpt-4o"]`, `"spend":0.0000123`, `"max_budget":10.50`, `"tpm_limit":1000`,
		`"metadata":{"lago_subscription_id":"sub-ann"}`, `"key_alias":"ann"`, `"expires":"2099-01-01T00:00:00Z"`, `"budget_duration":"30d"`,
		`"created_at":"2024-05-06T07:08:09.123Z"`, `"created_by":"admin"`, `"max_budget":100,`,
	} {
		require.Contains(t, info, want)
	}

	out, _, _ = g.Keys(args...)
	require.Regexp(t, `LiteLLM_VerificationToken +4 +0 +0 +3 +1\n`, out, "the same dump again changes nothing")
	require.Regexp(t, `LiteLLM_TeamTable +1 +0 +0 +1 +0\n`, out)

	listed, _, err := g.Keys("list")
	require.NoError(t, err)
	require.Regexp(t, keyHash(old)[:12]+` +sk-...tllm +ann +ann@example.com +blue +gpt-4o +0.0000123 +2099-01-01 .* active`, listed)
	require.Regexp(t, `bob .* blocked`, listed)
	for _, by := range []string{"ann", keyHash(old)[:12], keyHash(old), old} {
		shown, _, err := g.Keys("info", by)
		require.NoError(t, err)
		require.Regexp(t, `spend +0.0000123\n`, shown)
		require.NotContains(t, shown, keyHash(old))
	}
	_, stderr, err = g.Keys("info", "nobody")
	require.Error(t, err)
	require.Contains(t, stderr, "Key not found")
	for _, text := range []string{listed, out, stderr} {
		require.NotRegexp(t, `[0-9a-f]{64}`, text, "hashes are shown by export alone")
	}

	export, stderr, err := g.Keys("export")
	require.NoError(t, err)
	require.Contains(t, stderr, "holds the hashes of all keys in full")
	other := gateway.Run(t, directives("redis "+testkit.Redis(t).Addr))
	back := file("export.json", export)
	out, stderr, err = other.Keys("import", back)
	require.NoError(t, err, stderr)
	require.Regexp(t, `LiteLLM_VerificationToken +3 +3 +0 +0 +0\n`, out)
	again, _, err := other.Keys("export")
	require.NoError(t, err)
	require.Equal(t, export, again)
	require.Equal(t, http.StatusOK, call(other, old))

	text, _, err := other.Keys("export", "--csv", "--table", "VerificationToken")
	require.NoError(t, err)
	require.Contains(t, text, `,{},,"{""lago_subscription_id"":""sub-ann""}",`)
	out, stderr, err = g.Keys("import", "--table", "LiteLLM_VerificationToken", file("any-name", text))
	require.NoError(t, err, stderr)
	require.Regexp(t, `LiteLLM_VerificationToken +3 +0 +0 +3 +0\n`, out)

	// A file that breaks off imports nothing, of no file.
	good := file("good.csv", "token\n"+keyHash("sk-another-old-key")+"\n")
	_, stderr, err = g.Keys("import", good, file("broken.json", `[{"token":"`+keyHash("sk-x")+`"},`))
	require.Error(t, err)
	require.Contains(t, stderr, "nothing was imported: "+filepath.Join(dir, "broken.json")+":1: the JSON ends in the middle")
	require.Equal(t, http.StatusUnauthorized, call(g, "sk-another-old-key"))
}

// TestImportOfManyKeys brings more keys than a batch holds, and finds each.
func TestImportOfManyKeys(t *testing.T) {
	g := gateway.Run(t, "keyauth {\n store file "+t.TempDir()+"\n master_key "+gateway.MasterKey+"\n}\nllmroute {\n unmetered\n model m {\n backend mock\n }\n}\n")
	const n = 20_000
	var text strings.Builder
	text.WriteString("token,key_name,key_alias,spend,models,metadata\n")
	for i := range n {
		fmt.Fprintf(&text, "%s,sk-...%04d,alias-%d,0.25,{m},{}\n", keyHash(fmt.Sprintf("sk-number-%d", i)), i%10_000, i)
	}
	path := filepath.Join(t.TempDir(), "LiteLLM_VerificationToken.csv")
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
	out, stderr, err := g.Keys("import", path)
	require.NoError(t, err, stderr)
	require.Regexp(t, fmt.Sprintf(`LiteLLM_VerificationToken +%[1]d +%[1]d +0 +0 +0\n`, n), out)
	for _, i := range []int{0, 199, 200, n - 1} {
		g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", fmt.Sprintf("sk-number-%d", i), gateway.Chat("m", "hi", false))
	}
	out, stderr, err = g.Keys("import", path)
	require.NoError(t, err, stderr)
	require.Regexp(t, fmt.Sprintf(`LiteLLM_VerificationToken +%[1]d +0 +0 +%[1]d +0\n`, n), out)
}

// TestKeysOfSeveralStores names the store, as there are two, and says which there are when none is named.
func TestKeysOfSeveralStores(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	routes := "llmroute {\n unmetered\n model m {\n backend mock\n }\n}\n"
	g := gateway.Run(t, fmt.Sprintf("@two header X-Store two\nroute @two {\n keyauth {\n store file %s\n }\n %s}\nroute {\n keyauth {\n store file %s\n }\n %s}\n", two, routes, one, routes))
	path := filepath.Join(t.TempDir(), "keys.csv")
	require.NoError(t, os.WriteFile(path, []byte("token\n"+keyHash("sk-of-store-two")+"\n"), 0o600))
	_, stderr, err := g.Keys("import", path)
	require.Error(t, err)
	require.Contains(t, stderr, "name the store, one of: ")
	require.Contains(t, stderr, "file "+one)
	_, stderr, err = g.Keys("import", "--store", "file "+two, path)
	require.NoError(t, err, stderr)
	body := gateway.Chat("m", "hi", false)
	g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "sk-of-store-two", body, "X-Store", "two")
	g.Must(http.StatusUnauthorized, http.MethodPost, "/v1/chat/completions", "sk-of-store-two", body)
	_, stderr, err = g.Keys("improt", path)
	require.Error(t, err)
	require.Contains(t, stderr, "unknown command")
	none := gateway.Run(t, "llmroute {\n anonymous\n unmetered\n model m {\n backend mock\n }\n}\n")
	_, stderr, err = none.Keys("list")
	require.Error(t, err)
	require.Contains(t, stderr, "the configuration has no keyauth")
}

// TestValidateNeedsNoStore validates a configuration whose Redis is not there, in each of its three forms, and starts it.
func TestValidateNeedsNoStore(t *testing.T) {
	bin, err := gateway.Build()
	require.NoError(t, err)
	nobody, other := gateway.FreeAddr(t), gateway.FreeAddr(t)
	for _, store := range []string{"redis " + nobody, "redis " + nobody + " " + other, "redis " + nobody + " {\n sentinel keys\n }"} {
		directives := "keyauth {\n store " + store + "\n master_key " + gateway.MasterKey + "\n}\nllmroute {\n unmetered\n model m {\n backend mock\n }\n}\n"
		file := filepath.Join(t.TempDir(), "Caddyfile")
		require.NoError(t, os.WriteFile(file, []byte(gateway.Site(gateway.FreeAddr(t), gateway.FreeAddr(t), "", directives)), 0o600))
		out, err := exec.Command(bin, "validate", "--config", file, "--adapter", "caddyfile").CombinedOutput()
		require.NoError(t, err, "%s", out)
		g := gateway.Run(t, directives)
		a := g.Must(http.StatusServiceUnavailable, http.MethodPost, "/v1/chat/completions", "sk-any-key-that-nobody-knows", gateway.Chat("m", "hi", false))
		require.NotEmpty(t, a.Header.Get("Retry-After"))
		g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", gateway.MasterKey, gateway.Chat("m", "hi", false))
	}
}

// TestRefusedTeamKeepsItsKeysOut imports dumps in which a team's row cannot be taken: none of its keys works, neither of a team that is new nor of one
// that an earlier import made.
func TestRefusedTeamKeepsItsKeysOut(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	g := gateway.Run(t, fmt.Sprintf("keyauth {\n store file %s\n}\nlagobilling {\n spool %s\n charge_by team_id\n}\nllmroute {\n model gpt-4o {\n backend openai %s/v1 {\n api_key %s\n }\n }\n}\n",
		t.TempDir(), t.TempDir(), provider.URL, gateway.ProviderKey))
	dir := t.TempDir()
	imported := func(teams, keys string, args ...string) (string, error) {
		var files []string
		for _, file := range [][2]string{{"LiteLLM_TeamTable.csv", teams}, {"LiteLLM_VerificationToken.csv", keys}} {
			path := filepath.Join(dir, file[0])
			require.NoError(t, os.WriteFile(path, []byte(file[1]), 0o600))
			files = append(files, path)
		}
		out, _, err := g.Keys(append(append([]string{"import"}, args...), files...)...)
		return out, err
	}
	status := func(key string) int {
		a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
		require.NoError(t, err)
		return a.Status
	}
	const teamHeader, keyHeader = "metadata,team_id,team_alias,models,blocked\n", "token,team_id,access_group_ids\n"
	const good = `{},good,Good,{},f` + "\n"
	teams := teamHeader + good +
		`"{""lago_subscription_id"": 42}",blocked,Blocked,{},t` + "\n" + // a value of a wrong type
		`{},twice,Twice,{},f` + "\n" + `{},twice,Twice,{},t` + "\n" + // two rows of one team
		`{},limited,Limited,not a list,f` + "\n" // a value that is none of its column's type
	keys := keyHeader
	for _, team := range []string{"good", "blocked", "twice", "limited", "unheard-of"} {
		keys += keyHash("sk-key-of-"+team) + "," + team + ",{}\n"
	}
	keys += keyHash("sk-key-with-groups") + ",good,{group}\n"
	dry, err := imported(teams, keys, "--dry-run")
	require.Error(t, err)
	out, err := imported(teams, keys)
	require.Error(t, err, "some rows were refused")
	require.Contains(t, out, "the row of the key's team was refused")
	require.Contains(t, out, "1 rows of LiteLLM_VerificationToken have their models from access groups alone")
	require.Contains(t, dry, strings.TrimSpace(strings.SplitN(out, "\n\n", 2)[0]), "a dry run counts the same")
	require.Equal(t, http.StatusOK, status("sk-key-of-good"))
	require.Equal(t, http.StatusForbidden, status("sk-key-with-groups"))
	for _, team := range []string{"blocked", "twice", "limited", "unheard-of"} {
		require.Equal(t, http.StatusUnauthorized, status("sk-key-of-"+team), team)
	}

	_, err = imported(teamHeader+`"{""lago_subscription_id"": 42}",good,Good,{},t`+"\n", keyHeader+keyHash("sk-later-key-of-good")+",good,{}\n")
	require.Error(t, err)
	require.Equal(t, http.StatusUnauthorized, status("sk-later-key-of-good"))
	require.Equal(t, http.StatusOK, status("sk-key-of-good"))
}
