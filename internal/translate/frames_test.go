package translate

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

const bedrockFrames = "application/vnd.amazon.eventstream"

func onBedrock(caller API) *Translation {
	t, _ := New(Pair{caller, Messages}, Options{Model: "m", Upstream: "us.anthropic.claude-sonnet-4-5-20250929-v1:0", Provider: "bedrock", ID: "1"})
	return t
}

// framed are the frames of a stream of Messages' events.
func framed(t *testing.T, events ...string) (frames []byte) {
	t.Helper()
	for _, e := range events {
		frames = append(frames, scripted.EventFrame(t, "chunk", fmt.Appendf(nil, `{"bytes":%q,"p":"abcdef"}`, base64.StdEncoding.EncodeToString([]byte(e))))...)
	}
	return frames
}

var bedrockEvents = []string{
	`{"type":"message_start","message":{"id":"msg_bdrk_1","type":"message","role":"assistant","content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}`,
	`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
	`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hé \u00fc/+"}}`,
	`{"type":"content_block_stop","index":0}`,
	`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}}`,
	`{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":7,"invocationLatency":9,"firstByteLatency":1}}`,
}

// TestFramesAtEverySplit holds that a stream in AWS' frames is translated as the same events are without them, however it is split.
func TestFramesAtEverySplit(t *testing.T) {
	for _, caller := range []API{Chat, Responses} {
		var plain strings.Builder
		for _, e := range bedrockEvents {
			plain.WriteString("data: " + e + "\n\n")
		}
		want, err := onBedrock(caller).Stream().Write(nil, []byte(plain.String()))
		require.NoError(t, err)
		require.Contains(t, string(want), "H")
		all := append(scripted.EventFrame(t, "initial-response", []byte("{}")), framed(t, bedrockEvents...)...)
		for split := range all {
			a := onBedrock(caller).Begin(http.StatusOK, bedrockFrames)
			require.False(t, a.Whole())
			var got []byte
			for _, piece := range [][]byte{all[:split], all[split:]} {
				require.False(t, a.Ended())
				out, err := a.Write(piece)
				require.NoError(t, err)
				got = append(got, out...)
			}
			require.True(t, a.Ended())
			_, out, err := a.End(nil)
			require.NoError(t, err)
			require.Equal(t, string(want), string(append(got, out...)), split)
		}
		h := http.Header{"Content-Type": {bedrockFrames}}
		onBedrock(caller).Begin(http.StatusOK, bedrockFrames).Describe(h)
		require.Equal(t, "text/event-stream", h.Get("Content-Type"))
	}
}

// TestExceptionsInFrames come as errors of the caller's API, and so does what is no frame; a complete answer is never made up.
func TestExceptionsInFrames(t *testing.T) {
	flipped := framed(t, bedrockEvents...)
	flipped[len(flipped)-3] ^= 1
	for name, c := range map[string]struct {
		bytes      []byte
		chat, resp string
		fails      bool
	}{
		"throttled":      {scripted.ExceptionFrame(t, "throttlingException", []byte(`{"message":"Too many tokens"}`)), `"code":"rate_limit_exceeded"`, `"code":"rate_limit_exceeded"`, false},
		"timeout":        {scripted.ExceptionFrame(t, "modelTimeoutException", []byte(`{"message":"Too many tokens"}`)), `"type":"server_error"`, `"code":"server_error"`, false},
		"unknown":        {scripted.ExceptionFrame(t, "newException", nil), `"message":"newException"`, `"message":"newException"`, false},
		"no base64":      {scripted.EventFrame(t, "chunk", []byte(`{"bytes":"%"}`)), `"type":"server_error"`, `"code":"server_error"`, true},
		"no event":       {scripted.EventFrame(t, "chunk", []byte(`{}`)), `"type":"server_error"`, `"code":"server_error"`, true},
		"wrong checksum": {flipped, `"type":"server_error"`, `"code":"server_error"`, true},
		"too long":       {[]byte{0x40, 0, 0, 0, 0, 0, 0, 0}, `"type":"server_error"`, `"code":"server_error"`, true},
		"too short":      {make([]byte, 64), `"type":"server_error"`, `"code":"server_error"`, true},
		"cut":            {[]byte{0, 0, 1}, `"type":"server_error"`, `"code":"server_error"`, true},
	} {
		t.Run(name, func(t *testing.T) {
			for caller, want := range map[API]string{Chat: c.chat, Responses: c.resp} {
				a := onBedrock(caller).Begin(http.StatusOK, bedrockFrames)
				var got []byte
				out, err := a.Write(framed(t, bedrockEvents[:3]...))
				require.NoError(t, err)
				got = append(got, out...)
				out, err = a.Write(c.bytes)
				got = append(got, out...)
				_, out, last := a.End(nil)
				got = append(got, out...)
				require.Equal(t, c.fails, err != nil || last != nil)
				require.Contains(t, string(got), want)
				require.NotContains(t, string(got), "[DONE]")
				require.NotContains(t, string(got), "response.completed")
			}
		})
	}
}

// TestBodiesForBedrock hold what InvokeModel takes.
func TestBodiesForBedrock(t *testing.T) {
	tr := onBedrock(Chat)
	out, err := tr.Request([]byte(`{"model":"m","stream":true,"max_tokens":9,"service_tier":"default","messages":[{"role":"user","content":[{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}}]}]}`))
	require.NoError(t, err)
	require.JSONEq(t, `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]}`, string(out))
	require.True(t, tr.Streamed)
	require.Equal(t, map[string]string{"Accept": "application/json"}, tr.Headers)
	require.Equal(t, []string{"service_tier"}, tr.Dropped())
	tr.Upstream = "anthropic.claude-3-7-sonnet-20250219-v1:0"
	out, err = tr.Request([]byte(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}}]}]}`))
	require.NoError(t, err)
	require.Contains(t, string(out), `"cache_control":{"type":"ephemeral"}`, "models before 4.5 have caches of five minutes only")
	_, err = tr.Request([]byte(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]}`))
	var refusal *Refusal
	require.ErrorAs(t, err, &refusal)
	require.Contains(t, refusal.Reason, "base64 only")

	status, body := tr.Error(http.StatusRequestTimeout, []byte(`{"message":"Model has timed out"}`))
	require.Equal(t, http.StatusGatewayTimeout, status)
	require.Contains(t, string(body), `"message":"Model has timed out"`)
	status, _ = tr.Error(http.StatusFailedDependency, []byte(`{"message":"m","originalStatusCode":500}`))
	require.Equal(t, http.StatusBadGateway, status)
	_, body = tr.Error(http.StatusBadRequest, []byte(`{"message":"Input is too long for requested model."}`))
	require.Contains(t, string(body), `"code":"context_length_exceeded"`)
	_, body = tr.Error(http.StatusNotFound, []byte(`{"Message":"no"}`))
	require.Contains(t, string(body), `"message":"no"`)
}
