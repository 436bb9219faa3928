#!/bin/sh
# tern bench: what is measured, for which variants, and in which form; never how fast it is.
. tests/cli/expect.sh

model=models/fashion.onnx

key() { # NAME PATTERN: a line of the JSON
    grep -q "\"$1\": $2" "$scratch/out"
    result $? "bench: $1"
}

expect "bench: text" 0 'min .* ms, median .* ms, mean .* ms, p90 .* ms, p99 .* ms, std' - bench $model --iterations 6 --threads 1
grep -q 'throughput .*/s, .* GFLOP/s, .* % of the' "$scratch/out" && grep -q 'load .* first run .* MB planned' "$scratch/out" && grep -q 'peak memory of the process' "$scratch/out"
result $? "bench: rates and memory"
expect "bench: JSON" 0 '^{$' - bench $model --iterations 7 --threads 1 --json
for name in min_ms median_ms mean_ms p90_ms p99_ms std_ms throughput load_ms first_ms planned_bytes macs gflops peak_gflops percent_of_peak peak_rss_mb; do key $name '[0-9]'; done
key runs 7
key threads 1
key batch 1
grep -q '"variants"' "$scratch/out"
[ $? -eq 1 ]
result $? "bench: one variant is no list"
macs=$(sed -n 's/.*"macs": \([0-9]*\).*/\1/p' "$scratch/out")
expect "bench: a batch" 0 '"batch": 3' - bench $model --iterations 2 --batch 3 --json
[ "$(sed -n 's/.*"macs": \([0-9]*\).*/\1/p' "$scratch/out")" -eq $((3 * macs)) ]
result $? "bench: a batch of three is three times the work"
key noise '"there are 2 runs only"'
expect "bench: streams" 0 '"streams": 3' - bench $model --iterations 4 --streams 3 --threads 1 --json
key runs 12
expect "bench: more streams than processors" 0 '"streams": 200' - bench $model --iterations 5 --streams 200 --threads 1 --json
! grep -q 'other programs' "$scratch/out"
result $? "bench: it does not blame other programs for its own streams"
expect "bench: a list of threads" 0 '"variants"' - bench $model --iterations 3 --threads 1,2 --json
[ "$(grep -c '"runs": 3' "$scratch/out")" -eq 2 ] && grep -q '"threads": 2' "$scratch/out"
result $? "bench: each of them"
expect "bench: two models and a setting" 0 'times the speed of the first' - bench $model --iterations 3 --compare tests/data/cases/good/add/model.onnx --vary no-fuse --vary cpu=scalar --vary threads=2
[ "$(grep -c 'times the speed of the first' "$scratch/out")" -eq 4 ] && grep -q 'not fused' "$scratch/out" && grep -q ', scalar$' "$scratch/out"
result $? "bench: all of them"
expect "bench: a file for the input" 0 'median' - bench tests/data/cases/good/add/model.onnx --iterations 2 --input a=tests/data/cases/good/add/test_data_set_0/input_0.pb
expect "bench: no such setting" 2 - 'threads=N, batch=N, cpu=TIER, precision=P, tune or no-fuse' bench $model --vary speed=9
expect "bench: no such tier" 2 - 'cpu=TIER' bench $model --vary cpu=fast
expect "bench: no threads at all" 2 - 'from 1 to 1024' bench $model --threads 1,0
expect "bench: the other model is missing" 1 - 'gone.onnx' bench $model --compare "$scratch/gone.onnx"
expect "bench: a batch that the model fixes" 1 - 'fixes its batch' bench tests/data/cases/good/strings/model.onnx --batch 4
expect "bench: a limit on memory" 1 - 'the limit is 1024' bench $model --memory-limit 1K
finish
