package llm

import "github.com/google/uuid"

func init() {
	// Asking the system for the random bits of each id would cost more than all the rest of it.
	uuid.EnableRandPool()
}

// NewID mints a UUIDv7 (RFC 9562, section 5.7).
func NewID() string { return uuid.Must(uuid.NewV7()).String() } // crypto/rand ends the process rather than fail
