// Package litellm is a Caddy config adapter for the YAML file of LiteLLM's proxy: what the file says becomes a Caddyfile
// and from there Caddy's JSON. Every field that is not carried over is a warning with its line; one that would change
// who pays, how much, or who may call is an error.
package litellm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

func init() {
	caddyconfig.RegisterAdapter("litellm", Adapter{})
}

// Adapter adapts LiteLLM's config.yaml to Caddy JSON.
type Adapter struct{}

// Adapt converts body. The option "filename" names the file in messages and is where `include` starts from.
func (Adapter) Adapt(body []byte, options map[string]any) ([]byte, []caddyconfig.Warning, error) {
	filename, _ := options["filename"].(string)
	if filename == "" {
		filename = "config.yaml"
	}
	text, warnings, err := Caddyfile(body, filename)
	if err != nil {
		return nil, warnings, err
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return nil, warnings, errors.New("the caddyfile adapter is not part of this build")
	}
	result, _, err := adapter.Adapt(text, map[string]any{"filename": filename})
	if err != nil {
		return nil, warnings, fmt.Errorf("the Caddyfile made of %s: %w", filename, err)
	}
	return result, warnings, nil
}

// Caddyfile converts LiteLLM's YAML to the Caddyfile that means the same, with a warning for each field that is left
// out. Errors name file and line.
func Caddyfile(body []byte, filename string) ([]byte, []caddyconfig.Warning, error) {
	c := &converter{
		file:      filename,
		lookupEnv: os.LookupEnv,
		declared:  make(map[string]field),
		aliases:   make(map[string]string),
		fallbacks: make(map[string][]string),
	}
	if err := c.file1(body, filename, 0); err != nil {
		return nil, c.warnings, err
	}
	c.finish()
	if len(c.errs) > 0 {
		return nil, c.warnings, errors.Join(c.errs...)
	}
	return c.write(), c.warnings, nil
}

// maxIncludes bounds how deep `include` may nest, so that a file that includes itself ends.
const maxIncludes = 8

// file1 reads one file and those that it includes.
func (c *converter) file1(body []byte, filename string, depth int) error {
	if depth > maxIncludes {
		return fmt.Errorf("%s: include nests deeper than %d files", filename, maxIncludes)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(body, &doc); err != nil {
		return fmt.Errorf("%s: %w", filename, err)
	}
	if len(doc.Content) == 0 {
		return nil
	}
	root := field{file: filename, path: "", node: doc.Content[0]}
	if root.node.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: a mapping of settings is expected", filename, root.node.Line)
	}
	c.environment(root)
	for f := range root.members() {
		switch f.key {
		case "include":
			for item := range f.items() {
				path := item.node.Value
				if !filepath.IsAbs(path) {
					path = filepath.Join(filepath.Dir(filename), path)
				}
				inner, err := os.ReadFile(path)
				if err != nil {
					return fmt.Errorf("%s:%d: include: %w", filename, item.node.Line, err)
				}
				if err := c.file1(inner, path, depth+1); err != nil {
					return err
				}
			}
		case "environment_variables":
		case "model_list":
			for item := range f.items() {
				c.model(item)
			}
		case "litellm_settings":
			c.litellmSettings(f)
		case "router_settings":
			c.routerSettings(f)
		case "general_settings":
			c.generalSettings(f)
		case "callback_settings", "guardrails", "vector_store_registry", "mcp_servers", "mcp_aliases", "search_tools", "prompts",
			"credential_list", "assistant_settings", "finetune_settings", "files_settings":
			c.dropped(f, "has no counterpart")
		default:
			c.dropped(f, "is not known")
		}
	}
	return nil
}

// environment notes what environment_variables declares: `os.environ/X` then means that value.
func (c *converter) environment(root field) {
	for f := range root.members() {
		if f.key != "environment_variables" {
			continue
		}
		for v := range f.members() {
			c.declared[v.key] = v
		}
	}
}

// Interface guards.
var _ caddyconfig.Adapter = Adapter{}
