package manage

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Operation is one path of the management API.
type Operation struct {
	Method string
	// reads is set for one that changes nothing: a key of the type read_only may ask for it.
	reads bool
	// open is set for one that any key may ask for: it answers what the caller may see or change.
	open bool
	// anyone is set for one that refuses everybody alike.
	anyone bool
	params []string // of the query
	run    func(ctx context.Context, c *Call) (any, error)
}

// Call is a request to the management API.
type Call struct {
	Path    string
	Query   url.Values
	Fields  keys.Fields // of the body
	State   *keys.State // of the caller's key
	Service *keys.Service
	Actor   keys.Actor
	// Spend adds to a row what a scope has spent, and where its limits are.
	Spend func(ctx context.Context, row map[string]any, scope limit.Scope, l *keys.Limits) error

	route string          // what the path is called, without a key
	alone bool            // the caller may read its own record and no other
	all   bool            // the caller may see and change everything
	teams map[string]bool // of which the caller is an admin, as far as was asked
}

func get(run func(context.Context, *Call) (any, error), params ...string) *Operation {
	return &Operation{Method: http.MethodGet, reads: true, run: run, params: params}
}

func post(run func(context.Context, *Call) (any, error)) *Operation {
	return &Operation{Method: http.MethodPost, run: run}
}

// others lets others than administrators ask for an operation, which restricts what they get.
func (op *Operation) others() *Operation {
	op.open = true
	return op
}

// reading is a POST that changes nothing.
func (op *Operation) reading() *Operation {
	op.reads = true
	return op
}

// Run does what is asked, if the caller may. Its errors are *llm.Error.
func (op *Operation) Run(ctx context.Context, c *Call) (any, error) {
	_, path := Find(c.Path)
	c.route = path
	if op.anyone {
		return op.run(ctx, c)
	}
	if refusal := op.admit(c, path); refusal != nil {
		return nil, refusal
	}
	for name, values := range c.Query {
		if !slices.Contains(op.params, name) {
			return nil, keys.Invalid(name, "unknown parameter")
		}
		if len(values) > 1 {
			return nil, keys.Invalid(name, "is given more than once")
		}
	}
	_, parts := patternOf(c.Path)
	for name, value := range parts {
		if stated := c.Fields.Text(name); stated != "" && stated != value {
			return nil, keys.Invalid(name, "differs from that of the path")
		}
		c.Fields.Set(name, value)
	}
	c.Service = c.Service.As(c.Actor, path)
	return op.run(ctx, c)
}

// admit decides whether the caller may ask for an operation at all.
func (op *Operation) admit(c *Call, path string) *llm.Error {
	if c.State.Identity.Master {
		c.all = true
		return nil
	}
	own := path == "/key/info" // which every key may ask for about itself
	if !c.State.Manages(path, op.reads) {
		if !own {
			return denied("This API key may not be used for " + path + ": its allowed_routes do not have it")
		}
		c.alone = true
		return nil
	}
	switch c.State.Type {
	case keys.TypeManagement:
		c.all = true
		return nil
	case keys.TypeReadOnly:
		if op.reads {
			c.all = true
			return nil
		}
		return denied("A key of the type read_only may not be used for " + path)
	case keys.TypeLLM:
		if !own {
			return denied("A key of the type llm_api may not be used for " + path)
		}
		c.alone = true
	}
	if !op.open {
		return denied("Only the master key, or a key of the type management, can be used for " + path)
	}
	return nil
}

// noParam is what LiteLLM writes as the parameter of an auth_error: a string, not null.
const noParam = "None"

func denied(message string) *llm.Error {
	return &llm.Error{Status: http.StatusForbidden, Type: "auth_error", Param: noParam, Message: "Authentication Error, " + message}
}

// user is the user in whose name the caller reads and manages; empty for none. A key that an admin of a team made for another user is not that
// user's for this: the admin has seen it.
func (c *Call) user() string {
	if c.State.Issued {
		return ""
	}
	return c.State.Identity.UserID
}

// manages reports whether the caller's key may manage a team of which its user is an admin. One that is a team's manages that team alone.
func (c *Call) manages(team string) bool {
	own := c.State.Identity.TeamID
	return team != "" && c.user() != "" && (own == "" || own == team)
}

