package main

import "sync"

// lockedTail keeps the end of what is written to it.
type lockedTail struct {
	mu sync.Mutex
	b  []byte
}

// Write keeps the last 4 KiB. It never fails.
func (t *lockedTail) Write(b []byte) (int, error) {
	const most = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - most; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

// String returns the text kept.
func (t *lockedTail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
