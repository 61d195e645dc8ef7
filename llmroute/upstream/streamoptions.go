package upstream

import (
	"bytes"
	"net/http"
	"sync"
	"time"
)

const (
	// deniedFor is how long a refusal of stream_options is remembered. It expires because servers may be
	// upgraded.
	deniedFor = 6 * time.Hour
	// maxDenied is how many models are remembered per backend.
	maxDenied = 1000
)

// deniedOptions remembers for which models a backend refuses stream_options.
type deniedOptions struct {
	mu    sync.RWMutex
	until map[string]time.Time
}

// has reports whether the backend refuses stream_options for a model.
func (d *deniedOptions) has(model string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.until) > 0 && time.Now().Before(d.until[model])
}

// add remembers that the backend refuses stream_options for a model.
func (d *deniedOptions) add(model string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until == nil || len(d.until) >= maxDenied {
		d.until = make(map[string]time.Time)
	}
	d.until[model] = time.Now().Add(deniedFor)
}

// optionsRefused reports whether an answer is an error that names stream_options. If not, its body stays
// readable.
func optionsRefused(resp *http.Response) bool {
	if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusUnprocessableEntity {
		return false
	}
	if !bytes.Contains(peek(resp), []byte("stream_options")) {
		return false
	}
	_ = resp.Body.Close() // the rest is not needed
	return true
}
