#!/bin/sh
# tern detect: with networks of a few nodes that find the same boxes in every picture, and with real ones where they are.
. tests/cli/expect.sh

data=tests/data/detect
bag=examples/bag.png

# ---- text and JSON -----------------------------------------------------------------------------------------------------

expect "a picture" 0 '0.720 *7.0 *10.5 *21.0 *17.5  cat$' - detect $data/plain.onnx $bag
grep -q '^examples/bag.png: 28 x 28, 2 objects' "$scratch/out"
result $? "a line for the picture"
grep -q '0.630 .* dog$' "$scratch/out"
result $? "a box of another class stays"
expect "agnostic" 0 '1 object,' - detect $data/plain.onnx $bag --agnostic
expect "conf" 0 '1 object,' - detect $data/plain.onnx $bag --conf 0.7
expect "iou" 0 '3 objects,' - detect $data/plain.onnx $bag --iou 0.99
expect "max-det" 0 '1 object,' - detect $data/plain.onnx $bag --max-det 1
expect "classes by number" 0 '1 object,' - detect $data/plain.onnx $bag --classes 1
expect "classes by name" 0 ' dog$' - detect $data/plain.onnx $bag --classes dog
expect "several classes" 0 '2 objects,' - detect $data/plain.onnx $bag --classes 0,dog
expect "multi-label" 0 '4 objects,' - detect $data/plain.onnx $bag --multi-label --conf 0.1 --iou 0.99
expect "landmarks" 0 '"landmarks": \[' - detect $data/face.onnx $bag --json
expect "no names" 0 'class 0$' - detect $data/nameless.onnx $bag
printf 'a\nb\n' >"$scratch/labels"
expect "names from a file" 0 ' b$' - detect $data/nameless.onnx $bag --labels "$scratch/labels"
expect "a free input" 0 '2 objects,' - detect $data/free.onnx $bag --size 64
expect "the rectangular form" 0 '2 objects,' - detect $data/free.onnx $bag --size 64x64 --rect
expect "JSON" 0 '"name": "cat"' - detect $data/plain.onnx $bag --json
tr -d ' \n' <"$scratch/out" | sed 's/"network_ms":[0-9.e-]*,"boxes_ms":[0-9.e-]*,//' >"$scratch/flat"
grep -q '^\[{"image":"examples/bag.png","width":28,"height":28,"detections":\[{"box":\[7,10.5,21,17.5\],"score":0.7[12][0-9]*,"class":0,"name":"cat"},{"box":\[7,10.9375,21,17.9375\],"score":0.6[23][0-9]*,"class":1,"name":"dog"}\]}\]$' "$scratch/flat"
result $? "form of the JSON"
expect "a folder" 0 'trouser.png: 28 x 28, 2 objects' - detect $data/plain.onnx examples
[ "$(grep -c objects "$scratch/out")" -eq 10 ]
result $? "all ten pictures of the folder"

# ---- files -------------------------------------------------------------------------------------------------------------

if "$tern" detect $data/plain.onnx $bag -o "$scratch/drawn.png" >"$scratch/out" 2>"$scratch/err"; then
    expect "the annotated picture is one" 0 'drawn.png: 28 x 28' - detect $data/plain.onnx "$scratch/drawn.png"
    ! cmp -s "$scratch/drawn.png" $bag
    result $? "boxes were drawn"
    expect "a folder of annotated pictures" 0 'shirt.png' - detect $data/plain.onnx examples -o "$scratch/all"
    [ "$(find "$scratch/all" -name '*.png' | wc -l)" -eq 10 ]
    result $? "all ten annotated pictures"
    expect "JPEG" 0 cat - detect $data/plain.onnx $bag -o "$scratch/drawn.jpg" --quality 80 --no-scores --line-width 1
    [ "$(od -An -tx1 -N3 "$scratch/drawn.jpg" | tr -d ' ')" = ffd8ff ]
    result $? "the file is a JPEG"
    expect "one file for many pictures" 2 - 'give a folder' detect $data/plain.onnx examples -o "$scratch/one.png"
    expect "an unknown ending" 2 - 'written as' detect $data/plain.onnx $bag -o "$scratch/one.gif"
    expect "a folder that is not there" 1 '' 'no/such' detect $data/plain.onnx $bag -o "$scratch/no/such/x.png"
