package litellm

import "strings"

// fate is what happens to a field that the adapter knows. An unknown field is a warning.
type fate string

const (
	carried fate = "carried" // has an equivalent here
	warned  fate = "warned"  // left out with a warning
	refused fate = "refused" // an error, because leaving it out would change who pays, how much, or who may call
)

// rule defines what happens to a field.
type rule struct {
	fate fate
	why  string                  // why it is not carried over
	take func(*converter, field) // reads a field that is carried over
	// nothing is the value that is equivalent to leaving the field out. Default: null, empty or false.
	nothing string
	null    bool // take also reads null
}

type rules map[string]rule

func carry(take func(*converter, field)) rule { return rule{fate: carried, take: take} }
func warn(why string) rule                    { return rule{fate: warned, why: why} }
func refuse(why string) rule                  { return rule{fate: refused, why: why} }

// unless returns the rule with another value that is equivalent to leaving the field out.
func (r rule) unless(nothing string) rule {
	r.nothing = nothing
	return r
}

// silent reports whether leaving a field out changes nothing.
func (r rule) silent(f field) bool {
	if r.nothing != "" {
		return f.null() || strings.EqualFold(f.raw(), r.nothing)
	}
	return f.off()
}

// each adds fields with the same rule.
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
