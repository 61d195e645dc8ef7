// Package fakelago is a fake Lago for tests: the part of its API that Tollgate calls, with the faults of a real one.
package fakelago
