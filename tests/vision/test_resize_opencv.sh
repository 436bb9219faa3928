#!/bin/sh
# Resizing against OpenCV, where Debian's python3-opencv is there.
program=${TERN_BUILD:-build}/tests/vision/test_resize
if ! /usr/bin/python3 -c 'import cv2, numpy' 2>/dev/null; then
    echo "1..1"
    echo "ok 1 - resize as OpenCV does # SKIP python3-opencv is not installed"
    exit 0
fi
exec timeout 200 /usr/bin/python3 "$(dirname "$0")/resize_opencv.py" "$program"
