#!/bin/sh
# The operators that OpenMMLab's exporters write, against PyTorch, torchvision and numpy (tests/data/make_mmcv.py).
. tests/cli/expect.sh

timeout 100 "$tern" verify tests/data/mmcv >"$scratch/out" 2>"$scratch/err"
sed -n 's/^FAIL: /# &/p' "$scratch/out"
[ "$(tail -n 1 "$scratch/out")" = "50 passed, 0 failed, 0 skipped" ]
result $? "mmcv, mmdeploy: $(tail -n 1 "$scratch/out")"
finish
