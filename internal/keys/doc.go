// Package keys knows API keys and teams: their records, a cache in front of the store that holds them, and the changes that LiteLLM's key API
// can make.
package keys
