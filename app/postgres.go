package app

import (
	"errors"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/spend/postgres"
)

// Postgres is a PostgreSQL database that has a copy of the books.
type Postgres struct {
	// DSN is its connection string, as libpq has them: a URL, or settings. It may hold a password.
	DSN string `json:"dsn"`

	// Records makes every settled record a row too. Default: only totals are written.
	Records bool `json:"records,omitempty"`

	// Files is the state of the files that the Caddyfile's placeholders name, so that a reload sees a change of one. It is not read.
	Files map[string]string `json:"files,omitempty"`

	used bool // an account has its records written
}

// Resolve returns the connection string to an account whose records are to be written; empty where there is no database.
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

// unmarshalBooks reads the option at d. Its errors show no argument, as one may hold a password. Syntax:
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
		// A file that it names may be on the machine of the gateway alone.
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
