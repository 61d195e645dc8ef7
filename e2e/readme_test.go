package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestReadme runs the commands of the README's first call as they stand, but for the port and the place of the binary,
// against the binary that runs the example.
func TestReadme(t *testing.T) {
	bin, err := gateway.Build()
	require.NoError(t, err)
	example, err := os.ReadFile("../Caddyfile.example")
	require.NoError(t, err)
	_, port, _ := strings.Cut(gateway.FreeAddr(t), ":")
	admin := gateway.FreeAddr(t)
	config := strings.ReplaceAll(string(example), ":4000", ":"+port)
	config = strings.Replace(config, "\n{\n", "\n{\n\tadmin "+admin+"\n\tpersist_config off\n", 1)
	g := &gateway.Gateway{T: t, Addr: "localhost:" + port, Admin: admin, Caddyfile: config}
	g.Launch(bin, "caddyfile")

	key := ""
	run := func(command string) string {
		command = strings.NewReplacer(
			"localhost:4000", g.Addr, "sk-...", key, "./caddy tollgate", bin+" tollgate --address "+admin,
		).Replace(command)
		out, err := exec.CommandContext(gateway.Timeout(t, time.Minute), "sh", "-ec", command).Output() //nolint:gosec // the README's own commands
		require.NoError(t, err, command)
		return string(out)
	}
	blocks := shellBlocks(t, "../README.md", "## A first call, a first bill")
	require.Len(t, blocks, 2)
	found := regexp.MustCompile(`"key":"(sk-[^"]+)"`).FindStringSubmatch(run(blocks[0]))
	require.Len(t, found, 2, "the answer shows the key")
	key = found[1]
	out := run(blocks[1])
	require.Equal(t, 1, strings.Count(out, "chat.completion\""), "one answer: "+out)
	require.Contains(t, out, "data: [DONE]")
	require.Equal(t, 2, strings.Count(out, "my-team"), "two records in the ledger: "+out)
	require.Contains(t, out, "finished     2")
}

// shellBlocks returns the shell blocks of one section of a document.
func shellBlocks(t *testing.T, file, heading string) []string {
	text, err := os.ReadFile(filepath.Clean(file))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), heading+"\n")
	require.True(t, found, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}
