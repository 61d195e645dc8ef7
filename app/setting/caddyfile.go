package setting

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Seen is the set of subdirectives already parsed in a block.
type Seen map[string]bool

// Once refuses a subdirective that occurs twice in a block.
func (s Seen) Once(d *caddyfile.Dispenser) error {
	if s[d.Val()] {
		return d.Errf("%s is given twice", d.Val())
	}
	s[d.Val()] = true
	return nil
}

// Value parses a subdirective that takes one argument and may occur once. check may be nil.
func (s Seen) Value(d *caddyfile.Dispenser, to *string, check func(string) error) error {
	if err := s.Once(d); err != nil {
		return err
	}
	if !d.AllArgs(to) || *to == "" {
		return d.ArgErr()
	}
	return Check(d, *to, check)
}

// Flag parses a subdirective that takes no argument and may occur once.
func (s Seen) Flag(d *caddyfile.Dispenser, to *bool) error {
	if err := s.Once(d); err != nil {
		return err
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	*to = true
	return nil
}

// List parses a subdirective that takes at least one argument, and appends its arguments to those of
// earlier lines.
func List(d *caddyfile.Dispenser, to *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 || slices.Contains(args, "") {
		return d.ArgErr()
	}
	*to = append(*to, args...)
	return nil
}

// Check checks a value unless it contains placeholders, which are resolved and checked when the
// configuration starts. Its errors contain the file and line.
func Check(d *caddyfile.Dispenser, value string, check func(string) error) error {
	if check == nil || !Literal(value) {
		return nil
	}
	if err := check(value); err != nil {
		return d.WrapErr(err)
	}
	return nil
}
