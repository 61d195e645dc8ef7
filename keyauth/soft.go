package keyauth

import (
	"sync"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/app/limits"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// softEvent is the name of Caddy's event when a soft budget is passed. Its data: scope, id (of a key its abbreviation), model,
// limit, spent, reserved, resets_at.
const softEvent = "soft_budget_passed"

// maxSoft bounds the soft budgets of which it is remembered that they were passed.
const maxSoft = 10_000

// soft are the counters of soft budgets that were reported as passed by this process. Each window has its own counter, so that
// each is reported once.
var soft = struct {
	sync.Mutex
	reported map[string]bool
}{reported: make(map[string]bool)}

// firstPassed reports whether a soft budget is passed for the first time in its window, as far as this process knows.
func firstPassed(counter string) bool {
	soft.Lock()
	defer soft.Unlock()
	if soft.reported[counter] {
		return false
	}
	for other := range soft.reported {
		if len(soft.reported) < maxSoft {
			break
		}
		delete(soft.reported, other)
	}
	soft.reported[counter] = true
	return true
}

// passed reports soft budgets that a call was admitted beyond.
func (h *Handler) passed(c *llm.Call, g *limit.Grant) {
	for i := range g.Passed {
		st := &g.Passed[i]
		limits.SoftPassed.WithLabelValues(string(st.Scope.Kind)).Inc()
		if !firstPassed(st.Counter) {
			continue
		}
		data := map[string]any{
			"scope": string(st.Scope.Kind), "id": describe(st.Scope, c.Identity.KeyName, c.Request.Session), "model": st.Model,
			"limit": st.Money.String(), "spent": st.Spent.String(), "reserved": st.Reserved.String(), "resets_at": moment(st.ResetsAt),
		}
		h.logger.Warn("a soft budget is passed", zap.Any("budget", data))
		h.events.Emit(h.ctx, softEvent, data)
	}
}
