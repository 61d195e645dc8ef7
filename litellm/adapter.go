// Package litellm is a Caddy config adapter for the YAML configuration of LiteLLM's proxy. It converts the file
// to a Caddyfile and that to Caddy's JSON. A field that is not carried over is a warning with its line. It is an
// error if leaving it out would change who pays, how much, or who may call.
package litellm

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

func init() {
	caddyconfig.RegisterAdapter("litellm", Adapter{})
}

// Adapter adapts LiteLLM's config.yaml to Caddy's JSON. Like LiteLLM at its start, it reads the environment:
// PORT, HOST, LITELLM_MASTER_KEY, LAGO_API_CHARGE_BY, and which provider keys are set. Secrets stay
// placeholders.
type Adapter struct{}

// made is the name of the generated Caddyfile in errors from its directives.
const made = "Caddyfile-made-of-the-YAML"

// Adapt converts body. The option "filename" is the file's name in messages, and its directory is where
// `include` starts.
func (Adapter) Adapt(body []byte, options map[string]any) ([]byte, []caddyconfig.Warning, error) {
	filename, _ := options["filename"].(string)
	if filename == "" {
		filename = "config.yaml"
	}
	c := newConverter(filename)
	text, err := c.convert(body)
	if err != nil {
		return nil, c.warnings, err
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return nil, c.warnings, errors.New("the caddyfile adapter is not part of this build")
	}
	result, warnings, err := adapter.Adapt(text.Bytes(), map[string]any{"filename": made})
	if err != nil {
		return nil, c.warnings, text.blame(filename, err)
	}
	for _, w := range warnings {
		if !strings.Contains(w.Message, "not formatted") {
			c.warn(text.place(w.Line), w.Message)
		}
	}
	return result, c.warnings, nil
}

var blamed = regexp.MustCompile(`(?s)^(?:parsing caddyfile tokens for '[^']*': )*(.*?),? at ` + made + `:(\d+)`)

// blame adds the YAML line that caused a directive's error.
func (w *caddyfile) blame(filename string, err error) error {
	m := blamed.FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("%s: %w", filename, err)
	}
	n, _ := strconv.Atoi(m[2]) // the expression matches only digits
	f := w.place(n)
	if !f.present() {
		return fmt.Errorf("%s: %s: %s", filename, f.path, m[1])
	}
	return fmt.Errorf("%s:%d: %s: %s", f.file, f.line(), f.path, m[1])
}

// converter collects the settings of the files.
type converter struct {
	file      string
	lookupEnv func(string) (string, bool)
	declared  map[string]field // from environment_variables
	used      map[string]bool  // variables that are referenced
	warnings  []caddyconfig.Warning
	errs      []error

	entry       *deployment // the entry being read
	models      []*model
	credentials map[string]field // the values of credential_list by name
	aliases     map[string]word
	aliasAt     []field

	lite, router reliability
	limits       limits
	priced       field // calls to models without a price are refused
	cooldownsOff bool
	lossy        bool // from drop_params
	redis        redisConfig
	cache        field
	cacheParams  field
	lago         field
	metrics      bool
	adjustments  []adjustment

	masterKey   word
	masterKeys  []field // members in any file that are, or are meant to be, the master key
	keyHeader   word
	userHeaders []word // from user_header_mappings
	userHeader  word   // from user_header_name, which LiteLLM checks last
	enforceUser field
	maxBody     word
	cacheTTL    word
}

func newConverter(filename string) *converter {
	return &converter{
		file: filename, lookupEnv: os.LookupEnv, declared: make(map[string]field), used: make(map[string]bool),
		credentials: make(map[string]field), aliases: make(map[string]word),
	}
}

// convert reads the file and its includes, and writes the Caddyfile.
func (c *converter) convert(body []byte) (*caddyfile, error) {
	root, err := readYAML(body, c.file)
	if err != nil {
		return nil, err
	}
	sections, err := c.sections(root)
	if err != nil {
		return nil, err
	}
	for _, f := range sections {
		switch f.key {
		case "environment_variables":
			for _, v := range f.members() {
				c.declared[v.key] = v
			}
		case "credential_list":
			for _, cred := range f.items() {
				c.credentials[cred.get("credential_name").raw()] = cred.get("credential_values")
			}
		}
	}
	for _, f := range sections {
		if r, ok := topRules[f.key]; ok {
			c.apply(f, r)
		} else if !f.off() {
			c.warn(f, "is not known here, and is left out")
		}
	}
	c.finish()
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	text := c.write()
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	slices.SortStableFunc(c.warnings, func(a, b caddyconfig.Warning) int {
		if a.File != b.File {
			return 0
		}
		return a.Line - b.Line
	})
	return text, nil
}

func readYAML(body []byte, filename string) (field, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(body, &doc); err != nil {
		return field{}, fmt.Errorf("%s: %w", filename, err)
	}
	root := field{file: filename, node: &yaml.Node{Kind: yaml.MappingNode}}
	if len(doc.Content) > 0 {
		root.node = doc.Content[0]
	}
	if root.null() {
		root.node = &yaml.Node{Kind: yaml.MappingNode}
	}
	if !root.isMapping() {
		return root, fmt.Errorf("%s:%d: a mapping of sections is expected here, such as model_list", filename, root.line())
	}
	return root, checkNode(filename, root.node, 0)
}

// maxIncludes is the maximum number of files to read.
const maxIncludes = 64

// sections returns the merged sections of the file and of the files it includes. As in LiteLLM, lists are
// concatenated, other sections replace earlier ones, and included files are looked up in the first file's
// directory.
func (c *converter) sections(root field) ([]field, error) {
	sections := make(map[string][]field)
	var order []string
	queue := root.get("include").items()
	add := func(f field) {
		c.findMasterKeys(f)
		before := sections[f.key]
		if len(before) == 0 {
			order = append(order, f.key)
		}
		if f.isList() && len(before) > 0 {
			sections[f.key] = append(before, f)
			return
		}
		for _, old := range before {
			c.warn(old, fmt.Sprintf("is replaced as a whole by the same section of %s, as in LiteLLM", f.file))
		}
		sections[f.key] = []field{f}
	}
	for _, f := range root.members() {
		if f.key != "include" {
			add(f)
		}
	}
	seen := map[string]bool{filepath.Clean(c.file): true}
	for i := 0; i < len(queue); i++ {
		item := queue[i]
		path := item.raw()
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(c.file), path)
		}
		if seen[path] {
			continue
		}
		seen[path] = true
		if len(seen) > maxIncludes+1 {
			return nil, fmt.Errorf("%s:%d: include: more than %d files", item.file, item.line(), maxIncludes)
		}
		body, err := os.ReadFile(path) // #nosec G304 -- the operator's own configuration names it
		if err != nil {
			return nil, fmt.Errorf("%s:%d: include: %w", item.file, item.line(), err)
		}
		inner, err := readYAML(body, path)
		if err != nil {
			return nil, err
		}
		for _, f := range inner.members() {
			if f.key == "include" {
				queue = append(queue, f.items()...)
			} else {
				add(f)
			}
		}
	}
	var all []field
	for _, key := range order {
		all = append(all, sections[key]...)
	}
	return all, nil
}

// unusedVariables warns of variables declared in the file that nothing refers to. They are not set in the
// environment.
func (c *converter) unusedVariables() {
	for _, name := range slices.Sorted(maps.Keys(c.declared)) {
		if f := c.declared[name]; !c.used[name] && !f.off() {
			c.warn(f, "nothing here refers to this variable: set it in the environment of the process if something else needs it")
		}
	}
}

// Interface guards.
var _ caddyconfig.Adapter = Adapter{}
