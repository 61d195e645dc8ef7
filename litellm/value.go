package litellm

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// word is a value as a Caddyfile has it, and its place.
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

// warn notes a field that is not carried over.
func (c *converter) warn(f field, msg string) {
	file := f.file
	if file == "" {
		file = c.file
	}
	c.warnings = append(c.warnings, caddyconfig.Warning{File: file, Line: f.line(), Directive: f.path, Message: msg})
}

// fail notes a field that cannot be left out without changing who pays, how much, or who may call.
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
	// maxSteps bounds how often one variable of environment_variables may refer to another.
	maxSteps = 8
)

// value returns a scalar as a Caddyfile has it: `os.environ/X` becomes what environment_variables declares for X,
// else a placeholder that is replaced at start.
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

// plain returns what a scalar holds now, where a placeholder would come too late.
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

// env returns what an environment variable holds now. As in LiteLLM, those that environment_variables declares are part of
// the environment.
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

// envWord returns how a Caddyfile names an environment variable.
func (c *converter) envWord(name string) word {
	if d, ok := c.declared[name]; ok {
		c.used[name] = true
		if d.raw() != environ+name {
			return word{c.text(d, d.raw(), 0), d}
		}
	}
	return word{"{env." + name + "}", field{path: name}}
}

// firstEnv returns the first of the variables that holds something; nothing when none does.
func (c *converter) firstEnv(names ...string) word {
	for _, name := range names {
		if c.env(name) != "" {
			return c.envWord(name)
		}
	}
	return word{}
}

// number returns a scalar as an exact number that is not negative.
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

// decimalNumber matches what fits into no more than a few machine words.
var decimalNumber = regexp.MustCompile(`^\+?\d{1,30}(\.\d{1,30})?([eE][+-]?\d{1,2})?$`)

// seconds returns a duration; nothing when it is zero.
func (c *converter) seconds(f field) word {
	r := c.number(f, "a number of seconds")
	if r == nil || r.Sign() == 0 {
		return word{at: f}
	}
	return word{decimal(r) + "s", f}
}

// count returns a whole number.
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

// percent returns a share, such as 0.05, as a percentage.
func (c *converter) percent(f field) word {
	r := c.number(f, "a share such as 0.05")
	if r == nil {
		return word{at: f}
	}
	return word{decimal(r.Mul(r, big.NewRat(100, 1))), f}
}

// decimal writes r in full: its denominator has no prime factors but 2 and 5, as it was a decimal number.
func decimal(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	n, _ := r.FloatPrec()
	return r.FloatString(n)
}
