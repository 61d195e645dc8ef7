package setting

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// Limits are configured limits. Their windows are aligned to the Unix epoch: days are UTC days, months are calendar months.
type Limits struct {
	// MaxBudget is the budget of a window in US dollars, with up to 15 decimals. Default: no limit.
	MaxBudget string `json:"max_budget,omitempty"`

	// SoftBudget is a budget in US dollars that refuses nothing. Calls beyond it are counted in a metric
	// and logged. Default: none.
	SoftBudget string `json:"soft_budget,omitempty"`

	// BudgetDuration is the window of MaxBudget and SoftBudget: a number with the unit s, m, h, d, w or
	// mo, or one of hourly, daily, weekly, monthly. Default: a window that never ends.
	BudgetDuration string `json:"budget_duration,omitempty"`

	// BudgetLimits are additional budgets, each with its own window. Default: none.
	BudgetLimits []BudgetLimit `json:"budget_limits,omitempty"`

	// RPMLimit is the maximum number of calls in any 60 seconds. Default: no limit.
	RPMLimit string `json:"rpm_limit,omitempty"`

	// TPMLimit is the maximum number of tokens in any 60 seconds. Default: no limit.
	TPMLimit string `json:"tpm_limit,omitempty"`

	// MaxParallelRequests is the maximum number of concurrent calls. Default: no limit.
	MaxParallelRequests string `json:"max_parallel_requests,omitempty"`
}

// BudgetLimit is a budget with its window.
type BudgetLimit struct {
	MaxBudget      string `json:"max_budget"`
	BudgetDuration string `json:"budget_duration"`
}

// Unmarshal parses the subdirective at d if it is a limit, and reports whether it is. Syntax:
//
//	max_budget <USD>
//	soft_budget <USD>
//	budget_duration <window>
//	budget_limit <USD> <window>
//	rpm_limit <n>
//	tpm_limit <n>
//	max_parallel_requests <n>
func (l *Limits) Unmarshal(d *caddyfile.Dispenser, seen Seen) (bool, error) {
	word := d.Val()
	money := func(s string) error { _, err := usd(word, s); return err }
	count := func(s string) error { _, err := number(word, s); return err }
	switch word {
	case "max_budget":
		return true, seen.Value(d, &l.MaxBudget, money)
	case "soft_budget":
		return true, seen.Value(d, &l.SoftBudget, money)
	case "budget_duration":
		return true, seen.Value(d, &l.BudgetDuration, checkWindow)
	case "budget_limit":
		var b BudgetLimit
		if !d.AllArgs(&b.MaxBudget, &b.BudgetDuration) || b.MaxBudget == "" {
			return true, d.ArgErr()
		}
		if err := Check(d, b.MaxBudget, money); err != nil {
			return true, err
		}
		l.BudgetLimits = append(l.BudgetLimits, b)
		return true, Check(d, b.BudgetDuration, checkWindow)
	case "rpm_limit":
		return true, seen.Value(d, &l.RPMLimit, count)
	case "tpm_limit":
		return true, seen.Value(d, &l.TPMLimit, count)
	case "max_parallel_requests":
		return true, seen.Value(d, &l.MaxParallelRequests, count)
	}
	return false, nil
}

// Resolve returns the limits without a scope. tokens is the metric that TPMLimit counts.
func (l *Limits) Resolve(tokens limit.Metric) (list []limit.Limit, err error) {
	if l == nil {
		return nil, nil
	}
	budget := func(name, amount, every string, soft bool) error {
		money, err := usd(name, amount)
		if err != nil || amount == "" {
			return err
		}
		window, err := window(every)
		if err != nil {
			return err
		}
		for i := range list {
			if list[i].Window == window && list[i].Soft == soft {
				return fmt.Errorf("%s: there are two budgets with the same budget_duration", name)
			}
		}
		list = append(list, limit.Limit{Metric: limit.Cost, Window: window, Money: money, Soft: soft})
		return nil
	}
	if l.BudgetDuration != "" && l.MaxBudget == "" && l.SoftBudget == "" {
		return nil, errors.New("budget_duration: there is no max_budget that it is of")
	}
	if err := budget("max_budget", l.MaxBudget, l.BudgetDuration, false); err != nil {
		return nil, err
	}
	if err := budget("soft_budget", l.SoftBudget, l.BudgetDuration, true); err != nil {
		return nil, err
	}
	for _, b := range l.BudgetLimits {
		if b.MaxBudget == "" || b.BudgetDuration == "" {
			return nil, errors.New("budget_limits: each has a max_budget and a budget_duration")
		}
		if err := budget("budget_limits", b.MaxBudget, b.BudgetDuration, false); err != nil {
			return nil, err
		}
	}
	for _, r := range []struct {
		name, written string
		metric        limit.Metric
	}{
		{"rpm_limit", l.RPMLimit, limit.Requests},
		{"tpm_limit", l.TPMLimit, tokens},
		{"max_parallel_requests", l.MaxParallelRequests, limit.Parallel},
	} {
		n, err := number(r.name, r.written)
		if err != nil {
			return nil, err
		}
		if r.written != "" {
			list = append(list, limit.Limit{Metric: r.metric, Max: n})
		}
	}
	return list, nil
}

// usd resolves an amount in US dollars.
func usd(name, written string) (price.Amount, error) {
	text, err := Resolve(name, written)
	if err != nil || text == "" {
		return price.Amount{}, err
	}
	a, err := price.ParseUSD(text)
	if err == nil {
		if _, _, ok := a.Limbs(); ok {
			return a, nil
		}
	}
	return a, fmt.Errorf("%s: %q is not an amount in US dollars with up to 15 decimals", name, written)
}

// number resolves a limit that is a count.
func number(name, written string) (int64, error) {
	text, err := Resolve(name, written)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n >= limit.MaxNumber {
		return 0, fmt.Errorf("%s: %q is not a whole number from 0 to 2^53 - 1", name, written)
	}
	return n, nil
}

// window resolves the length of a window. An empty value is a window that never ends.
func window(written string) (limit.Window, error) {
	text, err := Resolve("budget_duration", written)
	if err != nil {
		return limit.Window{}, err
	}
	w, ok := limit.ParseWindow(text, time.Unix(0, 0))
	if !ok {
		return w, fmt.Errorf("budget_duration: %q is not a number and one of s, m, h, d, w, mo, such as 30d, nor one of hourly, daily, weekly, monthly", written)
	}
	return w, nil
}

func checkWindow(s string) error {
	_, err := window(s)
	return err
}
