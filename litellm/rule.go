package litellm

import "strings"

// fate is what becomes of a field that the adapter knows. A field that it does not know is a warning.
type fate string

const (
	carried fate = "carried" // it means the same here
	warned  fate = "warned"  // it is left out, with a warning
	refused fate = "refused" // leaving it out would change who pays, how much, or who may call: an error
)

// rule defines what becomes of a field.
type rule struct {
	fate fate
	why  string                  // of a field that is not carried over
	take func(*converter, field) // reads a field that is
	// nothing is the value that means the same as the field's absence. Default: null, empty, or a boolean that is off.
	nothing string
	null    bool // take reads null too
}

type rules map[string]rule

func carry(take func(*converter, field)) rule { return rule{fate: carried, take: take} }
func warn(why string) rule                    { return rule{fate: warned, why: why} }
func refuse(why string) rule                  { return rule{fate: refused, why: why} }

// unless returns the rule of a field for which another value than usual is as good as none.
func (r rule) unless(nothing string) rule {
	r.nothing = nothing
	return r
}

// silent reports whether leaving a field out loses nothing.
func (r rule) silent(f field) bool {
	if r.nothing != "" {
		return f.null() || strings.EqualFold(f.raw(), r.nothing)
	}
	return f.off()
}

// each adds fields that share a rule.
func (r rules) each(one rule, names ...string) rules {
	for _, name := range names {
		r[name] = one
	}
	return r
}

// section reads the members of a section.
func (c *converter) section(f field, known rules) {
	if f.null() {
		return
	}
	if !f.isMapping() {
		c.fail(f, "a mapping is expected here")
		return
	}
	for _, m := range f.members() {
		if r, ok := known[m.key]; ok {
			c.apply(m, r)
		} else if !m.off() {
			c.warn(m, "is not known here, and is left out")
		}
	}
}

func (c *converter) apply(f field, r rule) {
	switch {
	case r.fate == carried:
		if !f.null() || r.null {
			r.take(c, f)
		}
	case r.silent(f):
	case r.fate == refused:
		c.fail(f, r.why)
	default:
		c.warn(f, r.why)
	}
}
