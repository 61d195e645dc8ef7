package lago_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
)

const key = "secret-lago-key"

func client(t *testing.T, base string) *lago.Client {
	t.Helper()
	u, err := url.Parse(base)
	require.NoError(t, err)
	c, err := lago.New(lago.Options{Base: u, Key: key, Timeout: 2 * time.Second})
	require.NoError(t, err)
	t.Cleanup(c.CloseIdle)
	return c
}

func event(id string) []byte {
	return []byte(`{"transaction_id": "` + id + `","external_subscription_id":"sub","code":"tokens","timestamp":"1741219251.590","properties":{"value":"1"}}`)
}

func TestBatchClassifies(t *testing.T) {
	echo := `{"events":[{"transaction_id":"a"},{"transaction_id":"b"}]}`
	details := func(d string) string {
		return `{"status":422,"error":"Unprocessable Entity","code":"validation_errors","error_details":` + d + `}`
	}
	for _, c := range []struct {
		name   string
		status int
		body   string
		header [2]string
		want   lago.Outcome
		words  string
	}{
		{"stored", 200, echo, [2]string{}, lago.Outcome{Verdict: lago.Accepted}, ""},
		{"html 200", 200, "<html>login</html>", [2]string{}, lago.Outcome{Verdict: lago.Retry}, "not JSON"},
		{"empty 200", 200, "", [2]string{}, lago.Outcome{Verdict: lago.Retry}, "not JSON"},
		{"other 200", 200, `{"ok":true}`, [2]string{}, lago.Outcome{Verdict: lago.Retry}, "no list"},
		{"one event back", 200, `{"events":[{"transaction_id":"a"}]}`, [2]string{}, lago.Outcome{Verdict: lago.Retry}, "1 came back"},
		{"another's answer", 200, `{"events":[{"transaction_id":"x"},{"transaction_id":"y"}]}`, [2]string{}, lago.Outcome{Verdict: lago.Retry}, "did not come back"},
		{"cut 200", 200, echo[:30], [2]string{}, lago.Outcome{Verdict: lago.Retry}, "not JSON"},
		{"accepted by something else", 202, "", [2]string{}, lago.Outcome{Verdict: lago.Retry}, "202"},
		{"redirect", 302, "", [2]string{"Location", "/login"}, lago.Outcome{Verdict: lago.Stop}, "redirected"},
		{"bad request", 400, `{"status":400,"error":"BadRequest"}`, [2]string{}, lago.Outcome{Verdict: lago.Poison, Foreign: true}, "BadRequest"},
		{"key", 401, `{"status":401,"error":"Unauthorized"}`, [2]string{}, lago.Outcome{Verdict: lago.Stop}, "API key"},
		{"permission", 403, `{"status":403,"error":"Forbidden","code":"write_action_not_allowed_for_event"}`, [2]string{}, lago.Outcome{Verdict: lago.Stop}, "write_action_not_allowed_for_event"},
		{"base url", 404, "<html>", [2]string{}, lago.Outcome{Verdict: lago.Stop}, "base URL"},
		{"method", 405, "", [2]string{}, lago.Outcome{Verdict: lago.Stop}, "base URL"},
		{"timeout", 408, "", [2]string{}, lago.Outcome{Verdict: lago.Retry}, "408"},
		{"too large", 413, "", [2]string{}, lago.Outcome{Verdict: lago.Poison, Foreign: true}, "413"},
		{"early", 425, "", [2]string{}, lago.Outcome{Verdict: lago.Retry}, "425"},
		{"rate limit", 429, "", [2]string{"X-RateLimit-Reset", "7"}, lago.Outcome{Verdict: lago.Retry, RetryAfter: 7 * time.Second}, "rate limit"},
		{"retry after", 503, "", [2]string{"Retry-After", "30"}, lago.Outcome{Verdict: lago.Retry, RetryAfter: 30 * time.Second}, "503"},
		{"server error", 500, `{"status":500}`, [2]string{}, lago.Outcome{Verdict: lago.Retry, Suspect: true}, "500"},
		{"proxy", 502, "<html>", [2]string{}, lago.Outcome{Verdict: lago.Retry}, "502"},
		{"too many", 422, details(`{"events":["too_many_events"]}`), [2]string{}, lago.Outcome{Verdict: lago.TooMany}, "too_many_events"},
		{
			"duplicate", 422, details(`{"1":{"transaction_id":["value_already_exist"]}}`),
			[2]string{},
			lago.Outcome{Verdict: lago.PerEvent, Events: map[int]lago.Fault{1: {Done: true, Words: []byte(`{"transaction_id":["value_already_exist"]}`)}}},
			"value_already_exist",
		},
		{
			"string and object", 422, details(`{"0":"expression_evaluation_failed: x","1":{"timestamp":["invalid_format"]}}`),
			[2]string{},
			lago.Outcome{Verdict: lago.PerEvent, Events: map[int]lago.Fault{0: {Words: []byte(`"expression_evaluation_failed: x"`)}, 1: {Words: []byte(`{"timestamp":["invalid_format"]}`)}}},
			"invalid_format",
		},
		{"index beyond the batch", 422, details(`{"7":{"transaction_id":["value_already_exist"]}}`), [2]string{}, lago.Outcome{Verdict: lago.Poison}, "7"},
		{"string for a batch", 422, details(`"no idea"`), [2]string{}, lago.Outcome{Verdict: lago.Poison}, "no idea"},
		{"400 with Lago's error", 400, details(`{"7":"no idea"}`), [2]string{}, lago.Outcome{Verdict: lago.Poison}, "no idea"},
		{"json 422 of a proxy", 422, `{"message":"blocked by rule 942100"}`, [2]string{}, lago.Outcome{Verdict: lago.Poison, Foreign: true}, "942100"},
		{"html 422", 422, `<html>`, [2]string{}, lago.Outcome{Verdict: lago.Poison, Foreign: true}, "html"},
		{"the key echoed", 400, "Authorization: Bearer " + key, [2]string{}, lago.Outcome{Verdict: lago.Poison, Foreign: true}, "Bearer [key]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sent string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				sent = r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization") + " " + r.Header.Get("Content-Type") + " " + string(b)
				if c.header[0] != "" {
					w.Header().Set(c.header[0], c.header[1])
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer s.Close()
			out := client(t, s.URL+"/").Batch(t.Context(), [][]byte{event("a"), event("b")})
			assert.Equal(t, `POST /api/v1/events/batch Bearer `+key+` application/json {"events":[`+string(event("a"))+`,`+string(event("b"))+`]}`, sent)
			assert.Contains(t, out.Words, c.words)
			assert.NotContains(t, out.Words, key)
			c.want.Status, c.want.Remaining, c.want.Words = c.status, -1, out.Words
			assert.Equal(t, c.want, out)
		})
	}
}

