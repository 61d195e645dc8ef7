package lagobilling

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

func TestUnpricedModelsAreRefused(t *testing.T) {
	strict, h := &Handler{Events: "cost"}, &Handler{}
	require.NoError(t, provision(t, strict))
	require.NoError(t, provision(t, h))
	rt := chatRoute(nil)
	call := newCall(rt)
	call.Plan(&llm.Target{Provider: "openai", Upstream: "a-model-nobody-knows"})
	refusal := strict.checkPriced(call)
	require.NotNil(t, refusal)
	require.Equal(t, 400, refusal.Status)
	require.Equal(t, "unpriced_model", refusal.Type)
	require.Contains(t, refusal.Message, "gpt-4")
	require.Nil(t, h.checkPriced(call), "unpriced allow lets it pass")
}
