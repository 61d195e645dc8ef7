package llm

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	idRandom  = 10   // random bytes of an id
	stockIDs  = 32   // ids that one stock of random bytes serves
	stockLife = 1000 // milliseconds for which it does
)

// stock holds random bytes for ids to come: asking the system for those of each would cost more than all the rest of it. They
// grow old, so that a virtual machine which is woken up twice from one image does not mint the same ids twice.
var stock struct {
	sync.Mutex
	random [stockIDs * idRandom]byte
	used   int
	drawn  int64 // when, in milliseconds; 0 before the first time
}

// NewID mints a UUIDv7 (RFC 9562, section 5.7): the time in milliseconds and 74 random bits.
func NewID() string { return idOf(time.Now()) }

// idOf mints the id of something that begins now.
func idOf(now time.Time) string {
	ms := now.UnixMilli()
	var id uuid.UUID
	takeRandom(id[len(id)-idRandom:], ms)
	binary.BigEndian.PutUint16(id[:], uint16(ms>>32)) //nolint:gosec // 48 bits hold every time until the year 10889
	binary.BigEndian.PutUint32(id[2:], uint32(ms))    //nolint:gosec // the low bits are meant
	id[6] = id[6]&0x0f | 0x70                         // the version
	id[8] = id[8]&0x3f | 0x80                         // the variant
	return id.String()
}

// takeRandom fills an id's random bytes.
func takeRandom(random []byte, now int64) {
	stock.Lock()
	defer stock.Unlock()
	if stock.used == len(stock.random) || now < stock.drawn || now-stock.drawn >= stockLife {
		_, _ = rand.Read(stock.random[:]) // documented never to fail: it ends the process rather than return an error
		stock.used, stock.drawn = 0, now
	}
	stock.used += copy(random, stock.random[stock.used:])
}
