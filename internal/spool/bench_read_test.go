package spool

import "testing"

// BenchmarkRead has a consumer read what calls settled since its last batch: 500 records, as the totals do at 5,000 calls
// a second.
func BenchmarkRead(b *testing.B) {
	const batch = 500
	c := newCaller(b)
	b.ReportAllocs()
	after := c.s.Last()
	for b.Loop() {
		b.StopTimer()
		for range batch {
			n := c.calls.Add(1)
			c.begin(n)
			c.settle(n)
			c.deliver(n)
		}
		b.StartTimer()
		got, err := c.s.Read(b.Context(), after, batch)
		if err != nil || len(got.Records) != batch {
			b.Fatal(len(got.Records), err)
		}
		after = got.To
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/record")
}
