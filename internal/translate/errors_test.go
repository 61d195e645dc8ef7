package translate

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestErrorsInTheCallersShape(t *testing.T) {
	for _, c := range []struct {
		caller API
		status int
		body   string
		want   int
		out    string
	}{
		{
			Chat, 400, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens"}}`, 400,
			`{"error":{"message":"prompt is too long: 9 tokens","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}`,
		},
		{
			Chat, 529, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, 503,
			`{"error":{"message":"Overloaded","type":"server_error","param":null,"code":"server_error"}}`,
		},
		{
			Responses, 429, `{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}`, 429,
			`{"error":{"message":"slow","type":"rate_limit_exceeded","param":null,"code":"rate_limit_exceeded"}}`,
		},
		{
			Chat, 401, `{"error":{"message":"Incorrect API key provided: sk-o*****ator"}}`, 401,
			`{"error":{"message":"the backend refused the gateway's credentials: this is for the gateway's operator to solve","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`,
		},
		{
			Messages, 403, `{"message":"User: arn:aws:iam::123456789012:user/gw is not authorized to perform: bedrock:InvokeModel because no identity-based policy allows it"}`, 403,
			`{"type":"error","error":{"type":"permission_error","message":"the backend does not permit the gateway this call: this is for the gateway's operator to solve"}}`,
		},
		{
			Messages, 403, `{"error":{"message":"Content violates usage guidelines."}}`, 403,
			`{"type":"error","error":{"type":"permission_error","message":"Content violates usage guidelines."}}`,
		},
		{Chat, 422, `{"detail":"no"}`, 422, `{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}`},
		{Messages, 503, `{"error":{"message":"busy","type":"server_error","code":503}}`, 529, `{"type":"error","error":{"type":"overloaded_error","message":"busy"}}`},
		{Messages, 502, "<html>bad</html>", 502, `{"type":"error","error":{"type":"api_error","message":"bad gateway"}}`},
		{Messages, 400, `[{"error":{"code":400,"message":"bad model","status":"INVALID_ARGUMENT"}}]`, 400, `{"type":"error","error":{"type":"invalid_request_error","message":"bad model"}}`},
		{Messages, 402, `{"error":"pay"}`, 402, `{"type":"error","error":{"type":"billing_error","message":"pay"}}`},
		{Messages, 422, `{"message":"no \"such\""}`, 422, `{"type":"error","error":{"type":"invalid_request_error","message":"no \"such\""}}`},
		{Messages, 500, "", 500, `{"type":"error","error":{"type":"api_error","message":"internal server error"}}`},
	} {
		upstream := Messages
		if c.caller == Messages {
			upstream = Chat
		}
		status, out := translateError(Pair{c.caller, upstream}, c.status, []byte(c.body))
		require.Equal(t, c.want, status, c.body)
		require.JSONEq(t, c.out, string(out))
		require.True(t, json.Valid(out))
	}
	require.Equal(t, failure{status: 529, code: "overloaded_error", message: "o"}, readFailure(0, []byte(`{"type":"error","error":{"type":"overloaded_error","message":"o"}}`)))
	require.Equal(t, 429, readFailure(0, []byte(`{"error":{"message":"m","type":"insufficient_quota"}}`)).status)
	require.Equal(t, errBrokenOff, failureOf(errors.New("dial tcp 10.0.0.1: secret")))
	require.Len(t, readFailure(400, []byte(strings.Repeat("x", 1<<20))).message, maxErrorText)
}

func TestAnswersThatAreTranslatedWhole(t *testing.T) {
	with := &pair{
		answer: func(_ *Translation, body []byte) ([]byte, error) {
			if string(body) != "{}" {
				return nil, errors.New("no such answer")
			}
			return []byte(`{"ok":1}`), nil
		},
		stream: func(*Translation) events { return echo{} },
	}
	tr := &Translation{Pair: Pair{Messages, Chat}, pair: with}

	a := tr.Begin(200, "application/json")
	require.True(t, a.Whole())
	for _, piece := range []string{"{", "}", "\n"} {
		out, err := a.Write([]byte(piece))
		require.NoError(t, err)
		require.Empty(t, out)
	}
	status, out, err := a.End(nil)
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"ok":1}`, string(out))
	_, out, err = a.End(nil)
	require.NoError(t, err)
	require.Empty(t, out)

	a = tr.Begin(200, "application/json")
	_, _ = a.Write([]byte("{"))
	status, out, err = a.End(nil)
	require.Error(t, err)
	require.Equal(t, http.StatusBadGateway, status)
	require.Contains(t, string(out), `"api_error"`)

	a = tr.Begin(200, "application/json")
	_, _ = a.Write([]byte("{}"))
	status, out, err = a.End(errors.New("connection to 10.0.0.1 reset"))
	require.Error(t, err)
	require.Equal(t, http.StatusBadGateway, status)
	require.NotContains(t, string(out), "10.0.0.1")

	a = tr.Begin(429, "text/event-stream")
	require.True(t, a.Whole(), "an error is no stream")
	_, _ = a.Write([]byte(`{"error":{"message":"slow"}}`))
	status, out, err = a.End(nil)
	require.NoError(t, err)
	require.Equal(t, 429, status)
	require.JSONEq(t, `{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}`, string(out))

	a = tr.Begin(200, "text/event-stream; charset=utf-8")
	require.False(t, a.Whole())
	out, err = a.Write([]byte("data: 1\n\nda"))
	require.NoError(t, err)
	require.Equal(t, "<|1>", string(out))
	status, out, err = a.End(nil)
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Equal(t, "<end <nil>>", string(out))
}

func TestNamesOfMembersLeftOut(t *testing.T) {
	var list []string
	for _, m := range []string{"a[0].b", "a[12].b", "x,\ny", strings.Repeat("n", 200)} {
		list = note(list, m)
	}
	require.Equal(t, []string{"a[].b", "x??y", strings.Repeat("n", maxName)}, list)
	for i := range 100 {
		list = note(list, strings.Repeat("z", i))
	}
	require.Len(t, list, maxNamed)
}