else
    for t in "annotated pictures" "folder of annotated pictures" "JPEG"; do skip "$t" "$(head -c 80 "$scratch/err")"; done
fi
expect "label files" 0 cat - detect $data/plain.onnx $bag --txt "$scratch/txt" --save-conf
[ "$(cat "$scratch/txt/bag.txt")" = "0 0.5 0.5 0.5 0.25 0.72
1 0.5 0.515625 0.5 0.25 0.63" ]
result $? "form of the label files"
expect "crops" 0 cat - detect $data/plain.onnx $bag --crop "$scratch/crops"
if [ -e "$scratch/crops/bag_1_cat.jpg" ]; then
    expect "a crop is a picture" 0 'bag_1_cat.jpg: 14 x 8' - detect $data/plain.onnx "$scratch/crops/bag_1_cat.jpg"
else
    result 1 "a crop is a picture"
fi

# ---- what would be lost ------------------------------------------------------------------------------------------------

mkdir "$scratch/one" "$scratch/two"
cp $bag "$scratch/one/x.png"
cp $bag "$scratch/two/x.png"
cp $bag "$scratch/two/x.bmp" # named so; it is a PNG
for files in "-o $scratch/both" "--txt $scratch/both" "--crop $scratch/both"; do
    # shellcheck disable=SC2086 # two words
    expect "two pictures of one name: $files" 1 - 'would both be written' detect $data/plain.onnx "$scratch/one/x.png" "$scratch/two/x.png" $files
done
expect "label files of two pictures of one name" 1 - 'would both be written' detect $data/plain.onnx "$scratch/two" --txt "$scratch/both"
expect "a picture twice" 0 cat - detect $data/plain.onnx "$scratch/one/x.png" "$scratch/one/x.png" --txt "$scratch/both"
expect "the picture as its own output" 1 - 'replace the picture' detect $data/plain.onnx "$scratch/one/x.png" -o "$scratch/one/x.png"
expect "the folder as its own output" 1 - 'replace the picture' detect $data/plain.onnx "$scratch/one" -o "$scratch/one"
cmp -s "$scratch/one/x.png" $bag
result $? "the picture is as it was"
strange="$scratch/$(printf 'a\033[31m\nb.png')"
cp $bag "$strange"
expect "control characters in a name" 0 'a?\[31m?b.png: 28 x 28' - detect $data/plain.onnx "$strange"

# ---- what is wrong -----------------------------------------------------------------------------------------------------

printf 'broken' >"$scratch/broken.png"
expect "a broken picture among good ones" 1 'bag.png: 28' 'broken.png: not a picture' detect $data/plain.onnx "$scratch/broken.png" $bag
expect "a missing picture" 1 - 'no-such.png' detect $data/plain.onnx no-such.png
expect "a missing model" 1 - 'no-such.onnx' detect no-such.onnx $bag
expect "a model that is none" 1 - 'labels' detect "$scratch/labels" $bag
expect "no picture" 2 - 'detect' detect $data/plain.onnx
expect "a head that does not fit" 1 - 'numbers' detect $data/plain.onnx $bag --head face
expect "names that do not fit" 1 - 'names of classes' detect $data/plain.onnx $bag --labels models/imagenet_labels.txt
expect "an unknown class" 2 - "'bird' is neither" detect $data/plain.onnx $bag --classes bird
expect "no class" 2 - "'' is neither" detect $data/plain.onnx $bag --classes ''
expect "a class that can not be" 2 - 'no class -1' detect $data/plain.onnx $bag --classes -1
expect "a size of a fixed input" 1 - '64 x 64, not 32 x 32' detect $data/plain.onnx $bag --size 32
expect "the rectangular form of a fixed input" 1 - 'fixed to 64 x 64' detect $data/plain.onnx $bag --rect
expect "--arch of a model that is no checkpoint" 1 - 'is for checkpoints' detect $data/plain.onnx $bag --arch yolov5s
expect "a wrong size" 2 - 'WxH' detect $data/plain.onnx $bag --size big
expect "wrong anchors" 2 - 'pairs' detect $data/plain.onnx $bag --anchors x
expect "an unknown head" 2 - 'head' detect $data/plain.onnx $bag --head yolov99
expect "a picture above the limit" 1 - 'more than the limit' detect $data/plain.onnx $bag --max-pixels 100

# ---- real networks -----------------------------------------------------------------------------------------------------

yolo=$shared/models/yolov5
for picture in bus zidane; do
    for model in yolov5n/model.onnx yolov5n_raw/model.onnx yolov5n.pt face_v6.pt; do
        name="$model, $picture.jpg: the boxes of the original"
        want=yolov5n
        [ $model = face_v6.pt ] && want=face_v6
        if [ ! -e "$yolo/$model" ] || [ ! -e "$shared/images/$picture.jpg" ]; then
            skip "$name" "no $yolo/$model or no $picture.jpg"
            continue
        fi
        timeout 120 "$tern" detect "$yolo/$model" "$shared/images/$picture.jpg" --json >"$scratch/out" 2>"$scratch/err"
        code=$?
        boxes_of "$yolo/${want}_${picture}_dets.json" xyxy conf >"$scratch/want"
        boxes_of "$scratch/out" box score >"$scratch/have"
        # face_v6 finds nobody in zidane.jpg
        { [ -s "$scratch/want" ] || [ "$model $picture" = "face_v6.pt zidane" ]; } && [ $code -eq 0 ] && same_boxes "$scratch/want" "$scratch/have"
        result $? "$name"
    done
done
# What tern converts gives the same boxes whatever the head: decoded here, in the network, or suppressed there too.
for model in yolov5n face_v6; do
    for head in raw decoded nms; do
        name="$model.pt converted with --head $head"
        if [ ! -e "$yolo/$model.pt" ] || [ ! -e "$shared/images/bus.jpg" ]; then
            skip "$name" "no $yolo/$model.pt or no bus.jpg"
            continue
        fi
        "$tern" convert "$yolo/$model.pt" --head $head -o "$scratch/$model.onnx" >"$scratch/out" 2>"$scratch/err" &&
            timeout 120 "$tern" detect "$scratch/$model.onnx" "$shared/images/bus.jpg" --json >"$scratch/out" 2>"$scratch/err" &&
            [ ! -s "$scratch/err" ] && boxes_of "$yolo/${model}_bus_dets.json" xyxy conf >"$scratch/want" &&
            boxes_of "$scratch/out" box score >"$scratch/have" && [ -s "$scratch/want" ] &&
            same_boxes "$scratch/want" "$scratch/have"
        result $? "$name"
    done
done
if [ -e "$yolo/yolov5n_raw/model.onnx" ]; then
    expect "anchors that were assumed are mentioned" 0 ' person$' 'anchors: YOLOv5' detect "$yolo/yolov5n_raw/model.onnx" "$shared/images/bus.jpg"
    expect "anchors that are given are not" 0 ' person$' - detect "$yolo/yolov5n_raw/model.onnx" "$shared/images/bus.jpg" \
        --anchors 10,13,16,30,33,23,30,61,62,45,59,119,116,90,156,198,373,326
    expect "the rectangular form of a real network" 0 ' bus$' - detect "$yolo/yolov5n_dynamic/model.onnx" "$shared/images/bus.jpg" --rect
    # Post-processing takes under 2 % of the network's time, on one thread: the best of nine pictures.
    "$tern" detect -t 1 "$yolo/yolov5n/model.onnx" "$shared/images" --json >"$scratch/out" 2>"$scratch/err"
    awk -F'[:,]' '/"network_ms"/ { n = $2 } /"boxes_ms"/ { r = $2 / n; if (!seen++ || r < best) best = r }
        END { printf "# boxes take %.2f %% of the network\n", best * 100; exit !(seen && best < 0.02) }' "$scratch/out"
    result $? "time of the boxes"
else
    skip "real networks" "no $yolo"
fi
finish
