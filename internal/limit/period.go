package limit

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// maxPeriodYears is the maximum length of a period.
const maxPeriodYears = 100

// AddPeriod adds a period in LiteLLM's notation to a time: 30s, 30m, 30h, 30d, 2w, 1mo. Months are calendar
// months.
func AddPeriod(t time.Time, s string) (time.Time, bool) {
	digits := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if digits <= 0 {
		return t, false
	}
	n, err := strconv.ParseInt(s[:digits], 10, 32)
	if err != nil || n <= 0 {
		return t, false
	}
	const year = 366 * 24 * 3600
	seconds := map[string]int64{"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "mo": 31 * 86400}[s[digits:]]
	switch {
	case seconds == 0 || n > maxPeriodYears*year/seconds:
		return t, false
	case s[digits:] == "mo":
		return t.AddDate(0, int(n), 0), true
	}
	return t.Add(time.Duration(n*seconds) * time.Second), true
}

// windowWords are LiteLLM's words for the lengths of windows.
var windowWords = map[string]string{"hourly": "1h", "daily": "24h", "weekly": "7d", "monthly": "30d"}

// ParseWindow returns consecutive windows from a time on, with a length in LiteLLM's notation (a period, or
// hourly, daily, weekly, monthly). An empty length is a window that never ends.
func ParseWindow(every string, anchor time.Time) (Window, bool) {
	w := Window{Anchor: anchor.UTC().Truncate(time.Second)}
	if every == "" {
		return w, true
	}
	every = cmp.Or(windowWords[every], every)
	end, ok := AddPeriod(time.Time{}, every)
	if months, calendar := strings.CutSuffix(every, "mo"); calendar {
		w.Months, _ = strconv.Atoi(months) // AddPeriod has read it
	} else {
		w.Every = end.Sub(time.Time{})
	}
	return w, ok
}
