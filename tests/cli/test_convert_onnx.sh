#!/bin/sh
# tern convert on ONNX files: every option, its result, and what is refused.
. tests/cli/expect.sh

model=models/fashion.onnx
cases=tests/data/cases
o=$scratch/o.onnx

good_file() { # NAME FILE: keeps to the rules
    "$tern" inspect --check "$2" >"$scratch/out" 2>"$scratch/err"
    result $? "$1"
}
outputs() { # FILE ARGUMENT...: the numbers of a run, to $scratch/numbers
    "$tern" run "$@" >"$scratch/numbers" 2>"$scratch/err"
}

expect "convert: nothing to change" 0 "opset 13, 19 nodes (19 before)" - convert $model -o "$o"
expect "convert: gives the same model" 0 '^0 differences' - inspect $model "$o"
outputs $model --fill random && cp "$scratch/numbers" "$scratch/first"

for opset in 9 11 17 28; do
    expect "convert: opset $opset" 0 "opset $opset, " - convert $model --opset $opset -o "$o"
    good_file "convert: opset $opset keeps to the rules" "$o"
    outputs "$o" --fill random && cmp -s "$scratch/numbers" "$scratch/first"
    result $? "convert: opset $opset gives the same numbers"
done
expect "convert: JSON" 0 '"opset": 12' - convert $model --opset 12 -o "$o" --json
expect "convert: no such opset" 2 - 'from 1 to 28' convert $model --opset 29 -o "$o"
expect "convert: in a loop, too" 0 'opset 28' - convert $cases/loop/model.onnx --opset 28 -o "$o"
expect "convert: the loop still runs" 0 'min 32 max 32' - run "$o" --fill ones
expect "convert: an operator that tern lacks" 0 'opset 18' - convert $cases/unknown_op/model.onnx --opset 18 -o "$o"
expect "convert: a part that is refused names node and reason" 1 - "(NonZero, opset 13): can not be written in opset 8: the operator is not there yet" convert $cases/nonzero/model.onnx --opset 8 -o "$o"
expect "convert: a node without its first input" 1 - "lacks an input that the operator needs" convert $cases/no_input/model.onnx --opset 11 -o "$o"
expect "convert: a node without an input between others" 1 - "its inputs must have one shape" convert $cases/no_middle_input/model.onnx --opset 6 -o "$o"
expect "convert: a node without its first output" 0 "opset 11" - convert $cases/no_output/model.onnx --opset 11 -o "$o"
expect "convert: still computes the second" 0 "^mean: float32.2,1. min 1 max 1 " - run "$o" --fill ones

# ---- shapes, folding -------------------------------------------------------------------------------------------------

input=$("$tern" inspect $model --json | tr -d ' \n' | sed 's/.*"inputs":\[{"name":"\([^"]*\)".*/\1/')
expect "convert: a fixed shape" 0 '19 nodes' - convert $model --fix-shape "$input=4x1x28x28" -o "$o"
expect "convert: is the shape" 0 'float32\[4,10\]' - inspect "$o"
expect "convert: simpler" 0 'nodes (19 before)' - convert $model --simplify -o "$o"
good_file "convert: simpler keeps to the rules" "$o"
outputs "$o" --fill random
cut -c 1-40 "$scratch/numbers" | head -n 1 >"$scratch/a"
cut -c 1-40 "$scratch/first" | head -n 1 >"$scratch/b"
cmp -s "$scratch/a" "$scratch/b"
result $? "convert: simpler computes the same"
expect "convert: another rank" 1 - 'the input has rank 4' convert $model --fix-shape "$input=4x1x28" -o "$o"
expect "convert: no such input" 1 - "no value 'nothing'" convert $model --fix-shape nothing=1x2 -o "$o"
expect "convert: no shape" 1 - 'looks like' convert $model --fix-shape "$input=big" -o "$o"

# ---- half precision --------------------------------------------------------------------------------------------------

