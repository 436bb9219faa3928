#!/bin/sh
# tern detect: networks that end as the exports of each detector family, whose boxes depend on the picture, against the
# boxes that NumPy computes from the formulas (tests/data/make_heads.py).
. tests/cli/expect.sh

heads=tests/data/detect/heads
picture=$heads/picture.png

# Detections of $scratch/out (--json) as lines "x1 y1 x2 y2 score class".
flatten() {
    { tr -d ' \n' <"$scratch/out" && echo; } | sed 's/{"box":\[/\n@/g' | sed -n 's/^@\([^]]*\)\],"score":\([0-9.e-]*\),"class":\([0-9]*\).*/\1,\2,\3/p' | tr , ' '
}

# Within 0.02 pixels and 0.0005: values in float32 of 1e3 ULP, pixels from logits of up to 60.
same() { # WANT HAVE
    [ -s "$1" ] && [ "$(wc -l <"$1")" -eq "$(wc -l <"$2")" ] && awk '
        function d(a, b) { return a > b ? a - b : b - a }
        NR == FNR { for (i = 1; i <= 6; i++) want[NR, i] = $i; n = NR; next }
        { for (k = 1; k <= n; k++) if (!hit[k] && $6 == want[k, 6] && d($1, want[k, 1]) < 0.02 && d($2, want[k, 2]) < 0.02 &&
              d($3, want[k, 3]) < 0.02 && d($4, want[k, 4]) < 0.02 && d($5, want[k, 5]) < 0.0005) { hit[k] = 1; found++; break } }
        END { exit found != n }' "$1" "$2"
}

check() { # NAME MODEL ERR ARGUMENT...
    name=$1 model=$2 err=$3
    shift 3
    "$tern" detect "$heads/$model.onnx" $picture --json "$@" >"$scratch/out" 2>"$scratch/err"
    code=$?
    good=0
    flatten >"$scratch/have"
    [ $code -eq 0 ] && same "$heads/$model.txt" "$scratch/have" || good=1
    if [ "$err" = - ]; then [ ! -s "$scratch/err" ] || good=1; else grep -q -- "$err" "$scratch/err" || good=1; fi
    result $good "$name"
}

check "YOLOv6" yolov6 -
check "YOLOv6, said" yolov6 - --head yolov6
check "YOLOv7" yolov7 -
check "YOLOv7, maps per level" yolov7-raw - \
    --anchors 1.5,2,2.375,4.5,5,3.5,4.5,9.375,9.5,6.875,9,18.25,17.75,13.75,24,30.375,57.375,50.125
check "YOLOv7, end to end: rows of 7" yolov7-end -
check "YOLOv8" yolov8 -
check "YOLOv11, said" yolov8 - --head yolov11
check "YOLOv10, end to end: rows of 6" yolov10 -
check "YOLOX" yolox "YOLOX's head assumed"
check "YOLOX, said" yolox - --head yolox
finish
