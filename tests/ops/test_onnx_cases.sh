#!/bin/sh
# ONNX's own operator and model cases, from Debian's libonnx-testdata (opset 17) and from the archive of newer ones (to
# opset 28): all pass but those of a list, which says why. The counts are those that the README states.
. tests/cli/expect.sh

list=tests/data/onnx_tolerances.txt

# Every failure is in the list, and every case of the list fails.
run_cases() { # NAME FOLDER LIST
    timeout 500 "$tern" verify --tolerances "$list" "$2" >"$scratch/out" 2>"$scratch/err"
    last=$(tail -n 1 "$scratch/out")
    passed=$(printf '%s\n' "$last" | sed -n 's/^\([0-9]*\) passed, .*/\1/p')
    failed_cases=$(printf '%s\n' "$last" | sed -n 's/.* passed, \([0-9]*\) failed.*/\1/p')
    [ "${passed:-0}" -gt 1000 ]
    result $? "$1: $last"
    sed -n 's|^FAIL: \([^:]*\):.*|\1|p' "$scratch/out" | sed 's|/test_data_set_[0-9]*$||; s|.*/||' | sort -u >"$scratch/failed"
    grep -v '^#' "$3" | sort >"$scratch/known"
    comm -3 "$scratch/failed" "$scratch/known" >"$scratch/differ"
    sed 's/^\t/# passes, but is in the list: /; t; s/^/# fails: /' "$scratch/differ"
    [ ! -s "$scratch/differ" ]
    result $? "$1: those that fail are those of $3"
    total=$((${passed:-0} + ${failed_cases:-0}))
    grep -q "| $1 | $total | $passed |" README.md
    result $? "$1: README.md has the counts ($total cases, $passed pass)"
}

debian=/usr/share/libonnx-testdata/data
if [ -d "$debian" ]; then
    run_cases "libonnx-testdata" "$debian" tests/data/debian_known_failures.txt
else
    skip "libonnx-testdata" "the package is not installed"
fi

archive=$shared/onnx/onnx-tests.tar.xz
if [ ! -e "$archive" ]; then
    skip "ONNX's own cases" "no $archive"
elif ! { mkdir "$scratch/cases" && tar -xf "$archive" -C "$scratch/cases" 2>/dev/null; }; then
    skip "ONNX's own cases" "tar can not unpack .xz here"
else
    run_cases "ONNX's own cases" "$scratch/cases" tests/data/onnx_known_failures.txt
fi
finish
