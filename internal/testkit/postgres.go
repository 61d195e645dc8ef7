package testkit

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// PostgresPassword is the password of the superuser in PostgresServer.DSN.
const PostgresPassword = "secret-of-postgres" // #nosec G101 -- of tests

const (
	postgresUser = "tollgate"
	// nobody is the server's user id when the tests run as root, because PostgreSQL refuses to run as root.
	nobody = 65534
)

// PostgresServer is a real PostgreSQL server of a test. It is stopped, and its data removed, when the test ends.
type PostgresServer struct {
	Addr string // host:port, the same across Stop and Start

	t   testing.TB
	bin string
	dir string

	mu  sync.Mutex
	cmd *exec.Cmd // nil while it is stopped
}

// Postgres creates and starts a server, using the programs in the directory TOLLGATE_POSTGRES_BIN, on PATH, or where
// Debian installs them. It returns once the server accepts connections. The test is skipped if test.sh could not get
// PostgreSQL.
func Postgres(t testing.TB) *PostgresServer {
	t.Helper()
	LeftOut(t, "postgresql")
	bin, err := postgresBin()
	require.NoError(t, err, "PostgreSQL is needed: ./test.sh gets it")
	s := &PostgresServer{t: t, bin: bin}
	s.dir, err = os.MkdirTemp("", "tollgate-postgres-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(s.dir)) })
	t.Cleanup(s.Stop)
	password := filepath.Join(s.dir, "password")
	require.NoError(t, os.WriteFile(password, []byte(PostgresPassword), 0o600))
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(s.dir, nobody, nobody))
		require.NoError(t, os.Chown(password, nobody, nobody))
	}
	out, err := s.command("initdb", "--pgdata", s.data(), "--username", postgresUser, "--pwfile", password, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C", "--no-sync").CombinedOutput()
	require.NoError(t, err, "%s", out)
	const tries = 10 // another process may take a port between its choice and its use
	for range tries {
		s.Addr, err = FreeAddr()
		require.NoError(t, err)
		if s.start() {
			return s
		}
	}
	require.Fail(t, "postgres does not start")
	return nil
}

func postgresBin() (string, error) {
	if dir := os.Getenv("TOLLGATE_POSTGRES_BIN"); dir != "" {
		return dir, nil
	}
	program, err := exec.LookPath("initdb")
	if err == nil {
		return filepath.Dir(program), nil
	}
	list, globErr := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if globErr != nil || len(list) == 0 {
		return "", err
	}
	return filepath.Dir(slices.Max(list)), nil
}

func (s *PostgresServer) data() string { return filepath.Join(s.dir, "data") }

// command prepares a command. If the tests run as root, it runs as nobody.
func (s *PostgresServer) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, program), args...) // #nosec G204 -- a test's own arguments
	cmd.Dir = s.dir
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// Start starts a stopped server again, with the data it had.
func (s *PostgresServer) Start() {
	s.t.Helper()
	require.True(s.t, s.start(), "postgres does not start again on %s", s.Addr)
}

func (s *PostgresServer) start() bool {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	host, port, err := net.SplitHostPort(s.Addr)
	require.NoError(s.t, err)
	cmd := s.command("postgres", "-D", s.data(), "-h", host, "-p", port, "-k", s.dir, "-F", "-c", "shared_buffers=16MB", "-c", "max_connections=50",
		"-c", "lc_messages=C", "-c", "logging_collector=off", "-c", "log_min_messages=log")
	out, err := cmd.StderrPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "ready to accept connections") {
			s.cmd = cmd
			go func() { _, _ = io.Copy(io.Discard, out) }() // ends when the server closes its output
			return true
		}
	}
	_ = cmd.Wait() // it exited by itself: the port was taken
	return false
}

// Stop ends the server as an operator would, closing open connections. A stopped server stays stopped.
func (s *PostgresServer) Stop() { s.end(syscall.SIGINT) }

// Kill ends the server as a crash would, in the middle of transactions.
func (s *PostgresServer) Kill() { s.end(syscall.SIGQUIT) }

func (s *PostgresServer) end(sig syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	require.NoError(s.t, s.cmd.Process.Signal(sig))
	_ = s.cmd.Wait() // its exit status has no meaning
	s.cmd = nil
}

// DSN returns the connection string of a database.
func (s *PostgresServer) DSN(database string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", postgresUser, PostgresPassword, s.Addr, database)
}

// Database creates an empty database and returns its connection string.
func (s *PostgresServer) Database(name string) string {
	s.t.Helper()
	s.Exec("postgres", "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return s.DSN(name)
}

// Exec runs statements in a database.
func (s *PostgresServer) Exec(database, sql string) {
	s.t.Helper()
	c := s.connect(database)
	defer s.close(c)
	_, err := c.Exec(context.Background(), sql)
	require.NoError(s.t, err, sql)
}

// Rows returns the result of a query, with all values as text and NULL as an empty string.
func (s *PostgresServer) Rows(database, sql string) (rows [][]string) {
	s.t.Helper()
	c := s.connect(database)
	defer s.close(c)
	results, err := c.PgConn().Exec(context.Background(), sql).ReadAll()
	require.NoError(s.t, err, sql)
	for _, r := range results {
		for _, values := range r.Rows {
			row := make([]string, len(values))
			for i, v := range values {
				row[i] = string(v)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func (s *PostgresServer) connect(database string) *pgx.Conn {
	s.t.Helper()
	c, err := pgx.Connect(context.Background(), s.DSN(database))
	require.NoError(s.t, err)
	return c
}

func (s *PostgresServer) close(c *pgx.Conn) {
	s.t.Helper()
	require.NoError(s.t, c.Close(context.Background()))
}
