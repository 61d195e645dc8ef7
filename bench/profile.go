package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// profile starts a CPU profile through the admin API. wait waits until it is written.
func (t *target) profile(ctx context.Context, file string, duration time.Duration) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- t.takeProfile(ctx, file, duration) }() // ends with the profile
	return func() error { return <-done }
}

func (t *target) takeProfile(ctx context.Context, file string, duration time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, duration+30*time.Second)
	defer cancel()
	b, err := t.get(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", max(1, int(duration/time.Second))))
	if err != nil {
		return fmt.Errorf("taking a profile: %w", err)
	}
	return os.WriteFile(file, b, 0o600)
}
