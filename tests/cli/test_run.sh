#!/bin/sh
# tern run: inputs in every form, what is filled in, files of outputs, dumps and their comparison, limits.
. tests/cli/expect.sh

model=models/fashion.onnx
add=tests/data/cases/good/add
cases=tests/data/cases
a=$add/test_data_set_0/input_0.pb
b=$add/test_data_set_0/input_1.pb

same() { # NAME: of stdout and $scratch/first
    cmp -s "$scratch/out" "$scratch/first"
    result $? "$1"
}

# ---- inputs ----------------------------------------------------------------------------------------------------------

expect "run: a reference" 0 '^c: float32\[2,3\] min 11 max 36' - run $add/model.onnx --input "a=$a" --input "b=$b" --dump-all "$scratch/d" --format raw
cp "$scratch/out" "$scratch/first"
cp "$scratch/d/a.raw" "$scratch/a-2_3-fp32.dat"
cp "$scratch/d/b.raw" "$scratch/b-3-fp32.dat"
expect "run: files that say their name, shape and type" 0 '^c: ' - run $add/model.onnx --input "$scratch/a-2_3-fp32.dat" --input "$scratch/b-3-fp32.dat"
same "run: give the same"
expect "run: such a file under a name" 0 '^c: ' - run $add/model.onnx --input "a=$scratch/a-2_3-fp32.dat" --input "b=$b"
same "run: gives the same, too"
cat "$scratch/d/a.raw" "$scratch/d/b.raw" >"$scratch/both"
expect "run: all inputs in one file" 0 '^c: ' - run $add/model.onnx --shape a=2x3 --all-inputs "$scratch/both"
same "run: gives the same as well"
expect "run: one file that is too short" 1 - 'too few' run $add/model.onnx --shape a=2x3 --all-inputs "$scratch/d/a.raw"
echo x >>"$scratch/both"
expect "run: one file that is too long" 1 - 'but the inputs need' run $add/model.onnx --shape a=2x3 --all-inputs "$scratch/both"
cp "$scratch/a-2_3-fp32.dat" "$scratch/z-2_3-fp32.dat"
expect "run: a file of another name" 1 - 'no such input' run $add/model.onnx --input "$scratch/z-2_3-fp32.dat" --input "b=$b"
cp "$scratch/a-2_3-fp32.dat" "$scratch/a-2_4-fp32.dat"
expect "run: a file of another size" 1 - 'which is not shape 2x4' run $add/model.onnx --input "$scratch/a-2_4-fp32.dat" --input "b=$b"
cp "$scratch/a-2_3-fp32.dat" "$scratch/a-2_3-fp31.dat"
expect "run: a type that there is not" 1 - 'NAME-DIMS-TYPE.dat' run $add/model.onnx --input "a=$scratch/a-2_3-fp31.dat" --input "b=$b"
expect "run: ones" 0 'min 2 max 2' - run $add/model.onnx --fill ones
expect "run: counting up" 0 '  0 2 4 3 5 7' - run $add/model.onnx --shape a=2x3 --fill arange
expect "run: another seed gives other numbers" 0 '^prob' - run $model --fill random --seed 1
cp "$scratch/out" "$scratch/first"
"$tern" run $model --fill random --seed 2 >"$scratch/out" 2>"$scratch/err"
! cmp -s "$scratch/out" "$scratch/first"
result $? "run: seeds differ"
expect "run: batch" 0 '^prob: float32\[5,10\]' - run $model --fill zeros --batch 5
expect "run: batch where it is free" 0 '^c: float32\[5,3\]' - run $add/model.onnx --fill zeros --batch 5
expect "run: a batch that the model fixes" 1 - 'fixes its batch' run $cases/good/strings/model.onnx --fill zeros --batch 5
expect "run: a type that does not fit" 1 - 'the model takes' run $add/model.onnx --fill ones --dtype a=float64

# ---- files of outputs ------------------------------------------------------------------------------------------------

for format in npy pb raw json; do
    expect "run: output as $format" 0 '^c: ' - run $add/model.onnx --shape a=2x3 --fill ones -o "$scratch/o" --format $format
    [ -s "$scratch/o/c.$format" ]
    result $? "run: c.$format is there"
done
[ "$(tr -d '\n' <"$scratch/o/c.json")" = '{"name":"c","dtype":"float32","shape":[2,3],"data":[2,2,2,2,2,2]}' ]
result $? "run: JSON of a tensor"
expect "run: .pb read back" 0 'min 3 max 3' - run $add/model.onnx --fill ones --input "a=$scratch/o/c.pb"
ln -s "$scratch/elsewhere" "$scratch/o2.link"
mkdir "$scratch/o2"
ln -s "$scratch/elsewhere" "$scratch/o2/c.npy"
expect "run: no output through a link" 1 - 'symbolic link' run $add/model.onnx --fill ones -o "$scratch/o2"
[ ! -e "$scratch/elsewhere" ]
result $? "run: nothing was written there"

