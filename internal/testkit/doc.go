// Package testkit holds what tests stand on: a fake provider, a fake Lago and a real Redis.
package testkit
