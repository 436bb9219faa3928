#!/bin/sh
# tern compile: the same bits from the compiled file, for every command, and what is refused.
. tests/cli/expect.sh

model=models/fashion.onnx
cases=tests/data/cases
o=$scratch/o.tern

same() { # NAME MODEL ARGUMENT...: a run of the model and of its compiled form print and write the same
    what=$1 onnx=$2
    shift 2
    rm -rf "$scratch/a" "$scratch/b"
    "$tern" run "$onnx" --fill random "$@" -o "$scratch/a" >"$scratch/first" 2>"$scratch/err" &&
        "$tern" run "$o" --fill random "$@" -o "$scratch/b" >"$scratch/out" 2>"$scratch/err" && [ ! -s "$scratch/err" ] &&
        cmp -s "$scratch/first" "$scratch/out" && diff -r "$scratch/a" "$scratch/b" >/dev/null
    result $? "$what"
}

expect "compile: a model" 0 'o.tern: .* MB, for ' - compile $model -o "$o"
same "compile: gives the same bits" $model
same "compile: in a batch, too" $model --batch 3
same "compile: without fusion it is the model itself" $model --no-fuse
expect "compile: JSON" 0 '"tiers": \[' - compile $model -o "$o" --json
mkdir "$scratch/limited"
(
    ulimit -f 8
    "$tern" compile $model -o "$scratch/limited/o.tern" >/dev/null 2>"$scratch/limit"
)
[ $? -eq 1 ] && grep -q 'o.tern: can not be written: File too large' "$scratch/limit" && rmdir "$scratch/limited"
result $? "compile: above the limit of a file's size"
best=$("$tern" info --json | sed -n 's/.*"machine_tier": "\(.*\)".*/\1/p')
case $best in
avx512) tiers=scalar,avx2,avx512 ;;
avx2) tiers=scalar,avx2 ;;
*) tiers=scalar ;;
esac
expect "compile: for several tiers" 0 ', for scalar' - compile $model -o "$o" --tiers $tiers
for tier in $(echo $tiers | tr , ' '); do same "compile: the same bits on $tier" $model --cpu "$tier"; done
for case in loop nonzero good/add good/strings; do
    file=$cases/$case/model.onnx
    expect "compile: $case" 0 'o.tern' - compile "$file" -o "$o"
    [ "$case" = good/strings ] || same "compile: $case gives the same bits" "$file"
done
for file in "$shared/models/classify/mobilenet_v2_1.0_224_f32/model.onnx" "$shared/models/yolov5/yolov5n/model.onnx" "$shared/models/classify/mobilenet_v2_1.0_224_qdq/model.onnx"; do
    if [ -e "$file" ]; then
        expect "compile: $(basename "$(dirname "$file")")" 0 'o.tern' - compile "$file" -o "$o"
        same "compile: gives the same bits" "$file"
    else
        skip "compile: a real model" "no $file"
    fi
done

# ---- every command ---------------------------------------------------------------------------------------------------

"$tern" compile $model -o "$o" >/dev/null
expect "compile: bench" 0 'median' - bench "$o" --iterations 3
expect "compile: profile" 0 'Conv' - profile "$o" --iterations 2
expect "compile: inspect" 0 '^fused .*Conv' - inspect "$o"
expect "compile: compared with the model" 0 '^0 differences' - inspect $model "$o"
expect "compile: classify" 0 'Bag' - classify "$o" examples/bag.png
expect "compile: back to ONNX" 0 'nodes' - convert "$o" -o "$scratch/back.onnx"
expect "compile: is the model" 0 '^0 differences' - inspect $model "$scratch/back.onnx"
expect "compile: to another opset" 0 'opset 17' - convert "$o" --opset 17 -o "$scratch/back.onnx"

