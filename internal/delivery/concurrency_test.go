package delivery

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
)

func TestBackoffGrowsToItsBound(t *testing.T) {
	for range 100 {
		for n := range 100 {
			d := backoff(n)
			full := backoffMost
			if n < 7 {
				full = min(backoffFirst<<max(n-1, 0), backoffMost)
			}
			assert.GreaterOrEqual(t, d, full/2)
			assert.Less(t, d, full)
		}
	}
}

func TestPaceFollowsLago(t *testing.T) {
	r := newRig(t, fakelago.Options{})
	p := &r.d.limiter
	limit := func() int { n, _ := p.figures(); return n }
	pause := func() time.Duration { _, until := p.figures(); return until.Sub(r.clock.now()) }
	assert.Equal(t, 8, limit())
	p.slow(7 * time.Second)
	assert.Equal(t, 4, limit())
	assert.Equal(t, 7*time.Second, pause())
	p.slow(24 * time.Hour)
	assert.Equal(t, rateLimitMost, pause(), "no header stops delivery for long")
	p.resume()
	for range 10 {
		p.passed(-1, 0)
	}
	assert.Equal(t, 8, limit(), "each call that passes gives one back")
	p.passed(0, 3*time.Second)
	assert.Equal(t, 3*time.Second, pause(), "the last call of the rate limit is not overdrawn")
	p.resume()

	for range 16 {
		p.failed()
	}
	assert.Equal(t, 1, limit())
	assert.LessOrEqual(t, pause(), time.Duration(0), "a few failures are each batch's own matter")
	for range 20 {
		p.failed()
	}
	assert.Greater(t, pause(), 2*time.Second, "a Lago that fails on all is called once in a while, however many wait")
	assert.LessOrEqual(t, pause(), breakerMost)

	p.reset(8)
	for range 8 { // one key, eight calls under way
		p.refused()
	}
	assert.Equal(t, 1, limit())
	assert.LessOrEqual(t, pause(), time.Second, "together they count once")
	for range 20 {
		r.clock.add(probeMost)
		p.refused()
	}
	assert.Greater(t, pause(), 20*time.Second)
	assert.LessOrEqual(t, pause(), probeMost)
}
