#!/bin/sh
# ONNX Runtime's own operators: what it answered once (tests/data/ms_cases.tar.gz), what it answers now on other random
# inputs, and models as its optimiser writes them. The last two need python3-onnx, node and the npm package
# onnxruntime-node, which is looked for in $TERN_ORT (a node_modules folder) and $NODE_PATH.
# The archive is made by
#   tests/data/make_ms_cases.py OUT && tar -C OUT --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
#       -cf - f16 f32 graphs lstm q8 | gzip -9n >tests/data/ms_cases.tar.gz
. tests/cli/expect.sh

# The longest sums have 80 terms of about 1: 80 * 2^-24 * 80 is 4e-4 at worst and 4e-5 at random; those that cancel to
# something small are what atol is for. float16 rounds sums and results to 2^-11, twice, of values below 4. Where the
# integer result lies between two steps, another order of operations may round to the other one. DynamicQuantizeLSTM
# quantises inputs of -3 to 3 there to 8 bits, 0.012 off at most, and a gate adds six of them by weights below 0.5.
compare() { # FOLDER WHAT
    for group in "f32 1e-4 1e-5" "graphs 1e-4 1e-5" "f16 2e-3 2e-3" "q8 0 1" "lstm 0 2e-2"; do
        # shellcheck disable=SC2086 # three words
        set -- "$1" "$2" $group
        "$tern" verify --rtol "$4" --atol "$5" "$1/$3" >"$scratch/out" 2>"$scratch/err"
        result $? "$2, $3: $(tail -n 1 "$scratch/out")"
    done
}

mkdir "$scratch/packed"
if ! tar -xzf tests/data/ms_cases.tar.gz -C "$scratch/packed"; then
    skip "recorded cases" "tar can not unpack .gz here"
else
    compare "$scratch/packed" "recorded cases"
fi

ort=${TERN_ORT:-}
NODE_PATH=$ort${NODE_PATH:+:$NODE_PATH}
export NODE_PATH
python=/usr/bin/python3
reason=
command -v node >/dev/null || reason="node is not installed"
[ -n "$reason" ] || node -e 'require("onnxruntime-node")' 2>/dev/null || reason="onnxruntime-node is not installed (TERN_ORT)"
[ -n "$reason" ] || "$python" -c 'import numpy, onnx' 2>/dev/null || reason="python3-onnx is not installed"
if [ -n "$reason" ]; then
    skip "cases made now" "$reason"
    skip "models that ONNX Runtime has optimised" "$reason"
    finish
fi

timeout 300 "$python" tests/data/make_ms_cases.py "$scratch/made" --seed 2 >"$scratch/out" 2>"$scratch/err"
result $? "ONNX Runtime runs all cases"
compare "$scratch/made" "cases made now"

models=$(find "$shared/models/classify" -name model.onnx 2>/dev/null | sort)
if [ -z "$models" ]; then
    skip "models that ONNX Runtime has optimised" "no $shared/models/classify"
    finish
fi
# shellcheck disable=SC2086 # several files
timeout 300 "$python" tests/data/make_ms_cases.py "$scratch/optimised" --optimise $models >"$scratch/out" 2>"$scratch/err"
result $? "ONNX Runtime optimises all models"
for folder in "$scratch"/optimised/*; do
    timeout 300 "$tern" verify --rtol 1e-3 --atol 1e-4 "$folder" >"$scratch/out" 2>"$scratch/err"
    result $? "optimised $(basename "$folder")"
done
finish
