#!/bin/sh
# tern verify, run, bench and inspect: results, files, and what they say when something is wrong.
. tests/cli/expect.sh

model=models/fashion.onnx
cases=tests/data/cases

# ---- verify ----------------------------------------------------------------------------------------------------------

expect "verify: cases that pass" 0 '^5 passed, 0 failed, 0 skipped$' - verify $cases/good
expect "verify: one case" 0 '^2 passed' - verify $cases/good/add
expect "verify: a wrong value is shown with its place" 1 "wrong_value.*'c': element \[1,1\] is 25, expected 25.5 (1 of 6 differ)" - verify $cases/bad
tail -n 1 "$scratch/out" | grep -qx '0 passed, 5 failed, 0 skipped'
result $? "verify: the last line counts"
expect "verify: a wrong shape" 1 'has shape 2x3, expected 1x3' - verify $cases/bad/wrong_shape
expect "verify: a wrong type" 1 'is float32, expected float64' - verify $cases/bad/wrong_type
expect "verify: a wider tolerance" 0 '^1 passed' - verify --atol 0.6 $cases/bad/wrong_value
expect "verify: relative tolerance" 0 '^1 passed' - verify --rtol 0.02 $cases/bad/wrong_value
expect "verify: top1 sees what tolerance hides" 1 'maximum at' - verify --atol 100 --rtol 0 --top1 $cases/bad/wrong_top1
expect "verify: no data is skipped, with the reason" 0 'skip: .*no test_data_set_0' - verify $cases/no_data
expect "verify: an unknown operator names node, domain and opset" 1 "model.onnx: node 'odd' (my.ops.Frobnicate, opset 2): tern has no operator" - verify $cases/unknown_op
expect "verify: JSON" 1 '"failed": 5' - verify --json $cases/bad
expect "verify: no such folder" 1 '^0 passed' 'nowhere: No such file' verify "$scratch/nowhere"
mkdir "$scratch/empty"
expect "verify: a folder without cases" 1 '^0 passed' 'no model.onnx' verify "$scratch/empty"
for d in arch yolov5; do
    if [ -d "$shared/models/$d" ]; then
        expect "verify: real networks, $d" 0 ' passed, 0 failed, 0 skipped$' - verify --rtol 1e-3 --atol 2e-4 "$shared/models/$d"
    else
        skip "verify: real networks, $d" "no $shared/models/$d"
    fi
