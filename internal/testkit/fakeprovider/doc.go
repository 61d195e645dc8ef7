// Package fakeprovider is a fake model provider for tests: it speaks several APIs, reports usage, and fails as real ones
// do.
package fakeprovider
