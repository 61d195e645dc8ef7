// Package proof holds the test of what Tollgate promises: every answer that a client received whole is billed exactly
// once, to the token and to the smallest unit of money, through crashes, hang-ups, retries and reloads. It runs the
// binary that users run, between real clients, a real Redis, a fake provider and a fake Lago, both of which fail.
package proof
