package app_test

import (
	"runtime/metrics"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/tollgate-llm/tollgate/app"
)

// gcPercent reads the percentage of this process's garbage collector.
func gcPercent() uint64 {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func adapt(option string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\n\tadmin off\n\tpersist_config off\n"+option+"\n}\n"),
		map[string]any{"filename": "Caddyfile"})
	return config, err
}

// TestGCPercent loads one configuration after the other: each sets the percentage, off takes it back.
func TestGCPercent(t *testing.T) {
	t.Setenv("GOGC", "")
	own := gcPercent()
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	t.Setenv("TEST_PERCENT", "70")
	for _, c := range []struct {
		option string
		want   uint64
	}{
		{"\ttollgate {\n\t\tgc_percent off\n\t}", own},
		{"\ttollgate", 150},
		{"\ttollgate {\n\t\tgc_percent {env.TEST_PERCENT}\n\t}", 70},
		{"\ttollgate {\n\t\tgc_percent off\n\t}", own},
	} {
		config, err := adapt(c.option)
		require.NoError(t, err)
		require.NoError(t, caddy.Load(config, true))
		require.Equal(t, c.want, gcPercent(), c.option)
	}
	t.Setenv("GOGC", "100")
	config, err := adapt("\ttollgate {\n\t\tgc_percent 50\n\t}")
	require.NoError(t, err)
	require.NoError(t, caddy.Load(config, true))
	require.Equal(t, own, gcPercent(), "the environment has precedence")
}

func TestGlobalOptionErrors(t *testing.T) {
	for option, words := range map[string]string{
		"\ttollgate {\n\t\tgc_percent 5\n\t}":                       `gc_percent: "5" is not a whole number from 10 to 10000, and not off`,
		"\ttollgate {\n\t\tgc_percent\n\t}":                         "Caddyfile:5",
		"\ttollgate {\n\t\tgc_percent 50\n\t\tgc_percent 60\n\t}":   "gc_percent is given twice",
		"\ttollgate {\n\t\tgarbage\n\t}":                            "unrecognized subdirective: garbage",
		"\ttollgate here":                                           "Caddyfile:4",
		"\ttollgate\n\ttollgate {\n\t\tgc_percent 50\n\t}":          "the tollgate option is given twice",
		"\ttollgate {\n\t\tgc_percent off\n\t}\n\tno_such_option 1": "no_such_option",
	} {
		_, err := adapt(option)
		require.ErrorContains(t, err, words, option)
	}
}
