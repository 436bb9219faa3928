# shellcheck shell=sh disable=SC2034
# For tests of a running server: sourced by tests/serve/test_*.sh, in the repository's root. Prints TAP.
set -u
tern=${TERN_BUILD:-build}/tern
shared=${TERN_SHARED:-../shared}
scratch=$(mktemp -d) || exit 1
server=
trap 'stop_server; rm -rf "$scratch"' EXIT
number=0
failed=0

result() { # 0|1 NAME
    number=$((number + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        for file in out err; do
            [ ! -e "$scratch/$file" ] || head -c 2000 "$scratch/$file" | tr -cd '\11\12\40-\176' | sed "s/^/# $file: /"
        done
        failed=1
    fi
}

skip() { # NAME REASON
    number=$((number + 1))
    echo "ok $number - $1 # SKIP $2"
}

finish() {
    echo "1..$number"
    exit $failed
}

skip_all() { # REASON
    echo "1..0 # SKIP $1"
    exit 0
}

# Starts `tern serve` on a free port; $url is where it is, $server its process.
start_server() { # ARGUMENT...
    : >"$scratch/log"
    "$tern" serve --port 0 "$@" >"$scratch/access" 2>"$scratch/log" </dev/null &
    server=$!
    url=
    for _ in $(seq 600); do
        url=$(sed -n 's/^tern: listening on //p' "$scratch/log")
        [ -z "$url" ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    sed 's/^/# /' "$scratch/log"
    return 1
}

stop_server() { # the exit code in $code
    [ -n "$server" ] || return 0
    kill "$server" 2>/dev/null
    wait "$server"
    code=$?
    server=
}

# Asks, and compares the status and a pattern of the answer.
ask() { # NAME STATUS PATTERN CURL-ARGUMENT...
    name=$1 status=$2 pattern=$3
    shift 3
    have=$(curl -s -m 60 -o "$scratch/out" -D "$scratch/headers" -w '%{http_code}' "$@" 2>"$scratch/err")
    [ "$have" = "$status" ] && { [ -z "$pattern" ] || grep -q -- "$pattern" "$scratch/out"; }
    good=$?
    [ $good -eq 0 ] || echo "# status $have, wanted $status and $pattern"
    result $good "$name"
}

require_server() {
    command -v curl >/dev/null || skip_all "curl is not installed"
    "$tern" serve --port 0 --poll nonsense >/dev/null 2>&1
    "$tern" serve /nonexistent >"$scratch/out" 2>&1
    ! grep -q 'has no server' "$scratch/out" || skip_all "this build has no libmicrohttpd"
}
