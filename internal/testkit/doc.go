// Package testkit holds what tests of several packages need: real Redis and PostgreSQL servers, free addresses, a clock. The fake
// Lago and providers are in packages below it.
package testkit
