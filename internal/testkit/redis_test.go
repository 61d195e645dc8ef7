package testkit

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// say sends one inline command and returns the first bytes of the answer.
func say(t *testing.T, addr, command string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	_, err = c.Write([]byte(command + "\r\n"))
	require.NoError(t, err)
	b := make([]byte, 64)
	n, err := c.Read(b)
	require.NoError(t, err)
	return string(b[:n])
}

func TestRedisKeepsItsDataAcrossAnOutage(t *testing.T) {
	s := Redis(t)
	require.Equal(t, "+OK\r\n", say(t, s.Addr, "SET a b"))
	s.Stop()
	_, err := net.Dial("tcp", s.Addr)
	require.Error(t, err, "a stopped server takes no connection")
	s.Start()
	require.Equal(t, "$1\r\nb\r\n", say(t, s.Addr, "GET a"))
	s.Pause()
	s.Resume()
	require.Equal(t, "+PONG\r\n", say(t, s.Addr, "PING"))
}
