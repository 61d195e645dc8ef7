// Package postgres keeps a copy of the books in a PostgreSQL database, for use in a data warehouse: totals by hour and day and, if
// configured, every settled record, each exactly once. docs/books.md has its tables.
package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Config locates the database.
type Config struct{ conn *pgx.ConnConfig }

var errDSN = errors.New("not a connection string of PostgreSQL: that is a URL, such as postgres://user:password@host:5432/database, " +
	"or settings, such as host=db user=tollgate password=... dbname=spend. Special characters are percent-encoded in the one, and " +
	"quoted in the other; it is not shown here, as it may hold a password")

// ErrFile means that a file named by the connection string cannot be read.
var ErrFile = errors.New("a file that the connection string names cannot be read (sslrootcert, sslcert, sslkey or servicefile)")

// connectTimeout is how long connecting may take, unless the connection string sets it.
const connectTimeout = 10 * time.Second

// Parse reads a connection string in libpq's format. Its errors do not show any part of the string.
func Parse(dsn string) (Config, error) {
	if strings.Contains(dsn, "://") {
		// Part of a password with a slash, a question mark or a number sign would end up in names that errors show.
		u, err := url.Parse(dsn)
		if err != nil || u.User == nil && strings.Contains(dsn, "@") || u.Fragment != "" {
			return Config{}, errDSN
		}
	}
	c, err := pgx.ParseConfig(dsn)
	if _, is := errors.AsType[*fs.PathError](err); is {
		return Config{}, ErrFile
	}
	if err != nil {
		return Config{}, errDSN
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	// A connection pooler in between may not support statements that are prepared for one connection.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "tollgate"
	}
	return Config{c}, nil
}

// String describes the database without secrets.
func (c Config) String() string {
	return fmt.Sprintf("%s@%s:%d/%s", c.conn.User, c.conn.Host, c.conn.Port, c.conn.Database)
}
