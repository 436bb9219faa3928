#!/bin/sh
# models/fashion-detect.pt: what models/fashion-detect.json says of it, the same boxes however it is converted, its mean
# average precision, and the demo that shows it.
. tests/cli/expect.sh

model=models/fashion-detect.pt
scenes=tests/data/scenes
python=/usr/bin/python3
fact() { sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\",]*\).*/\1/p" models/fashion-detect.json; }
# $1 is within $3 of $2
near() { awk -v a="$1" -v b="$2" -v d="$3" 'BEGIN { exit !(a != "" && b != "" && a - b <= d && b - a <= d) }'; }
number_of() { sed -n "s/^ *\"$1\":[ \t]*\([0-9.e+-]*\),*$/\1/p" "$2"; }

# ---- the file ----------------------------------------------------------------------------------------------------------

sha256sum $model >"$scratch/out"
[ "$(cut -d ' ' -f 1 "$scratch/out")" = "$(fact sha256)" ]
result $? "fashion-detect.pt is the file that fashion-detect.json describes"
[ "$(wc -c <$model)" -le 2000000 ]
result $? "it has at most 2 MB"
expect "inspect has nothing to warn of" 0 'classes     models.yolo.DetectionModel' - inspect $model

# ---- the same boxes however it is converted ----------------------------------------------------------------------------

expect "the checkpoint itself" 0 '"name": "Sneaker"' - detect $model $scenes --json
boxes_of "$scratch/out" box score >"$scratch/direct"
[ "$(wc -l <"$scratch/direct")" -ge 60 ]
result $? "it finds most of the 88 garments of 24 scenes"
for head in raw decoded nms; do
    expect "convert --head $head" 0 'images float32\[1,3,160,160\]' - convert $model --head $head -o "$scratch/$head.onnx"
    expect "detect with it" 0 '"name": "Sneaker"' - detect "$scratch/$head.onnx" $scenes --json
    boxes_of "$scratch/out" box score >"$scratch/boxes"
    # Decoding in the network and outside of it round differently: some 1e-6 of the numbers.
    same_boxes "$scratch/direct" "$scratch/boxes" 0.01 0.0001
    result $? "the same boxes from --head $head"
    if $python -c 'import onnx' 2>/dev/null; then
        $python -c 'import onnx, sys; onnx.checker.check_model(sys.argv[1], full_check=True)' "$scratch/$head.onnx" \
            >"$scratch/out" 2>"$scratch/err"
        result $? "the ONNX checker passes --head $head"
    else
        skip "the ONNX checker passes --head $head" "python3-onnx is not installed"
    fi
done

# ---- mean average precision --------------------------------------------------------------------------------------------

expect "eval --coco" 0 '^mAP@0.5 .* 0\.[0-9]' - eval --coco $scenes/annotations.json $model $scenes
grep -q '^Ankle boot  *[0-9]*  *[01]\.[0-9]* ' "$scratch/out"
result $? "with a line per class"
expect "the ONNX file has the same" 0 '"mAP50"' - eval --coco $scenes/annotations.json "$scratch/decoded.onnx" $scenes --json
near "$(number_of mAP50 "$scratch/out")" "$(fact mAP50_first_24)" 0.005
result $? "mAP@0.5 is that of PyTorch, to 0.005"

data=/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz
if [ ! -e $data ] || ! $python -c 'import cv2, numpy' 2>/dev/null; then
    for t in "numbers of another implementation" "the scenes are those of their script" "mAP@0.5 of all held-out scenes"; do
        skip "$t" "python3-opencv or dataset-fashion-mnist is not installed"
    done
else
    timeout 300 $python tests/cli/coco_eval.py "$tern" $model $scenes >"$scratch/out" 2>"$scratch/err"
    result $? "numbers of another implementation"
    $python tools/train/fashion_scenes.py "$scratch/scenes" --count "$(fact held_out_scenes)" 2>"$scratch/err" &&
        $python tools/train/fashion_scenes.py "$scratch/few" --count 24 2>"$scratch/err" &&
        cmp "$scratch/few/annotations.json" $scenes/annotations.json >"$scratch/out" 2>&1
    result $? "the scenes are those of their script"
    expect "eval of all held-out scenes" 0 '"mAP50"' - eval --coco "$scratch/scenes/annotations.json" $model "$scratch/scenes" --json
    near "$(number_of mAP50 "$scratch/out")" "$(fact mAP50)" 0.005
    result $? "mAP@0.5 of all held-out scenes is that of PyTorch, to 0.005"
