package translate

import (
	"regexp"
	"strconv"
	"strings"
)

// thinking is how a model of Anthropic's is told whether to think.
type thinking uint8

const (
	thinkingUnknown thinking = iota // adaptive thinking is taken; whether it can be turned off is not known
	thinkingNone                    // the model does not think
	thinkingBudget                  // by a budget; off without one
	thinkingAsked                   // adaptive, where asked for
	thinkingDefault                 // adaptive unless it is turned off
	thinkingBetween                 // adaptive; all that can be turned off is the thinking before the first tool
	thinkingAlways                  // adaptive, and cannot be turned off
)

// claude is what is known of a model of Anthropic's beyond its API. The zero value is that of a model that is not known: the strict
// side.
type claude struct {
	thinking   thinking
	sampling   bool // takes temperature or top_p
	bothSample bool // takes both in one call
	forced     bool // takes a tool choice that forces a call
	hides      bool // shows its thinking only where that is asked for
	lateSystem bool // takes system messages behind the first user message
	shortCache bool // keeps a cache for five minutes only
}

// claudeOf returns what is known of a model by its name at a provider: claude-opus-4-5, anthropic.claude-3-7-sonnet-20250219-v1:0,
// claude-sonnet-4@20250514.
func claudeOf(provider, model string) claude {
	family, version := claudeVersion(model)
	var c claude
	switch {
	case family == "":
		return c
	case version < 37:
		c.thinking = thinkingNone
	case version < 46:
		c.thinking = thinkingBudget
	case version < 50:
		c.thinking = thinkingAsked
	case family == "fable" || family == "mythos" || family == "opus" && version >= 55:
		c.thinking = thinkingAlways
	case family == "sonnet" && version >= 55:
		c.thinking = thinkingBetween
	case version <= 55:
		c.thinking = thinkingDefault
	}
	c.hides = version >= 47
	c.shortCache = provider == bedrock && version < 45
	c.sampling = version <= 46
	c.bothSample = version < 40
	// A version that is newer than these is not known.
	c.forced = version <= 50 || family == "haiku" && version == 55
	// The clouds take them later than Anthropic's own API does.
	c.lateSystem = provider == "anthropic" && version >= 48 && (family != "sonnet" || version >= 55)
	return c
}

var claudeName = regexp.MustCompile(`claude-(?:(\d)(?:[-.](\d))?-)?(opus|sonnet|haiku|fable|mythos)(?:-(\d)(?:[-.](\d))?)?(?:$|[-@:])`)

// claudeVersion returns the family and ten times the version of a model: opus and 45. The family is empty where the name is of
// another form.
func claudeVersion(model string) (family string, version int) {
	m := claudeName.FindStringSubmatch(strings.ToLower(model))
	if m == nil {
		return "", 0
	}
	for _, digits := range []string{m[1] + m[2], m[4] + m[5]} { // the version is before the family, or behind it
		if len(digits) == 1 {
			digits += "0"
		}
		if n, err := strconv.Atoi(digits); err == nil {
			return m[3], n
		}
	}
	return "", 0
}
