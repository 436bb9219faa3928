#!/bin/sh
# tern convert: its command line, and every checkpoint of the shared set where that is there.
. tests/cli/expect.sh

expect "help" 0 'usage: tern convert .*CHECKPOINT' - convert --help
expect "no checkpoint" 2 - 'CHECKPOINT' convert
expect "a missing checkpoint" 1 - 'no-such.pt' convert no-such.pt -o "$scratch/m.onnx"
expect "a wrong size" 2 - '640y' convert no-such.pt --size 640y
expect "a wrong head" 2 - 'raw' convert no-such.pt --head boxes
expect "an opset that is too old" 2 - '9' convert no-such.pt --opset 8
printf 'not a checkpoint' >"$scratch/text.pt"
expect "a text file" 1 - 'text.pt' convert "$scratch/text.pt" -o "$scratch/m.onnx"
[ ! -e "$scratch/m.onnx" ]
result $? "nothing is written after an error"
cp models/fashion.onnx "$scratch/model.pt"
expect "a model that is called like a checkpoint" 1 - 'model.pt' convert "$scratch/model.pt" -o "$scratch/m.onnx"

archive=$shared/checkpoints/checkpoints.tar.xz
if [ ! -r "$archive" ]; then
    skip "checkpoints" "no $archive"
    finish
fi
mkdir "$scratch/set" && tar -xJf "$archive" -C "$scratch/set" || exit 1
v7=$(find "$scratch/set" -path '*/cases/v7.0/*' -name '*.pt')
set=${v7%/cases/*}

expect "a checkpoint" 0 'out2 float32\[1,36,4,5\]' - convert "$v7" --size 160x128 -o "$scratch/v7.onnx"
expect "as JSON" 0 '"source": "models.yolo.DetectionModel, 25 layers"' - convert "$v7" --json -o "$scratch/v7.onnx"
cp "$v7" "$scratch/own.pt"
expect "the name of the output" 0 "^$scratch/own.onnx$" - convert "$scratch/own.pt" --size 64
[ -s "$scratch/own.onnx" ]
result $? "and the file"
before=$(cksum <"$scratch/own.pt")
expect "never over the checkpoint" 1 - 'would replace the checkpoint' convert "$scratch/own.pt" -o "$scratch/own.pt"
ln -s own.pt "$scratch/link.onnx"
expect "nor through a link" 1 - 'would replace the checkpoint' convert "$scratch/own.pt" -o "$scratch/link.onnx"
[ "$(cksum <"$scratch/own.pt")" = "$before" ]
result $? "the checkpoint is as before"
expect "an odd size" 1 - 'layer [0-9]* (Concat, model\.[0-9]*): maps of' convert "$v7" --size 100 -o "$scratch/m.onnx"
expect "a folder that is not there" 1 - 'no/such' convert "$v7" --size 64 -o "$scratch/no/such/m.onnx"
expect "a description where there is a tree" 1 - 'own module tree' convert "$v7" --arch yolov5s@7.0 -o "$scratch/m.onnx"
cls=$(find "$set/cases/v7.0_cls" -name '*.pt')
expect "a classifier" 0 'images float32\[1,3,224,224\]' - convert "$cls" -o "$scratch/m.onnx"
expect "a classifier has no boxes" 1 - 'no boxes' convert "$cls" --head nms -o "$scratch/m.onnx"
state=$(find "$set/cases/v6.1_formats" -name state_dict.pth)
expect "a bare state dict, and what was assumed of it" 0 'from  state dict, 25 layers' \
    'state_dict.pth: a bare state dict, taken for yolov5s@6.0 by its tensors: SiLU after Conv.*; yolov5s-LeakyReLU@7.0 has the same tensors (--arch' \
    convert "$state" -o "$scratch/m.onnx" --size 64
expect "with its name" 0 'from  state dict, 25 layers' - convert "$state" --arch yolov5s@6.1 -o "$scratch/m.onnx" --size 64
expect "with another one's name" 1 - 'layer 0 (Focus)' convert "$state" --arch yolov5s@5.0 -o "$scratch/m.onnx"
LC_ALL=C sed 's/SPPF/SPPX/g' "$set/cases/v6.1_formats/legacy.pt" >"$scratch/unknown.pt"
expect "a class that is not known, by name and layer" 1 - "layer 9 (SPPX, model.9): modules of class 'SPPX' are not known" \
    convert "$scratch/unknown.pt" -o "$scratch/m.onnx"

checker=$shared/tools/check_checkpoints.py
if ! command -v python3 >/dev/null 2>&1 || [ ! -r "$checker" ]; then
    skip "every checkpoint" "no python3, or no $checker"
else
    python3 - "$v7" "$scratch/bomb.pt" <<'END' # a storage of 300 MB that deflates to 300 KB
import sys, zipfile
source = zipfile.ZipFile(sys.argv[1])
with zipfile.ZipFile(sys.argv[2], "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb:
    for name in source.namelist():
        bomb.writestr(name, bytes(300 << 20) if name.endswith("/data/0") else source.read(name))
END
    expect "a storage that inflates to far more than the file" 1 - 'more than the limit' convert "$scratch/bomb.pt" -o "$scratch/m.onnx"
    case $tern in /*) program=$tern ;; *) program=$PWD/$tern ;; esac
    timeout 500 python3 "$checker" "$program" "$set" >"$scratch/out" 2>"$scratch/err"
    result $? "every checkpoint gives the reference's values, every hostile file an error"
fi
finish
