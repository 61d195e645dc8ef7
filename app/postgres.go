package app

import (
	"errors"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/spend/postgres"
)

// Postgres is a PostgreSQL database that receives a copy of the books.
type Postgres struct {
	// DSN is the connection string in libpq's format: a URL, or key=value settings. It may contain a
	// password.
	DSN string `json:"dsn"`

	// Records writes a row for every settled record too. Default: only totals are written.
	Records bool `json:"records,omitempty"`

	// Files is the state of the files named in the Caddyfile's placeholders, so that a reload notices
	// when one changes. It has no other effect.
	Files map[string]string `json:"files,omitempty"`

	used bool // an account writes its records here
}

// Resolve returns the connection string for an account that writes its records. It is empty if there is
// no database.
func (p *Postgres) Resolve() (string, error) {
	if p == nil {
		return "", nil
	}
	p.used = true
	if p.DSN == "" {
		return "", errors.New("books postgres: there is no connection string")
	}
	return setting.Resolve("books postgres", p.DSN)
}

// unmarshalBooks parses the option at d. Its errors do not show arguments, which may contain a password.
// Syntax:
//
//	books postgres <dsn> {
//	    records
//	}
func unmarshalBooks(d *caddyfile.Dispenser) (*Postgres, error) {
	args := d.RemainingArgs()
	if len(args) != 2 || args[0] != "postgres" || args[1] == "" {
		return nil, d.Err("books takes the word postgres and one connection string, quoted where it has spaces")
	}
	if setting.Literal(args[1]) {
		// A file that it names may exist only on the gateway's machine.
		if _, err := postgres.Parse(args[1]); err != nil && !errors.Is(err, postgres.ErrFile) {
			return nil, d.Errf("books postgres: %v", err)
		}
	}
	p := &Postgres{DSN: args[1]}
	seen := make(setting.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "records" {
			return nil, d.Errf("unrecognized subdirective of books postgres: %s", d.Val())
		}
		if err := seen.Flag(d, &p.Records); err != nil {
			return nil, err
		}
	}
	return p, nil
}
