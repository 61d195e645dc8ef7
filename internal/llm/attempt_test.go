package llm

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLateNewsOfAnAttempt checks that a report to one attempt affects no other, and one to a write no later write.
func TestLateNewsOfAnAttempt(t *testing.T) {
	_, c := Ensure(t.Context())
	planned, one, two := &Target{Model: "m"}, &Target{Model: "one"}, &Target{Model: "two"}
	require.Nil(t, c.Target())
	require.Zero(t, c.Attempts())
	require.False(t, c.Attempt().Sent() || c.Attempt().Failed() || c.Attempt().Answered() || c.Attempt().UsageInjected() || c.Attempt().AnswerRead())
	c.Plan(planned)
	require.Same(t, planned, c.Target())
	require.Zero(t, c.Attempts(), "a planned attempt is none")

	first := c.Begin(one)
	early := first.Write()
	again := first.Write()
	early.Done()
	require.False(t, first.Sent(), "the connection that was written to first had been closed")
	again.Done()
	require.True(t, c.Attempt().Sent())
	require.Equal(t, 1, c.Attempts())

	second := c.Begin(two)
	first.Write().Done()
	first.SetFailed()
	first.SetAnswered()
	first.SetUsageInjected(true)
	first.SetAnswerRead()
	require.Same(t, second, c.Attempt())
	require.Same(t, two, c.Target())
	require.Equal(t, 2, c.Attempts())
	require.False(t, second.Sent() || second.Failed() || second.Answered() || second.UsageInjected() || second.AnswerRead())
}

// TestAdmitRunsEachStep checks that steps run in order, up to the first refusal.
func TestAdmitRunsEachStep(t *testing.T) {
	_, c := Ensure(t.Context())
	require.Nil(t, c.Admit(t.Context()), "nothing to check")
	var ran []string
	step := func(name string, refused *Error) {
		c.OnAdmit(func(_ context.Context, got *Call) *Error {
			require.Same(t, c, got)
			ran = append(ran, name)
			return refused
		})
	}
	no := &Error{Status: 429}
	step("a", nil)
	step("b", no)
	step("c", nil)
	require.Same(t, no, c.Admit(t.Context()))
	require.Equal(t, []string{"a", "b"}, ran)
}

// TestGoogle distinguishes Google's own APIs from others that serve Gemini's models.
func TestGoogle(t *testing.T) {
	for target, want := range map[*Target]bool{
		{Provider: "gemini", BaseURL: "http://localhost:1"}:                                       true,
		{Provider: "vertex", BaseURL: "http://localhost:1"}:                                       true,
		{Provider: "openai", BaseURL: "https://generativelanguage.googleapis.com/v1beta/openai"}:  true,
		{Provider: "openai", BaseURL: "https://aiplatform.googleapis.com/v1/p/endpoints/openapi"}: true,
		{Provider: "openai", BaseURL: "https://proxy.example/v1beta/openai"}:                      true,
		{Provider: "openai", BaseURL: "https://api.openai.com/v1"}:                                false,
		{Provider: "openai", BaseURL: "https://googleapis.com.example/v1"}:                        false,
		{Provider: "openrouter", BaseURL: "https://openrouter.ai/api/v1"}:                         false,
	} {
		require.Equal(t, want, target.Google(), target.Provider+" "+target.BaseURL)
	}
}
