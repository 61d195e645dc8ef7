package lagobilling

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/delivery"
	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// Bounds of drain_timeout.
const (
	shortestDrain = time.Millisecond
	longestDrain  = time.Hour
)

// choices are the values of an enumerated setting, the default first.
var choices = map[string][]string{
	"missing_payer": {"reject", "default", "unbilled"},
	"payer_check":   {account.PayerCheckWarn, account.PayerCheckOff, account.PayerCheckReject},
	"events":        {tariff.PerRequest, tariff.PerTokenType, tariff.Cost},
	"token_counts":  {tariff.Disjoint, tariff.SDK},
	"durability":    {"process", "fsync"},
	"interrupted":   {"hold", "estimate"},
	"late":          {delivery.LateKeep, delivery.LateRestamp},
	"on_disconnect": {"auto", "drain", "cancel"},
	"unpriced":      {"allow", "reject"},
}

var (
	accountName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)
	propertyName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
)

// checkPropertyName checks the name of a configured property.
func checkPropertyName(name string) error {
	if !propertyName.MatchString(name) {
		return fmt.Errorf("property %q: a name has up to 64 letters, digits, dots, dashes and underscores", name)
	}
	if tariff.Reserved(name) {
		return fmt.Errorf("property %s: events have a property of that name already", name)
	}
	return nil
}

// choose resolves an enumerated setting.
func choose(name, value string) (string, error) { return setting.Choice(name, value, choices[name]...) }

// accountSettings resolves the account's settings.
func (h *Handler) accountSettings() (s account.Settings, err error) {
	set := func(to *string, name, value, fallback string) {
		if err != nil {
			return
		}
		if *to, err = setting.Resolve(name, value); err == nil && *to == "" {
			*to = fallback
		}
	}
	pick := func(to *string, name, value string) {
		if err == nil {
			*to, err = choose(name, value)
		}
	}
	set(&s.Name, "account", h.Account, "default")
	if err == nil && !accountName.MatchString(s.Name) {
		err = fmt.Errorf("account %q: a name has up to 64 letters, digits, dots, dashes and underscores", s.Name)
	}
	set(&s.Dir, "spool", h.Spool, filepath.Join(caddy.AppDataDir(), "tollgate", "spool", s.Name))
	set(&s.APIBase, "api_base", h.APIBase, "")
	set(&s.APIKey, "api_key", h.APIKey, "")
	set(&s.EventCode, "event_code", h.EventCode, "")
	pick(&s.Durability, "durability", h.Durability)
	pick(&s.Interrupted, "interrupted", h.Interrupted)
	pick(&s.Late, "late", h.Late)
	pick(&s.PayerCheck, "payer_check", h.PayerCheck)
	if err != nil {
		return s, err
	}
	if s.Retain, err = setting.Duration("retain", h.Retain, 72*time.Hour, time.Second, 10*365*24*time.Hour); err != nil {
		return s, err
	}
	if s.SpoolMax, err = setting.Size("spool_max", h.SpoolMax, 10_000_000_000, 64<<10, 1<<62); err != nil {
		return s, err
	}
	if s.MaxDrains, err = setting.Int("max_drains", h.MaxDrains, 1000, 0, 1_000_000); err != nil {
		return s, err
	}
	if s.Dir, err = filepath.Abs(s.Dir); err != nil {
		return s, fmt.Errorf("spool: %w", err)
	}
	if err := printable("event_code", s.EventCode); err != nil {
		return s, err
	}
	if s.APIBase != "" {
		if _, err := lago.ParseBase(s.APIBase); err != nil {
			return s, fmt.Errorf("api_base: %w", err)
		}
	}
	return s, nil
}

// consistent checks settings against each other, as written, before placeholders are resolved.
func (h *Handler) consistent() error {
	if (h.APIBase == "") != (h.APIKey == "") {
		return errors.New("api_base and api_key belong together: give both, or neither to keep records in the ledger alone")
	}
	perRequest := h.Events == "" || h.Events == tariff.PerRequest
	if h.APIBase != "" && h.EventCode == "" && perRequest {
		return errors.New("event_code is missing: the code of the billable metric that counts the events")
	}
	if h.Events == tariff.Cost && h.Unpriced == "allow" {
		return errors.New("events cost needs a price for every call: unpriced allow contradicts it")
	}
	if h.TokenCounts != "" && h.Events != tariff.PerTokenType && !strings.Contains(h.Events, "{") {
		return errors.New("token_counts is an option of events per_token_type")
	}
	if h.MissingPayer == "default" && h.DefaultPayer == "" {
		return errors.New("missing_payer default needs the subscription that pays")
	}
	if h.OnDisconnect == "drain" && h.DrainTimeout == "" {
		return errors.New("on_disconnect drain needs the longest time that an answer is read on")
	}
	return nil
}
