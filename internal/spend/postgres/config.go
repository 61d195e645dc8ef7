// Package postgres keeps a copy of the books in a PostgreSQL database, for those who have a warehouse: totals by hour and day and, where
// asked, every settled record, each exactly once. docs/books.md has its tables.
package postgres

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Config is where the database is.
type Config struct{ conn *pgx.ConnConfig }

var errDSN = errors.New("not a connection string of PostgreSQL: that is a URL, such as postgres://user:password@host:5432/database, " +
	"or settings, such as host=db user=tollgate password=... dbname=spend. Special characters are percent-encoded in the one, and " +
	"quoted in the other; it is not shown here, as it may hold a password")

// connectTimeout is how long a connection may take, unless the connection string has a time.
const connectTimeout = 10 * time.Second

// Parse reads a connection string as libpq has them. Its errors show nothing of it.
func Parse(dsn string) (Config, error) {
	if strings.Contains(dsn, "://") {
		// A password with a slash, a question mark or a number sign would end up in names that errors show.
		u, err := url.Parse(dsn)
		if err != nil || u.User == nil && strings.Contains(dsn, "@") || u.Fragment != "" {
			return Config{}, errDSN
		}
	}
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		return Config{}, errDSN
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	// Statements that are prepared for one connection would be a surprise to a pool of connections in between.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "tollgate"
	}
	return Config{c}, nil
}

// String names the database, without what is secret.
func (c Config) String() string {
	return fmt.Sprintf("%s@%s:%d/%s", c.conn.User, c.conn.Host, c.conn.Port, c.conn.Database)
}
