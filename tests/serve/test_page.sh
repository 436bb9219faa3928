#!/bin/sh
# The web page in a browser without a window: page.js does the work.
. tests/serve/serve.sh
require_server
command -v node >/dev/null || skip_all "node is not installed"
node -e 'require("playwright-core")' 2>/dev/null || skip_all "playwright-core is not installed (npm install playwright-core, NODE_PATH)"
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || skip_all "there is no chromium"

models=
[ ! -e "$shared/models/yolov5/yolov5n.pt" ] || models=$shared/models/yolov5/yolov5n.pt
mkdir "$scratch/models"
cp models/fashion.onnx "$scratch/models/fashion.onnx"
# shellcheck disable=SC2086 # one word or none
start_server "$scratch/models" $models --access-log none || { result 1 "the server starts"; finish; }
picture=
[ -z "$models" ] || picture=$shared/images/bus.jpg
timeout 200 node tests/serve/page.js "$url" "$browser" "${TERN_SCREENSHOTS:-$scratch}" "$PWD/examples" "$picture"
exit $?
