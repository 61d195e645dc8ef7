package llm

import (
	"slices"
	"strings"
)

// Identity is who calls, by the key's record. It is shared between calls and never changed.
type Identity struct {
	KeyHash  string // hex SHA-256 of the key; an identifier, never a label and never shown to clients
	SpendID  string // the KeyHash under which what the key spends is kept: that of the first key that it replaced, or its own
	KeyName  string // abbreviation for people: sk-...abcd
	KeyAlias string
	UserID   string
	TeamID   string
	Master   bool // the master key itself
	// Models are the model names or wildcards the key and its team allow; empty allows all. Each list must allow a model.
	Models     []string
	TeamModels []string
	// UserModels are those that the user allows: of a key without a team by the user's own record, of another by the member's.
	UserModels []string
	// Aliases are the key's own names for models: name asked for to name meant.
	Aliases map[string]string
	// Subscription is the Lago subscription (`lago_subscription_id` of the key's metadata, else of its team's) that pays
	// before any rule of the configuration; empty when neither names one.
	Subscription string
	// Metadata holds the string values of the key's metadata, for placeholders.
	Metadata map[string]string
	// FixedPayer forbids the client to name another payer (end user) than the key's own.
	FixedPayer bool
}

// NoModels in a list of models allows none; it is LiteLLM's word.
const NoModels = "no-default-models"

// Allows reports whether the identity may call that model. A pattern's `*` matches any text.
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
