package lagobilling

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const chunkWithNull = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-2024-08-06","service_tier":"default",` +
	`"system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" fox"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"aX9d"}` + "\n\n"

// TestUnaskedUsageLeavesNoTrace cuts streams into pieces at every place: what passes has no trace of the usage that the gateway asked
// for, and all else byte for byte.
func TestUnaskedUsageLeavesNoTrace(t *testing.T) {
	for in, want := range map[string]string{
		strings.Repeat(chunkWithNull, 3): strings.Repeat(strings.Replace(chunkWithNull, `,"usage":null`, "", 1), 3),
		`{"a":1, "usage": null}`:         `{"a":1}`,
		`{"a":1,"usage":null,"b":2}`:     `{"a":1,"b":2}`,
		`{"a":1,"usage":{"x":null}}`:     `{"a":1,"usage":{"x":null}}`,
		`{"a":",\"usage\":null"}`:        `{"a":",\"usage\":null"}`,
		`{"a":"x,","usage":null}`:        `{"a":"x,"}`,
		`,,,"usage":null,"usage":nul`:    `,,,"usage":nul`,
		`{"a":1,"usage":nu`:              `{"a":1`, // a stream that broke off within the member
	} {
		for size := 1; size <= len(in); size++ {
			var u unasked
			var out bytes.Buffer
			for rest := []byte(in); len(rest) > 0; {
				n := min(size, len(rest))
				out.Write(u.next(rest[:n:n]))
				rest = rest[n:]
			}
			got := out.String()
			if strings.HasSuffix(in, "nul") {
				got += string(u.tail)
			}
			require.Equal(t, want, got, "in pieces of %d", size)
		}
	}
}

// BenchmarkUnasked is what a chunk of a stream costs more that loses its `"usage":null`, and one that has none.
func BenchmarkUnasked(b *testing.B) {
	for name, chunk := range map[string]string{"null": chunkWithNull, "none": strings.Replace(chunkWithNull, `,"usage":null`, "", 1)} {
		b.Run(name, func(b *testing.B) {
			var u unasked
			p := []byte(chunk)
			b.ReportAllocs()
			for b.Loop() {
				u.next(p)
			}
		})
	}
}
