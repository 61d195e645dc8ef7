package console

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/keys"
)

var limitNames = func() (names []string) {
	for _, f := range limitFields {
		names = append(names, f.Name)
	}
	return names
}()

func init() {
	maps.Copy(changes, map[string]changeDef{
		"make-key": {
			title: "Make this key?", back: "keys", run: makeKey,
			fields: append([]string{"key_alias", "team_id", "user_id", "models", "duration", "key_type"}, limitNames...),
		},
		"limit-key":    {title: "Set these limits of the key?", back: "keys", run: limitKey, fields: append([]string{"id"}, limitNames...)},
		"block-key":    {title: "Block this key? Its calls are refused at once.", back: "keys", run: blockKey(true), fields: []string{"id"}, danger: true},
		"unblock-key":  {title: "Let this key work again?", back: "keys", run: blockKey(false), fields: []string{"id"}},
		"make-team":    {title: "Make this team?", back: "teams", run: changeTeam(makeTeam), fields: append([]string{"team_id", "team_alias", "models"}, limitNames...)},
		"limit-team":   {title: "Set these limits of the team?", back: "teams", run: changeTeam(limitTeam), fields: append([]string{"team_id"}, limitNames...)},
		"block-team":   {title: "Block this team? The calls of all its keys are refused at once.", back: "teams", run: changeTeam(blockTeam), fields: []string{"team_id"}, danger: true},
		"unblock-team": {title: "Let this team work again?", back: "teams", run: changeTeam(unblockTeam), fields: []string{"team_id"}},
	})
}

// numbers are the numeric fields of the key API.
var numbers = []string{"max_budget", "rpm_limit", "tpm_limit", "max_parallel_requests"}

// fieldsOf returns the named fields of a form as a request to the key API. Empty fields are left out, or null if
// clear is set.
func fieldsOf(f url.Values, clear bool, names ...string) (keys.Fields, error) {
	body := make(map[string]any)
	for _, name := range names {
		value := strings.TrimSpace(f.Get(name))
		switch {
		case value == "" && clear:
			body[name] = nil
		case value == "":
		case slices.Contains(numbers, name):
			if !json.Valid([]byte(value)) {
				return keys.Fields{}, keys.Invalid(name, "must be a number")
			}
			body[name] = json.RawMessage(value)
		case name == "models":
			var models []string
			for m := range strings.SplitSeq(value, ",") {
				if m = strings.TrimSpace(m); m != "" {
					models = append(models, m)
				}
			}
			body[name] = models
		default:
			body[name] = value
		}
	}
	return asFields(body)
}

func asFields(body map[string]any) (keys.Fields, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return keys.Fields{}, err
	}
	fields, refusal := keys.ParseFields(b)
	if refusal != nil {
		return keys.Fields{}, refusal
	}
	return fields, nil
}

// withService runs a change to keys. The audit log records the session's key and the change.
func withService(v *visit, fn func(ctx context.Context, s *keys.Service) (*done, error)) (*done, error) {
	s, release, err := v.site.keys.Service(v.r.Context())
	if err != nil {
		return nil, err
	}
	defer release()
	who := keys.Actor{Who: cmp.Or(v.who.KeyAlias, v.who.KeyHash[:min(len(v.who.KeyHash), 12)]), UserID: v.who.UserID}
	return fn(v.r.Context(), s.As(who, "console "+v.r.PostForm.Get("do")))
}

// makeKey creates a key and shows it once. The key is not put into a notice, which could be shown on a later
// page.
func makeKey(v *visit, f url.Values) (*done, error) {
	return withService(v, func(ctx context.Context, s *keys.Service) (*done, error) {
		fields, err := fieldsOf(f, false, changes["make-key"].fields...)
		if err != nil {
			return nil, err
		}
		k, plain, err := s.Generate(ctx, fields)
		if err != nil {
			return nil, err
		}
		page, err := v.keyPage(ctx, k)
		if err != nil { // the key exists already and must not be lost
			page = &content{Title: "Key " + k.Name}
		}
		page.Sections = append([]section{{Secret: plain}}, page.Sections...)
		return &done{page: page}, nil
	})
}

func limitKey(v *visit, f url.Values) (*done, error) {
	return withService(v, func(ctx context.Context, s *keys.Service) (*done, error) {
		k, err := s.Find(ctx, f.Get("id"))
		if err != nil {
			return nil, err
		}
		fields, err := fieldsOf(f, true, limitNames...)
		if err != nil {
			return nil, err
		}
		fields.Set("key", k.Token)
		if _, err = s.Update(ctx, fields); err != nil {
			return nil, err
		}
		return &done{notice: "The limits of key " + k.Name + " are set."}, nil
	})
}

func blockKey(blocked bool) func(*visit, url.Values) (*done, error) {
	return func(v *visit, f url.Values) (*done, error) {
		return withService(v, func(ctx context.Context, s *keys.Service) (*done, error) {
			k, err := s.Find(ctx, f.Get("id"))
			if err != nil {
				return nil, err
			}
			fields, err := asFields(map[string]any{"key": k.Token})
			if err != nil {
				return nil, err
			}
			if _, err := s.Block(ctx, fields, blocked); err != nil {
				return nil, err
			}
			if blocked {
				return &done{notice: "Key " + k.Name + " is blocked."}, nil
			}
			return &done{notice: "Key " + k.Name + " works again."}, nil
		})
	}
}

// teamChange is a change to a team.
type teamChange uint8

const (
	makeTeam teamChange = iota
	limitTeam
	blockTeam
	unblockTeam
)

func changeTeam(what teamChange) func(*visit, url.Values) (*done, error) {
	return func(v *visit, f url.Values) (*done, error) {
		return withService(v, func(ctx context.Context, s *keys.Service) (*done, error) {
			var fields keys.Fields
			var err error
			switch what {
			case makeTeam:
				if fields, err = fieldsOf(f, false, changes["make-team"].fields...); err != nil {
					return nil, err
				}
				t, err := s.NewTeam(ctx, fields)
				if err != nil {
					return nil, err
				}
				return &done{notice: "Team " + t.ID + " is made."}, nil
			case limitTeam:
				if fields, err = fieldsOf(f, true, limitNames...); err == nil {
					fields.Set("team_id", f.Get("team_id"))
				}
			case blockTeam, unblockTeam:
				fields, err = asFields(map[string]any{"team_id": f.Get("team_id"), "blocked": what == blockTeam})
			}
			if err != nil {
				return nil, err
			}
			t, err := s.UpdateTeam(ctx, fields)
			if err != nil {
				return nil, err
			}
			return &done{notice: "Team " + t.ID + " is changed."}, nil
		})
	}
}
