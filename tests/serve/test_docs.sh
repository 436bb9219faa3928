#!/bin/sh
# The examples of docs/serving.md, run as they stand there but for the address of the server and what the models are.
. tests/serve/serve.sh
require_server
python=/usr/bin/python3
mkdir "$scratch/models" "$scratch/work"
cp models/fashion.onnx "$scratch/models/"
cp models/fashion-detect.pt "$scratch/models/yolov5s.pt"
ln -s "$PWD/examples" "$scratch/work/examples"
for picture in photo one two; do cp examples/scenes/clothes.jpg "$scratch/work/$picture.jpg"; done
"$python" - "$scratch/models/rows.onnx" <<'END' 2>/dev/null || rows_missing="Python's onnx is not installed"
import sys
import onnx
from onnx import TensorProto as T, helper as h
x, y = h.make_tensor_value_info("x", T.FLOAT, ["n", 4]), h.make_tensor_value_info("y", T.FLOAT, ["n", 4])
graph = h.make_graph([h.make_node("Softmax", ["x"], ["y"])], "rows", [x], [y])
onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8), sys.argv[1])
END
start_server "$scratch/models" --access-log none || { result 1 "the server starts"; finish; }
sed "s/127\.0\.0\.1:8000/${url#http://}/" docs/serving.md >"$scratch/docs.md"

block() { # LANGUAGE: its first block
    awk -v fence="\`\`\`$1" '$0 == fence { on = 1; next } /^```/ { if (on) exit } on' "$scratch/docs.md"
}

runs() { # NAME PATTERN COMMAND...: in the folder of the pictures
    name=$1 pattern=$2
    shift 2
    (cd "$scratch/work" && "$@") >"$scratch/out" 2>"$scratch/err" && grep -Eq "$pattern" "$scratch/out"
    result $? "$name"
}

# Commands that go on in the next line are made one.
awk '/^    curl / { on = 1 } on { line = line $0; on = sub(/\\$/, "", line); if (!on) { print line; line = "" } }' \
    "$scratch/docs.md" | sed 's/^ *//' >"$scratch/commands"
[ "$(wc -l <"$scratch/commands")" -ge 5 ]
result $? "there are examples"
while read -r command; do
    case $command in
    */rows/*) [ -z "${rows_missing:-}" ] || { skip "$command" "$rows_missing"; continue; } ;;
    *' -o '*) command="$command && od -An -c -N 10 ${command##* -o }" ;;
    esac
    runs "$command" '"results":\[\{|"detections":\[\{|"pictures":\[\{|"outputs":\[\{|J   F   I   F' sh -c "$command"
done <"$scratch/commands"

block python >"$scratch/work/client.py"
runs "the client in Python" '^(Dress|Bag|Shirt|Coat|Trouser|T-shirt/top|Pullover|Sandal|Sneaker|Ankle boot) 0\.[0-9]+ \[' \
    "$python" client.py
{ echo 'import fs from "fs"; const file = fs.readFileSync("photo.jpg");'; block js; } >"$scratch/work/client.mjs"
if ! node -e 'fetch' >/dev/null 2>&1; then
    skip "the client in JavaScript" "there is no node with fetch"
else
    runs "the client in JavaScript" '^[A-Z][A-Za-z/ -]* 0\.[0-9]+ \[' node client.mjs
fi
finish
