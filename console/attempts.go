package console

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// maxFailures is how many sign-ins may fail in a failureWindow from one address, maxAllFailures from all addresses together.
	maxFailures    = 10
	maxAllFailures = 1000
	failureWindow  = time.Minute
)

// attempts counts failed sign-ins by address within a time window. It holds at most maxAllFailures entries.
type attempts struct {
	mu     sync.Mutex
	since  time.Time
	all    int
	failed map[netip.Prefix]int
}

// wait returns how long an address has to wait before it may try again; 0 if it may try now.
func (a *attempts) wait(from netip.Prefix, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	left := failureWindow - now.Sub(a.since)
	if left <= 0 || a.failed[from] < maxFailures && a.all < maxAllFailures {
		return 0
	}
	return left
}

// fail counts a failed sign-in.
func (a *attempts) fail(from netip.Prefix, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil || now.Sub(a.since) >= failureWindow {
		a.since, a.all, a.failed = now, 0, make(map[netip.Prefix]int)
	}
	if a.all++; a.all <= maxAllFailures {
		a.failed[from]++
	}
}

// addressOf returns the address that failures are counted by: an IPv4 address, or the network of an IPv6 address, because one
// client usually has the whole network. Behind a trusted proxy it is the client that the proxy reports. All unreadable addresses
// are counted together.
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
