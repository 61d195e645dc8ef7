package console

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterDirective("console", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("console", httpcaddyfile.After, "try_files")
}

// parseCaddyfile sets up the handler from Caddyfile tokens. `off` means no console. Syntax:
//
//	console [off]
func parseCaddyfile(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // the directive's name
	off := false
	if h.NextArg() {
		if off = h.Val() == "off"; !off {
			return nil, h.Errf("console takes no argument other than off: %s", h.Val())
		}
	}
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	for h.NextBlock(0) {
		return nil, h.Errf("console has no subdirectives: %s", h.Val())
	}
	if off {
		return nil, nil
	}
	return h.NewRoute(nil, new(Handler)), nil
}
