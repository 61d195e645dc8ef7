// Package tollgate registers the Caddy modules of a metered LLM gateway: keyauth authenticates the caller, llmroute sends the
// call to a model backend, lagobilling measures what it used and bills it through Lago, and console
// serves operators' pages.
package tollgate

import (
	_ "github.com/tollgate-llm/tollgate/app"
	_ "github.com/tollgate-llm/tollgate/app/demo"
	_ "github.com/tollgate-llm/tollgate/app/prices"
	_ "github.com/tollgate-llm/tollgate/app/spend"
	_ "github.com/tollgate-llm/tollgate/console"
	_ "github.com/tollgate-llm/tollgate/keyauth"
	_ "github.com/tollgate-llm/tollgate/keyauth/operator"
	_ "github.com/tollgate-llm/tollgate/lagobilling"
	_ "github.com/tollgate-llm/tollgate/lagobilling/operator"
	_ "github.com/tollgate-llm/tollgate/litellm"
	_ "github.com/tollgate-llm/tollgate/llmroute"
)
