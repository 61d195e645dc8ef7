package app

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/tollgate-llm/tollgate/app/setting"
)

func parseGlobal(d *caddyfile.Dispenser, before any) (any, error) {
	if before != nil {
		return nil, d.Err("the tollgate option is given twice")
	}
	a := new(App)
	if err := a.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "tollgate", Value: caddyconfig.JSON(a, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from the global option's tokens. Syntax:
//
//	tollgate {
//	    gc_percent <percent>|off
//	    books_by_end_user
//	    books_by_session
//	    books postgres <dsn> {
//	        records
//	    }
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(setting.Seen)
	for d.NextBlock(0) {
		switch d.Val() {
		case "gc_percent":
			if err := seen.Value(d, &a.GCPercent, checkPercent); err != nil {
				return err
			}
		case "books_by_end_user":
			if err := seen.Flag(d, &a.BooksByEndUser); err != nil {
				return err
			}
		case "books":
			err := seen.Once(d)
			if err == nil {
				a.BooksPostgres, err = unmarshalBooks(d)
			}
			if err != nil {
				return err
			}
		case "books_by_session":
			if err := seen.Flag(d, &a.BooksBySession); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized subdirective: %s", d.Val())
		}
	}
	if a.BooksPostgres != nil {
		a.BooksPostgres.Files = setting.Files(d)
	}
	return nil
}

func checkPercent(value string) error {
	_, err := percent(value)
	return err
}

// percent resolves gc_percent. It returns 0 for off.
func percent(value string) (int, error) {
	value, err := setting.Resolve("gc_percent", value)
	if err != nil || value == "off" {
		return 0, err
	}
	n, err := setting.Int("gc_percent", value, collectPercent, 10, 10_000)
	if err != nil {
		return 0, fmt.Errorf("%w, and not off", err)
	}
	return n, nil
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*App)(nil)