# ---- dumps -----------------------------------------------------------------------------------------------------------

expect "run: dump of all tensors" 0 '^prob' - run $model --fill random --no-fuse --cpu scalar --dump-all "$scratch/all"
grep -q '"absent":	\[\]' "$scratch/all/index.json" && [ "$(grep -c '"file"' "$scratch/all/index.json")" -eq "$(($(find "$scratch/all" -type f | wc -l) - 1))" ]
result $? "run: nothing is absent without fusion, and the index has all files"
expect "run: the same comes out" 0 'compared: .* 0 part' - run $model --fill random --no-fuse --cpu scalar --compare "$scratch/all" --rtol 0 --atol 0
expect "run: fused, on the best tier, within rounding" 0 'compared: .* 0 part, 0 are not in' - run $model --fill random --compare "$scratch/all"
expect "run: fused tensors are listed" 0 '^prob' - run $model --fill random --dump-all "$scratch/fused"
grep -q '"absent":	\[.' "$scratch/fused/index.json"
result $? "run: as absent"
expect "run: other inputs part" 1 '^first to part: .*max abs .*max ULP .*cosine' - run $model --fill random --seed 9 --compare "$scratch/all"
expect "run: parting in JSON" 1 '"first_parting": "' - run $model --fill random --seed 9 --compare "$scratch/all" --json
# A change in the middle is found at its place: the node before it still agrees.
name=$(sed -n 's/.*"file":.*"\(.*\)".*/\1/p' "$scratch/all/index.json" | sed -n 4p)
last=$(wc -c <"$scratch/all/$name")
head -c $((last - 4)) "$scratch/all/$name" >"$scratch/changed"
printf '\000\000\200\107' >>"$scratch/changed" # 65536
cp "$scratch/changed" "$scratch/all/$name"
expect "run: the first node that differs" 1 "^first to part: .*max abs 6[0-9.e+]*" - run $model --fill random --no-fuse --cpu scalar --compare "$scratch/all"
grep -q '^compared: [0-9]* tensors, 1 part' "$scratch/out"
result $? "run: is the only one"
rm "$scratch/all/index.json"
expect "run: a dump of another engine has no index" 1 "^compared: [0-9]* tensors, 1 part" - run $model --fill random --no-fuse --cpu scalar --compare "$scratch/all"
mkdir "$scratch/none"
expect "run: nothing to compare with" 1 - 'no tensor that this run computes' run $model --fill random --compare "$scratch/none"
expect "run: no such folder" 1 - 'can not be read' run $model --fill random --compare "$scratch/nowhere"
echo '{' >"$scratch/none/index.json"
expect "run: no folder but a file" 1 - 'is not a folder' run $model --fill random --compare $model
expect "run: a broken index" 1 - 'is no JSON' run $model --fill random --compare "$scratch/none"
expect "run: what NumPy lacks is dumped as .pb" 0 '^t: ' - run $cases/good/strings/model.onnx --input "s=$cases/good/strings/test_data_set_0/input_0.pb" --dump-all "$scratch/s" --format raw
[ -s "$scratch/s/t.pb" ]
result $? "run: t.pb is there"

"$tern" convert $add/model.onnx --rename a=v/1 --rename b=v_1 -o "$scratch/alike.onnx" >/dev/null
# Names that are not UTF-8, and look the same in JSON.
LC_ALL=C sed 's/Relu_1/Relu\xff\xff/g;s/Relu_2/Relu\xfe\xfe/g' $model >"$scratch/bytes.onnx"
expect "run: dump of names that are not UTF-8" 0 '^prob' - run "$scratch/bytes.onnx" --fill random --no-fuse --dump-all "$scratch/bytes"
count=$("$tern" inspect $model --json | sed -n 's/.*"nodes": *\([0-9]*\),*$/\1/p' | head -n 1)
expect "run: is found again by a comparison" 0 "^compared: $count tensors, 0 part, 0 are not in" - run "$scratch/bytes.onnx" --fill random --no-fuse --compare "$scratch/bytes"
expect "run: names that make one file name" 0 '^c: ' - run "$scratch/alike.onnx" --input "v/1=$a" --input "v_1=$b" --dump-all "$scratch/alike"
[ -s "$scratch/alike/v_1.npy" ] && [ -s "$scratch/alike/v_1.2.npy" ] && grep -q '"file":.*"v_1.2.npy"' "$scratch/alike/index.json"
result $? "run: get a number, and the index knows"

# ---- the rest --------------------------------------------------------------------------------------------------------

expect "run: prepare only" 0 'ready after' - run $model --no-run
expect "run: prepare only, JSON" 0 '"prepare_ms"' - run $model --no-run --json
expect "run: enough memory" 0 '^prob' - run $model --fill ones --memory-limit 64M
expect "run: a limit on memory" 1 - 'the limit is 1024' run $model --fill ones --memory-limit 1K
finish
