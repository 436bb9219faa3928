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

# Boxes of the JSON file $1 (keys $2 and $3) as lines "x1 y1 x2 y2 score".
boxes_of() {
    tr -d ' \n' <"$1" | sed "s/\"$2\":\[/\n@/g" | sed -n "s/^@\([0-9.e+,-]*\)\].*\"$3\":\([0-9.e-]*\).*/\1,\2/p" | tr , ' '
}
# Every box of file $1 is in file $2 within $3 pixels (1) and $4 of the score (0.005), and there are as many.
same_boxes() {
    [ "$(wc -l <"$1")" -eq "$(wc -l <"$2")" ] && awk -v px="${3:-1}" -v score="${4:-0.005}" '
        function d(a, b) { return a > b ? a - b : b - a }
        NR == FNR { for (i = 1; i <= 5; i++) want[NR, i] = $i; n = NR; next }
        { for (k = 1; k <= n; k++) if (!hit[k] && d($1, want[k, 1]) < px && d($2, want[k, 2]) < px && d($3, want[k, 3]) < px &&
              d($4, want[k, 4]) < px && d($5, want[k, 5]) < score) { hit[k] = 1; found++; break } }
        END { exit found != n }' "$1" "$2"
}

finish() {
    echo "1..$number"
    exit $failed
}
