package main

import (
	"fmt"
	"time"
)

// progress estimates the remaining time of a run.
type progress struct {
	begun       time.Time
	done, whole time.Duration // planned load time
}

// begin prints what is loaded next and roughly how long the rest takes.
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

// ended counts a load of planned duration d, with the time before and after it.
func (p *progress) ended(d time.Duration) { p.done += planned(d) }

func planned(d time.Duration) time.Duration { return d + 200*time.Millisecond }
