#!/bin/sh
# tern classify and tern eval with the embedded model, and with real networks where they are there.
. tests/cli/expect.sh

expect "a picture, the embedded model" 0 'Dress$' - classify examples/dress.png
lines=$(wc -l <"$scratch/out")
[ "$lines" -eq 5 ]
result $? "five classes of one picture"
expect "the word default" 0 'Bag$' - classify default examples/bag.png --top 1
expect "many pictures, a line each" 0 '^examples/bag.png: Bag 0\.[0-9]*$' - classify examples/bag.png examples/dress.png
expect "a folder" 0 'trouser.png: Trouser' - classify examples
lines=$(wc -l <"$scratch/out")
[ "$lines" -eq 10 ]
result $? "all ten pictures of the folder"
cp "$scratch/out" "$scratch/batch8"
for batch in 1 3; do
    "$tern" classify examples --batch "$batch" >"$scratch/out" 2>"$scratch/err" && cmp -s "$scratch/out" "$scratch/batch8"
    result $? "the same with batches of $batch"
done
expect "JSON" 0 '"label": "Dress"' - classify examples/dress.png --json --top 2
tr -d ' \n' <"$scratch/out" | grep -q '^\[{"image":"examples/dress.png","results":\[{"index":3,"label":"Dress","score":0\.[0-9]*},{"index":[0-9],"label":"[^"]*","score":[-0-9.e]*}\]}\]$'
result $? "form of the JSON"
printf 'zero\none\ntwo\nthree\n' >"$scratch/labels"
expect "labels from a file" 0 'three$' - classify examples/dress.png --labels "$scratch/labels" --top 1

printf 'broken' >"$scratch/broken.png"
expect "a broken picture among good ones" 1 'bag.png: Bag' 'broken.png: not a picture' classify default "$scratch/broken.png" examples/bag.png
expect "a missing picture" 1 - 'no-such.png' classify default no-such.png
expect "a missing model" 1 - 'no-such.onnx' classify no-such.onnx examples/bag.png
expect "a picture that is no model" 1 - 'labels' classify "$scratch/labels" examples/bag.png
mkdir "$scratch/empty"
expect "a folder without pictures" 1 - 'no pictures' classify "$scratch/empty"
expect "a picture above the limit" 1 - 'more than the limit' classify examples/bag.png --max-pixels 100
expect "a size that the model does not take" 1 - '28 x 28, not 30 x 30' classify examples/bag.png --size 30x30
expect "an output that is not there" 1 - "no output 'x'" classify examples/bag.png --output x
expect "a wrong size" 2 - 'WxH' classify examples/bag.png --size 30
expect "a wrong option" 2 - "did you mean '--labels'" classify examples/bag.png --lables x
expect "no picture" 2 - 'needs a picture' classify default
expect "preprocessing from a broken file" 1 - 'broken.png' classify examples/bag.png --preprocess "$scratch/broken.png"
printf '{"preprocess": {"size": [28, 28], "channels": "grey", "colour": 1}}' >"$scratch/p.json"
expect "an unknown key of the preprocessing" 1 - '"colour" is no key' classify examples/bag.png --preprocess "$scratch/p.json"
if [ -w /dev/full ]; then
    "$tern" classify examples/bag.png >/dev/full 2>"$scratch/err"
    [ $? -eq 1 ] && grep -q 'can not write to standard output' "$scratch/err"
    result $? "a full disk is a failure"
else
    skip "a full disk is a failure" "there is no /dev/full"
fi

# ---- eval ----------------------------------------------------------------------------------------------------------

mkdir -p "$scratch/set/Bag" "$scratch/set/Dress" "$scratch/set/9"
cp examples/bag.png "$scratch/set/Bag"
cp examples/dress.png "$scratch/set/Dress"
cp examples/ankle-boot.png examples/bag.png "$scratch/set/9"
expect "a folder per class" 0 'accuracy 75.00 % (3 of 4)' - eval default "$scratch/set"
grep -q '^  9 Ankle boot .* 50.00%$' "$scratch/out"
result $? "a row of the confusion matrix"
expect "eval as JSON" 0 '"accuracy": 0.75' - eval default "$scratch/set" --json
mkdir "$scratch/set/Hat"
cp examples/bag.png "$scratch/set/Hat"
expect "a folder that is no class" 1 - "no class of the model" eval default "$scratch/set"
printf '\000\000\010\003\000\000\000\002\000\000\000\034\000\000\000\034' >"$scratch/images.idx"
head -c 1000 /dev/zero >>"$scratch/images.idx"
printf '\000\000\010\001\000\000\000\002\001\002' >"$scratch/labels.idx"
expect "a truncated IDX file" 1 - 'ends in picture 2 of 2' eval default "$scratch/images.idx" "$scratch/labels.idx"
printf '\000\000\010\001\000\000\000\003\001\002\003' >"$scratch/labels.idx"
expect "IDX files of different length" 1 - '3 labels' eval default "$scratch/images.idx" "$scratch/labels.idx"
expect "a file that is no IDX" 1 - 'not an IDX file' eval default "$scratch/labels" "$scratch/labels.idx"
head -c 568 /dev/zero >>"$scratch/images.idx"
printf '\000\000\010\001\000\000\000\002\001\377' >"$scratch/labels.idx"
expect "a label that the model does not have" 1 - 'a label is 255' eval default "$scratch/images.idx" "$scratch/labels.idx"

