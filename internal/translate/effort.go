package translate

// thinkingBudgets are how many tokens a model that thinks by a budget may think at each effort.
var thinkingBudgets = map[string]int64{
	"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768,
}

// leastBudget is the smallest budget that Messages takes.
const leastBudget = 1024
