package llm

import "github.com/google/uuid"

func init() {
	// Reading the random bits of each id from the system would dominate the cost of an id.
	uuid.EnableRandPool()
}

// NewID returns a new UUIDv7 (RFC 9562, section 5.7).
func NewID() string { return uuid.Must(uuid.NewV7()).String() } // crypto/rand aborts the process rather than return an error
