package llmroute

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/upstream"
)

// catalog finds models by name.
type catalog struct {
	exact   map[string]*entry
	wild    []*entry // longest prefix before the `*` first
	aliases map[string]string
}

// entry is one name or pattern of a model.
type entry struct {
	pattern string
	model   *Model
	targets []*llm.Target // by backend; nil for a pattern, whose targets depend on the matched name
	known   func() []string
	labels  []label // by backend
}

// label is a backend's value in response headers.
type label struct{ backend, id []string }

// fallback is a model that is tried if another one failed or refused the prompt.
type fallback struct {
	name  string
	entry *entry
}

// target returns the target at a backend for a name that the entry's pattern matched.
func (e *entry) target(backend int, name string) *llm.Target {
	if e.targets != nil {
		return e.targets[backend]
	}
	return e.model.Backends[backend].target(e.pattern, name)
}

// upstream returns the model name sent to a backend.
func (e *entry) upstream(backend int, name string) string {
	if e.targets != nil {
		return e.targets[backend].Upstream
	}
	return e.model.Backends[backend].upstreamModel(e.pattern, name)
}

// modelID returns the public id of a backend.
func (e *entry) modelID(backend int) string { return e.pattern + "/" + e.model.Backends[backend].name }

// build resolves models and aliases, which may contain placeholders.
func (c *catalog) build(models []*Model, aliases map[string]string) error {
	c.exact = make(map[string]*entry)
	c.aliases = make(map[string]string, len(aliases))
	for _, m := range models {
		for _, written := range m.Names {
			if err := c.add(m, written); err != nil {
				return err
			}
		}
	}
	slices.SortStableFunc(c.wild, func(a, b *entry) int {
		return cmp.Or(strings.IndexByte(b.pattern, '*')-strings.IndexByte(a.pattern, '*'), len(b.pattern)-len(a.pattern))
	})
	for written, to := range aliases {
		name, err := modelName("alias", written)
		if err != nil {
			return err
		}
		if to, err = modelName("alias "+name, to); err != nil {
			return err
		}
		switch {
		case c.exact[name] != nil:
			return fmt.Errorf("alias %s is also the name of a model", name)
		case c.find(to) == nil:
			return fmt.Errorf("alias %s: there is no model %s", name, to)
		}
		c.aliases[name] = to
	}
	for _, m := range models {
		for why, list := range [upstream.Refusals]struct {
			what  string
			names []string
		}{
			upstream.NotRefused:    {"fallback", m.Fallback},
			upstream.ContextWindow: {"context_fallback", m.ContextFallback},
			upstream.ContentPolicy: {"content_fallback", m.ContentFallback},
		} {
			for _, written := range list.names {
				f, err := c.fallback(m, list.what, written)
				if err != nil {
					return err
				}
				m.fallbacks[why] = append(m.fallbacks[why], f)
			}
		}
	}
	return nil
}

// fallback finds the model named by another model's fallback subdirective.
func (c *catalog) fallback(m *Model, what, written string) (fallback, error) {
	name, err := modelName(what, written)
	if err != nil {
		return fallback{}, err
	}
	if to, ok := c.aliases[name]; ok {
		name = to
	}
	e := c.find(name)
	if e == nil {
		return fallback{}, fmt.Errorf("model %s: there is no %s model %s", m.Names[0], what, name)
	}
	if e.model == m {
		return fallback{}, fmt.Errorf("model %s: its %s %s is the model itself", m.Names[0], what, name)
	}
	return fallback{name, e}, nil
}

func (c *catalog) add(m *Model, written string) error {
	name, err := modelName("model", written)
	if err != nil {
		return err
	}
	e := &entry{pattern: name, model: m}
	for i, b := range m.Backends {
		e.labels = append(e.labels, label{[]string{b.name}, []string{e.modelID(i)}})
	}
	if strings.Contains(name, "*") {
		for _, other := range c.wild {
			if other.pattern == name {
				return fmt.Errorf("model %s is configured twice", name)
			}
		}
		e.known = sync.OnceValue(e.knownNames)
		c.wild = append(c.wild, e)
		return nil
	}
	if c.exact[name] != nil {
		return fmt.Errorf("model %s is configured twice", name)
	}
	for _, b := range m.Backends {
		e.targets = append(e.targets, b.target(name, name))
	}
	c.exact[name] = e
	return nil
}

// modelName resolves a model name.
func modelName(what, written string) (string, error) {
	name, err := setting.Resolve(what, written)
	if err == nil && (name == "" || len(name) > 255) {
		err = fmt.Errorf("%s: a name has from 1 to 255 bytes", what)
	}
	return name, err
}

// find returns the entry that matches a name exactly, otherwise the pattern with the longest prefix before its
// `*`.
func (c *catalog) find(name string) *entry {
	if e := c.exact[name]; e != nil {
		return e
	}
	for _, e := range c.wild {
		if llm.Match(e.pattern, name) {
			return e
		}
	}
	return nil
}

// resolve follows the key's aliases, then the configured ones. It returns the resulting name with its entry,
// which is nil if there is no such model.
func (c *catalog) resolve(asked string, id *llm.Identity) (string, *entry) {
	name := asked
	if id != nil {
		if to, ok := id.Aliases[name]; ok {
			name = to
		}
	}
	if to, ok := c.aliases[name]; ok {
		name = to
	}
	return name, c.find(name)
}