expect "convert: float16" 0 'of them in half precision' - convert $model --fp16 -o "$o"
good_file "convert: float16 keeps to the rules" "$o"
[ "$(wc -c <"$o")" -lt $(($(wc -c <$model) * 6 / 10)) ]
result $? "convert: float16 is half the size"
"$tern" run $model --fill random -o "$scratch/want" >/dev/null
expect "convert: float16 computes nearly the same" 0 ' 0 part' - run "$o" --fill random --compare "$scratch/want" --rtol 0.02
expect "convert: bfloat16" 0 'of them in half precision' - convert $model --bf16 -o "$o"
expect "convert: bfloat16 computes nearly the same" 0 ' 0 part' - run "$o" --fill random --compare "$scratch/want" --rtol 0.1
expect "convert: all but" 0 '"half_nodes": ' - convert $model --fp16 --keep-float Conv --keep-float Softmax -o "$o" --json
expect "convert: an exclusion of nothing" 1 - 'no node that could change' convert $model --fp16 --keep-float Convv -o "$o"
expect "convert: a divisor that would be zero" 1 - 'a constant is too large or too small' convert $cases/tiny_divisor/model.onnx --fp16 -o "$o"
expect "convert: bfloat16 holds it" 0 '1 of them in half precision' - convert $cases/tiny_divisor/model.onnx --bf16 -o "$o"
"$tern" convert $model --opset 12 -o "$scratch/twelve.onnx" >/dev/null
expect "convert: bfloat16 before opset 13" 1 - 'opset may help' convert "$scratch/twelve.onnx" --bf16 -o "$o"
expect "convert: both" 2 - 'exclude each other' convert $model --fp16 --bf16 -o "$o"

# ---- parts, names, data ----------------------------------------------------------------------------------------------

mid=/net/MaxPool_output_0
expect "convert: the first part" 0 '(19 before)' - convert $model --extract-outputs $mid -o "$scratch/head.onnx"
expect "convert: the second part" 0 '(19 before)' - convert $model --extract-inputs $mid -o "$scratch/tail.onnx"
good_file "convert: the first part keeps to the rules" "$scratch/head.onnx"
good_file "convert: the second part keeps to the rules" "$scratch/tail.onnx"
"$tern" run "$scratch/head.onnx" --fill random -o "$scratch/middle" >/dev/null
outputs "$scratch/tail.onnx" --input "$scratch/middle/_net_MaxPool_output_0.npy" && cmp -s "$scratch/numbers" "$scratch/first"
result $? "convert: one after the other they compute the whole"
expect "convert: a part that needs more" 1 - 'needs more inputs' convert $model --extract-inputs prob --extract-outputs $mid -o "$o"
expect "convert: the same input twice" 1 - "extract-inputs $mid: is given twice" convert $model --extract-inputs $mid --extract-inputs $mid -o "$o"
expect "convert: the same output twice" 1 - "extract-outputs $mid: is given twice" convert $model --extract-outputs $mid --extract-outputs $mid -o "$o"
expect "convert: no such value" 1 - "no value 'nothing'" convert $model --extract-outputs nothing -o "$o"
expect "convert: other names" 0 '(19 before)' - convert $model --rename "$input=picture" --rename prob=score -o "$o"
expect "convert: are the names" 0 '^score: float32' - run "$o" --fill zeros --shape picture=2x1x28x28
expect "convert: a name that is taken" 1 - 'of that name already' convert $model --rename "$input=prob" -o "$o"
expect "convert: metadata" 0 'nodes' - convert $model --set-metadata author=me --set-metadata note=x=y -o "$o"
expect "convert: metadata are there" 0 'note = x=y' - inspect "$o"
expect "convert: metadata go" 0 'nodes' - convert "$o" --set-metadata author= -o "$scratch/p.onnx"
"$tern" inspect "$scratch/p.onnx" >"$scratch/out"
! grep -q author "$scratch/out" && grep -q 'note = ' "$scratch/out"
result $? "convert: and the rest stays"
expect "convert: weights in a file of their own" 0 'nodes' - convert $model --external-data -o "$scratch/e.onnx"
[ -s "$scratch/e.onnx.data" ] && [ "$(wc -c <"$scratch/e.onnx")" -lt 20000 ]
result $? "convert: e.onnx.data is there"
outputs "$scratch/e.onnx" --fill random && cmp -s "$scratch/numbers" "$scratch/first"
result $? "convert: and is read"
expect "convert: back into one" 0 'nodes' - convert "$scratch/e.onnx" --embed -o "$o"
expect "convert: is the model" 0 '^0 differences' - inspect $model "$o"

# ---- wrong command lines ---------------------------------------------------------------------------------------------

expect "convert: no output" 2 - 'needs -o' convert $model
expect "convert: onto itself" 1 - 'would replace' convert $model -o $model
expect "convert: an option for checkpoints" 2 - 'are for checkpoints' convert $model --size 640 -o "$o"
expect "convert: no half to keep from" 2 - 'needs --fp16 or --bf16' convert $model --keep-float Conv -o "$o"
expect "convert: half a file" 1 - 'cut.onnx' convert "$scratch/cut.onnx" -o "$o"
finish
