package setting

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Seen holds the subdirectives of a block that were read.
type Seen map[string]bool

// Once refuses the subdirective at d if the block had it before.
func (s Seen) Once(d *caddyfile.Dispenser) error {
	if s[d.Val()] {
		return d.Errf("%s is given twice", d.Val())
	}
	s[d.Val()] = true
	return nil
}

// Value reads the one argument of the subdirective at d, which a block may have once. check may be nil.
func (s Seen) Value(d *caddyfile.Dispenser, to *string, check func(string) error) error {
	if err := s.Once(d); err != nil {
		return err
	}
	if !d.AllArgs(to) || *to == "" {
		return d.ArgErr()
	}
	return Check(d, *to, check)
}

// Flag reads the subdirective at d, which takes no argument and which a block may have once.
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

// List reads the arguments of the subdirective at d, of which there is at least one, and adds them to those of earlier lines.
func List(d *caddyfile.Dispenser, to *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 || slices.Contains(args, "") {
		return d.ArgErr()
	}
	*to = append(*to, args...)
	return nil
}

// Check checks a written value, unless it holds placeholders, which are resolved and checked when the configuration starts.
// Its errors have the file and line of d.
func Check(d *caddyfile.Dispenser, value string, check func(string) error) error {
	if check == nil || !Literal(value) {
		return nil
	}
	if err := check(value); err != nil {
		return d.WrapErr(err)
	}
	return nil
}
