#!/bin/sh
# --precision bf16: taken by every command that runs networks, seen in profile and inspect, and never in silence.
. tests/cli/expect.sh

model=models/fashion.onnx

expect "precision: run" 0 '^prob: float32' - run $model --fill random --precision bf16
expect "precision: f32 is the default" 0 'conv_f32_' - profile $model --iterations 2 --precision f32
expect "precision: profile names the kernels" 0 'conv_bf16_' - profile $model --iterations 2 --precision bf16
expect "precision: products, too" 0 'gemm_bf16_' - profile $model --iterations 2 --precision bf16
expect "precision: inspect shows them" 0 'bf16' - inspect $model --precision bf16
expect "precision: bench, beside f32" 0 'bf16' - bench $model --iterations 2 --threads 1 --vary precision=bf16
expect "precision: bench, as JSON" 0 '"precision": *"bf16"' - bench $model --iterations 2 --threads 1 --precision bf16 --json
expect "precision: classify" 0 'Bag' - classify $model examples/bag.png --precision bf16
expect "precision: detect has it" 0 'precision f32|bf16' - detect --help
expect "precision: no such one" 2 - 'precision' run $model --fill random --precision fp4
expect "precision: not without fusion" 1 - 'precision bf16 is a choice of optimisation' run $model --fill random --precision bf16 --no-fuse

# ---- the same bits for any number of threads -------------------------------------------------------------------------

for threads in 1 2 3 7; do
    "$tern" run $model --fill random --seed 7 --precision bf16 --threads $threads -o "$scratch/t$threads" >/dev/null
    cmp -s "$scratch/t1/prob.npy" "$scratch/t$threads/prob.npy"
    result $? "precision: $threads threads"
done

# ---- compiled files --------------------------------------------------------------------------------------------------

expect "precision: compile" 0 'MB, for' - compile $model --precision bf16 -o "$scratch/net.tern"
expect "precision: the compiled file" 0 'conv_bf16_' - profile "$scratch/net.tern" --iterations 2 --precision bf16
[ ! -s "$scratch/err" ]
result $? "precision: which is used as it is"
"$tern" run "$scratch/net.tern" --fill random --seed 7 --precision bf16 -o "$scratch/c" >/dev/null
cmp -s "$scratch/t1/prob.npy" "$scratch/c/prob.npy"
result $? "precision: the same bits from it"
expect "precision: in another precision it is optimised anew" 0 'conv_f32_' 'optimised anew' profile "$scratch/net.tern" --iterations 2

# ---- real networks keep their first class ----------------------------------------------------------------------------

if [ -d "$shared/models/classify" ]; then
    floats=$(ls -d "$shared"/models/classify/*f32 "$shared"/models/classify/*f16w "$shared"/models/classify/*w8)
    for cpu in scalar avx2 avx512; do
        if ! "$tern" info --cpu $cpu >/dev/null 2>&1; then
            skip "precision: classifiers on $cpu" "this machine has no $cpu"
            continue
        fi
        # shellcheck disable=SC2086 # a word per folder
        expect "precision: classifiers on $cpu" 0 '^12 passed, 0 failed, 0 skipped$' - verify --cpu $cpu --precision bf16 --top1 --rtol 0.05 --atol 0.05 $floats
    done
    # Of the pictures, the first class stays the first where it leads by a quarter; of two that are closer either may be.
    pictures() { # MODEL OPTION...
        network=$shared/models/classify/$1/model.onnx
        shift
        for precision in f32 bf16; do
            "$tern" classify "$network" "$shared/images" -k 2 --precision $precision "$@" \
                --labels "$shared/models/classify/imagenet_labels.txt" >"$scratch/$precision" 2>"$scratch/err" || return 1
        done
        cp "$scratch/bf16" "$scratch/out"
        awk '{
            sub(/^.*: n/, "n")
            split($0, entry, "; ")
            for (k = 1; k <= 2; k++) {
                p[k] = entry[k]
                sub(/^.* /, "", p[k])
                sub(/ [^ ]*$/, "", entry[k])
            }
            if (NR == FNR) {
                first[FNR] = entry[1]
                second[FNR] = p[1] < 1.25 * p[2] ? entry[2] : entry[1]
            } else if (entry[1] == first[FNR] || entry[1] == second[FNR]) kept++
        }
        END { exit !(kept == 9 && NR == 18) }' "$scratch/f32" "$scratch/bf16"
    }
    for name in mobilenet_v1_0.25_128_f32 mobilenet_v2_1.0_224_f32 mobilenet_v2_1.0_224_w8; do
        pictures $name --mean 0.50196,0.50196,0.50196 --std 0.50196,0.50196,0.50196
        result $? "precision: pictures, $name"
    done
    pictures squeezenet1.1_f16w --scale 1 --mean 104,117,123 --bgr
    result $? "precision: pictures, squeezenet1.1_f16w"
else
    skip "precision: real classifiers" "no $shared/models/classify"
fi
finish
