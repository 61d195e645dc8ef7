// Package proof tests Tollgate's central promise: every answer that a client received in full is billed exactly once, to
// the token and to the smallest unit of money, despite crashes, hang-ups, retries and reloads. It runs the binary that
// users run, with real clients and a real Redis, between a fake provider and a fake Lago that both inject faults.
package proof
