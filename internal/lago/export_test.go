package lago

import "golang.org/x/time/rate"

// StopTurns lets n more calls be made that send no events.
func (c *Client) StopTurns(n int) { c.asks = rate.NewLimiter(0, n) }

// TurnsLeft returns how many of them are left.
func (c *Client) TurnsLeft() int { return int(c.asks.Tokens()) }
