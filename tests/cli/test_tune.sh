#!/bin/sh
# --tune: taken by every command that runs networks, kept in a file, obeyed, and never in the way.
. tests/cli/expect.sh

model=models/fashion.onnx
cache=$scratch/tune.txt
XDG_CACHE_HOME=$scratch/home
export XDG_CACHE_HOME

expect "tune: run" 0 "^prob" - run $model --fill random --tune-cache "$cache" --threads 1
head -n 1 "$cache" | grep -q '^tern tune 1, '
result $? "tune: the file says what it is of"
expect "tune: bench" 0 'tuned' - bench $model --iterations 2 --threads 1 --tune --vary no-fuse
[ -s "$XDG_CACHE_HOME/tern/tune.txt" ]
result $? "tune: the usual place"
expect "tune: bench, beside another" 0 'tuned' - bench $model --iterations 2 --threads 1 --vary tune
expect "tune: profile" 0 'Conv' - profile $model --iterations 2 --tune-cache "$cache"
expect "tune: classify" 0 'Bag' - classify $model examples/bag.png --tune-cache "$cache"
expect "tune: serve has it" 0 'tune-cache FILE' - serve --help
expect "tune: detect has it" 0 'tune-cache FILE' - detect --help

# ---- files that are no good ------------------------------------------------------------------------------------------

cp "$cache" "$scratch/good"
head -c 150 "$scratch/good" >"$cache"
expect "tune: a damaged file" 0 "^prob" 'it is damaged; it is replaced' run $model --fill random --threads 1 --tune-cache "$cache"
[ "$(wc -l <"$scratch/err")" -eq 1 ]
result $? "tune: one line says so"
expect "tune: which is then whole" 0 "^prob" - run $model --fill random --threads 1 --tune-cache "$cache"
[ ! -s "$scratch/err" ]
result $? "tune: without a word"
sed '1s/.*/tern tune 1, 0.0.0, another CPU/' "$scratch/good" >"$cache"
expect "tune: a file of another machine" 0 "^prob" 'another CPU; it is replaced' run $model --fill random --threads 1 --tune-cache "$cache"
cp $model "$scratch/net.onnx"
expect "tune: a file that is no cache" 0 "^prob" 'it stays as it is' run $model --fill random --threads 1 --tune-cache "$scratch/net.onnx"
cmp -s $model "$scratch/net.onnx"
result $? "tune: is not written to"
expect "tune: a place that can not be written" 0 "^prob" 'nowhere' run $model --fill random --threads 1 --tune-cache "$scratch/nowhere/tune.txt"
expect "tune: no value" 2 - 'needs a value' run $model --tune-cache
finish
