package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// profile begins to take a CPU profile from the admin API. What it returns waits until it is written.
func (t *target) profile(ctx context.Context, file string, duration time.Duration) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- t.takeProfile(ctx, file, duration) }() // ends with the profile
	return func() error { return <-done }
}

func (t *target) takeProfile(ctx context.Context, file string, duration time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, duration+30*time.Second)
	defer cancel()
	url := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", t.admin, max(1, int(duration/time.Second)))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("taking a profile: status %d", res.StatusCode)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}
