// Package manage is the management API, which is LiteLLM's: who may do what with keys, teams, users, customers and budgets, and what the
// answers look like. The changes themselves are those of package keys.
package manage
