package lago

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// anAnswer returns a batch and Lago's answer to it.
func anAnswer(n int) (events [][]byte, body []byte) {
	body = append(body, `{"events":[`...)
	for i := range n {
		id := fmt.Sprintf("0199b3a0-0000-7000-8000-%012d", i)
		properties := `"properties":{"model":"gpt-4o-2024-08-06","model_group":"gpt-4o","response_cost":"0.0123","prompt_tokens":"820","completion_tokens":"311","total_tokens":"1131","input_tokens":"820","output_tokens":"311","cached_input_tokens":"400","provider":"openai","key_alias":"ci","team_id":"team-42","user_id":"user-1","call_id":"` + id + `","usage":"reported"}`
		events = append(events, []byte(`{"transaction_id":"`+id+`","external_subscription_id":"team-42","code":"llm_usage","timestamp":"1741219251.590",`+properties+`}`))
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"lago_id":"1a901a90-1a90-1a90-1a90-1a901a901a90","transaction_id":"`+id+`","lago_customer_id":null,"code":"llm_usage","timestamp":"2025-03-06T00:00:51.590Z","precise_total_amount_cents":null,`+properties+`,"lago_subscription_id":null,"external_subscription_id":"team-42","created_at":"2025-03-06T00:00:52.000Z"}`...)
	}
	return events, append(body, `]}`...)
}

// BenchmarkConfirm reads Lago's answer to a batch of 100 events.
func BenchmarkConfirm(b *testing.B) {
	events, body := anAnswer(100)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if err := confirm(answer{body: body}, events); err != nil {
			b.Fatal(err)
		}
	}
}

// confirmPlainly says by a general reader whether all events came back.
func confirmPlainly(body []byte, events [][]byte) bool {
	var answer struct {
		Events []struct {
			ID string `json:"transaction_id"`
		} `json:"events"`
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Events) != len(events) {
		return false
	}
	stored := make(map[string]int)
	for _, e := range answer.Events {
		stored[e.ID]++
	}
	for _, e := range events {
		id := gjson.GetBytes(e, "transaction_id").Str
		if stored[id]--; stored[id] < 0 {
			return false
		}
	}
	return true
}

func TestConfirm(t *testing.T) {
	events, body := anAnswer(5)
	change := func(from, to string) []byte {
		require.Contains(t, string(body), from)
		return []byte(strings.Replace(string(body), from, to, 1))
	}
	const first, second = "7000-8000-000000000000", "7000-8000-000000000001"
	swapped := []byte(strings.NewReplacer(first, second, second, first).Replace(string(body)))
	var spaced, sorted bytes.Buffer
	require.NoError(t, json.Indent(&spaced, body, " ", "\t"))
	var members map[string]any
	require.NoError(t, json.Unmarshal(body, &members))
	require.NoError(t, json.NewEncoder(&sorted).Encode(members))
	for name, c := range map[string]struct {
		body []byte
		want bool
	}{
		"as sent":                  {body, true},
		"in another order":         {swapped, true},
		"with space":               {spaced.Bytes(), true},
		"members in another order": {sorted.Bytes(), true},
		"an escaped id":            {change(`"transaction_id":"0199`, `"transaction_id":"\u0030199`), true},
		"an escaped name":          {change(`"transaction_id":"0199`, `"\u0074ransaction_id":"0199`), true},
		"with other members":       {change(`{"events":[`, `{"meta":{"events":[]},"events":[`), true},
		"an id twice":              {change(first, second), false},
		"an id within properties":  {change(`"transaction_id":"0199b3a0-0000-`+first+`"`, `"properties":{"transaction_id":"0199b3a0-0000-`+first+`"}`), false},
		"an id that is a number":   {change(`"transaction_id":"0199`, `"transaction_id":1,"transaction_id":"0199`), false},
		"an event without its id":  {change(`"transaction_id"`, `"id"`), false},
		"an event missing":         {change(`{"events":[`, `{"events":[],"more":[`), false},
		"an event too many":        {change(`{"events":[`, `{"events":[{},`), false},
		"a number among them":      {change(`{"events":[`, `{"events":[1,`), false},
		"no list":                  {change(`{"events":[`, `{"event":[`), false},
		"a list of lists":          {[]byte(`{"events":[` + string(body) + `]}`), false},
		"a list alone":             {body[len(`{"events":`) : len(body)-1], false},
		"cut":                      {body[:len(body)-1], false},
		"not valid":                {change(`null`, `nul`), false},
		"within what is not valid": {[]byte(`[1 ` + string(body)), false},
		"within a list":            {[]byte(`[` + string(body) + `]`), false},
		"two texts":                {append(bytes.Clone(body), body...), false},
	} {
		t.Run(name, func(t *testing.T) {
			err := confirm(answer{body: c.body}, events)
			require.Equal(t, c.want, err == nil, "%v", err)
			require.Equal(t, c.want, confirmPlainly(c.body, events))
		})
	}
}
