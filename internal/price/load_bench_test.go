package price

import "testing"

// BenchmarkLoad reads all of the embedded data.
func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		l, err := parseList(dataText)
		if err != nil {
			b.Fatal(err)
		}
		for _, p := range l.providers {
			p.models()
		}
		newRows(liteText)
	}
}
