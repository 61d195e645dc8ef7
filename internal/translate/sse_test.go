package translate

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// echo writes down what it is called with.
type echo struct{ fault string }

func (e echo) event(dst, name, data []byte) ([]byte, error) {
	if e.fault != "" && string(data) == e.fault {
		return dst, errors.New("bad event")
	}
	return fmt.Appendf(dst, "<%s|%s>", name, data), nil
}
func (echo) ping(dst []byte) []byte { return append(dst, "<ping>"...) }
func (echo) ended() bool            { return false }
func (echo) end(dst []byte, cause error) ([]byte, error) {
	return fmt.Appendf(dst, "<end %v>", cause), nil
}

func TestEventsAtEverySplit(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"data: a\n\ndata:b\n\n", "<|a><|b><end <nil>>"},
		{"event: x\ndata: a\ndata: b\n\n", "<x|a\nb><end <nil>>"},
		{"\ufeffevent: x\r\ndata: a\r\n\r\n: c\r\ndata: d\r\r", "<x|a><ping><|d><end <nil>>"},
		{"event: x\n\ndata: {}", "<|{}><end <nil>>"},
		{"id: 1\nretry: 2\ndata\n\n", "<|><end <nil>>"},
		{"data:  a\n\n", "<| a><end <nil>>"},
	} {
		for at := range len(c.in) + 1 {
			s := &stream{to: echo{}, max: 100}
			out, err := s.Write(nil, []byte(c.in[:at]))
			require.NoError(t, err)
			out, err = s.Write(out, []byte(c.in[at:]))
			require.NoError(t, err)
			out, err = s.Close(out, nil)
			require.NoError(t, err)
			require.Equal(t, c.want, string(out), "%q split at %d", c.in, at)
		}
	}
}

func TestStreamsThatBreak(t *testing.T) {
	s := &stream{to: echo{fault: "b"}, max: 100}
	out, err := s.Write(nil, []byte("data: a\n\ndata: b\n\ndata: c\n\n"))
	require.EqualError(t, err, "bad event")
	require.Equal(t, "<|a><end bad event>", string(out))
	out, err = s.Write(nil, []byte("data: d\n\n"))
	require.NoError(t, err)
	require.Empty(t, out)
	out, err = s.Close(nil, nil)
	require.NoError(t, err)
	require.Empty(t, out)

	s = &stream{to: echo{}, max: 100}
	out, err = s.Write(nil, []byte("data: a\n\ndata: b"))
	require.NoError(t, err)
	out, err = s.Close(out, errors.New("cut off"))
	require.NoError(t, err)
	require.Equal(t, "<|a><end cut off>", string(out), "an event that did not end is none")

	for _, piece := range []string{strings.Repeat("x", 101), "data: " + strings.Repeat("x", 50) + "\n"} {
		s = &stream{to: echo{}, max: 100}
		for range 3 {
			if out, err = s.Write(nil, []byte(piece)); err != nil {
				break
			}
		}
		require.ErrorIs(t, err, errEventLong)
		require.Contains(t, string(out), "<end ")
	}
}
