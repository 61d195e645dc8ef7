package llm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckName(t *testing.T) {
	for name, fault := range map[string]string{
		"": "", "a": "", "team 1": "", "Zoë 東京": "", strings.Repeat("x", 255): "", strings.Repeat("ä", 127) + "x": "",
		"a\u200bb": "", "{env.HOME}": "", `"quoted" \ /`: "", "a\u00a0b": "",
		strings.Repeat("x", 256): "longer than 255 bytes", strings.Repeat("ä", 128): "longer than 255 bytes",
		"a\x00": "control", "a\nb": "control", "\x1fa": "control", "a\x7fb": "control", "a\u0080b": "control", "a\u0085b": "control",
		"a\u009f": "control", "ä\tb": "control",
		"a\xff": "UTF-8", "\xc2": "UTF-8", "a\xed\xa0\x80": "UTF-8", "\x85a": "UTF-8",
		" a": "white space", "a ": "white space", " ": "white space", "ä\u00a0": "white space", "\u2003a": "white space", "a\u3000": "white space",
	} {
		err := CheckName(name)
		if fault == "" {
			require.NoError(t, err, "%q", name)
			continue
		}
		require.ErrorContains(t, err, fault, "%q", name)
	}
}
