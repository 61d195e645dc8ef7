#!/usr/bin/env bash
# The one test command. It gets what the tests need and says what it installs. What the tests of the console in a browser and of
# PostgreSQL need is fetched where it can be had; else it says which tests it leaves out. With CI=true it leaves out none, and fails instead.
#
#   ./test.sh                       every test, with the race detector
#   ./test.sh -short                every test, with fewer rounds of those that try every place: two minutes on two cores
#   ./test.sh PACKAGE... [FLAG...]  the tests of these packages
#   ./test.sh clients [all]         calls of official SDKs, LangChain, Claude Code and Codex, which it installs into .cache from PyPI, npm
#                                   and Go's proxy; with "all" it is an error if one cannot be had
#   ./test.sh soak [TIME]           the test that nothing is lost and nothing billed twice, for TIME (default 10m)
#   ./test.sh fuzz [TIME]           each fuzz test for TIME (default 30s)
#   ./test.sh bench [FLAG...]       the load test against plain reverse_proxy; see docs/performance.md
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cache=$PWD/.cache

say() { echo "test.sh: $*" >&2; }

command -v go >/dev/null || {
	say "Go 1.26 or newer is needed: https://go.dev/dl"
	exit 1
}
# A working tree of another user is not for this one's git to read.
export GOFLAGS="-buildvcs=false ${GOFLAGS:-}"

is_root() { [ "$(id -u)" = 0 ]; }

# apt runs apt-get; its package lists are fetched first when there are none.
apt() {
	[ -n "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit 2>/dev/null)" ] || apt-get update -qq
	# RUNLEVEL=1 keeps packages from starting servers of their own.
	DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq "$@" >/dev/null
}

# install installs, for the whole system, the first of the packages named after the package manager that exists.
# Its arguments are pairs of a package manager and the packages it is to install.
install() {
	local manager packages
	while [ $# -gt 0 ]; do
		manager=$1 packages=$2
		shift 2
		command -v "$manager" >/dev/null || continue
		case $manager in
		brew) ;; # refuses to run as root, and needs none
		*) is_root || continue ;;
		esac
		say "installing $packages with $manager ..."
		# shellcheck disable=SC2086
		case $manager in
		apt-get) apt install -y --no-install-recommends $packages ;;
		dnf) dnf install -y -q $packages >/dev/null ;;
		apk) apk add -q $packages ;;
		brew) brew install --quiet $packages ;;
		esac
		return
	done
	return 1
}

# unpack puts a program of a Debian package (a name in /usr/bin, or a pattern of a path below /usr), with the libraries that it lacks here, into the
# cache, for users who may not install packages.
unpack() {
	command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
	local package=$1 program=$2 to=$cache/$1
	say "unpacking $package into $to (no root, nothing is installed) ..."
	rm -rf "$to"
	mkdir -p "$to/deb" "$to/lists/partial" "$to/archives/partial" "$to/root"
	local options=(-qq -o "Dir::State::lists=$to/lists" -o "Dir::Cache=$to/archives" -o Debug::NoLocking=true)
	(
		cd "$to/deb"
		apt-get "${options[@]}" update
		# A name in angle brackets is virtual; lines that begin with a space are not names.
		apt-cache "${options[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
			--no-enhances "$package" | grep -E '^[a-z0-9]' | cut -d: -f1 | sort -u >wanted
		dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u >here
		# shellcheck disable=SC2046
		apt-get "${options[@]}" download $(comm -23 wanted here)
		for deb in *.deb; do dpkg -x "$deb" "$to/root"; done
	)
	unpacked "$package" "$program"
	rm -rf "$to/deb" "$to/lists" "$to/archives"
}

# unpacked makes a program of an unpacked package one that can be called.
unpacked() {
	local to=$cache/$1 program=$2
	[[ $program == */* ]] || program=bin/$program
	program=$(cd "$to/root/usr" && compgen -G "$program" | head -n 1) || return 1
	# The libraries are for this program alone.
	{
		echo '#!/bin/sh'
		echo "LD_LIBRARY_PATH='$(find "$to/root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)'"
		echo 'export LD_LIBRARY_PATH'
		echo "exec '$to/root/usr/$program' \"\$@\""
	} >"$to/new"
	chmod +x "$to/new"
	"$to/new" --version >/dev/null || {
		say "the unpacked ${program##*/} does not run"
		return 1
	}
	mkdir -p "$cache/unpacked"
	mv "$to/new" "$cache/unpacked/${program##*/}"
}

