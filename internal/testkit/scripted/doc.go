// Package scripted is an upstream for tests that answers what a test says and records each request byte by byte; it checks
// requests by the schemas of the providers.
package scripted
