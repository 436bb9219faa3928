#!/bin/sh
# ONNX's own operator and model cases: all pass but those of tests/data/onnx_known_failures.txt, which says why.
. tests/cli/expect.sh

archive=$shared/onnx/onnx-tests.tar.xz
if [ ! -e "$archive" ]; then
    skip "ONNX's own cases" "no $archive"
    finish
fi
if ! tar -xf "$archive" -C "$scratch" 2>/dev/null; then
    skip "ONNX's own cases" "tar can not unpack .xz here"
    finish
fi
timeout 500 "$tern" verify "$scratch" >"$scratch/out" 2>"$scratch/err"
grep -v '^FAIL: ' "$scratch/out" | tail -n 1 | grep -q '^1[0-9][0-9][0-9] passed, '
result $? "ONNX's own cases: $(tail -n 1 "$scratch/out")"
sed -n "s|^FAIL: $scratch/[^/]*/\([^/:]*\).*|\1|p" "$scratch/out" | sort -u >"$scratch/failed"
grep -v '^#' tests/data/onnx_known_failures.txt | sort >"$scratch/known"
comm -23 "$scratch/failed" "$scratch/known" >"$scratch/new"
sed 's/^/# fails: /' "$scratch/new"
[ ! -s "$scratch/new" ]
result $? "no case fails that is not in the list"
finish
