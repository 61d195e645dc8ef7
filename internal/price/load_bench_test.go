package price

import "testing"

// BenchmarkLoad reads the embedded data, as a start does once.
func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseList(dataText); err != nil {
			b.Fatal(err)
		}
		newRows(liteText)
	}
}
