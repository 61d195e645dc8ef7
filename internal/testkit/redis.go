package testkit

import (
	"bufio"
	"cmp"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// RedisServer is a real redis-server with its data in the test's directory. It stops when the test ends.
type RedisServer struct {
	Addr string // host:port, the same across Stop and Start

	t    testing.TB
	dir  string
	args []string

	mu  sync.Mutex
	cmd *exec.Cmd // nil while it is stopped
}

// Redis starts redis-server, from PATH unless TOLLGATE_REDIS_SERVER names another binary, with further arguments such as
// "--requirepass", "secret". It returns once the server accepts connections.
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	s := &RedisServer{t: t, dir: t.TempDir(), args: args}
	t.Cleanup(s.Stop)
	const tries = 10 // another process may take a port between its choice and its use
	for range tries {
		var err error
		s.Addr, err = FreeAddr()
		require.NoError(t, err)
		if s.start() {
			return s
		}
	}
	require.Fail(t, "redis-server does not start")
	return nil
}

// Start starts a stopped server again, with the data it had.
func (s *RedisServer) Start() {
	s.t.Helper()
	require.True(s.t, s.start(), "redis-server does not start again on %s", s.Addr)
}

func (s *RedisServer) start() bool {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	host, port, err := net.SplitHostPort(s.Addr)
	require.NoError(s.t, err)
	args := append([]string{
		"--bind", host, "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "yes", "--daemonize", "no",
	}, s.args...)
	program := cmp.Or(os.Getenv("TOLLGATE_REDIS_SERVER"), "redis-server")
	cmd := exec.Command(program, args...) // #nosec G204 G702 -- a test's own arguments
	out, err := cmd.StdoutPipe()
	require.NoError(s.t, err)
	cmd.Stderr = os.Stderr
	require.NoError(s.t, cmd.Start(), "redis-server is needed: ./test.sh gets one")
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			s.cmd = cmd
			go func() { // ends when the server closes its output
				for lines.Scan() {
				}
			}()
			return true
		}
	}
	_ = cmd.Wait() // it exited by itself: the port was taken
	return false
}

// Stop ends the server as an operator would, keeping its data. A stopped server stays stopped.
func (s *RedisServer) Stop() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGCONT) // a paused process could not exit
	ended := make(chan struct{})
	go func(cmd *exec.Cmd) {
		_ = cmd.Wait() // its exit status has no meaning
		close(ended)
	}(s.cmd)
	again := time.NewTicker(100 * time.Millisecond) // a new replica refuses to shut down while it writes its first append-only file
	defer again.Stop()
	for s.cmd != nil {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
			require.NoError(s.t, err)
		}
		select {
		case <-ended:
			s.cmd = nil
		case <-again.C:
		}
	}
}

// Kill kills the server, as a crash of its machine would: data not yet written is lost. It stays stopped.
func (s *RedisServer) Kill() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NotNil(s.t, s.cmd, "the server is stopped")
	require.NoError(s.t, s.cmd.Process.Kill())
	_ = s.cmd.Wait() // it was killed
	s.cmd = nil
}

// Pause makes the server hang until Resume: connections stay open but nothing answers.
func (s *RedisServer) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *RedisServer) Resume() { s.signal(syscall.SIGCONT) }

func (s *RedisServer) signal(sig syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NotNil(s.t, s.cmd, "the server is stopped")
	require.NoError(s.t, s.cmd.Process.Signal(sig))
}