done
if [ -d "$shared/models/classify" ]; then
    floats=$(ls -d "$shared"/models/classify/*f32 "$shared"/models/classify/*f16w "$shared"/models/classify/*w8)
    quantised=$(ls -d "$shared"/models/classify/*qdq "$shared"/models/classify/*qlinear)
    for cpu in scalar avx2 avx512; do
        if ! "$tern" info --cpu $cpu >/dev/null 2>&1; then
            skip "verify: classifiers on $cpu" "this machine has no $cpu"
            continue
        fi
        # shellcheck disable=SC2086 # a word per folder
        expect "verify: float classifiers on $cpu" 0 '^12 passed, 0 failed, 0 skipped$' - verify --cpu $cpu --rtol 1e-3 --atol 1e-5 $floats
        # shellcheck disable=SC2086
        expect "verify: quantised classifiers on $cpu" 0 '^12 passed, 0 failed, 0 skipped$' - verify --cpu $cpu --rtol 1e-3 --atol 0.02 --top1 $quantised
    done
else
    skip "verify: real classifiers" "no $shared/models/classify"
fi

# ---- run -------------------------------------------------------------------------------------------------------------

head -c 3136 /dev/zero >"$scratch/x.bin"
expect "run: raw input, the only one, and its name" 0 '^prob: float32\[1,10\] min' - run $model --input "$scratch/x.bin" --shape 1x1x28x28
input=$("$tern" inspect $model --json | tr -d ' \n' | sed 's/.*"inputs":\[{"name":"\([^"]*\)".*/\1/')
expect "run: by name" 0 '^prob: ' - run $model --input "$input=$scratch/x.bin" --shape "$input=1x1x28x28" --output-dir "$scratch/o"
[ -s "$scratch/o/prob.npy" ] && [ "$(echo "$scratch"/o/*)" = "$scratch/o/prob.npy" ]
result $? "run: the output is a file of its name and nothing else is there"
expect "run: .pb input" 0 '^c: float32\[2,3\] min 11 max 36' - run $cases/good/add/model.onnx --input a=$cases/good/add/test_data_set_0/input_0.pb --input b=$cases/good/add/test_data_set_0/input_1.pb -o "$scratch/sum"
# An output read back as an input.
expect "run: .npy input" 0 '^c: float32\[2,3\] min 21 max 66' - run $cases/good/add/model.onnx --input "a=$scratch/sum/c.npy" --input b=$cases/good/add/test_data_set_0/input_1.pb
expect "run: JSON" 0 '"max": 36' - run --json $cases/good/add/model.onnx --input a=$cases/good/add/test_data_set_0/input_0.pb --input b=$cases/good/add/test_data_set_0/input_1.pb
expect "run: filled" 0 '^prob: ' - run $model --fill random --seed 3
cp "$scratch/out" "$scratch/first"
expect "run: the same seed" 0 '^prob: ' - run $model --fill random --seed 3 --threads 1
cmp -s "$scratch/out" "$scratch/first"
result $? "run: gives the same numbers on any number of threads"
expect "run: a missing input" 1 - "input '$input' (.*) is missing" run $model
expect "run: an unknown input" 1 - 'no such input' run $model --input "nothing=$scratch/x.bin"
expect "run: a wrong size" 1 - 'x.bin' run $model --input "$scratch/x.bin" --shape 1x1x28x29
expect "run: a wrong shape" 1 - 'the model takes' run $cases/good/add/model.onnx --fill ones --shape a=2x4
expect "run: no such shape" 1 - 'looks like' run $model --fill ones --shape "$input=1x-1"
expect "run: an unknown ending" 1 - 'told by the ending' run $model --input "$input=$scratch/x.dat"
expect "run: no such file" 1 - 'gone.npy' run $model --input "$scratch/gone.npy"
: >"$scratch/file"
expect "run: an output folder that can not be" 1 - "$scratch/file" run $model --fill ones -o "$scratch/file/deeper"
expect "run: an unwritable output folder" 1 - '/proc' run $model --fill ones -o /proc/tern-test

# ---- bad models, for every command that reads one --------------------------------------------------------------------

head -c 2000 $model >"$scratch/cut.onnx"
: >"$scratch/empty.onnx"
head -c 5000 /dev/urandom >"$scratch/random.onnx"
for command in run bench inspect; do
    for bad in cut empty random gone; do
        expect "$command: $bad model" 1 - "$bad.onnx" $command "$scratch/$bad.onnx"
        [ "$(wc -l <"$scratch/err")" -eq 1 ]
        result $? "$command: $bad model, one line"
    done
    expect "$command: a folder" 1 - "$scratch" $command "$scratch"
    expect "$command: no model" 2 - "$command --help" $command
    expect "$command: an unknown option" 2 - 'thread' $command $model --thread 1
    expect "$command: help" 0 'examples:' - $command --help
done

# ---- bench and inspect -----------------------------------------------------------------------------------------------

expect "bench: text" 0 'min .* ms, median' - bench $model --iterations 5
expect "bench: JSON" 0 '"min_ms"' - bench $model --iterations 5 --threads 1 --json
good=0
for key in min_ms median_ms p99_ms load_ms first_ms peak_rss_mb threads; do grep -q "\"$key\": [0-9]" "$scratch/out" || good=1; done
result $good "bench: all keys"
expect "bench: seconds and shape" 0 '"runs": ' - bench $model --seconds 0.05 --shape 3x1x28x28 --json
expect "bench: a model whose shape depends on data" 0 'median' - bench $cases/nonzero/model.onnx --iterations 3
expect "inspect: text" 0 '^fused .*Conv' - inspect $model
expect "inspect: an operator that tern lacks" 1 'my.ops:Frobnicate 1' 'tern has no operator' inspect $cases/unknown_op/model.onnx
expect "inspect: JSON" 0 '"macs": [1-9]' - inspect $model --json
expect "inspect: Graphviz" 0 '^digraph model' - inspect $model --dot
expect "inspect: Graphviz of what runs" 0 'Conv + ' - inspect $model --dot --optimized
finish
