package usage

import (
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/audio"
)

// soundOf returns the meter of a spoken answer. Raw sound is 16 bits of one channel, at 24 kHz where its type names no rate.
func soundOf(kind, contentType string) *audio.Meter {
	if kind != "audio/pcm" && kind != "audio/l16" {
		return new(audio.Meter)
	}
	rate := int64(24000)
	if _, text, ok := strings.Cut(contentType, "rate="); ok {
		text, _, _ = strings.Cut(text, ";")
		if n, err := strconv.ParseInt(strings.Trim(text, ` "`), 10, 32); err == nil && n > 0 {
			rate = n
		}
	}
	return audio.PCM(2 * rate)
}

// cue finds the end of the last subtitle in SRT or WebVTT, as it passes: the time behind an arrow, such as 00:01:02,345.
type cue struct {
	arrow   uint8 // bytes of the arrow seen; the time follows
	digits  uint8 // of the number under way
	frac    bool  // that number is a fraction of a second
	number  int64
	seconds int64 // of the numbers before
	last    int64 // milliseconds
}

const cueArrow = "--> "

func (c *cue) read(p []byte) {
	for _, b := range p {
		switch {
		case int(c.arrow) < len(cueArrow):
			switch {
			case b == cueArrow[c.arrow]:
				c.arrow++
			case b != '-' || c.arrow != 2:
				c.arrow = 0
			}
		case b >= '0' && b <= '9' && c.digits < 6:
			c.number = c.number*10 + int64(b-'0')
			if c.digits++; c.frac && c.digits <= 3 {
				c.last = max(c.last, c.seconds*1000+c.number*[...]int64{0, 100, 10, 1}[c.digits])
			}
		case b == ':' && !c.frac && c.seconds < 1<<20:
			c.seconds = (c.seconds + c.number) * 60
			c.number, c.digits = 0, 0
		case (b == ',' || b == '.') && !c.frac:
			c.seconds += c.number
			c.number, c.digits, c.frac = 0, 0, true
		default:
			*c = cue{last: c.last}
		}
	}
}

// lengths counts the length of sound that no usage object states: of an answer that is spoken, of a recording that was
// uploaded, or of what the subtitles end with.
func (r *Reader) lengths(m *mapped, e Estimate) {
	switch _, known := m.Get(Milliseconds); {
	case known:
	case r.sound != nil:
		if ms, ok := r.sound.Milliseconds(); ok && ms > 0 {
			m.Set(Milliseconds, ms)
		}
	case r.o.API != OpenAITranscription || m.in || r.framing == unknown:
	case e.InputMilliseconds > 0:
		m.Set(Milliseconds, e.InputMilliseconds)
		m.note("length of the uploaded audio")
	case r.cue.last > 0:
		m.Set(Milliseconds, r.cue.last)
		m.note("length by the last subtitle")
	}
}
