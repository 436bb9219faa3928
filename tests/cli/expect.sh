# shellcheck shell=sh disable=SC2034
# For tests of the command: sourced by tests/cli/test_*.sh, in the repository's root. Prints TAP.
set -u
tern=${TERN_BUILD:-build}/tern
shared=${TERN_SHARED:-../shared}
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
number=0
failed=0

result() { # 0|1 NAME
    number=$((number + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        sed 's/^/# out: /' "$scratch/out"
        sed 's/^/# err: /' "$scratch/err"
        failed=1
    fi
}

skip() { # NAME REASON
    number=$((number + 1))
    echo "ok $number - $1 # SKIP $2"
}

# Runs tern and compares exit code, a pattern of stdout and a pattern of stderr; '-' means empty.
expect() { # NAME CODE OUT ERR ARGUMENT...
    name=$1 code=$2 out=$3 err=$4
    shift 4
    timeout 120 "$tern" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
    have=$?
    good=0
    [ "$have" -eq "$code" ] || good=1
    if [ "$out" = - ]; then [ ! -s "$scratch/out" ] || good=1; else grep -q -- "$out" "$scratch/out" || good=1; fi
    if [ "$err" = - ]; then [ ! -s "$scratch/err" ] || good=1; else grep -q -- "$err" "$scratch/err" || good=1; fi
    [ ! -s "$scratch/err" ] || ! grep -qv '^tern: ' "$scratch/err" || good=1
    result "$good" "$name"
}

finish() {
    echo "1..$number"
    exit $failed
}
