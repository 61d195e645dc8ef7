package limit

import (
	"math/bits"
	"sync"
)

const (
	// One in this many outputs of a model may be larger than the estimate for a call without a bound.
	oneOf = 1000
	// enoughOutputs is how many outputs of a model that takes. From fewOutputs on, the estimate is twice the largest.
	enoughOutputs = 200
	fewOutputs    = 20
	// maxModels is the maximum number of models to remember.
	maxModels = 10_000
	// outputBuckets divide each power of two in eight.
	outputBuckets = 8 * 33
)

// Outputs remembers the output sizes of models in tokens. The zero value is ready to use.
type Outputs struct {
	mu     sync.Mutex
	models map[string]*histogram
}

// histogram counts outputs by their size. Old ones fade: at a bound all counts are halved.
type histogram struct {
	n       uint32
	buckets [outputBuckets]uint32
}

const fadeAt = 1 << 20

// Observe records a settled call's output, in tokens of all kinds.
func (o *Outputs) Observe(model string, tokens int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.models[model]
	if h == nil {
		if o.models == nil {
			o.models = make(map[string]*histogram)
		}
		if len(o.models) >= maxModels {
			return
		}
		h = new(histogram)
		o.models[model] = h
	}
	h.buckets[bucketOf(tokens)]++
	if h.n++; h.n < fadeAt {
		return
	}
	h.n = 0
	for i := range h.buckets {
		h.buckets[i] /= 2
		h.n += h.buckets[i]
	}
}

// Estimate returns how many tokens n answers of a model may have. bound is the request's maximum for one answer, 0 if it has none,
// and limit the model's, 0 if that is unknown. bounded reports that the request's maximum rules out more. ok is false if nothing is
// known at all.
func (o *Outputs) Estimate(model string, n, bound, limit int64) (tokens int64, bounded, ok bool) {
	n = max(1, n)
	if bound > 0 {
		if limit > 0 {
			bound = min(bound, limit)
		}
		return times(bound, n), true, true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if h := o.models[model]; h != nil && h.n >= fewOutputs {
		usual := h.usual()
		if h.n < enoughOutputs {
			usual = times(usual, 2)
		}
		if limit > 0 {
			usual = min(usual, limit)
		}
		return times(usual, n), false, true
	}
	return times(limit, n), false, limit > 0
}

// Known reports whether enough outputs of a model were seen to estimate its answers.
func (o *Outputs) Known(model string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.models[model]
	return h != nil && h.n >= fewOutputs
}

func times(a, b int64) int64 {
	if a > MaxNumber/b {
		return MaxNumber
	}
	return a * b
}

// usual returns a size that only one in oneOf outputs exceeds.
func (h *histogram) usual() int64 {
	left := h.n / oneOf
	for i := len(h.buckets) - 1; i > 0; i-- {
		if h.buckets[i] > left {
			return topOf(i)
		}
		left -= h.buckets[i]
	}
	return topOf(0)
}

// bucketOf returns the bucket of a size: its power of two and the three bits behind the first.
func bucketOf(tokens int64) int {
	v := uint64(max(0, tokens)) + 8 //nolint:gosec // not negative
	p := bits.Len64(v) - 4          // 8 has the first bucket
	return min(outputBuckets-1, p*8+int(v>>p&7))
}

// topOf returns the largest size of a bucket.
func topOf(bucket int) int64 {
	p := bucket / 8
	return int64((uint64(bucket%8)+9)<<p) - 9 //nolint:gosec // below 2^40
}
