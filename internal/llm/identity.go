package llm

import (
	"slices"
	"strings"
)

// Identity is the caller as recorded for the key. Calls share it; it is never changed.
type Identity struct {
	KeyHash  string // hex SHA-256 of the key; never a metric label, never shown to clients
	SpendID  string // the KeyHash that the key's spend is stored under: that of the first key it replaced, or its own
	KeyName  string // abbreviation for display: sk-...abcd
	KeyAlias string
	UserID   string
	TeamID   string
	Master   bool // the master key itself
	// Models are the model names or wildcards allowed for the key and its team. Empty allows all. Each list must allow a
	// model.
	Models     []string
	TeamModels []string
	// UserModels are those allowed for the user: by the user's own record for a key without a team, otherwise by the team
	// member's.
	UserModels []string
	// Aliases maps the key's own model names to the models they stand for.
	Aliases map[string]string
	// Subscription is the paying Lago subscription (`lago_subscription_id` in the metadata of the key, otherwise of its
	// team). It takes precedence over every rule of the configuration. Empty if neither has one.
	Subscription string
	// Metadata holds the string values of the key's metadata, for placeholders.
	Metadata map[string]string
	// FixedPayer forbids the client to name a payer (end user) other than the key's own.
	FixedPayer bool
}

// NoModels in a list of models allows no model. The name is LiteLLM's.
const NoModels = "no-default-models"

// Allows reports whether the identity may call the model. A pattern's `*` matches any text.
func (i *Identity) Allows(model string) bool {
	return i == nil || i.Master || (allows(i.Models, model) && allows(i.TeamModels, model) && allows(i.UserModels, model))
}

// AllowsAll reports whether the identity may call any model.
func (i *Identity) AllowsAll() bool {
	return i == nil || i.Master || (allowsAll(i.Models) && allowsAll(i.TeamModels) && allowsAll(i.UserModels))
}

func allowsAll(patterns []string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		return p == "*" || p == "all-proxy-models" || p == "all-team-models"
	})
}

func allows(patterns []string, model string) bool {
	if len(patterns) == 0 {
		return true
	}
	for _, p := range patterns {
		if p == NoModels {
			continue
		}
		if p == model || p == "all-proxy-models" || p == "all-team-models" || Match(p, model) {
			return true
		}
	}
	return false
}

// Match reports whether name matches pattern, in which each `*` matches any text.
func Match(pattern, name string) bool {
	head, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == name
	}
	if !strings.HasPrefix(name, head) {
		return false
	}
	name = name[len(head):]
	for {
		mid, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, rest)
		}
		at := strings.Index(name, mid)
		if at < 0 {
			return false
		}
		name, rest = name[at+len(mid):], after
	}
}
