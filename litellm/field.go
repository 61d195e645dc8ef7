package litellm

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// field is a place in a file: a value and its name in messages. The zero field is no place.
type field struct {
	file string
	path string // dotted path from the root
	key  string // last element of the path
	node *yaml.Node
}

// present reports whether the file contains the field.
func (f field) present() bool { return f.node != nil }

// line returns the field's line, or 0 if it has none.
func (f field) line() int {
	if f.node == nil {
		return 0
	}
	return f.node.Line
}

// maxNesting is how deep a file may nest, and how many merges of mappings are followed.
const maxNesting = 64

// checkNode refuses what YAML parsers read differently: duplicate members, member names that are not strings,
// and endless nesting.
func checkNode(file string, n *yaml.Node, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("%s:%d: this nests deeper than %d levels", file, n.Line, maxNesting)
	}
	if n.Kind == yaml.MappingNode {
		seen := make(map[string]bool)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				return fmt.Errorf("%s:%d: the name of a member must be text", file, key.Line)
			}
			if seen[key.Value] {
				return fmt.Errorf("%s:%d: %s is written twice", file, key.Line, key.Value)
			}
			seen[key.Value] = true
		}
	}
	for _, inner := range n.Content {
		if err := checkNode(file, inner, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// members returns the members of a mapping, first its own in order, then those it merges in. Other nodes have
// none.
func (f field) members() []field {
	var list []field
	f.collect(&list, 0)
	return list
}

func (f field) collect(list *[]field, depth int) {
	if !f.present() || depth > maxNesting {
		return
	}
	n := resolve(f.node)
	if n.Kind == yaml.SequenceNode && depth > 0 { // `<<: [*a, *b]`
		for _, item := range n.Content {
			field{file: f.file, path: f.path, node: item}.collect(list, depth+1)
		}
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			merged = append(merged, value)
			continue
		}
		if !slices.ContainsFunc(*list, func(m field) bool { return m.key == key.Value }) {
			*list = append(*list, f.member(key.Value, value))
		}
	}
	for _, value := range merged {
		field{file: f.file, path: f.path, node: value}.collect(list, depth+1)
	}
}

func (f field) member(key string, value *yaml.Node) field {
	path := key
	if f.path != "" {
		path = f.path + "." + key
	}
	return field{file: f.file, path: path, key: key, node: value}
}

// get returns the member with that name, or the zero field.
func (f field) get(key string) field {
	for _, m := range f.members() {
		if m.key == key {
			return m
		}
	}
	return field{}
}

// items returns the items of a list. As in LiteLLM, any other non-empty value counts as a list of one item.
func (f field) items() []field {
	if !f.present() {
		return nil
	}
	n := resolve(f.node)
	if n.Kind != yaml.SequenceNode {
		if f.null() {
			return nil
		}
		return []field{f}
	}
	list := make([]field, len(n.Content))
	for i, item := range n.Content {
		list[i] = field{file: f.file, path: fmt.Sprintf("%s[%d]", f.path, i), key: f.key, node: item}
	}
	return list
}

func (f field) isMapping() bool { return f.present() && resolve(f.node).Kind == yaml.MappingNode }
func (f field) isList() bool    { return f.present() && resolve(f.node).Kind == yaml.SequenceNode }
func (f field) isScalar() bool  { return f.present() && resolve(f.node).Kind == yaml.ScalarNode }

// null reports whether the field is absent or null.
func (f field) null() bool {
	return !f.present() || f.isScalar() && resolve(f.node).Tag == "!!null"
}

// raw returns a scalar's text as written, or an empty string for other nodes.
func (f field) raw() string {
	if f.null() || !f.isScalar() {
		return ""
	}
	return resolve(f.node).Value
}

// isTrue reports whether the field is a true boolean in one of the spellings of YAML 1.1, which LiteLLM reads.
func (f field) isTrue() bool {
	return slices.Contains([]string{"true", "yes", "on", "1"}, strings.ToLower(f.raw()))
}

// off reports whether the field has no effect: null, empty or false.
func (f field) off() bool {
	if f.isScalar() {
		return slices.Contains([]string{"", "false", "no", "off", "none"}, strings.ToLower(f.raw()))
	}
	return !f.present() || len(resolve(f.node).Content) == 0
}