fashion=/usr/share/datasets/fashion-mnist
if [ -e $fashion/t10k-images-idx3-ubyte.gz ] && [ -e models/fashion.json ]; then
    want=$(sed -n 's/.*"test_accuracy": \([0-9.]*\).*/\1/p' models/fashion.json)
    "$tern" eval default $fashion/t10k-images-idx3-ubyte.gz $fashion/t10k-labels-idx1-ubyte.gz --json >"$scratch/out" 2>"$scratch/err"
    have=$(sed -n 's/.*"accuracy": \([0-9.]*\),$/\1/p' "$scratch/out" | head -n 1)
    awk -v a="$have" -v b="$want" 'BEGIN { d = a - b; exit !(a > 0.925 && d < 0.0005 && d > -0.0005) }'
    result $? "accuracy on the 10,000 test pictures is PyTorch's, $want"
else
    skip "accuracy on the 10,000 test pictures" "dataset-fashion-mnist is not installed"
fi

# ---- real networks -------------------------------------------------------------------------------------------------

# Top 1 and its probability, to 0.01, as info.json has them; its pictures were scaled as --filter auto does.
real() { # MODEL IMAGE INDEX SCORE
    model=$shared/models/classify/$1/model.onnx
    if [ ! -e "$model" ]; then
        skip "$1 on $2" "no $model"
        return
    fi
    timeout 120 "$tern" classify "$model" "$shared/images/$2" --json --top 1 >"$scratch/out" 2>"$scratch/err"
    tr -d ' \n' <"$scratch/out" | sed 's/.*"index":\([0-9]*\),.*"score":\([-0-9.e]*\)}.*/\1 \2/' |
        awk -v i="$3" -v s="$4" '{ d = $2 - s; exit !($1 == i && d < 0.01 && d > -0.01) }'
    result $? "$1 on $2"
}

real mobilenet_v2_1.0_224_f32 cat1.jpg 281 0.4293
real mobilenet_v2_1.0_224_f32 cat.bmp 285 0.8186
real mobilenet_v2_1.0_224_f32 bird.bmp 19 0.9947
real mobilenet_v2_1.0_224_f32 hot_dog.jpg 934 0.9605
real mobilenet_v2_1.0_224_f32 parrot.jpg 88 0.9989
real squeezenet1.1_f16w cat1.jpg 281 0.6682
real mobilenet_v1_0.25_128_f32 cat1.jpg 285 0.4984

# A network whose batch, height and width are free.
source=$shared/models/classify/mobilenet_v2_1.0_224_f32/model.onnx
if [ -e "$source" ] && /usr/bin/python3 -c 'import onnx' 2>/dev/null; then
    /usr/bin/python3 - "$source" "$scratch/free.onnx" <<'END'
import sys, onnx
m = onnx.load(sys.argv[1])
dims = m.graph.input[0].type.tensor_type.shape.dim
for i, name in ((0, "n"), (2, "h"), (3, "w")): dims[i].dim_param = name
m.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "n"
del m.graph.value_info[:]
onnx.save(m, sys.argv[2])
END
    cats="$shared/images/cat1.jpg $shared/images/parrot.jpg"
    # shellcheck disable=SC2086 # two words
    expect "pictures of their own size" 0 'parrot.jpg: n01818515 macaw' - classify "$scratch/free.onnx" $cats --size none --scale 0.0078125 --mean 1
    # shellcheck disable=SC2086
    expect "a size for free dims" 0 'parrot.jpg: n01818515 macaw 0.99' - classify "$scratch/free.onnx" $cats --size 224x224 --scale 0.0078125 --mean 1
    expect "free dims and no size" 1 - 'is free' classify "$scratch/free.onnx" "$shared/images/cat1.jpg"
else
    skip "a network with free height and width" "no model or no python3-onnx"
fi

finish
