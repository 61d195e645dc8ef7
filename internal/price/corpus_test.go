package price

import (
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// samples returns names that the rule matches, simplest first.
func samples(m *matcher) []string {
	var out []string
	for _, s := range drafts(m) {
		if m.match(s) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// drafts returns names of which some may match.
func drafts(m *matcher) []string {
	switch m.op {
	case '=':
		return []string{m.text}
	case '^':
		return []string{m.text, m.text + "-x", m.text + "x", m.text + "-7"}
	case '$':
		return []string{m.text, "x-" + m.text, "x" + m.text, "x/" + m.text}
	case '*':
		return []string{m.text, m.text + "-x", "x-" + m.text, "x" + m.text + "x", "x/" + m.text + "x"}
	case '/':
		re, err := syntax.Parse(m.text, syntax.Perl)
		if err != nil {
			return nil
		}
		return []string{expand(re)}
	case '|':
		var out []string
		for i := range m.sub {
			out = append(out, drafts(&m.sub[i])...)
		}
		return out
	case '&':
		out := []string{""}
		for i := range m.sub {
			more := drafts(&m.sub[i])
			for _, head := range slices.Clone(out) {
				for _, tail := range more {
					out = append(out, head+tail, head+"-"+tail)
				}
			}
			out = append(out, more...)
		}
		return out
	default:
		return nil
	}
}

// expand returns a string that the regular expression matches, if it has no look-around.
func expand(re *syntax.Regexp) string {
	var b strings.Builder
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		for _, r := range "1ax" {
			for i := 0; i < len(re.Rune); i += 2 {
				if re.Rune[i] <= r && r <= re.Rune[i+1] {
					return string(r)
				}
			}
		}
		return string(re.Rune[0])
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "x"
	case syntax.OpConcat:
		for _, s := range re.Sub {
			b.WriteString(expand(s))
		}
	case syntax.OpAlternate, syntax.OpCapture, syntax.OpPlus:
		return expand(re.Sub[0])
	case syntax.OpRepeat:
		return strings.Repeat(expand(re.Sub[0]), re.Min)
	default: // anchors and what may be left out
	}
	return b.String()
}

// shadowed are the models of the data set that no name reaches, because a rule before theirs takes every name that they
// match. They are faults of the source; a new one must be looked at.
var shadowed = map[string]string{}

// reach returns, for each model of the data set by provider/id and position, a name that finds it.
func reach(l *list) (names map[*entry]string, unreached []string) {
	names = make(map[*entry]string)
	for _, p := range l.providers {
		for i := range p.models() {
			m := &p.models()[i]
			for _, name := range samples(&m.matcher) {
				if l.find(p, name) == m.entry {
					names[m.entry] = name
					break
				}
			}
			if names[m.entry] == "" {
				unreached = append(unreached, p.id+"/"+m.entry.id)
			}
		}
	}
	return names, unreached
}

// TestEveryModelIsReachable proves that each entry of the data is found by some name, as a user would write it.
func TestEveryModelIsReachable(t *testing.T) {
	l := Default().list
	names, unreached := reach(l)
	for _, name := range unreached {
		require.Contains(t, shadowed, name, "no name finds this model")
	}
	require.Len(t, unreached, len(shadowed))
	for _, p := range l.providers {
		for i := range p.models() {
			e := p.models()[i].entry
			if names[e] == "" {
				continue
			}
			w := Default().identify(p.id, "", "")
			require.Same(t, p, w.listed, p.id)
			got := Default().layers[1].entry(w, &Query{Provider: p.id, Model: strings.ToUpper(names[e]) + " "})
			// A Bedrock name is looked up in several forms, which may only find more.
			require.Same(t, e, got, "%s/%s by %q", p.id, e.id, names[e])
		}
	}
}
