#!/bin/sh
# tern profile: the tables, the trace, and the page, which a real browser is made to read.
. tests/cli/expect.sh

model=models/fashion.onnx

expect "profile: text" 0 '^type .*nodes .*calls .*ms .*GFLOP/s' - profile $model --iterations 3
grep -q '^Conv  *[0-9]' "$scratch/out" && grep -q 'between them$' "$scratch/out" && grep -q 'this machine reaches .* GFLOP/s and .* GB/s' "$scratch/out"
result $? "profile: types, the rest of the time, the machine"
grep -q "Conv + .*1x1x28x28.* -> 1x.*\[.*\]$" "$scratch/out"
result $? "profile: shapes and kernel of a node"
sed -n '/^above 2 % of the time below 80 % of the peak:/,$p' "$scratch/out" >"$scratch/slow"
[ -s "$scratch/slow" ] && awk 'NR > 1 && !($2 > 1.9 && $4 < 80.5) { bad = 1 } END { exit bad }' "$scratch/slow"
result $? "profile: layers far from the peak"
expect "profile: as they run" 0 'and [0-9]* more' - profile $model --iterations 2 --sort order --top 1
expect "profile: JSON, trace and page" 0 '"nodes": \[' - profile $model --iterations 3 --json --trace "$scratch/trace.json" --html "$scratch/page.html"
for key in runs run_ms steps_ms lost_percent peak_gflops peak_gbytes_per_s types macs gflops gbytes_per_s percent_of_roof percent_of_peak slow kernel shapes; do
    grep -q "\"$key\": " "$scratch/out"
    result $? "profile: $key"
done
steps=$(grep -c '"shapes": ' "$scratch/out")
# Shares of the main graph are all of it.
awk '/"types"/ { in_types = 1 } /"nodes": \[/ { in_types = 0 } in_types && /"percent"/ { sub(/.*: /, ""); sum += $0 } END { exit !(sum > 99.9 && sum < 100.1) }' "$scratch/out"
result $? "profile: shares add up to 100 %"
[ "$(tr ',' '\n' <"$scratch/trace.json" | grep -c '"ph":"X"')" -eq $((3 * steps)) ]
result $? "profile: an event for every step of every run"
expect "profile: a loop" 0 'in a subgraph' - profile tests/data/cases/loop/model.onnx --iterations 2
expect "profile: a model whose shapes depend on data" 0 'NonZero' - profile tests/data/cases/nonzero/model.onnx --iterations 2 --html "$scratch/dynamic.html"
expect "profile: a page that can not be written" 1 - 'nowhere' profile $model --iterations 1 --html "$scratch/nowhere/page.html"
expect "profile: no model" 1 - 'gone.onnx' profile "$scratch/gone.onnx"
expect "profile: help" 0 'examples:' - profile --help

if command -v chromium >/dev/null; then
    timeout 100 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$scratch/browser" --dump-dom "file://$scratch/page.html" >"$scratch/dom" 2>/dev/null
    result $? "profile: a browser reads the page"
    [ "$(grep -c '<tr data-order' "$scratch/dom")" -eq "$steps" ] && [ "$(grep -c '<svg' "$scratch/dom")" -eq 2 ] && grep -q '<circle' "$scratch/dom" && grep -q '<rect' "$scratch/dom"
    result $? "profile: with a bar per node, a roofline and the memory plan"
    timeout 100 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$scratch/browser" --window-size=1100,1600 --screenshot="$scratch/page.png" "file://$scratch/page.html" >/dev/null 2>&1
    [ "$(wc -c <"$scratch/page.png")" -gt 20000 ]
    result $? "profile: and draws it"
else
    skip "profile: in a browser" "chromium is not installed"
fi
finish
