#!/usr/bin/env bash
# Builds ./caddy, Caddy with the modules of this working tree, and tells which it registered.
#
#   ./xcaddy.sh             builds
#   ./xcaddy.sh run [ARGS]  builds, then runs Caddyfile.example; ARGS go to `caddy run`
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

CADDY_VERSION=v2.11.9
XCADDY_VERSION=v0.4.5
MODULE=github.com/tollgate-llm/tollgate

command -v go >/dev/null || {
	echo "xcaddy.sh: Go 1.26 or newer is needed: https://go.dev/dl" >&2
	exit 1
}

bin=$PWD/.cache/bin
PATH=$bin:$PATH
if ! command -v xcaddy >/dev/null; then
	echo "xcaddy.sh: installing xcaddy $XCADDY_VERSION into $bin ..." >&2
	GOBIN=$bin go install "github.com/caddyserver/xcaddy/cmd/xcaddy@$XCADDY_VERSION"
fi

echo "xcaddy.sh: building ./caddy; the first build takes minutes, later ones seconds ..." >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The version is a stand-in, never looked up: without one xcaddy asks the module proxy for the versions there are.
xcaddy build "$CADDY_VERSION" --with "$MODULE@v0.0.0=$PWD" --output ./caddy >"$log" 2>&1 || {
	cat "$log" >&2
	exit 1
}
rm -f "$log"

echo "built $PWD/caddy with the modules:"
./caddy list-modules --packages --skip-standard | awk -v module="$MODULE" '$2 ~ "^" module { print "  " $1 }'

if [ "${1:-}" = run ]; then
	shift
	echo "the console, once Caddy runs: http://localhost:4000/console/ (sign in with the master key of Caddyfile.example)"
	exec ./caddy run --config Caddyfile.example --adapter caddyfile "$@"
fi
