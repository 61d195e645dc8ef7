package account

import "time"

// Settings are the resolved settings of an account: what its spool and its delivery need. Two handlers of one
// configuration that name the same account must agree on all of them.
type Settings struct {
	Name        string
	Dir         string // absolute
	Durability  string
	SpoolMax    int64
	Retain      time.Duration
	Interrupted string
	APIBase     string // empty: ledger only
	APIKey      string
	EventCode   string
	Late        string
	PayerCheck  string
	MaxDrains   int
}
