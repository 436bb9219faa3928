#!/bin/sh
# tools/run_tests counts what happened, whatever a program does.
runner=$(pwd)/tools/run_tests
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
# Pipelines run in subshells, so the count is in a file.
echo 0 >count
next() {
    number=$(($(cat count) + 1))
    echo "$number" >count
}

# A program that runs the script on stdin gives the summary and the exit code.
gives() { # DESCRIPTION SUMMARY CODE [TEXT]
    cat >program.sh
    out=$(TERN_BUILD=build "$runner" -t 1 program.sh 2>&1)
    code=$?
    next
    if [ "$(printf '%s\n' "$out" | tail -n 1)" = "tests: $2" ] && [ "$code" -eq "$3" ] &&
        printf '%s\n' "$out" | grep -qF -- "${4:-}"; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        printf 'exit code %s\n%s\n' "$code" "$out" | sed 's/^/#  /'
    fi
}

printf 'echo ok 1 - a\necho ok 2 - b\necho 1..2\n' | gives "passes" "2 passed, 0 failed, 0 skipped" 0
printf 'echo ok 1 - a\necho not ok 2 - broken\necho "# 1 is not 2"\n' |
    gives "a failure, with what follows it" "1 passed, 1 failed, 0 skipped" 1 "# 1 is not 2"
printf 'echo "ok 1 - a # SKIP no data"\n' | gives "a skip and its reason" "0 passed, 0 failed, 1 skipped" 0 "no data"
printf 'echo no data\necho "not ok 1 # SKIP a"\n' |
    gives "a skip as cmocka 1.1 writes it" "0 passed, 0 failed, 1 skipped" 0 "no data"
printf 'echo "1..0 # SKIP no data"\n' | gives "everything skipped" "0 passed, 0 failed, 1 skipped" 0 "no data"
printf 'echo ok 1 - a\necho 1..2\n' | gives "stops before the end" "1 passed, 1 failed, 0 skipped" 1 "after 1 of 2 tests"
printf 'echo hello\n' | gives "prints no TAP" "0 passed, 1 failed, 0 skipped" 1 "printed no TAP"
printf 'echo ok 1 - a\nexit 3\n' | gives "bad exit code" "1 passed, 1 failed, 0 skipped" 1 "exit code 3"
# shellcheck disable=SC2016 # for the program
printf 'echo ok 1 - a\necho why >&2\nkill -SEGV $$\n' | gives "crashes" "1 passed, 1 failed, 0 skipped" 1 "stderr: why"
printf 'echo ok 1 - a\nsleep 20\n' | gives "takes too long" "1 passed, 1 failed, 0 skipped" 1 "limit of 1 seconds"

next
if "$runner" ./none >out 2>&1; then echo "not ok $number - a program that is not there"; else
    echo "ok $number - a program that is not there"
fi
next
# shellcheck disable=SC2016
printf 'echo ok 1 - a "$1"\n' >program.sh
"$runner" -n two -c counts "program.sh x" "program.sh y" >out
if [ "$(cat counts)" = "2 0 0" ] && grep -q "^two: 2 passed" out; then
    echo "ok $number - arguments, name and counts"
else
    echo "not ok $number - arguments, name and counts"
fi
echo "1..$(cat count)"
