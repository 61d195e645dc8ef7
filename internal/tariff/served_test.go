package tariff_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// The prices written for a backend are those of the model that it is asked for, not of one that the call lets the provider run.
func TestServedBy(t *testing.T) {
	for _, c := range []struct {
		upstream, answered string
		others             []string
		written            bool // the backend's own prices hold
	}{
		{"openai/gpt-4o-mini", "openai/gpt-4o-mini", []string{"anthropic/claude-opus-4.6"}, true},
		{"openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18", []string{"openai/gpt-4o"}, true},
		{"openai/gpt-4o-mini", "anthropic/claude-opus-4.6", []string{"anthropic/claude-opus-4.6"}, false},
		{"openai/gpt-4o", "openai/gpt-4o-mini-2024-07-18", []string{"openai/gpt-4o-mini"}, false},
		{"openai/gpt-4o", "openai/gpt-4o-2024-08-06", []string{"openai/gpt-4o-mini"}, true},
		{"openai/gpt-4o", "x-ai/grok-4", []string{""}, false}, // the provider chose
		{"openai/gpt-4o", "", []string{"openai/o3"}, true},
		{"openai/gpt-4o", "deployment-7", nil, true},
	} {
		target := &llm.Target{Upstream: c.upstream, Prices: map[string]string{"input": "1"}}
		var others []llm.OtherModel
		for _, name := range c.others {
			others = append(others, llm.OtherModel{Member: "models", Name: name})
		}
		got := tariff.ServedBy(target, c.answered, others)
		require.Equal(t, c.written, len(got.Prices) > 0, "%s answered by %s", c.upstream, c.answered)
		if !c.written {
			require.Equal(t, c.answered, got.Upstream)
		}
	}
}
