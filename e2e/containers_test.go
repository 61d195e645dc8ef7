package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// TestCodeContainersOfSeveralAnswers makes calls whose answers show the containers that the request names: whole ones, streams, and calls
// at once. Each container is billed once, and a failed run bills none.
func TestCodeContainersOfSeveralAnswers(t *testing.T) {
	up := scripted.New(t, func(_ int, c scripted.Call) scripted.Answer {
		_, list, _ := strings.Cut(string(c.Body), `"input":"`)
		list, _, _ = strings.Cut(list, `"`)
		var items []string
		for id := range strings.FieldsSeq(list) {
			status := "completed"
			id, failed := strings.CutSuffix(id, "!")
			if failed {
				status = "failed"
			}
			items = append(items, `{"type":"code_interpreter_call","status":"`+status+`","container_id":"`+id+`"}`)
		}
		answer := `{"id":"r","object":"response","status":"completed","model":"m","tools":[{"type":"code_interpreter","container":{"type":"auto","memory_limit":"4g"}}],"output":[` +
			strings.Join(items, ",") + `],"usage":{"input_tokens":100,"output_tokens":10,"total_tokens":110}}`
		if !strings.Contains(string(c.Body), `"stream":true`) {
			return scripted.Answer{ContentType: "application/json", Body: []byte(answer), Length: true}
		}
		var events strings.Builder
		for _, item := range items {
			fmt.Fprintf(&events, "event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"item\":%s}\n\n", item)
		}
		fmt.Fprintf(&events, "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":%s}\n\n", answer)
		return scripted.Answer{ContentType: "text/event-stream", Body: []byte(events.String())}
	})
	g := gateway.Start(t, "", openSite(t.TempDir(), "", "model m {\nbackend openai "+up.URL+"/v1 {\napi_key "+gateway.ProviderKey+
		"\nprice input 3\nprice output 15\nprice code_sessions 0.03\n}\n}"))
	call := func(containers, more string) {
		g.Must(http.StatusOK, http.MethodPost, "/v1/responses", "", `{"model":"m","input":"`+containers+`"`+more+`}`)
	}
	sessions := make(map[string]int64)
	for _, c := range []struct {
		containers, more string
		want             int64 // in gigabytes
		cost             string
	}{
		{"a a", "", 4, "0.12045"}, // 100 x 3 + 10 x 15, and four gigabytes at 0.03
		{"a", "", 0, "0.00045"},
		{"a", `,"stream":true`, 0, "0.00045"},
		{"a b", `,"stream":true`, 4, "0.12045"},
		{"c! d", "", 4, "0.12045"},
		{"c", "", 4, "0.12045"}, // its run had failed
		{"", "", 0, "0.00045"},
	} {
		before := len(g.Ledger())
		call(c.containers, c.more)
		lines := g.Ledger()
		require.Len(t, lines, before+1)
		for _, r := range lines {
			if _, seen := sessions[r.ID]; seen {
				continue
			}
			sessions[r.ID] = r.Counts["code_sessions"]
			require.Equal(t, c.want, r.Counts["code_sessions"], c.containers)
			require.Equal(t, c.cost, r.Cost, c.containers)
			require.Equal(t, "reported", r.Source)
		}
	}
	var under sync.WaitGroup
	for range 20 {
		under.Go(func() { call("e f", "") })
	}
	under.Wait()
	var together int64
	for _, r := range g.Ledger() {
		if _, seen := sessions[r.ID]; !seen {
			together += r.Counts["code_sessions"]
		}
	}
	require.Equal(t, int64(8), together, "two containers that 20 calls at once use")
}
