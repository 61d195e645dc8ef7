package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const sample = `[{"id": "p", "api_pattern": "https://p\\.example", "models": [
	{"id": "M", "match": {"or": [{"equals": "M"}, {"regex": "^(?!.*-[tT][tT][sS](?:$|-))"}]}, "prices": [
		{"prices": {"input_mtok": {"base": 0.18000000000000002, "tiers": [{"start": 200000, "price": 1e-7}]}, "requests_kcount": 12}},
		{"constraint": {"type": "start_date", "start_date": "2026-03-13"}, "prices": {"output_mtok": 3}},
		{"constraint": {"type": "time_of_date", "start_time": "01:00:00Z", "end_time": "04:00:00Z"}, "prices": {"input_audio_hours": 1, "audio_hours": 2}}]},
	{"id": "m:free", "match": {"equals": "m:free"}, "prices": {}},
	{"id": "unknown", "match": {"equals": "unknown"}, "prices": {}}]}]`

func normaliseText(t *testing.T, text string) (string, error) {
	t.Helper()
	var providers []provider
	require.NoError(t, json.Unmarshal([]byte(text), &providers))
	var b bytes.Buffer
	err := normalise(&b, providers)
	return b.String(), err
}

func TestNormalise(t *testing.T) {
	out, err := normaliseText(t, sample)
	require.NoError(t, err)
	require.Equal(t, strings.Join([]string{
		"provider\tp\thttps://p\\.example\t",
		"model\tM\t|2\t=m\t!1\t/-[tT][tT][sS](?:$|-)",
		"price\t-\tinput=0.18\tinput>200000=0.0000001\trequest=0.012",
		"price\t2026-03-13\toutput=3",
		"price\t01:00:00-04:00:00\taudio_hours=1",
		"model\tm:free\t=m:free",
		"price\t-\tfree",
		"model\tunknown\t=unknown", "",
	}, "\n"), out)
}

// TestNewThingsStopTheGeneration changes the data in ways that a later version of the package might.
func TestNewThingsStopTheGeneration(t *testing.T) {
	for old, changed := range map[string]string{
		`"output_mtok"`:                   `"output_smell_mtok"`,
		`"regex": "^(?!.*`:                `"regex": "^(?=.*`,
		`"start_date", "start`:            `"weekday", "start`,
		`"start": 200000`:                 `"start": 200000, "end": 300000`,
		`"equals": "m:free"`:              `"sounds_like": "m:free"`,
		`{"output_mtok": 3}`:              `{"output_mtok": -3}`,
		`"end_time": "04:00:00Z"`:         `"end_time": "04:00:00+02:00"`,
		`"start_date": "2026-03-13"}`:     `"start_date": "2026-03-13", "region": "eu"}`,
		`"id": "p", "api_pattern": "http`: `"id": "p", "api_pattern": "(?=http)http`,
	} {
		text := strings.Replace(sample, old, changed, 1)
		require.NotEqual(t, sample, text, old)
		_, err := normaliseText(t, text)
		require.Error(t, err, changed)
	}
}
