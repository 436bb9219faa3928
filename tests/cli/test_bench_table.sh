#!/bin/sh
# ./do bench: bench/run.py and bench_kernels, with settings too small to say anything about speed. The form of what they
# write is checked, and what happens to engines that fail.
. tests/cli/expect.sh
python=/usr/bin/python3
build=${TERN_BUILD:-build}

# bench_kernels is built along with the tests.
kernels() { # NAME CODE PATTERN ARGUMENT...
    name=$1 code=$2 pattern=$3
    shift 3
    timeout 120 "$build/bench_kernels" "$@" >"$scratch/out" 2>"$scratch/err"
    [ $? -eq "$code" ] && cat "$scratch/out" "$scratch/err" | grep -qE -- "$pattern"
    result $? "bench_kernels: $name"
}
kernels "a layer" 0 '^shufflenet_v2_x1_0 1x1 7 232-232 .* ms .* GFLOP/s' --rounds 1 --only '7 232-232' bench/shapes/conv.txt
kernels "every shape file is read" 0 '^vit_b_16_scores gemm 197x197x64' --rounds 1 --only 197x197 bench/shapes/*.txt
echo 'conv net 8 8 8 3 1 3' >"$scratch/bad.txt" # 3 groups of 8 channels
kernels "a line that is no layer" 1 'bad.txt:1: not a layer' "$scratch/bad.txt"
kernels "wrong command line" 2 '^usage: ' --threads none bench/shapes/conv.txt

if ! [ -x "$python" ]; then
    skip "bench/run.py" "python3 is not installed"
    finish
fi

export XDG_CACHE_HOME="$scratch/cache" TERN_SHARED="$scratch/none" PYTHONDONTWRITEBYTECODE=1
bench() { # NAME CODE ARGUMENT...: one turn of a moment
    name=$1 code=$2
    shift 2
    timeout 300 "$python" bench/run.py --tern "$tern" --rounds 1 --seconds 0.05 "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
    [ $? -eq "$code" ]
    result $? "bench: $name"
}
holds() { # NAME FILE PATTERN...
    name=$1 file=$2 good=0
    shift 2
    for pattern; do grep -qE -- "$pattern" "$file" || good=1; done
    result "$good" "bench: $name"
}

model=models/fashion.onnx
bench "tern alone" 0 --no-peers $model
holds "a table" "$scratch/out" '^[0-9]{4}-[0-9]{2}-[0-9]{2}, .* processors, ' '^1 thread:$' \
    '^\| network \| GFLOP \| tern [0-9.]+ \| tern.s % of the peak \|$' '^\| fashion \| [0-9.]+ \| [0-9.]+ \([0-9.]+\) \| [0-9]+ \|$'
grep -qE 'The machine was quiet|the machine was noisy' "$scratch/out"
result $? "bench: says whether the machine was quiet"

# Two engines that are no engines: what is checked is the adapter.
cat >"$scratch/slow" <<END
echo version 7; echo load 4; echo 200; echo 100; echo 300
echo "\$TERN_BENCH_SHAPE \$*" >"$scratch/given"
END
printf 'echo no such operator >&2; exit 1\n' >"$scratch/broken"
printf 'echo many\n' >"$scratch/babble"
printf '# Net\n<!-- bench: begin -->\nold\n<!-- bench: end -->\nend\n' >"$scratch/readme"
bench "with other engines" 0 --no-peers --threads 1,2 --peer "slow=sh $scratch/slow" --peer "broken=sh $scratch/broken" \
    --peer "babble=sh $scratch/babble" --markdown "$scratch/table" --svg "$scratch/chart" --readme "$scratch/readme" $model
holds "their columns, ratios and reasons" "$scratch/table" '^1 thread:$' '^2 threads:$' \
    '^\| network .* \| slow 7 \| broken \| babble \| slow / tern \| fastest other / tern \|' \
    '^\| fashion \| .* \| 100 \(200\) \| fails \| fails \| [0-9.]+ \| [0-9.]+ \| [0-9]+ \|$' \
    '^- broken fails on fashion: no such operator$' "^- babble fails on fashion: printed 'many' where"
holds "what an adapter is given" "$scratch/given" '^1x1x28x28 .*fashion.*\.onnx 2 0\.05$'
holds "a section of a file is replaced" "$scratch/readme" '^# Net$' '^\| fashion ' '^end$'
! grep -q old "$scratch/readme" && "$python" -c 'import sys, xml.dom.minidom as x; d = x.parse(sys.argv[1]); sys.exit(len(d.getElementsByTagName("rect")) != 7)' "$scratch/chart"
result $? "bench: a chart with a bar for each engine that ran" # paper, four keys, two bars

bench "layers" 0 --no-peers --layers $model
holds "a table of layers" "$scratch/out" '^Layers of fashion that take over 2 % of the time' '^\| Conv .* \| conv_f32_.* \| [0-9.]+ \| [0-9.]+ \| [0-9]+ \| [0-9]+ \|$'

bench "JSON" 0 --no-peers --json --peer "slow=sh $scratch/slow" $model
"$python" - "$scratch/out" <<'END' 2>"$scratch/err"
import json, sys
r = json.load(open(sys.argv[1]))
row = r["rows"][0]
assert row["model"] == "fashion" and row["engines"]["slow"]["median_ms"] == 200 and row["engines"]["slow"]["load_ms"] == 4
assert row["engines"]["tern"]["min_ms"] <= row["engines"]["tern"]["median_ms"]
assert isinstance(r["noise"]["quiet"], bool) and r["machine"]["cpu"] and r["settings"]["rounds"] == 1
END
result $? "bench: keys of the JSON"

mkdir "$scratch/nets"
cp $model "$scratch/nets/resnet18.onnx"
bench "a folder of models" 0 --no-peers --models "$scratch/nets" --only resnet18
holds "a row of it" "$scratch/out" '^\| resnet18 \|'
bench "an unknown name" 1 --no-peers --models "$scratch/nets" --only resnet19
holds "what it says" "$scratch/err" '^./do bench: no network is called resnet19; there are resnet18$'
"$tern" convert models/fashion-detect.pt --size 64 --dynamic -o "$scratch/free.onnx" >"$scratch/out" 2>"$scratch/err"
bench "free dims" 1 --no-peers "$scratch/free.onnx"
bench "a checkpoint, in batches" 0 --no-peers --batch 2 models/fashion-detect.pt
holds "pictures a second" "$scratch/out" 'tern, pictures/s \|$' '^\| fashion-detect \|'
echo nonsense >"$scratch/bad.onnx"
bench "a model that tern can not read" 1 --no-peers "$scratch/bad.onnx"
bench "wrong command line" 2 --rounds 0 $model
bench "wrong engine" 2 --peer nothing $model
finish
