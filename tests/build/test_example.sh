#!/bin/sh
# The example programs: what they print, and how the one that loads a model fails.
program=${TERN_BUILD:-build}/run_model
out=$("$program" models/fashion.onnx 2>&1)
case $out in
"prob: float32 of 10 elements
first element: 0."*) echo "ok 1 - runs a model" ;;
*)
    echo "not ok 1 - runs a model"
    printf '%s\n' "$out" | sed 's/^/# /'
    ;;
esac

out=$("$program" no/such/file.onnx 2>&1)
code=$?
case $code:$out in
"1:run_model: "*no/such/file.onnx*) echo "ok 2 - says which file can not be read" ;;
*)
    echo "not ok 2 - says which file can not be read"
    printf 'exit code %s: %s\n' "$code" "$out" | sed 's/^/# /'
    ;;
esac

lines=$(wc -l <examples/run_model.c)
if [ "$lines" -le 32 ]; then echo "ok 3 - is short"; else echo "not ok 3 - is short: $lines lines"; fi

out=$("${TERN_BUILD:-build}/custom_operator" 2>&1)
if [ "$out" = "0 0.5 1" ]; then echo "ok 4 - a custom operator"; else echo "not ok 4 - a custom operator: $out"; fi
echo "1..4"
