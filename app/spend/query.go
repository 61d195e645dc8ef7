// Package spend shows the books to operators, by the command `caddy tollgate spend` and by the admin API
// below /tollgate/books/.
package spend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

// accountColumn is the column for the Lago account, which is not a dimension of an account's own books.
const accountColumn = "account"

// Query is a query over the books of all accounts.
type Query struct {
	spend.Query
	Account string   // limits the query to one account; empty: all accounts
	Columns []string // the columns to group by, in order: hour, day or month, account, and dimensions
}

// Row is a row of the result.
type Row struct {
	Groups []string // the values of Query.Columns
	Start  time.Time
	Sums   spend.Sums
}

// Ask queries the books of all accounts of this instance. Rows are sorted by their columns or, with a
// limit, by time and then by their columns.
func Ask(ctx context.Context, q *Query) ([]Row, error) {
	type place struct {
		start  int64
		groups string
	}
	rows := make(map[place]*Row)
	each := q.Query
	if each.Limit > 0 {
		each.Limit, each.Offset = each.Limit+each.Offset, 0 // pages apply to the merged rows of all accounts
	}
	found := false
	var errs []error
	app.Each(func(_ string, a *account.Account) {
		if q.Account != "" && a.Name() != q.Account {
			return
		}
		found = true
		list, err := a.Spend(ctx, each)
		for _, r := range list {
			groups := q.groups(a.Name(), &r)
			at := place{r.Start.Unix(), strings.Join(groups, "\x00")}
			if rows[at] == nil {
				rows[at] = &Row{groups, r.Start, make(spend.Sums, len(r.Sums))}
			}
			err = errors.Join(err, rows[at].Sums.AddAll(r.Sums))
		}
		errs = append(errs, err)
	})
	if q.Account != "" && !found {
		return nil, operator.Refuse(http.StatusNotFound, "account %q is not open in this instance", q.Account)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, asRefusal(err)
	}
	out := make([]Row, 0, len(rows))
	for _, r := range rows {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(x, y Row) int {
		if q.Limit > 0 {
			if c := x.Start.Compare(y.Start); c != 0 {
				return c
			}
		}
		return slices.Compare(x.Groups, y.Groups)
	})
	if q.Limit > 0 {
		out = out[min(q.Offset, len(out)):]
		out = out[:min(q.Limit, len(out))]
	}
	return out, nil
}

func asRefusal(err error) error {
	switch {
	case errors.Is(err, spend.ErrFolded), errors.Is(err, spend.ErrQuery):
		return operator.Refuse(http.StatusBadRequest, "%w", err)
	case errors.Is(err, account.ErrBooksBehind):
		return operator.Refuse(http.StatusServiceUnavailable, "%w", err)
	}
	return operator.Refuse(http.StatusServiceUnavailable, "the books cannot be read: %w", err)
}

// groups returns the values of a row's columns.
func (q *Query) groups(account string, r *spend.Row) []string {
	groups := make([]string, len(q.Columns))
	for i, column := range q.Columns {
		switch column {
		case accountColumn:
			groups[i] = account
		case string(spend.Hour):
			groups[i] = r.Start.Format(time.RFC3339)
		case string(spend.Day):
			groups[i] = r.Start.Format(time.DateOnly)
		case string(spend.Month):
			groups[i] = r.Start.Format("2006-01")
		default:
			d, _ := spend.ParseDimension(column) // validated when the columns were parsed
			groups[i] = r.Values[slices.Index(q.By, d)]
		}
	}
	return groups
}

// parse parses a query from URL parameters: by, since, until, account, limit, page, and dimension names
// with the value to filter by.
func parse(v url.Values, now time.Time) (*Query, error) {
	q := &Query{Account: v.Get(accountColumn)}
	q.Where = make(map[spend.Dimension][]string)
	for name, values := range v {
		switch name {
		case accountColumn, "by", "since", "until", "format", "version", "limit", "page":
			if len(values) > 1 {
				return nil, fmt.Errorf("%s is given twice", name)
			}
			continue
		}
		d, err := spend.ParseDimension(name)
		if err != nil {
			return nil, fmt.Errorf("unknown parameter %s", name)
		}
		q.Where[d] = values
	}
	if err := q.columns(v.Get("by")); err != nil {
		return nil, err
	}
	if err := q.pages(v); err != nil {
		return nil, err
	}
	var err error
	if q.Since, err = moment("since", v.Get("since"), now); err != nil {
		return nil, err
	}
	if q.Since.IsZero() {
		q.Since = time.Date(now.UTC().Year(), now.UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
	}
	q.Until, err = moment("until", v.Get("until"), now)
	return q, err
}

// pages parses the parameters limit and page.
func (q *Query) pages(v url.Values) (err error) {
	page := 1
	for name, to := range map[string]*int{"limit": &q.Limit, "page": &page} {
		text := v.Get(name)
		if text == "" {
			continue
		}
		if *to, err = strconv.Atoi(text); err != nil || *to < 1 || *to > 1_000_000 {
			return fmt.Errorf("%s %q is no number from 1 to 1000000", name, text)
		}
	}
	if page > 1 && q.Limit == 0 {
		return errors.New("page needs limit: how many rows a page has")
	}
	q.Offset = (page - 1) * q.Limit
	return nil
}

func (q *Query) columns(by string) error {
	if by == "" {
		return nil
	}
	for column := range strings.SplitSeq(by, ",") {
		column = strings.TrimSpace(column)
		if slices.Contains(q.Columns, column) {
			return fmt.Errorf("by has %s twice", column)
		}
		q.Columns = append(q.Columns, column)
		switch u := spend.Unit(column); u {
		case spend.Hour, spend.Day, spend.Month:
			if q.Each != spend.Whole {
				return errors.New("by has more than one of hour, day and month")
			}
			q.Each = u
			continue
		default:
		}
		if column == accountColumn {
			continue
		}
		d, err := spend.ParseDimension(column)
		if err != nil {
			return fmt.Errorf("by: %q is none of hour, day, month, account, %s", column, strings.Join(spend.Dimensions(), ", "))
		}
		q.By = append(q.By, d)
	}
	return nil
}

// moment parses a time: RFC 3339, a date or month in UTC, or a duration before now, rounded down to the
// hour.
func moment(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly, "2006-01"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	if d, err := caddy.ParseDuration(text); err == nil && d >= 0 {
		return now.UTC().Add(-d).Truncate(time.Hour), nil
	}
	return time.Time{}, fmt.Errorf("%s %q is neither a time (RFC 3339), a date, a month, nor a duration before now", name, text)
}
