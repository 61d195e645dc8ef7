package price

import (
	_ "embed" // the price data
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

//go:embed data.txt
var dataText string

// list is the embedded data set: providers with their models, in the order in which rules are tried.
type list struct {
	version   string
	fetched   string // date
	providers []*provider
	byID      map[string]*provider
}

// provider is one provider of the data set.
type provider struct {
	id       string
	api      *regexp.Regexp // matches the beginning of a base URL
	named    *matcher       // other names of the provider; may be nil
	serves   *matcher       // models that only this provider has; may be nil
	fallback []string       // providers whose models it resells

	version, fetched string // of the list
	rows             string // the lines of its models
	parse            sync.Once
	parsed           []model
}

// model is a rule and the prices of the names it matches.
type model struct {
	matcher
	entry *entry
}

// parseList reads the data set. Each line is a keyword and fields, separated by tabs:
//
//	version   <text> <date on which it was the newest>
//	provider  <id> <regex on the base URL> <ids of providers it falls back to, comma separated>
//	named     <rule on the provider's name>
//	serves    <rule on a model's name>
//	model     <id> <rule on the model's name>
//	least     <milliseconds of audio that are billed at least>
//	price     <condition: "-", a date, or a daily window> <name=price>... | free
//
// The lines of a provider's models come last, and are parsed at the first query for one of them: most gateways have few providers.
func parseList(text string) (*list, error) {
	l := &list{byID: make(map[string]*provider)}
	n := 0
	for len(text) > 0 {
		n++
		row, rest, _ := strings.Cut(text, "\n")
		switch {
		case row == "" || row[0] == '#':
		case len(l.providers) > 0 && strings.HasPrefix(row, "model\t"):
			rest = text[modelRows(text):]
			rows := text[:len(text)-len(rest)]
			l.providers[len(l.providers)-1].rows = rows
			n += strings.Count(rows, "\n") - 1
		default:
			if err := l.parseLine(strings.Split(row, "\t")); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
		}
		text = rest
	}
	if l.version == "" || len(l.providers) == 0 {
		return nil, errors.New("no version or no provider")
	}
	return l, nil
}

// modelRows returns the length of the part of a text that belongs to the current provider's models.
func modelRows(text string) int {
	if at := strings.Index(text, "\nprovider\t"); at >= 0 {
		return at + 1
	}
	return len(text)
}

var errMisplaced = errors.New("line is misplaced or too short")

func (l *list) parseLine(f []string) error {
	var p *provider
	if len(l.providers) > 0 {
		p = l.providers[len(l.providers)-1]
	}
	switch {
	case f[0] == "version" && len(f) == 3:
		l.version, l.fetched = f[1], f[2]
		return nil
	case f[0] == "provider" && len(f) == 4:
		api, err := regexp.Compile("^(?:" + f[2] + ")")
		p = &provider{id: f[1], api: api, version: l.version, fetched: l.fetched}
		if f[3] != "" {
			p.fallback = strings.Split(f[3], ",")
		}
		l.providers = append(l.providers, p)
		l.byID[p.id] = p
		return err
	case f[0] == "named" && p != nil:
		return parseRule(&p.named, f[1:])
	case f[0] == "serves" && p != nil:
		return parseRule(&p.serves, f[1:])
	default:
		return errMisplaced
	}
}

// models returns the provider's models.
func (p *provider) models() []model {
	p.parse.Do(func() {
		var err error
		if p.parsed, err = p.parseModels(); err != nil {
			panic(fmt.Sprintf("embedded price data: provider %s: %v", p.id, err)) // it is part of the program and parsed by its tests
		}
	})
	return p.parsed
}

func (p *provider) parseModels() (models []model, err error) {
	for row := range strings.Lines(p.rows) {
		f := strings.Split(strings.TrimSuffix(row, "\n"), "\t")
		var e *entry
		if len(models) > 0 {
			e = models[len(models)-1].entry
		}
		switch {
		case f[0] == "model" && len(f) > 2:
			var m *matcher
			if err = parseRule(&m, f[2:]); err == nil {
				models = append(models, model{*m, &entry{provider: p.id, id: f[1], source: p.version, date: p.fetched}})
			}
		case f[0] == "least" && e != nil && len(f) == 2:
			e.minAudio, err = strconv.ParseInt(f[1], 10, 64)
		case f[0] == "price" && e != nil && len(f) > 1:
			var v variant
			v, err = parseVariant(f[1:])
			e.variants = append(e.variants, v)
		default:
			err = errMisplaced
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", strings.Join(f, " "), err)
		}
	}
	return models, nil
}

func parseRule(to **matcher, fields []string) error {
	m, rest, err := parseMatcher(fields)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d fields after the rule", len(rest))
	}
	*to = &m
	return err
}

func parseVariant(f []string) (v variant, err error) {
	switch {
	case f[0] == "-":
	case strings.Contains(f[0], ":"):
		err = v.parseDaily(f[0])
	default:
		err = v.parseFrom(f[0])
	}
	if err != nil {
		return v, err
	}
	prices := make([]named, 0, len(f)-1)
	free := false
	for _, field := range f[1:] {
		if field == "free" {
			free = true
			continue
		}
		name, text, _ := strings.Cut(field, "=")
		n := named{text: name}
		if n.parsedName, err = parseName(name); err != nil {
			return v, err
		}
		if n.price, err = ParsePrice(text); err != nil {
			return v, err
		}
		prices = append(prices, n)
	}
	v.pricing, err = newPricing(prices)
	if err == nil {
		v.free = free
	}
	return v, err
}

// providerFor returns the provider by its name, its base URL, or a model that only it serves, in the order of genai-prices; nil if
// there is none.
func (l *list) providerFor(name, baseURL, modelName string) *provider {
	if name != "" {
		if p := l.byID[name]; p != nil {
			return p
		}
		for _, p := range l.providers {
			if p.named != nil && p.named.match(name) {
				return p
			}
		}
		return nil
	}
	if baseURL != "" {
		return l.providerAt(baseURL)
	}
	for _, p := range l.providers {
		if p.serves != nil && p.serves.match(modelName) {
			return p
		}
	}
	return nil
}

// providerAt returns the provider whose API is at the base URL, or nil.
func (l *list) providerAt(baseURL string) *provider {
	for _, p := range l.providers {
		if p.api.MatchString(baseURL) {
			return p
		}
	}
	return nil
}

// find returns the first model of the provider, or of those it falls back to, whose rule matches the name. If there is none, a date
// such as 20260131 in the name is tried as 2026-01-31.
func (l *list) find(p *provider, name string) *entry {
	if e := l.findExactly(p, name); e != nil {
		return e
	}
	if dashed := dashDates(name); dashed != name {
		return l.findExactly(p, dashed)
	}
	return nil
}

func (l *list) findExactly(p *provider, name string) *entry {
	if e := p.find(name); e != nil {
		return e
	}
	for _, id := range p.fallback {
		if other := l.byID[id]; other != nil {
			if e := other.find(name); e != nil {
				return e
			}
		}
	}
	return nil
}

func (p *provider) find(name string) *entry {
	models := p.models()
	for i := range models {
		if models[i].match(name) {
			return models[i].entry
		}
	}
	return nil
}
