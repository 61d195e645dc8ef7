package session

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// maxFailures is how many sign-ins from one address may fail within a failureWindow. maxAllFailures is the
	// limit for all addresses together.
	maxFailures    = 10
	maxAllFailures = 1000
	failureWindow  = time.Minute
)

// Failures counts failed sign-ins by address within a time window. It holds at most maxAllFailures entries.
type Failures struct {
	mu     sync.Mutex
	since  time.Time
	all    int
	failed map[netip.Prefix]int
}

// Wait returns how long a request's client must wait before it may try again, or 0 if it may try now.
func (f *Failures) Wait(r *http.Request, now time.Time) time.Duration {
	from := addressOf(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	left := failureWindow - now.Sub(f.since)
	if left <= 0 || f.failed[from] < maxFailures && f.all < maxAllFailures {
		return 0
	}
	return left
}

// Add counts a failed sign-in by a request's client.
func (f *Failures) Add(r *http.Request, now time.Time) {
	from := addressOf(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed == nil || now.Sub(f.since) >= failureWindow {
		f.since, f.all, f.failed = now, 0, make(map[netip.Prefix]int)
	}
	if f.all++; f.all <= maxAllFailures {
		f.failed[from]++
	}
}

// addressOf returns the address by which failures are counted: an IPv4 address, or the network of an IPv6
// address, because one client usually has a whole network. Behind a trusted proxy it is the client address that
// the proxy reports. All unreadable addresses are counted together.
func addressOf(r *http.Request) netip.Prefix {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap()
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
