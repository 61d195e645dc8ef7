package usage

import (
	"bytes"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/stretchr/testify/require"
)

// encodeFrame makes a frame with AWS's own encoder.
func encodeFrame(t testing.TB, event, message string, payload []byte) []byte {
	t.Helper()
	if message == "" {
		message = "event"
	}
	var m eventstream.Message
	m.Payload = payload
	m.Headers.Set(":message-type", eventstream.StringValue(message))
	if message == "event" {
		m.Headers.Set(":event-type", eventstream.StringValue(event))
	} else {
		m.Headers.Set(":exception-type", eventstream.StringValue(event))
	}
	m.Headers.Set(":content-type", eventstream.StringValue("application/json"))
	var b bytes.Buffer
	require.NoError(t, eventstream.NewEncoder().Encode(&b, m))
	return b.Bytes()
}

// TestFramesAgainstAWS checks that each mark ends exactly one message, as AWS's own decoder has it.
func TestFramesAgainstAWS(t *testing.T) {
	messages := 0
	for _, g := range goldens(t) {
		if g.Frames == nil || g.Frames[len(g.Frames)-1].Corrupted {
			continue
		}
		answer := g.bytes(t)
		r := NewReader(g.options())
		var frame []byte
		for p := answer; len(p) > 0; {
			n, m := r.Next(p[:min(len(p), 7)])
			frame = append(frame, p[:n]...)
			p = p[n:]
			if m == More {
				continue
			}
			rest := bytes.NewReader(frame)
			_, err := eventstream.NewDecoder().Decode(rest, nil)
			require.NoError(t, err, g.Name)
			require.Zero(t, rest.Len(), "%s: the mark ends one message", g.Name)
			frame = frame[:0]
			messages++
		}
		require.Empty(t, frame, g.Name)
		r.Close()
	}
	require.Greater(t, messages, 30)
}

// TestFrameDamage flips each bit of a stream in turn: usage is read only from frames with correct checksums.
func TestFrameDamage(t *testing.T) {
	payload := []byte(`{"usage":{"inputTokens":5,"outputTokens":7,"totalTokens":12}}`)
	answer := encodeFrame(t, "metadata", "", payload)
	o := Options{API: BedrockConverse, Status: 200, ContentType: "application/vnd.amazon.eventstream"}
	require.Equal(t, Reported, play(t, o, Estimate{}, answer).result.Source)
	for bit := range len(answer) * 8 {
		damaged := bytes.Clone(answer)
		damaged[bit/8] ^= 1 << (bit % 8)
		got := play(t, o, Estimate{}, damaged)
		require.Empty(t, got.end, "bit %d", bit)
		require.NotEqual(t, Reported, got.result.Source, "bit %d", bit)
		require.False(t, got.result.Complete)
	}
}
