#!/bin/sh
# Every command of docs/from-pplnn.md, as it stands there.
. tests/cli/expect.sh

root=$(pwd)
case $tern in /*) ;; *) tern=$root/$tern ;; esac
cp models/fashion.onnx "$scratch/net.onnx"
cp examples/bag.png "$scratch"
head -c 3136 /dev/zero >"$scratch/image.bin"
cp "$scratch/image.bin" "$scratch/image-1_1_28_28-fp32.dat"
best=$("$tern" info --json | sed -n 's/.*"machine_tier": "\(.*\)".*/\1/p')
sed -n 's/^    tern //p' docs/from-pplnn.md >"$scratch/commands"
cd "$scratch" || exit 1
while read -r line; do
    case "$line $best" in
    *'--cpu avx2'*' scalar')
        skip "tern $line" "this machine has no AVX2"
        continue
        ;;
    esac
    # shellcheck disable=SC2086 # words, as a shell would split them
    timeout 100 "$tern" $line >"$scratch/out" 2>"$scratch/err" </dev/null
    result $? "tern $line"
done <"$scratch/commands"
[ "$number" -ge 13 ] && [ -s outputs/prob.raw ] && [ -s reference/index.json ] && [ -s report.html ] && [ -s net11.onnx ]
result $? "the files are there"
finish
