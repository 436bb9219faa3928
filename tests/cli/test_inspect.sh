#!/bin/sh
# tern inspect: pictures, weights, rules, differences.
. tests/cli/expect.sh

model=models/fashion.onnx
cases=tests/data/cases

expect "inspect: weights" 0 '^float32  *10x96 .*%  net.fc.weight$' - inspect $model --weights
expect "inspect: weights, JSON" 0 '"zeros": ' - inspect $model --weights --json
expect "inspect: a model that keeps to the rules" 0 'keeps to the rules' - inspect $model --check
expect "inspect: the same, JSON" 0 '"problems": \[\]' - inspect $model --check --json
expect "inspect: an operator that there is not" 1 "node 'odd' (my.ops.Frobnicate, opset 2)" - inspect $cases/unknown_op/model.onnx --check
head -c 2000 $model >"$scratch/cut.onnx"
expect "inspect: half a file" 1 - 'cut.onnx' inspect "$scratch/cut.onnx" --check
expect "inspect: no file" 1 - 'gone.onnx' inspect "$scratch/gone.onnx" --check
expect "inspect: a picture of memory" 0 '^memory' - inspect $model --memory-svg "$scratch/memory.svg"
grep -q '^<svg' "$scratch/memory.svg" && [ "$(grep -c '<rect' "$scratch/memory.svg")" -gt 5 ] && tail -n 1 "$scratch/memory.svg" | grep -q '</svg>'
result $? "inspect: has boxes"
if command -v dot >/dev/null; then
    expect "inspect: a picture of the graph" 0 - - inspect $model --svg "$scratch/graph.svg" --optimized
    grep -q 'Conv + ' "$scratch/graph.svg" && tail -n 1 "$scratch/graph.svg" | grep -q '</svg>'
    result $? "inspect: has the fused nodes"
else
    skip "inspect: a picture of the graph" "Graphviz is not installed"
fi
PATH=$scratch "$tern" inspect $model --svg "$scratch/none.svg" >"$scratch/out" 2>"$scratch/err"
[ $? -eq 1 ] && grep -q 'apt install graphviz' "$scratch/err" && [ ! -e "$scratch/none.svg" ]
result $? "inspect: without Graphviz"
expect "inspect: a model and itself" 0 '^0 differences; 19 nodes and 14 weights are equal$' - inspect $model $model
expect "inspect: two models" 1 '^- node .*Conv' - inspect $model $cases/good/add/model.onnx
grep -q "^~ input is a float32\[n,3\]" "$scratch/out" || grep -q "^~ input is " "$scratch/out"
result $? "inspect: other inputs"
expect "inspect: JSON of differences" 1 '"equal_nodes": 0' - inspect $model $cases/good/add/model.onnx --json
# One byte of one weight.
cp $model "$scratch/changed.onnx"
printf '\101' | dd of="$scratch/changed.onnx" bs=1 seek=20003 conv=notrunc 2>/dev/null
if cmp -s $model "$scratch/changed.onnx"; then printf '\102' | dd of="$scratch/changed.onnx" bs=1 seek=20003 conv=notrunc 2>/dev/null; fi
expect "inspect: one weight differs" 1 "^~ weight '.*': max abs .*cosine" - inspect $model "$scratch/changed.onnx"
grep -q '^1 differences; 19 nodes and 13 weights are equal' "$scratch/out"
result $? "inspect: and nothing else"
expect "inspect: three models" 2 - 'one argument too many' inspect $model $model $model

# ---- names made to do harm -------------------------------------------------------------------------------------------

LC_ALL=C sed 's/pytorch/\x1b[1m\xff\xc2\x9b/;s/tern\.labels/tern.\xffabels/' $model >"$scratch/harm.onnx"
LC_ALL=C sed 's/my\.ops/m\x1b[1ms/g' $cases/unknown_op/model.onnx >"$scratch/domain.onnx"
printable() { # NAME: stdout is UTF-8 without control characters
    iconv -f UTF-8 -t UTF-8 <"$scratch/out" >/dev/null 2>&1 && ! LC_ALL=C grep -q "$(printf '\033\\|\302\233')" "$scratch/out"
    result $? "$1"
}
expect "inspect: names of other bytes" 0 '^producer *?\[1m?' - inspect "$scratch/harm.onnx"
printable "inspect: they are shown as question marks"
expect "inspect: such a domain" 1 'm?\[1ms 2' 'no operator' inspect "$scratch/domain.onnx"
printable "inspect: the domain as well"
expect "inspect: names of other bytes, JSON" 0 '"opsets"' - inspect "$scratch/harm.onnx" --json
iconv -f UTF-8 -t UTF-8 <"$scratch/out" >/dev/null 2>&1
result $? "inspect: keys of JSON are UTF-8"
printable "inspect: JSON has no control characters, neither of one byte nor of two"
expect "inspect: a path with control characters" 1 - 'gone???.onnx' inspect "$(printf 'gone\033\302\233.onnx')"

# ---- memory ----------------------------------------------------------------------------------------------------------

near=0
for file in models/fashion.onnx "$shared"/models/*/*/model.onnx; do
    [ -e "$file" ] || continue
    "$tern" inspect "$file" --json 2>/dev/null | tr -d ' \n' >"$scratch/out"
    peak=$(sed -n 's/.*"peak_bytes":\([0-9]*\).*/\1/p' "$scratch/out")
    bound=$(sed -n 's/.*"lower_bound_bytes":\([0-9]*\).*/\1/p' "$scratch/out")
    [ -n "$peak" ] || continue # of free shape
    [ $((peak * 10)) -le $((bound * 11)) ] || { near=1 && echo "$file: $peak bytes, lower bound $bound" >>"$scratch/err"; }
done
result $near "planned memory is within a tenth of the lower bound"
finish
