package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Prefix begins every key but a master key, as LiteLLM's clients expect.
const Prefix = "sk-"

// MaxBytes bounds what is hashed as a key.
const MaxBytes = 512

// newKey makes a key with 128 random bits: sk- and 22 URL-safe characters.
func newKey() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // documented never to fail: it ends the process rather than return an error
	return Prefix + base64.RawURLEncoding.EncodeToString(b)
}

// Digest is the SHA-256 of a key, which identifies it everywhere but on its way in.
type Digest [sha256.Size]byte

// DigestOf returns the digest of a key.
func DigestOf(key string) Digest { return sha256.Sum256([]byte(key)) }

// String returns the id of the key's record: 64 hex digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// shownDigits is how many digits of a key's hash people are shown.
const shownDigits = 12

// Short returns the beginning of a record's id, which names a key for people.
func (k *Key) Short() string { return k.Token[:min(len(k.Token), shownDigits)] }

// Abbreviate names a key for people: sk-...abcd. A key too short to hide its rest shows nothing.
func Abbreviate(key string) string {
	if len(key) < 16 {
		return Prefix + "..."
	}
	return Prefix + "..." + key[len(key)-4:]
}

// ID returns the id of the record of a key that is given by itself or by its hash.
func ID(key string) (string, *llm.Error) {
	if strings.HasPrefix(key, Prefix) && len(key) <= MaxBytes {
		return DigestOf(key).String(), nil
	}
	if b, err := hex.DecodeString(key); err == nil && len(b) == len(Digest{}) {
		return strings.ToLower(key), nil
	}
	if key == "" {
		return "", Invalid("key", "is missing")
	}
	return "", Invalid("key", "must be a key that begins with sk-, or the hash of one")
}
