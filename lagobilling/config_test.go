package lagobilling

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/testkit/adapttest"
)

func TestCaddyfiles(t *testing.T) { adapttest.Run(t, filepath.Join("testdata", "adapt")) }

// provision provisions handlers in one configuration.
func provision(t *testing.T, handlers ...*Handler) error {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(t, err)
	for _, h := range handlers {
		if err := h.Provision(ctx); err != nil {
			return err
		}
	}
	return nil
}

func TestValuesThatResolveToNothing(t *testing.T) {
	t.Setenv("SOME_VALUE", "team_id")
	t.Setenv("EMPTY_VALUE", "")
	require.NoError(t, provision(t, &Handler{ChargeBy: "{env.SOME_VALUE}"}))
	for name, h := range map[string]*Handler{
		"api_base":   {APIBase: "{env.NO_SUCH}", APIKey: "k", EventCode: "c"},
		"api_key":    {APIBase: "http://localhost", APIKey: "{env.EMPTY_VALUE}", EventCode: "c"},
		"event_code": {APIBase: "http://localhost", APIKey: "k", EventCode: "{env.NO_SUCH}"},
		"spool":      {Spool: "{env.NO_SUCH}"},
		"account":    {Account: "{env.NO_SUCH}"},
		"charge_by":  {ChargeBy: "{env.NO_SUCH}"},
		"retain":     {Retain: "{env.NO_SUCH}"},
		"events":     {Events: "{env.NO_SUCH}"},
		"property x": {Properties: []Property{{Name: "x", Value: "a {env.NO_SUCH}"}}},
		"markup":     {Markup: []Percent{{Percent: "{env.NO_SUCH}"}}},
		"prices":     {Prices: "{file." + filepath.Join(t.TempDir(), "none") + "}"},
	} {
		t.Run(name, func(t *testing.T) {
			err := provision(t, h)
			require.ErrorContains(t, err, name, "a written value that resolves to nothing is an error, never a default")
		})
	}
}

func TestValuesFromTheEnvironmentAreChecked(t *testing.T) {
	t.Setenv("VALUE", "nonsense")
	for _, h := range []*Handler{
		{Events: "{env.VALUE}"},
		{Retain: "{env.VALUE}"},
		{SpoolMax: "{env.VALUE}"},
		{MaxDrains: "{env.VALUE}"},
		{ChargeBy: "{env.VALUE}"},
		{Markup: []Percent{{Percent: "{env.VALUE}"}}},
		{OnDisconnect: "{env.VALUE}"},
	} {
		require.ErrorContains(t, provision(t, h), "nonsense")
	}
	t.Setenv("VALUE", "cost")
	require.ErrorContains(t, provision(t, &Handler{Events: "{env.VALUE}", Unpriced: "allow"}), "contradicts")
}

func TestAccountsThatContradictEachOther(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	require.NoError(t, provision(t, &Handler{Account: "a", Spool: dir}, &Handler{Account: "a", Spool: dir, ChargeBy: "team_id"}),
		"what is a handler's own may differ")
	require.ErrorContains(t, provision(t, &Handler{Account: "a", Spool: dir}, &Handler{Account: "a", Spool: other}), "different settings")
	require.ErrorContains(t, provision(t, &Handler{Account: "a", Spool: dir}, &Handler{Account: "a", Spool: dir, Retain: "1h"}), "different settings")
	require.ErrorContains(t, provision(t, &Handler{Account: "a", Spool: dir}, &Handler{Account: "b", Spool: dir + "/"}), "same spool")
}

// TestSpoolIsOneAccounts gives the spool of one account to another, while it is open and after.
func TestSpoolIsOneAccounts(t *testing.T) {
	dir := t.TempDir()
	t.Run("open", func(t *testing.T) {
		newBench(t, &Handler{Account: "a", Spool: dir})
		require.ErrorContains(t, provision(t, &Handler{Account: "b", Spool: dir}), "holds the records of account a")
	})
	_, err := account.Open(account.Settings{Name: "b", Dir: dir}, nil, account.Options{Logger: zap.NewNop(), Exiting: caddy.Exiting})
	require.ErrorContains(t, err, "holds the records of account a, so account b must not send them")
	account, err := account.Open(account.Settings{Name: "a", Dir: dir}, nil, account.Options{Logger: zap.NewNop(), Exiting: caddy.Exiting})
	require.NoError(t, err)
	require.NoError(t, account.Close())
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	const secret = "lago-secret-key"
	err := provision(t,
		&Handler{APIBase: "http://localhost:1", APIKey: secret, EventCode: "c", Spool: t.TempDir()},
		&Handler{APIBase: "http://localhost:1", APIKey: secret + "2", EventCode: "c", Spool: t.TempDir()})
	require.Error(t, err)
	require.NotContains(t, err.Error(), secret)
}
