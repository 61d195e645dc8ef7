// Package scripted is an upstream for tests that sends scripted answers and records each request byte by byte. It can
// check requests against the providers' schemas.
package scripted
