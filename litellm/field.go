package litellm

import (
	"fmt"
	"iter"
	"math/big"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// field is a place in the file: what stands there, and how to name it in a message.
type field struct {
	file string
	path string // dotted path from the root
	key  string // last member of the path
	node *yaml.Node
}

// members yields the members of a mapping, in order, following YAML aliases and merge keys; nothing for anything else.
func (f field) members() iter.Seq[field] {
	return func(yield func(field) bool) {
		n := resolve(f.node)
		if n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Tag == "!!merge" {
				for m := range (field{file: f.file, path: f.path, node: value}).members() {
					if !yield(m) {
						return
					}
				}
				continue
			}
			path := key.Value
			if f.path != "" {
				path = f.path + "." + key.Value
			}
			if !yield(field{file: f.file, path: path, key: key.Value, node: value}) {
				return
			}
		}
	}
}

// items yields the items of a list; a lone scalar counts as a list of one, as LiteLLM takes it.
func (f field) items() iter.Seq[field] {
	return func(yield func(field) bool) {
		n := resolve(f.node)
		if n.Kind != yaml.SequenceNode {
			if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
				yield(f)
			}
			return
		}
		for i, item := range n.Content {
			if !yield(field{file: f.file, path: fmt.Sprintf("%s[%d]", f.path, i), key: f.key, node: item}) {
				return
			}
		}
	}
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// null reports whether the field says nothing.
func (f field) null() bool {
	n := resolve(f.node)
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// raw returns a scalar's text as written.
func (f field) raw() string { return resolve(f.node).Value }

// isTrue reports whether the field is a boolean that is on.
func (f field) isTrue() bool {
	on, err := strconv.ParseBool(strings.ToLower(f.raw()))
	return err == nil && on
}

// off reports whether the field is written but changes nothing: null, false, or empty.
func (f field) off() bool {
	n := resolve(f.node)
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Tag == "!!null" || n.Value == "" || (n.Tag == "!!bool" && !f.isTrue())
	case yaml.MappingNode, yaml.SequenceNode:
		return len(n.Content) == 0
	default:
		return false
	}
}

// converter collects what the files say.
type converter struct {
	file      string
	lookupEnv func(string) (string, bool)
	declared  map[string]field // environment_variables
	warnings  []caddyconfig.Warning
	errs      []error

	models    []*model
	aliases   map[string]string
	aliasKeys []string
	fallbacks map[string][]string
	defaults  []string // default_fallbacks

	lago             bool
	retries          string // router_settings wins over litellm_settings
	routerRetries    string
	timeout          string
	routerTimeout    string
	cooldown         string
	allowedFails     string
	cooldownsOff     bool
	discounts        []adjustment
	markups          []adjustment
	masterKey        string
	endUserHeaders   []string
	redis            map[string]string
	maxBody          string
	disableEndUser   bool
	cacheTTL         string
	enforceUserParam bool
}

// adjustment is a discount or a markup: of one provider, or of all.
type adjustment struct{ provider, percent string }

// dropped notes a field that is not carried over.
func (c *converter) dropped(f field, why string) {
	if f.off() {
		return
	}
	c.warn(f, why+", and is left out")
}

func (c *converter) warn(f field, msg string) {
	c.warnings = append(c.warnings, caddyconfig.Warning{File: f.file, Line: f.node.Line, Directive: f.path, Message: msg})
}

// fail notes a field that cannot be left out without changing who pays, how much, or who may call.
func (c *converter) fail(f field, msg string) {
	c.errs = append(c.errs, fmt.Errorf("%s:%d: %s: %s", f.file, f.node.Line, f.path, msg))
}

// value returns a scalar as it stands in a Caddyfile: `os.environ/X` becomes what environment_variables declares for X,
// else a placeholder that is resolved at start.
func (c *converter) value(f field) string {
	n := resolve(f.node)
	if n.Kind != yaml.ScalarNode {
		c.fail(f, "one value is expected")
		return ""
	}
	return c.text(f, n.Value, 0)
}

func (c *converter) text(f field, s string, depth int) string {
	name, env := strings.CutPrefix(s, "os.environ/")
	if !env {
		if strings.ContainsAny(s, "{}`\n") {
			c.fail(f, "braces, backquotes and line ends cannot be carried over; put the value into an environment variable")
			return ""
		}
		return s
	}
	if d, ok := c.declared[name]; ok && depth < maxIncludes {
		return c.text(d, d.raw(), depth+1)
	}
	if strings.ContainsAny(name, "{} \t`") || name == "" {
		c.fail(f, "this names no environment variable")
		return ""
	}
	return "{env." + name + "}"
}

// env returns what an environment variable holds now, by environment_variables first, as LiteLLM does.
func (c *converter) env(name string) string {
	if d, ok := c.declared[name]; ok {
		if inner, isEnv := strings.CutPrefix(d.raw(), "os.environ/"); isEnv {
			v, _ := c.lookupEnv(inner)
			return v
		}
		return d.raw()
	}
	v, _ := c.lookupEnv(name)
	return v
}

// envRef returns how a Caddyfile names that variable.
func (c *converter) envRef(name string) string {
	if d, ok := c.declared[name]; ok {
		return c.text(d, d.raw(), 0)
	}
	return "{env." + name + "}"
}

// seconds returns a duration of so many seconds, which may have decimals.
func (c *converter) seconds(f field) string {
	s := f.raw()
	r, ok := new(big.Rat).SetString(s)
	if !ok || r.Sign() < 0 {
		c.fail(f, fmt.Sprintf("a number of seconds is expected, not %q", s))
		return ""
	}
	if r.Sign() == 0 {
		return ""
	}
	return decimal(r) + "s"
}

// count returns a whole number that is not negative.
func (c *converter) count(f field) string {
	n, err := strconv.ParseUint(f.raw(), 10, 31)
	if err != nil {
		c.fail(f, fmt.Sprintf("a whole number is expected, not %q", f.raw()))
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// scaled returns a number times factor, exactly, as a plain decimal.
func (c *converter) scaled(f field, factor int64) string {
	r, ok := new(big.Rat).SetString(f.raw())
	if !ok || strings.ContainsAny(f.raw(), "/_") {
		c.fail(f, fmt.Sprintf("a number is expected, not %q", f.raw()))
		return ""
	}
	return decimal(r.Mul(r, big.NewRat(factor, 1)))
}

// decimal writes r, whose denominator has no prime factors but 2 and 5, in full.
func decimal(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	n, _ := r.FloatPrec()
	return r.FloatString(n)
}
