#!/bin/sh
# ./do bench serve: bench/serve.py with settings too small to say anything about speed. The form of what it writes is
# checked, never a time.
. tests/serve/serve.sh
python=/usr/bin/python3
build=${TERN_BUILD:-build}
[ -x "$python" ] || skip_all "python3 is not installed"
[ -x "$build/bench_load" ] || skip_all "bench_load is not built (sanitizers)"
require_server
export XDG_CACHE_HOME="$scratch/cache" PYTHONDONTWRITEBYTECODE=1

bench() { # NAME CODE ARGUMENT...
    name=$1 code=$2
    shift 2
    timeout 200 "$python" bench/serve.py --build "$build" --rounds 1 --seconds 0.05 --clients 3 --threads 1 "$@" \
        >"$scratch/out" 2>"$scratch/err" </dev/null
    [ $? -eq "$code" ]
    result $? "$name"
}
holds() { # NAME FILE PATTERN...
    name=$1 file=$2 good=0
    shift 2
    for pattern; do grep -qE -- "$pattern" "$file" || good=1; done
    result "$good" "$name"
}

bench "tables" 0 models/fashion.onnx
holds "requests with and without batches, one client, JSON" "$scratch/out" '^[0-9]{4}-[0-9]{2}-[0-9]{2}, .* processors, ' \
    '^\| 3 clients \| max_batch \| ' '^\| fashion \| 32 \| [0-9]+ \| [0-9]+ \| [0-9.]+ \| [0-9.]+, [0-9.]+ \|$' \
    '^\| fashion \| [0-9.]+ \| [0-9.]+ \| -?[0-9.]+ \| [0-9.]+ \| [0-9.]+ \|$' '^\| a million floats \| ' '^\| .* \| [0-9.]+ \| [0-9.]+ \|$'

"$tern" convert models/fashion-detect.pt --head raw --size 64 -o "$scratch/fixed.onnx" >"$scratch/out" 2>"$scratch/err"
bench "a fixed batch, JSON in and out" 0 --json --json-body "$scratch/fixed.onnx"
"$python" - "$scratch/out" 2>"$scratch/err" <<'END'
import json, sys
r = json.load(open(sys.argv[1]))
m = r["models"][0]
t, l = m["throughput"], m["latency"]
assert m["name"] == "fixed" and m["max_batch"] == 1 and m["request_bytes"] > 64 * 64 * 3
assert t["alone"] > 0 and t["batch"] > 0 and len(t["ratios"]) == 1
assert abs(l["limit_ms"] - 0.05 * l["network_ms"] - 0.3) < 0.002 and l["request_ms"] > 0 and l["loopback_ms"] > 0
assert r["json"] and all(v["parse_mb_s"] > 0 and v["print_mb_s"] > 0 for v in r["json"].values())
assert r["settings"]["clients"] == 3 and r["settings"]["json_body"] is True
END
result $? "keys of the JSON"

echo nonsense >"$scratch/bad.onnx"
bench "what is no model" 1 "$scratch/bad.onnx"
holds "which it says" "$scratch/err" '^\./do bench serve: .*bad'
bench "an unknown name" 1 --only resnet19
holds "names that there are" "$scratch/err" 'no network is called resnet19; there are fashion'
bench "wrong command line" 2 --rounds 0
finish