fi

# ---- what is wrong -----------------------------------------------------------------------------------------------------

expect "no annotations" 1 - 'no-such.json' eval --coco no-such.json $model $scenes
printf '{"images": [' >"$scratch/bad.json"
expect "half a file" 1 - 'bad.json: the file is not valid JSON' eval --coco "$scratch/bad.json" $model $scenes
printf '{"images": [{"id": 1, "file_name": "scene-000.jpg"}], "categories": [{"id": 1, "name": "Bag"}], "annotations": [%s]}' \
    '{"image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1]}' >"$scratch/bad.json"
expect "an unknown category" 1 - 'annotation 0: no category' eval --coco "$scratch/bad.json" $model $scenes
sed 's/"category_id": 2/"category_id": 1/; s/1, 1\]/-1, 1]/' "$scratch/bad.json" >"$scratch/bad2.json"
expect "a box of negative size" 1 - 'annotation 0: "bbox"' eval --coco "$scratch/bad2.json" $model $scenes
sed 's/"category_id": 2/"category_id": 1/' "$scratch/bad.json" >"$scratch/one.json"
expect "classes that are no category" 0 '^1 pictures, 1 objects' "9 of the model's 10 classes" eval --coco "$scratch/one.json" $model $scenes
sed 's/Bag/Umbrella/' "$scratch/one.json" >"$scratch/none.json"
expect "no class is a category" 1 - 'is a category' eval --coco "$scratch/none.json" $model $scenes
sed 's/scene-000/scene-999/' "$scratch/one.json" >"$scratch/gone.json"
expect "a missing picture" 1 - 'scene-999.jpg' eval --coco "$scratch/gone.json" $model $scenes
expect "a classifier" 1 - 'tern: ' eval --coco $scenes/annotations.json models/fashion.onnx $scenes
expect "labels of a classifier's kind" 2 - 'folder' eval --coco $scenes/annotations.json $model $scenes labels
sed 's/"bbox"/"iscrowd": "yes", "bbox"/' "$scratch/one.json" >"$scratch/crowd.json"
expect "a crowd that is neither 0 nor 1" 1 - 'annotation 0: "iscrowd"' eval --coco "$scratch/crowd.json" $model $scenes
{ cat "$scratch/one.json" && echo ']'; } >"$scratch/long.json"
expect "more than a JSON value" 1 - 'long.json: the file is not valid JSON' eval --coco "$scratch/long.json" $model $scenes
expect "detections over the annotations" 1 - 'replace the annotations' eval --coco "$scratch/one.json" $model $scenes --det-json "$scratch/one.json"
expect "detections without --coco" 2 - 'goes with --coco' eval $model $scenes --det-json "$scratch/x.json"

# ---- the demo ----------------------------------------------------------------------------------------------------------

mkdir "$scratch/build"
case $tern in /*) program=$tern ;; *) program=$PWD/$tern ;; esac
ln -s "$program" "$scratch/build/tern"
if "$tern" info | grep -q '^drawing .*not in this build'; then
    skip "the demo" "libcairo2-dev is not installed"
else
    timeout 100 tools/demo "$scratch/build" >"$scratch/out" 2>"$scratch/err" && [ ! -s "$scratch/err" ] &&
        grep -q "^The scene with its boxes is in $scratch/build/demo/scene.png$" "$scratch/out"
    result $? "the demo"
    # Eight garments, of which two may be missed or taken for something else.
    grep '^  0\.[0-9]* .*[A-Z]' "$scratch/out" | awk 'END { exit !(NR >= 6 && NR <= 10) }'
    result $? "it finds the clothes of its scene"
    expect "its picture is one" 0 'scene.png: 480 x 360' - detect $model "$scratch/build/demo/scene.png"
    "$tern" convert $model -o "$scratch/again.onnx" >"$scratch/out" 2>"$scratch/err" &&
        cmp "$scratch/again.onnx" "$scratch/build/demo/fashion-detect.onnx"
    result $? "its ONNX file is that of tern convert"
fi
finish