func TestSingleEventFaults(t *testing.T) {
	for details, done := range map[string]bool{
		`{"transaction_id":["value_already_exist"]}`: true,
		`{"timestamp":["invalid_format"]}`:           false,
		`"expression_evaluation_failed"`:             false,
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(422)
			_, _ = io.WriteString(w, `{"error_details":`+details+`}`)
		}))
		out := client(t, s.URL).Batch(t.Context(), [][]byte{event("a")})
		s.Close()
		assert.Equal(t, map[int]lago.Fault{0: {Done: done, Words: []byte(details)}}, out.Events)
	}
}

func TestNoAnswer(t *testing.T) {
	l := fakelago.New(t, fakelago.Options{Key: key})
	c := client(t, l.URL+"/api/v1/")
	for name, fault := range map[string]fakelago.Fault{
		"reset": fakelago.FaultReset, "cut": fakelago.FaultTruncated, "lost": fakelago.FaultCommitThenReset,
	} {
		l.Next(fault)
		out := c.Batch(t.Context(), [][]byte{event(name)})
		assert.Equal(t, lago.Retry, out.Verdict, name)
		assert.NotContains(t, out.Words, key)
	}
	l.Next(fakelago.FaultHang)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	out := c.Batch(ctx, [][]byte{event("hang")})
	assert.Equal(t, lago.Retry, out.Verdict)
	assert.Contains(t, out.Words, "deadline")
	l.Close()
	assert.Equal(t, lago.Retry, c.Batch(t.Context(), [][]byte{event("down")}).Verdict)
}

func TestBaseURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://api.getlago.com":         "https://api.getlago.com/api/v1",
		"https://api.getlago.com/":        "https://api.getlago.com/api/v1",
		"https://api.getlago.com/api/v1":  "https://api.getlago.com/api/v1",
		"https://api.getlago.com/api/v1/": "https://api.getlago.com/api/v1",
		"http://lago:3000/sub/":           "http://lago:3000/sub/api/v1",
	} {
		assert.Equal(t, want, client(t, in).Base())
	}
	for _, in := range []string{"api.getlago.com", "ftp://x", "http://", "https://user:pw@x", "https://x?a=b", "https://x\n"} {
		_, err := lago.ParseBase(in)
		if strings.HasSuffix(in, "\n") {
			assert.NoError(t, err) // a file's last line break
			continue
		}
		assert.Error(t, err, in)
		assert.NotContains(t, err.Error(), "pw")
	}
	u, err := lago.ParseBase("https://x")
	require.NoError(t, err)
	for _, k := range []string{"", "a b", "a\nb"} {
		_, err := lago.New(lago.Options{Base: u, Key: k})
		assert.Error(t, err)
	}
}
