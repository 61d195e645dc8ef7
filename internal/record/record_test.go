package record

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRecordEvents writes records that hold hostile texts, and reads their events back as they were written.
func FuzzRecordEvents(f *testing.F) {
	for _, s := range []string{"", "plain", `,"events":[{}]`, `\`, `"`, `]}`, `{[`, "\x00\x7f\xff\u2028", `","events":[{"a":"`} {
		f.Add(s, s, 2)
	}
	f.Fuzz(func(t *testing.T, around, within string, n int) {
		r := Record{ID: "id", Account: around, Asked: around, How: around, PriceNote: around, Properties: []Property{{around, around}}}
		var events []byte
		var want []string
		for i := range min(max(n, 0), 5) {
			o := OpenObject(nil)
			event := o.Own(within, within).Num("i", int64(i)).Close()
			want = append(want, string(event))
			if i > 0 {
				events = append(events, ',')
			}
			events = append(events, event...)
		}
		payload := r.Append(nil, events)
		require.True(t, json.Valid(payload))
		got, err := Events(payload)
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i], string(got[i]))
		}
		for cut := range payload {
			if got, err := Events(payload[:cut]); err == nil {
				require.Empty(t, got, "a record that was cut off gives no events")
			}
		}
	})
}