// adminOf reports whether the caller's key manages a team and its user is an admin of it.
func (c *Call) adminOf(ctx context.Context, team string) (bool, error) {
	if !c.manages(team) {
		return false, nil
	}
	if is, known := c.teams[team]; known {
		return is, nil
	}
	t, err := c.Service.Team(ctx, team)
	if err != nil {
		if isMissing(err) {
			err = nil
		}
		return false, err
	}
	if c.teams == nil {
		c.teams = make(map[string]bool)
	}
	c.teams[team] = t.IsAdmin(c.user())
	return c.teams[team], nil
}

// needTeam refuses a caller who may not manage a team.
func (c *Call) needTeam(ctx context.Context, team string) error {
	if c.all {
		return nil
	}
	admin, err := c.adminOf(ctx, team)
	if err == nil && !admin {
		err = c.noAdmin()
	}
	return err
}

func (c *Call) noAdmin() error {
	return denied("Only the master key, a key of the type management, or a key of an admin of the team can be used for " + c.route)
}

// hide gives an admin of a team the same answer about what is not there as about what is not the team's.
func (c *Call) hide(err error) error {
	if !c.all && isMissing(err) {
		return c.noAdmin()
	}
	return err
}

// isMissing reports whether an error is that there is no such record.
func isMissing(err error) bool {
	refusal, ok := errors.AsType[*llm.Error](err)
	return ok && refusal.Status == http.StatusNotFound
}

// oneByOne does what is asked for each of several items. One that is refused is told of, and does not stop the others.
func oneByOne[T any](items []T, do func(T) error, refused func(T, string)) error {
	for _, item := range items {
		err := do(item)
		if refusal, ok := errors.AsType[*llm.Error](err); ok && refusal.Status < http.StatusInternalServerError {
			refused(item, refusal.Message)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// adminTeams returns the teams that the caller's key manages as its user's.
func (c *Call) adminTeams(ctx context.Context) (list []string, err error) {
	user := c.user()
	if user == "" {
		return nil, nil
	}
	teams, err := c.Service.Teams(ctx)
	for _, t := range teams {
		if c.manages(t.ID) && t.IsAdmin(user) {
			list = append(list, t.ID)
		}
	}
	return list, err
}

// spend adds to a row what a scope has spent, and where the limits of its record are.
func (c *Call) spend(ctx context.Context, row map[string]any, kind limit.Kind, id string, limits func() (*keys.Limits, error)) error {
	l, err := limits()
	if err != nil {
		return c.Service.Refusal(err)
	}
	return c.Spend(ctx, row, limit.Scope{Kind: kind, ID: id}, l)
}

// count reads a whole number of the query.
func (c *Call) count(name string, standard, most int) (int, error) {
	value := c.Query.Get(name)
	if value == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > most {
		return 0, keys.Invalid(name, "must be a whole number from 1 to "+strconv.Itoa(most))
	}
	return n, nil
}

// flag reads a yes or no of the query.
func (c *Call) flag(name string) (bool, error) {
	switch strings.ToLower(c.Query.Get(name)) {
	case "":
		return false, nil
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, keys.Invalid(name, "must be true or false")
}

// paging is a page of a list as it was asked for.
type paging struct{ page, size int }

func (c *Call) paging(sizeName string, size int) (p paging, err error) {
	if p.page, err = c.count("page", 1, 1<<31-1); err != nil {
		return p, err
	}
	p.size, err = c.count(sizeName, size, 100)
	return p, err
}

func (p paging) cut() keys.Page { return keys.Page{From: (p.page - 1) * p.size, Size: p.size} }

func (p paging) pages(total int) int { return (total + p.size - 1) / p.size }

// order reads sort_by and sort_order, which is desc or asc.
func (c *Call) order(standard string, columns ...string) (keys.Order, error) {
	o := keys.Order{Field: c.Query.Get("sort_by")}
	if o.Field != "" && !slices.Contains(columns, o.Field) {
		return o, keys.Invalid("sort_by", "must be one of "+strings.Join(columns, ", "))
	}
	way := c.Query.Get("sort_order")
	switch strings.ToLower(way) {
	case "":
		o.Down = standard == "desc" && o.Field != ""
	case "asc":
	case "desc":
		o.Down = true
	default:
		return o, keys.Invalid("sort_order", "must be asc or desc")
	}
	return o, nil
}
