// Command caddy is Caddy with the Tollgate modules built in.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/tollgate-llm/tollgate"
)

func main() {
	caddycmd.Main()
}