cp -r $cases/good/add "$scratch/case"
"$tern" compile $cases/good/add/model.onnx -o "$scratch/case/model.tern" >/dev/null && rm "$scratch/case/model.onnx"
mkdir -p "$scratch/set/0" "$scratch/set/8"
expect "compile: verify" 0 '^2 passed' - verify "$scratch/case"
cp examples/bag.png "$scratch/set/8/"
cp examples/bag.png "$scratch/set/0/"
expect "compile: eval" 0 'accuracy 50.00 % (1 of 2)' - eval "$o" "$scratch/set"
"$tern" convert models/fashion-detect.pt -o "$scratch/detect.onnx" >/dev/null 2>&1 &&
    "$tern" compile "$scratch/detect.onnx" -o "$scratch/detect.tern" >/dev/null &&
    "$tern" detect "$scratch/detect.onnx" examples/*.png --json 2>/dev/null | grep -v '_ms' >"$scratch/first"
expect "compile: detect" 0 '"box"' - detect "$scratch/detect.tern" examples/*.png --json
grep -v '_ms' "$scratch/out" | diff "$scratch/first" - >"$scratch/err"
result $? "compile: detects the same boxes"

# ---- one copy for all processes --------------------------------------------------------------------------------------

pages() { # PROCESS FIELD: kB of the file's mapping that are FIELD
    awk -v file="$o" -v field="$2:" '/^[0-9a-f]+-/ { in_file = $NF == file } in_file && $1 == field { sum += $2 } END { print sum + 0 }' \
        "/proc/$1/smaps" 2>/dev/null || echo 0
}
"$tern" bench "$o" --seconds 30 >/dev/null 2>&1 &
one=$!
"$tern" bench "$o" --seconds 30 >/dev/null 2>&1 &
two=$!
half=$(($(wc -c <"$o") / 2048))
shared_pages=0
for _ in $(seq 200); do
    shared_pages=$(pages $one Shared_Clean)
    [ "${shared_pages:-0}" -ge $half ] && break
    sleep 0.1
done
written=$(pages $one Private_Dirty)
kill $one $two
wait $one $two 2>/dev/null
echo "shared $shared_pages kB of $((2 * half)), written $written kB" >"$scratch/out"
[ "$shared_pages" -ge $half ] && [ "$written" -eq 0 ]
result $? "compile: two processes share the file's pages, and write to none"

# ---- a quick start ---------------------------------------------------------------------------------------------------

LD_TRACE_LOADED_OBJECTS=1 "$tern" >"$scratch/out"
grep -q 'libc\.so' "$scratch/out" && ! grep -E 'cairo|tiff|microhttpd|gnutls|libav' "$scratch/out" >"$scratch/err"
result $? "a start loads no library that brings many others"

# ---- what is refused -------------------------------------------------------------------------------------------------

size=$(wc -c <"$o")
for n in 8 60 100 200 5000 $((size - 1)); do
    head -c "$n" "$o" >"$scratch/cut.tern"
    expect "compile: cut at $n" 1 - 'cut.tern: has .* bytes.*: it was cut' run "$scratch/cut.tern" --fill ones
done
{ cat "$o" && echo x; } >"$scratch/long.tern"
expect "compile: something behind it" 1 - 'it was cut or has grown' run "$scratch/long.tern" --fill ones
for at in 9 17 25 28 40 60 100 1000 5000 $((size / 2)) $((size - 5)); do
    cp "$o" "$scratch/bad.tern"
    printf '\377\376\375' | dd of="$scratch/bad.tern" bs=1 seek="$at" conv=notrunc 2>/dev/null
    expect "compile: damage at $at" 1 - 'bad.tern: \(is damaged\|was compiled by\|has .* bytes of\)' run "$scratch/bad.tern" --fill ones
done
# What a run does not read is not checked by it, and changes nothing; who reads it is told.
"$tern" run "$o" --fill random >"$scratch/first" 2>/dev/null
for part in 1 2 3 4 5 6 7; do
    cp "$o" "$scratch/bad.tern"
    printf '\377\376\375' | dd of="$scratch/bad.tern" bs=1 seek=$((size * part / 8)) conv=notrunc 2>/dev/null
    "$tern" run "$scratch/bad.tern" --fill random >"$scratch/out" 2>"$scratch/err"
    code=$?
    if [ $code -eq 1 ]; then grep -q 'bad.tern: is damaged' "$scratch/err"; else cmp -s "$scratch/first" "$scratch/out"; fi
    result $? "compile: damage at $part/8 is refused, or is of what the run does not read"
    "$tern" inspect "$scratch/bad.tern" --weights >"$scratch/out" 2>"$scratch/err"
    whole=$?
    "$tern" convert "$scratch/bad.tern" -o "$scratch/bad.onnx" >/dev/null 2>&1
    [ $whole -eq $? ] && { [ $whole -eq 0 ] || grep -q 'bad.tern: is damaged' "$scratch/err"; } && [ $((code + whole)) -gt 0 ]
    result $? "compile: and by who reads all of it, or the run"
done
cp "$o" "$scratch/old.tern"
printf '9.9.9' | dd of="$scratch/old.tern" bs=1 seek=32 conv=notrunc 2>/dev/null
expect "compile: of another version" 1 - 'was compiled by tern 9.9.9 .*compile the model again' run "$scratch/old.tern" --fill ones
"$tern" compile $model -o "$o" --tiers scalar >/dev/null
if [ "$best" = scalar ]; then
    skip "compile: a tier that is missing" "this machine has one tier"
else
    "$tern" run $model --fill random >"$scratch/first"
    expect "compile: a tier that is missing is optimised anew" 0 '^prob' 'warning: .* was not compiled for' run "$o" --fill random
    cmp -s "$scratch/first" "$scratch/out"
    result $? "compile: with the same result"
fi
cp $model "$scratch/self.onnx"
expect "compile: over its input" 1 - 'would replace the input' compile "$scratch/self.onnx" -o "$scratch/self.onnx"
cmp -s $model "$scratch/self.onnx"
result $? "compile: leaves the input as it was"
expect "compile: no output" 2 - 'needs -o' compile $model
expect "compile: a tier that there is not" 2 - 'each once' compile $model -o "$o" --tiers fast
expect "compile: a tier twice" 2 - 'each once' compile $model -o "$o" --tiers scalar,scalar
expect "compile: a compiled file" 1 - 'is compiled already' compile "$o" -o "$scratch/p.tern"
expect "compile: the rules of a compiled file" 1 - 'for ONNX files' inspect "$o" --check
expect "compile: no model" 1 - 'gone.onnx' compile "$scratch/gone.onnx" -o "$o"
expect "compile: nowhere to write" 1 - 'nowhere' compile $model -o "$scratch/nowhere/o.tern"
finish
