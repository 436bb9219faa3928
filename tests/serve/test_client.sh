#!/bin/sh
# Triton's Python client against tern serve. Debian has no package of it (pip install 'tritonclient[http]'), so that this
# is skipped on most machines; what it asks is also asked by tests/serve/test_infer.c.
. tests/serve/serve.sh
python=/usr/bin/python3
require_server
"$python" -c 'import tritonclient.http' 2>/dev/null || skip_all "tritonclient is not installed"
mkdir "$scratch/models"
cp models/fashion.onnx "$scratch/models/"
types=
if "$python" -c 'import onnx' 2>/dev/null; then
    "$python" tests/serve/client.py --write "$scratch/models" && types=$scratch/models
fi
start_server "$scratch/models" --poll 0 || exit 1
timeout 100 "$python" tests/serve/client.py "${url#http://}" ${types:+"$types"}
