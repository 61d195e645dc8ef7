//go:build crosscheck

package price

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp/syntax"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write "+goldenFile)

// TestCrossCheck prices every model with random usage and compares with genai-prices' own implementation, of the version
// that the data is from. It needs npm, node and the network; TestGolden replays what it found without them.
func TestCrossCheck(t *testing.T) {
	dir := t.TempDir()
	version := strings.TrimPrefix(Default().Version(), "genai-prices ")
	pack := exec.CommandContext(t.Context(), "npm", "pack", "--silent", "@pydantic/genai-prices@"+version)
	pack.Dir = dir
	out, err := pack.CombinedOutput()
	require.NoError(t, err, "%s", out)
	tarballs, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	require.NoError(t, err)
	require.Len(t, tarballs, 1)
	out, err = exec.CommandContext(t.Context(), "tar", "-xzf", tarballs[0], "-C", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	script, err := filepath.Abs("testdata/oracle.mjs")
	require.NoError(t, err)

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
		require.NoError(t, enc.Encode(map[string]any{"provider": p.provider, "model": p.name, "ms": p.ms, "usage": theirs(&p.counts)}))
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
	cmd := exec.CommandContext(t.Context(), "node", script, filepath.Join(dir, "package/dist/index.js"))
	cmd.Stdin = &in
	cmd.Stderr = os.Stderr
	answers, err := cmd.Output()
	require.NoError(t, err)

	var golden bytes.Buffer
	dec := json.NewDecoder(bytes.NewReader(answers))
	for _, p := range asked {
		var a struct {
			Provider, Model string
			Total           json.Number
			Keys            []string
			Error           string
		}
		require.NoError(t, dec.Decode(&a))
		require.Empty(t, a.Error, "%+v", p)
		require.Equal(t, p.provider, a.Provider)
		o := oracle{a.Model, a.Total.String(), strings.Join(append(a.Keys, ""), ",")}
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
