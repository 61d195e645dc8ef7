//go:build crosscheck

package price

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"regexp/syntax"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write "+goldenFile)

// python runs a script of testdata, with the interpreter of $TOLLGATE_PRICES_PYTHON, which has the packages that the data is
// from, and returns what it prints.
func python(t *testing.T, script string, in io.Reader) []byte {
	t.Helper()
	interpreter := os.Getenv("TOLLGATE_PRICES_PYTHON")
	require.NotEmpty(t, interpreter, "$TOLLGATE_PRICES_PYTHON: .ci/run sets it")
	cmd := exec.CommandContext(t.Context(), interpreter, "testdata/"+script) //nolint:gosec // set by who runs the tests
	cmd.Stdin = in
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	return out
}

// TestCrossCheck prices every model with random usage and compares with genai-prices' own implementation, of the version
// that the data is from. TestGolden replays what it found without it.
func TestCrossCheck(t *testing.T) {
	seed := uint64(1)
	if !*update {
		seed = uint64(time.Now().UnixNano())
	}
	t.Log("seed", seed)
	l := Default().list
	asked := probes(l, seed)
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, p := range asked {
		require.NoError(t, enc.Encode(map[string]any{"provider": p.provider, "model": p.name, "ms": p.ms, "tier": p.tier, "usage": theirs(&p.counts)}))
	}
	var urls []string
	for _, p := range l.providers {
		re, err := syntax.Parse(p.api.String(), syntax.Perl)
		require.NoError(t, err)
		for _, tail := range []string{"", "/v1", ".example", ":443"} {
			urls = append(urls, expand(re)+tail)
			require.NoError(t, enc.Encode(map[string]any{"url": expand(re) + tail}))
		}
	}
	answers := python(t, "genai_prices_oracle.py", &in)

	var golden bytes.Buffer
	dec := json.NewDecoder(bytes.NewReader(answers))
	for _, p := range asked {
		var a struct {
			Provider, Model string
			Total           string
			Keys            []string
			Error           string
		}
		require.NoError(t, dec.Decode(&a))
		require.Empty(t, a.Error, "%+v", p)
		require.Equal(t, p.provider, a.Provider)
		o := oracle{a.Model, a.Total, strings.Join(append(a.Keys, ""), ",")}
		if !*update {
			compare(t, p, o)
		}
		golden.WriteString(formatGolden(p, o) + "\n")
	}
	for _, url := range urls {
		var a struct{ Provider string }
		require.NoError(t, dec.Decode(&a))
		ours := ""
		if p := l.providerAt(url); p != nil {
			ours = p.id
		}
		require.Equal(t, a.Provider, ours, url)
	}
	t.Logf("%d probes, %d addresses", len(asked), len(urls))
	if *update {
		f, err := os.Create(goldenFile)
		require.NoError(t, err)
		gz, err := gzip.NewWriterLevel(f, gzip.BestCompression)
		require.NoError(t, err)
		w := bufio.NewWriter(gz)
		_, err = golden.WriteTo(w)
		require.NoError(t, err)
		require.NoError(t, w.Flush())
		require.NoError(t, gz.Close())
		require.NoError(t, f.Close())
	}
}
