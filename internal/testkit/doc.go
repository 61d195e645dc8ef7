// Package testkit holds what tests need: a fake provider, a fake Lago and a real Redis.
package testkit