# need finds a program or gets it, from the package named after each package manager.
need() {
	local program=$1
	shift
	command -v "$program" >/dev/null && return
	if install "$@" && command -v "$program" >/dev/null; then
		return
	fi
	unpack "$2" "$program" || {
		say "$program is needed and could not be had; put it on PATH"
		exit 1
	}
}

# leave_out leaves out the tests that need a program, which are described, and in CI fails.
leave_out() {
	say "left out, as $1 cannot be had: $2"
	[ "${CI:-}" != true ] || exit 1
	TOLLGATE_LEAVE_OUT=${TOLLGATE_LEAVE_OUT:+$TOLLGATE_LEAVE_OUT,}$1
	export TOLLGATE_LEAVE_OUT
}

AXE_VERSION=4.14.1

# want_browser gets Chromium, and axe-core, which checks pages for accessibility.
want_browser() {
	if ! command -v "${TOLLGATE_CHROMIUM:-chromium}" >/dev/null &&
		! { install apt-get chromium dnf chromium apk chromium && command -v chromium >/dev/null; }; then
		leave_out chromium "the tests of the console in a browser (TOLLGATE_CHROMIUM names one that is elsewhere)"
		return
	fi
	export TOLLGATE_AXE=$cache/axe-core-$AXE_VERSION/axe.min.js
	[ ! -e "$TOLLGATE_AXE" ] || return 0
	if command -v npm >/dev/null || install apt-get npm dnf npm apk npm brew node && command -v npm >/dev/null; then
		say "fetching axe-core $AXE_VERSION with npm ..."
		local to
		to=$(mktemp -d)
		if (cd "$to" && npm pack --silent "axe-core@$AXE_VERSION" >/dev/null && tar -xzf ./*.tgz package/axe.min.js); then
			mkdir -p "$(dirname "$TOLLGATE_AXE")"
			mv "$to/package/axe.min.js" "$TOLLGATE_AXE"
		fi
		rm -rf "$to"
	fi
	[ -e "$TOLLGATE_AXE" ] || leave_out axe-core "the checks of the console's pages for accessibility"
}

# want_promtool gets Prometheus' tool that reads queries, out of Debian's package, without its server.
want_promtool() {
	[ -z "${TOLLGATE_PROMTOOL:-}" ] && ! command -v promtool >/dev/null || return 0
	export TOLLGATE_PROMTOOL=$cache/promtool
	[ ! -e "$TOLLGATE_PROMTOOL" ] || return 0
	if command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
		say "unpacking promtool out of the package prometheus ..."
		local to
		to=$(mktemp -d)
		[ -n "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit 2>/dev/null)" ] || ! is_root || apt-get update -qq
		if (cd "$to" && apt-get -qq download prometheus >/dev/null 2>&1 && dpkg -x ./*.deb .); then
			mkdir -p "$cache"
			mv "$to/usr/bin/promtool" "$TOLLGATE_PROMTOOL"
		fi
		rm -rf "$to"
	fi
	[ -e "$TOLLGATE_PROMTOOL" ] || leave_out promtool "the reading of deploy/'s queries by Prometheus' own tool (TOLLGATE_PROMTOOL names one)"
}

# want_postgres gets the programs of a PostgreSQL server: the tests start servers of their own with them.
want_postgres() {
	[ -z "${TOLLGATE_POSTGRES_BIN:-}" ] && ! command -v initdb >/dev/null && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || return 0
	if install apt-get postgresql dnf postgresql-server apk postgresql brew postgresql &&
		{ command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }; then
		return
	fi
	if [ -x "$cache/unpacked/postgres" ] ||
		{ unpack postgresql 'lib/postgresql/*/bin/initdb' && unpacked postgresql 'lib/postgresql/*/bin/postgres'; }; then
		export TOLLGATE_POSTGRES_BIN=$cache/unpacked
		return
	fi
	leave_out postgresql "the tests of books in PostgreSQL (TOLLGATE_POSTGRES_BIN names the directory of its programs)"
}

need_programs() {
	PATH=$cache/unpacked:$PATH
	[ -n "${TOLLGATE_REDIS_SERVER:-}" ] || need redis-server apt-get redis-server dnf redis apk redis brew redis
	need curl apt-get curl dnf curl apk curl brew curl
}

# race is the flag of the race detector, which needs a C compiler.
race=
need_race() {
	if command -v "$(go env CC)" >/dev/null ||
		install apt-get "gcc libc6-dev" dnf gcc apk "gcc musl-dev" && command -v "$(go env CC)" >/dev/null; then
		race=-race
		export CGO_ENABLED=1
	else
		say "no C compiler: the tests run without the race detector"
	fi
}

# latest runs a command that installs what a file names into a directory of the cache, unless that was done.
latest() {
	local file=$1 to=$2
	shift 2
	[ "$(cat "$to/installed" 2>/dev/null)" != "$(cksum <"$file")" ] || return 0
	rm -rf "$to"
	mkdir -p "$to"
	"$@" >&2 && cksum <"$file" >"$to/installed"
}

python_clients() {
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' &&
		python3 -m venv "$cache/clients/python" &&
		"$cache/clients/python/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement e2e/clients/requirements.txt
}

javascript_clients() {
	node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' &&
		cp e2e/clients/package.json e2e/clients/package-lock.json "$cache/clients/js" &&
		(cd -P "$cache/clients/js" && npm ci --loglevel=error --no-audit --no-fund) &&
		"$cache/clients/js/node_modules/.bin/claude" --version && "$cache/clients/js/node_modules/.bin/codex" --version
}

go_clients() {
	go build -C e2e/clients/golang -o "$cache/clients/go/client" .
}

# get_clients installs the clients of the tests. It sets tests to those of which the clients are there, and missing where some are not.
get_clients() {
	say "installing the SDKs of e2e/clients/requirements.txt with pip, those of e2e/clients/package.json, Claude Code and Codex with npm, and those of e2e/clients/golang, into $cache/clients ..."
	tests='' missing=''
	latest e2e/clients/requirements.txt "$cache/clients/python" python_clients &
	local python=$!
	if latest e2e/clients/package-lock.json "$cache/clients/js" javascript_clients; then
		tests+='|JavaScriptSDKs|ClaudeCode|Codex'
	else
		missing=yes
		say "Node 20 or newer with npm is needed, and the npm registry: without the tests of JavaScript's SDKs, Claude Code and Codex"
	fi
	if go_clients; then
		tests+='|GoSDKs'
	else
		missing=yes
		say "the module proxy of Go is needed: without the tests of Go's SDKs"
	fi
	if wait $python; then
		tests+='|PythonSDKs|PythonLangChain'
	else
		missing=yes
		say "Python 3.11 or newer with venv is needed, and PyPI: without the tests of Python's SDKs and LangChain"
	fi
	export TOLLGATE_CLIENTS=$cache/clients
}

case ${1:-} in
clients)
	need_programs
	get_clients
	[ "${2:-}" != all ] || [ -z "$missing" ] || exit 1
	[ -n "$tests" ] || exit 0
	exec go test -tags clients -count=1 -timeout 15m -run "^Test(Translated)?(${tests#|})\$" ./e2e/clients
	;;
bench)
	shift
	need_programs
	exec go run ./bench "$@"
	;;
soak)
	need_programs
	need_race
	test=TestNothingLostNothingTwice
	file=$(grep -rl --include='*_test.go' "^func $test(" .) || {
		say "no package has a $test"
		exit 1
	}
	export TOLLGATE_SOAK=${2:-10m}
	say "$test runs for $TOLLGATE_SOAK"
	exec go test $race -run "^$test\$" -v -count=1 -timeout 0 "$(dirname "$file")"
	;;
fuzz)
	need_programs
	for package in $(go list ./...); do
		for name in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
			say "fuzzing $package $name for ${2:-30s}"
			go test -run '^$' -fuzz "^$name\$" -fuzztime "${2:-30s}" "$package"
		done
	done
	;;
*)
	need_programs
	need_race
	only_flags=yes
	for argument; do [[ $argument == -* ]] || only_flags=; done
	[ -z "$only_flags" ] || set -- ./... "$@"
	case " $* " in *...* | *console*) want_browser ;; esac
	case " $* " in *...* | *e2e*) want_promtool ;; esac
	case " $* " in *...* | *e2e* | *postgres* | *testkit*) want_postgres ;; esac
	exec go test $race -shuffle=on -timeout 15m "$@"
	;;
esac
