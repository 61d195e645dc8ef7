package litellm

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// word is a value as written in a Caddyfile, with its place in the YAML.
type word struct {
	text string
	at   field
}

func (w word) set() bool { return w.text != "" }

// first returns the first word that is set.
func first(words ...word) word {
	for _, w := range words {
		if w.set() {
			return w
		}
	}
	return word{}
}

// warn records that a field is not carried over.
func (c *converter) warn(f field, msg string) {
	file := f.file
	if file == "" {
		file = c.file
	}
	c.warnings = append(c.warnings, caddyconfig.Warning{File: file, Line: f.line(), Directive: f.path, Message: msg})
}

// fail records that a field cannot be left out without changing who pays, how much, or who may call.
func (c *converter) fail(f field, msg string) {
	where := f.file
	if where == "" {
		where = c.file
	}
	if n := f.line(); n > 0 {
		where += ":" + strconv.Itoa(n)
	}
	c.errs = append(c.errs, fmt.Errorf("%s: %s: %s", where, f.path, msg))
}

const (
	environ = "os.environ/"
	// maxSteps is how many references between environment_variables are followed.
	maxSteps = 8
)

// value returns a scalar as written in a Caddyfile. For `os.environ/X` that is the value declared for X in
// environment_variables, otherwise a placeholder that is replaced at start.
func (c *converter) value(f field) word {
	if !f.isScalar() {
		c.fail(f, "one value is expected here")
		return word{at: f}
	}
	return word{c.text(f, f.raw(), 0), f}
}

func (c *converter) text(f field, s string, step int) string {
	name, env := strings.CutPrefix(s, environ)
	if !env {
		if strings.ContainsAny(s, "{}`\r\n") {
			c.fail(f, "braces, backquotes and line ends cannot be carried over: put the value into an environment variable, and write os.environ/NAME here")
			return ""
		}
		return s
	}
	c.used[name] = true
	if d, ok := c.declared[name]; ok && step < maxSteps {
		return c.text(d, d.raw(), step+1)
	}
	if name == "" || strings.ContainsAny(name, "{}` \t\r\n") {
		c.fail(f, "this names no environment variable")
		return ""
	}
	return "{env." + name + "}"
}

// plain returns the current value of a scalar, for settings where a placeholder would be too late.
func (c *converter) plain(f field) string {
	if !f.isScalar() {
		c.fail(f, "one value is expected here")
		return ""
	}
	name, env := strings.CutPrefix(f.raw(), environ)
	if !env {
		return c.text(f, f.raw(), 0)
	}
	v := c.env(name)
	if v == "" {
		c.fail(f, "the environment variable "+name+" is empty or not set")
		return ""
	}
	return c.text(f, v, maxSteps)
}

// env returns the current value of an environment variable. As in LiteLLM, those declared in
// environment_variables count as part of the environment.
func (c *converter) env(name string) string {
	c.used[name] = true
	for range maxSteps {
		d, ok := c.declared[name]
		if !ok {
			break
		}
		inner, isEnv := strings.CutPrefix(d.raw(), environ)
		if !isEnv {
			return d.raw()
		}
		if inner == name {
			break
		}
		name = inner
		c.used[name] = true
	}
	v, _ := c.lookupEnv(name)
	return v
}

// envWord returns the Caddyfile placeholder of an environment variable.
func (c *converter) envWord(name string) word {
	if d, ok := c.declared[name]; ok {
		c.used[name] = true
		if d.raw() != environ+name {
			return word{c.text(d, d.raw(), 0), d}
		}
	}
	return word{"{env." + name + "}", field{path: name}}
}

// firstEnv returns the first non-empty variable, or an empty word.
func (c *converter) firstEnv(names ...string) word {
	for _, name := range names {
		if c.env(name) != "" {
			return c.envWord(name)
		}
	}
	return word{}
}

// number returns a scalar as an exact non-negative number.
func (c *converter) number(f field, what string) *big.Rat {
	s := c.plain(f)
	if s == "" {
		return nil
	}
	if decimalNumber.MatchString(s) {
		if r, ok := new(big.Rat).SetString(s); ok {
			return r
		}
	}
	c.fail(f, fmt.Sprintf("%s is expected here, not %.60q", what, s))
	return nil
}

// decimalNumber matches numbers of limited length, so that they stay small in memory.
var decimalNumber = regexp.MustCompile(`^\+?\d{1,30}(\.\d{1,30})?([eE][+-]?\d{1,2})?$`)

// seconds returns a duration, or an empty word for zero.
func (c *converter) seconds(f field) word {
	r := c.number(f, "a number of seconds")
	if r == nil || r.Sign() == 0 {
		return word{at: f}
	}
	return word{decimal(r) + "s", f}
}

// count returns an integer.
func (c *converter) count(f field) word {
	r := c.number(f, "a whole number")
	if r == nil {
		return word{at: f}
	}
	if !r.IsInt() {
		c.fail(f, fmt.Sprintf("a whole number is expected here, not %q", f.raw()))
		return word{at: f}
	}
	return word{r.Num().String(), f}
}

// percent converts a fraction such as 0.05 to a percentage.
func (c *converter) percent(f field) word {
	r := c.number(f, "a share such as 0.05")
	if r == nil {
		return word{at: f}
	}
	return word{decimal(r.Mul(r, big.NewRat(100, 1))), f}
}

// decimal formats r exactly. It was parsed from a decimal, so its denominator has no prime factors but 2 and 5.
func decimal(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	n, _ := r.FloatPrec()
	return r.FloatString(n)
}
