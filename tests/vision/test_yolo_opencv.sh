#!/bin/sh
# Converted checkpoints before the ONNX checker and in OpenCV's DNN module, where Debian's packages and the set are there.
archive=${TERN_SHARED:-../shared}/checkpoints/checkpoints.tar.xz
reason=
[ -r "$archive" ] || reason="no $archive"
/usr/bin/python3 -c 'import cv2, numpy, onnx' 2>/dev/null || reason="python3-opencv or python3-onnx is not installed"
if [ -n "$reason" ]; then
    echo "1..1"
    echo "ok 1 - checkpoints in OpenCV # SKIP $reason"
    exit 0
fi
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
tar -xJf "$archive" -C "$scratch" || exit 1
case=$(find "$scratch" -type d -path '*/cases/v7.0')
timeout 500 /usr/bin/python3 "$(dirname "$0")/yolo_opencv.py" "${TERN_BUILD:-build}/tern" "${case%/cases/*}"
