package upstream

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	refusedLength  = `{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`
	refusedContent = `{"error":{"message":"The response was filtered","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}`
)

// TestRefusals reads the errors as the providers send them.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		status int
		want   Refusal
		body   string
	}{
		{400, ContextWindow, refusedLength},
		{400, ContextWindow, `{"error":{"message":"Your input exceeds the context window of this model. Please adjust your input and try again.","code":null}}`},
		{400, ContextWindow, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 213462 tokens > 200000 maximum"}}`},
		{400, ContextWindow, "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000\"}}"},
		{400, ContextWindow, `{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens","type":"BadRequestError","code":400}`},
		{400, ContextWindow, `{"error":{"code":400,"message":"The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).","status":"INVALID_ARGUMENT"}}`},
		{400, ContextWindow, `[{"error":{"code":400,"message":"The input token count exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]`},
		{400, ContextWindow, `{"message":"Input is too long for requested model."}`},
		{400, ContextWindow, `{"message":"too many tokens: size limit exceeded by 8192 tokens."}`},
		{400, ContextWindow, `{"code":"Client specified an invalid argument","error":"This model's maximum prompt length is 131072 but the request contains 537812 tokens."}`},
		{400, ContextWindow, `{"error":{"code":400,"message":"the request is too big","type":"exceed_context_size_error","n_ctx":4096}}`},
		{400, ContextWindow, `{"error":{"code":400,"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"message\":\"prompt is too long: 2 tokens > 1 maximum\"}}"}}}`},
		{413, ContextWindow, `{"error":{"message":"Please reduce the length of the messages or completion.","code":"context_length_exceeded"}}`},
		{422, ContextWindow, "{\"error\":\"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096\",\"error_type\":\"validation\"}"},
		{422, ContextWindow, `{"detail":[{"loc":["body"],"msg":"the input exceeds the context length","type":"value_error"}]}`},

		{400, ContentPolicy, refusedContent},
		{400, ContentPolicy, `{"error":{"code":"content_policy_violation","message":"Your request was rejected as a result of our safety system."}}`},
		{400, ContentPolicy, `{"error":{"code":"invalid_prompt","message":"Invalid prompt: your prompt was flagged as potentially violating our usage policy."}}`},
		{400, ContentPolicy, `{"error":{"type":"image_generation_user_error","code":"moderation_blocked","message":"no"}}`},
		{400, ContentPolicy, `{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}`},
		{403, ContentPolicy, `{"code":"The caller does not have permission","error":"Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}`},

		{400, NotRefused, `{"error":{"message":"Unsupported parameter: 'max_tokens'","code":"unsupported_parameter"}}`},
		{413, NotRefused, `{"error":{"message":"Request too large on tokens per minute (TPM): Limit 6000, Requested 9000","type":"tokens","code":"rate_limit_exceeded"}}`},
		{429, NotRefused, `{"message":"Too many tokens, please wait before trying again."}`},
		{401, NotRefused, refusedLength},
		{200, NotRefused, refusedLength},
		{422, NotRefused, `{"detail":[{"msg":"field required","type":"missing","input":{"message":"prompt is too long","type":"content_filter"}}]}`},
		{400, NotRefused, `prompt is too long`},
		{400, NotRefused, ``},
		{400, NotRefused, `null`},
		{400, NotRefused, `{"error":` + strings.Repeat(`{"error":`, 10) + refusedLength + strings.Repeat("}", 11)},
	} {
		resp := &http.Response{StatusCode: tt.status, Body: io.NopCloser(strings.NewReader(tt.body))}
		require.Equal(t, tt.want, refusalOf(resp), tt.body)
		require.Equal(t, tt.want, refusalOf(resp), "a second look finds the same")
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, tt.body, string(text), "the body stays as it is")
	}
}
