package scripted

import (
	"embed"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

//go:embed schemas/*.json
var schemaFiles embed.FS

// schema is a JSON schema, limited to the keywords that the files in schemas use.
type schema struct {
	Ref        string             `json:"$ref"`
	Defs       map[string]*schema `json:"$defs"`
	Type       string             `json:"type"`
	Const      any                `json:"const"`
	Enum       []any              `json:"enum"`
	AnyOf      []*schema          `json:"anyOf"`
	Properties map[string]*schema `json:"properties"`
	Required   []string           `json:"required"`
	Items      *schema            `json:"items"`
	// Additional is true, false, or the schema of members not named in Properties.
	Additional json.RawMessage `json:"additionalProperties"`
}

var schemas sync.Map // by name

// requestSchema returns the schema of a provider's requests, generated from its official SDK: chat, responses or
// messages.
func requestSchema(t testing.TB, name string) *schema {
	if s, ok := schemas.Load(name); ok {
		return s.(*schema) //nolint:forcetypeassert // nothing else is stored
	}
	text, err := schemaFiles.ReadFile("schemas/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	s := new(schema)
	if err := json.Unmarshal(text, s); err != nil {
		t.Fatal(err)
	}
	schemas.Store(name, s)
	return s
}

// validate returns how a JSON text violates the schema, nil if it does not.
func (s *schema) validate(text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	if f := s.check(s, v, ""); f != nil {
		return fmt.Errorf("%s: %s", strings.TrimPrefix(f.at, "."), f.what)
	}
	return nil
}

// fault is a violation of a schema and its place.
type fault struct{ at, what string }

func (s *schema) check(root *schema, v any, at string) *fault {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		return root.Defs[name].check(root, v, at)
	}
	switch {
	case s.Const != nil && !reflect.DeepEqual(s.Const, v):
		return &fault{at, fmt.Sprintf("%v is not %v", v, s.Const)}
	case s.Enum != nil && !slices.ContainsFunc(s.Enum, func(e any) bool { return reflect.DeepEqual(e, v) }):
		return &fault{at, fmt.Sprintf("%v is none of %v", v, s.Enum)}
	case s.AnyOf != nil:
		var most *fault // of the closest choice
		for _, choice := range s.AnyOf {
			f := choice.check(root, v, at)
			if f == nil {
				return nil
			}
			if most == nil || len(f.at) > len(most.at) && !strings.HasSuffix(f.at, ".type") {
				most = f
			}
		}
		return most
	}
	if is := typeOf(v); s.Type != "" && s.Type != is && (s.Type != "integer" || is != "number" || v != float64(int64(v.(float64)))) { //nolint:forcetypeassert // a number is one
		return &fault{at, fmt.Sprintf("a %s where a %s is expected", is, s.Type)}
	}
	switch v := v.(type) {
	case []any:
		if s.Items == nil {
			return nil
		}
		for i, e := range v {
			if f := s.Items.check(root, e, fmt.Sprintf("%s[%d]", at, i)); f != nil {
				return f
			}
		}
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				return &fault{at, name + " is missing"}
			}
		}
		for name, e := range v {
			if f := s.member(root, name, e, at+"."+name); f != nil {
				return f
			}
		}
	}
	return nil
}

// member checks a member of an object.
func (s *schema) member(root *schema, name string, v any, at string) *fault {
	if p := s.Properties[name]; p != nil {
		return p.check(root, v, at)
	}
	switch string(s.Additional) {
	case "", "true":
		return nil
	case "false":
		return &fault{at, "no such member"}
	}
	other := new(schema)
	if err := json.Unmarshal(s.Additional, other); err != nil {
		return &fault{at, err.Error()}
	}
	return other.check(root, v, at)
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}
