package main

import (
	"fmt"
	"time"
)

// progress estimates how long a run takes by what was done of it.
type progress struct {
	begun       time.Time
	done, whole time.Duration // of load, as planned
}

// begin prints what is loaded next, and roughly how long the rest takes.
func (p *progress) begin(format string, args ...any) {
	left := ""
	if p.done == 0 {
		p.begun = time.Now()
	} else {
		rest := time.Duration(float64(time.Since(p.begun)) * float64(p.whole-p.done) / float64(p.done))
		left = fmt.Sprintf("; about %s left", rest.Round(time.Second))
	}
	say(format+left+" ...", args...)
}

// ended counts a load that was planned to take that long. What comes before and after each counts as well.
func (p *progress) ended(d time.Duration) { p.done += planned(d) }

func planned(d time.Duration) time.Duration { return d + 200*time.Millisecond }
