package keystore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// eachStore runs a test of the contract against every implementation.
func eachStore(t *testing.T, test func(t *testing.T, s Store)) {
	t.Run("file", func(t *testing.T) {
		s, err := OpenFile(t.TempDir())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		test(t, s)
	})
	t.Run("redis", func(t *testing.T) {
		s := openRedis(testkit.Redis(t))
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		test(t, s)
	})
}

func openRedis(s *testkit.RedisServer) *Redis {
	return OpenRedis(RedisOptions{Addresses: []string{s.Addr}, Prefix: "tollgate:"})
}

func TestStoreKeepsRecordsAndAliases(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store) {
		ctx := t.Context()
		_, err := s.Get(ctx, KeyKind, "a")
		require.ErrorIs(t, err, ErrNotFound)
		_, err = s.ByAlias(ctx, KeyKind, "one")
		require.ErrorIs(t, err, ErrNotFound)

		require.NoError(t, s.Apply(ctx, Change{Kind: KeyKind, ID: "a", New: []byte("1"), NewAlias: "one"}))
		data, err := s.Get(ctx, KeyKind, "a")
		require.NoError(t, err)
		require.Equal(t, "1", string(data))
		id, err := s.ByAlias(ctx, KeyKind, "one")
		require.NoError(t, err)
		require.Equal(t, "a", id)
		_, err = s.Get(ctx, TeamKind, "a")
		require.ErrorIs(t, err, ErrNotFound, "kinds are apart")

		require.ErrorIs(t, s.Apply(ctx, Change{Kind: KeyKind, ID: "b", New: []byte("2"), NewAlias: "one"}), ErrAliasTaken)
		_, err = s.Get(ctx, KeyKind, "b")
		require.ErrorIs(t, err, ErrNotFound, "a refused change leaves nothing")
		require.ErrorIs(t, s.Apply(ctx, Change{Kind: KeyKind, ID: "a", New: []byte("x")}), ErrChanged, "it exists")
		require.ErrorIs(t, s.Apply(ctx, Change{Kind: KeyKind, ID: "a", Old: []byte("0"), New: []byte("x")}), ErrChanged)

		// A replacement takes the alias of what it replaces.
		require.NoError(t, s.Apply(ctx,
			Change{Kind: KeyKind, ID: "a", Old: []byte("1"), OldAlias: "one"},
			Change{Kind: KeyKind, ID: "c", New: []byte("3"), NewAlias: "one"}))
		_, err = s.Get(ctx, KeyKind, "a")
		require.ErrorIs(t, err, ErrNotFound)
		id, err = s.ByAlias(ctx, KeyKind, "one")
		require.NoError(t, err)
		require.Equal(t, "c", id)

		// All or none.
		require.ErrorIs(t, s.Apply(ctx,
			Change{Kind: KeyKind, ID: "c", Old: []byte("3"), OldAlias: "one"},
			Change{Kind: KeyKind, ID: "d", Old: []byte("not so"), New: []byte("4")}), ErrChanged)
		data, err = s.Get(ctx, KeyKind, "c")
		require.NoError(t, err)
		require.Equal(t, "3", string(data))

		require.NoError(t, s.Apply(ctx, Change{Kind: KeyKind, ID: "c", Old: []byte("3"), OldAlias: "one"}))
		_, err = s.ByAlias(ctx, KeyKind, "one")
		require.ErrorIs(t, err, ErrNotFound, "a deleted record gives up its alias")
	})
}

func TestStoreLists(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store) {
		ctx := t.Context()
		for i := range 25 {
			require.NoError(t, s.Apply(ctx, Change{Kind: KeyKind, ID: fmt.Sprintf("%02d", i), New: []byte(strconv.Itoa(i))}))
		}
		require.NoError(t, s.Apply(ctx, Change{Kind: KeyKind, ID: "07", Old: []byte("7")}))
		var got []string
		after := ""
		for {
			rows, err := s.List(ctx, KeyKind, after, 10)
			require.NoError(t, err)
			for _, r := range rows {
				require.Equal(t, r.ID, fmt.Sprintf("%02s", r.Data))
				got = append(got, r.ID)
			}
			if len(rows) < 10 {
				break
			}
			after = rows[len(rows)-1].ID
		}
		require.Len(t, got, 24)
		require.NotContains(t, got, "07")
		require.IsIncreasing(t, got)
		rows, err := s.List(ctx, TeamKind, "", 10)
		require.NoError(t, err)
		require.Empty(t, rows)
	})
}

func TestStoreLosesNoConcurrentChange(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store) {
		const writers, each = 8, 10
		var wg sync.WaitGroup
		errs := make(chan error, writers*each)
		for range writers {
			wg.Go(func() {
				for range each {
					errs <- Update(context.Background(), s, KeyKind, "n", func(old []byte) ([]Change, error) {
						n := 0
						if old != nil {
							var err error
							if n, err = strconv.Atoi(string(old)); err != nil {
								return nil, err
							}
						}
						return []Change{{Kind: KeyKind, ID: "n", Old: old, New: []byte(strconv.Itoa(n + 1))}}, nil
					})
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			require.NoError(t, err)
		}
		data, err := s.Get(t.Context(), KeyKind, "n")
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(writers*each), string(data))
	})
}

func TestConcurrentAliasesStayUnique(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store) {
		const writers = 16
		results := make(chan error, writers)
		for i := range writers {
			go func() {
				results <- s.Apply(context.Background(), Change{Kind: KeyKind, ID: strconv.Itoa(i), New: []byte("x"), NewAlias: "one"})
			}()
		}
		won := 0
		for range writers {
			if err := <-results; err == nil {
				won++
			} else {
				require.ErrorIs(t, err, ErrAliasTaken)
			}
		}
		require.Equal(t, 1, won)
	})
}

func TestFileStoreSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenFile(dir)
	require.NoError(t, err)
	require.NoError(t, s.Apply(t.Context(), Change{Kind: KeyKind, ID: "a", New: []byte("1")}))
	require.NoError(t, s.Close())
	info, err := os.Stat(filepath.Join(dir, fileName))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	s, err = OpenFile(dir)
	require.NoError(t, err)
	data, err := s.Get(t.Context(), KeyKind, "a")
	require.NoError(t, err)
	require.Equal(t, "1", string(data))
	require.NoError(t, s.Close())
}

// TestFileStoreOfAnotherProcess opens the store in this process and lets a second process, this test binary again, try.
func TestFileStoreOfAnotherProcess(t *testing.T) {
	if dir := os.Getenv("KEYAUTH_TEST_DIR"); dir != "" {
		_, err := OpenFile(dir)
		fmt.Println("second process:", err)
		return
	}
	dir := t.TempDir()
	s, err := OpenFile(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	second := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$") // #nosec G204 G702 -- this binary
	second.Env = append(os.Environ(), "KEYAUTH_TEST_DIR="+dir)
	out, err := second.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "second process: key store: another process holds "+filepath.Join(dir, fileName))
}

func TestRedisCredentials(t *testing.T) {
	server := testkit.Redis(t, "--requirepass", "correct")
	s := openRedis(server)
	defer func() { require.NoError(t, s.Close()) }()
	s.Authenticate("", "wrong")
	_, err := s.Get(t.Context(), KeyKind, "a")
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrNotFound)
	require.NotContains(t, err.Error(), "wrong ")
	s.Authenticate("", "correct")
	_, err = s.Get(t.Context(), KeyKind, "a")
	require.ErrorIs(t, err, ErrNotFound, "a rotated password serves the next connection")
}
