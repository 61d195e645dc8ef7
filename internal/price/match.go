package price

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// matcher is a rule on a name in lower case, with the semantics of genai-prices' MatchLogic.
type matcher struct {
	op   byte // = equals, ^ starts with, $ ends with, * contains, / regex, | or, & and, ! not
	text string
	re   *regexp.Regexp
	sub  []matcher
}

func (m *matcher) match(name string) bool {
	switch m.op {
	case '=':
		return name == m.text
	case '^':
		return strings.HasPrefix(name, m.text)
	case '$':
		return strings.HasSuffix(name, m.text)
	case '*':
		return strings.Contains(name, m.text)
	case '/':
		return m.re.MatchString(name)
	case '|':
		for i := range m.sub {
			if m.sub[i].match(name) {
				return true
			}
		}
		return false
	case '&':
		for i := range m.sub {
			if !m.sub[i].match(name) {
				return false
			}
		}
		return true
	case '!':
		return !m.sub[0].match(name)
	default:
		return false
	}
}

var errRuleShort = errors.New("rule ends early")

// parseMatcher reads one rule in prefix notation: each field is an operator and its text; |, & and ! are followed by the
// number of rules that belong to them, which come next.
func parseMatcher(fields []string) (m matcher, rest []string, err error) {
	if len(fields) == 0 || fields[0] == "" {
		return m, nil, errRuleShort
	}
	m.op, m.text, rest = fields[0][0], fields[0][1:], fields[1:]
	switch m.op {
	case '=', '^', '$', '*':
	case '/':
		m.re, err = regexp.Compile(m.text)
	case '|', '&', '!':
		var n int
		if n, err = strconv.Atoi(m.text); err != nil || n < 1 || n > len(rest) {
			return m, nil, fmt.Errorf("rule %q has no count", fields[0])
		}
		m.sub = make([]matcher, n)
		for i := range m.sub {
			if m.sub[i], rest, err = parseMatcher(rest); err != nil {
				return m, nil, err
			}
		}
	default:
		err = fmt.Errorf("unknown rule %q", fields[0])
	}
	return m, rest, err
}

// lower returns s in lower case without surrounding spaces, as genai-prices compares names. It allocates only when there
// is something to change.
func lower(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
