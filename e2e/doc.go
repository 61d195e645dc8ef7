// Package e2e tests the whole gateway, from a Caddyfile or LiteLLM's file to what clients get and what Lago receives.
package e2e
