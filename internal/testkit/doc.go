// Package testkit holds what tests of several packages share: real Redis and PostgreSQL servers, free addresses, a clock.
// The fake Lago and the fake providers are in subpackages.
package testkit
