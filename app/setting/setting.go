// Package setting resolves the settings of the directives. Every setting is text, so that placeholders
// work everywhere. The rules are the same for all: an empty value means the default. A value with
// placeholders is replaced and then trimmed, because files end in a line break. Any other value is used
// as written. A value that is written but resolves to blank is an error, never the default.
package setting

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
)

// Literal reports whether a value contains no placeholder and can be checked before the configuration
// starts.
func Literal(value string) bool { return !strings.Contains(value, "{") }

// Resolve replaces the placeholders of a value. Its errors do not show the result, which may be a secret.
func Resolve(name, value string) (string, error) {
	if value == "" {
		return "", nil
	}
	out := value
	if !Literal(value) {
		var err error
		if out, err = caddy.NewReplacer().ReplaceOrErr(value, true, true); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		out = strings.TrimSpace(out)
	}
	if strings.TrimSpace(out) == "" {
		return "", fmt.Errorf("%s: %q resolves to nothing", name, value)
	}
	return out, nil
}

// Template replaces and trims the placeholders known at start, {env.*} and {file.*}, and leaves the
// others for each request.
func Template(name, value string) (string, error) {
	if Literal(value) {
		return value, nil
	}
	out, err := caddy.NewReplacer().ReplaceFunc(value, func(key string, val any) (any, error) {
		if !strings.HasPrefix(key, "env.") && !strings.HasPrefix(key, "file.") {
			return "{" + key + "}", nil
		}
		s := strings.TrimSpace(caddy.ToString(val))
		if s == "" {
			return nil, fmt.Errorf("evaluated placeholder {%s} is empty", key)
		}
		return s, nil
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// Duration resolves a duration between least and most in Caddy's format, such as 10s, 1h30m or 2d.
func Duration(name, value string, byDefault, least, most time.Duration) (time.Duration, error) {
	value, err := Resolve(name, value)
	if err != nil || value == "" {
		return byDefault, err
	}
	d, err := caddy.ParseDuration(value)
	if err != nil || d < least || d > most {
		return 0, fmt.Errorf("%s: %q is not a duration from %s to %s", name, value, short(least), short(most))
	}
	return d, nil
}

// short formats a duration without zero minutes and seconds.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Size resolves a number of bytes between least and most, with or without a unit, such as 32MB or 64KiB.
func Size(name, value string, byDefault, least, most int64) (int64, error) {
	value, err := Resolve(name, value)
	if err != nil || value == "" {
		return byDefault, err
	}
	n, err := humanize.ParseBytes(value)
	if err != nil || n < uint64(least) || n > uint64(most) { //nolint:gosec // the bounds are positive
		return 0, fmt.Errorf("%s: %q is not a size from %s to %s", name, value, bytes(least), bytes(most))
	}
	return int64(n), nil //nolint:gosec // bounded above
}

func bytes(n int64) string {
	return strings.NewReplacer(" ", "", ".0", "").Replace(humanize.Bytes(uint64(n))) //nolint:gosec // the bounds are positive
}

// Int resolves an integer between least and most.
func Int(name, value string, byDefault, least, most int) (int, error) {
	value, err := Resolve(name, value)
	if err != nil || value == "" {
		return byDefault, err
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s: %q is not a whole number from %d to %d", name, value, least, most)
	}
	return n, nil
}

// Choice resolves an enumerated value. The first choice is the default.
func Choice(name, value string, choices ...string) (string, error) {
	value, err := Resolve(name, value)
	if err != nil {
		return "", err
	}
	if value == "" {
		return choices[0], nil
	}
	if !slices.Contains(choices, value) {
		return "", fmt.Errorf("%s: %q is not one of %s", name, value, strings.Join(choices, ", "))
	}
	return value, nil
}
