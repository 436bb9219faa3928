#!/bin/sh
# The simulation behind docs/scaling.md: against queueing theory, and the document against the simulation.
set -u
command -v python3 >/dev/null || { echo "1..0 # SKIP python3 is not installed" && exit 0; }
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
        sed 's/^/# /' "$scratch/out"
        failed=1
    fi
}
python3 tools/queue_sim.py --check --requests 6000 >"$scratch/out" 2>&1
result $? "mean waits are those of M/D/1"
# Indented lines that begin with the name of the program are commands; what follows them in the document is their output.
grep '^    tools/queue_sim.py' docs/scaling.md >"$scratch/commands"
[ -s "$scratch/commands" ]
result $? "docs/scaling.md has commands"
while read -r program options; do
    # shellcheck disable=SC2086 # options
    python3 "$program" $options | grep '^| [0-9]' >"$scratch/out"
    missing=$(grep -cvxFf docs/scaling.md "$scratch/out")
    [ -s "$scratch/out" ] && [ "$missing" -eq 0 ]
    result $? "docs/scaling.md has what $program $options prints"
done <"$scratch/commands"
echo "1..$number"
exit $failed
