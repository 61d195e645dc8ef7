package translate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClaudeVersion(t *testing.T) {
	for model, want := range map[string]struct {
		family  string
		version int
	}{
		"claude-opus-4-5":                                 {"opus", 45},
		"claude-opus-4-5-20251101":                        {"opus", 45},
		"claude-opus-4-20250514":                          {"opus", 40},
		"claude-sonnet-4@20250514":                        {"sonnet", 40},
		"us.anthropic.claude-3-7-sonnet-20250219-v1:0":    {"sonnet", 37},
		"anthropic.claude-3-haiku-20240307-v1:0":          {"haiku", 30},
		"anthropic/claude-opus-4.6":                       {"opus", 46},
		"anthropic.claude-opus-4-6-v1":                    {"opus", 46},
		"claude-fable-5-1":                                {"fable", 51},
		"claude-mythos-5":                                 {"mythos", 50},
		"Claude-Haiku-5-5":                                {"haiku", 55},
		"claude-mythos-preview":                           {},
		"claude-instant-v1":                               {},
		"my-claude":                                       {},
		"arn:aws:bedrock:eu-west-1:1:inference-profile/x": {},
	} {
		family, version := claudeVersion(model)
		require.Equal(t, want.family, family, model)
		require.Equal(t, want.version, version, model)
	}
}

func TestClaudeOf(t *testing.T) {
	for model, want := range map[string]claude{
		"claude-3-5-sonnet-20241022": {thinking: thinkingNone, sampling: true, bothSample: true, forced: true},
		"claude-sonnet-4-5":          {thinking: thinkingBudget, sampling: true, forced: true},
		"claude-opus-4-6":            {thinking: thinkingAsked, sampling: true, forced: true},
		"claude-opus-4-7":            {thinking: thinkingAsked, hides: true, forced: true},
		"claude-opus-4-8":            {thinking: thinkingAsked, hides: true, forced: true, lateSystem: true},
		"claude-sonnet-5":            {thinking: thinkingDefault, hides: true, forced: true},
		"claude-opus-5":              {thinking: thinkingDefault, hides: true, forced: true, lateSystem: true},
		"claude-opus-5-5":            {thinking: thinkingAlways, hides: true, lateSystem: true},
		"claude-sonnet-5-5":          {thinking: thinkingBetween, hides: true, lateSystem: true},
		"claude-haiku-5-5":           {thinking: thinkingDefault, hides: true, forced: true, lateSystem: true},
		"claude-fable-5-1":           {thinking: thinkingAlways, hides: true, lateSystem: true},
		"claude-opus-9":              {thinking: thinkingAlways, hides: true, lateSystem: true},
		"claude-prod":                {},
	} {
		require.Equal(t, want, claudeOf("anthropic", model), model)
	}
	require.False(t, claudeOf("bedrock", "anthropic.claude-opus-4-8").lateSystem)
}
