package llmroute

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
)

// resolve replaces the placeholders of a value. One that was written and resolves to nothing is an error, which does not
// show what it resolved to.
func resolve(what, value string) (string, error) {
	if value == "" {
		return "", nil
	}
	s, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	if s = strings.TrimSpace(s); s == "" {
		return "", fmt.Errorf("%s: %s resolves to nothing", what, value)
	}
	return s, nil
}

// number resolves a whole number.
func number(what, value string, fallback, least, most int) (int, error) {
	s, err := resolve(what, value)
	if err != nil || s == "" {
		return fallback, err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s %s: a whole number from %d to %d is expected", what, s, least, most)
	}
	return n, nil
}

// duration resolves a duration.
func duration(what, value string, fallback, least, most time.Duration) (time.Duration, error) {
	s, err := resolve(what, value)
	if err != nil || s == "" {
		return fallback, err
	}
	d, err := caddy.ParseDuration(s)
	if err != nil || d < least || d > most {
		return 0, fmt.Errorf("%s %s: a duration from %s to %s is expected", what, s, least, most)
	}
	return d, nil
}

const (
	defaultMaxBody = 32_000_000
	minMaxBody     = 1_000
	maxMaxBody     = 1_000_000_000
)

// size resolves a number of bytes.
func size(what, value string) (int64, error) {
	s, err := resolve(what, value)
	if err != nil || s == "" {
		return defaultMaxBody, err
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || n < minMaxBody || n > maxMaxBody {
		return 0, fmt.Errorf("%s %s: a size from 1KB to 1GB is expected", what, s)
	}
	return int64(n), nil
}
