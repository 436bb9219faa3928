#!/bin/sh
# tern detect on videos: those that ffmpeg makes, and what ffprobe reads of those that tern writes.
. tests/cli/expect.sh

data=tests/data/detect
model=$data/plain.onnx

# ---- the command line, which needs no video ----------------------------------------------------------------------------

expect "a video among the pictures" 2 - "'clip.MP4' is a video: give it as --input" detect $model clip.MP4
expect "an address among the pictures" 2 - 'give it as --input' detect $model rtsp://localhost/x
expect "neither picture nor video" 2 - 'or a video as --input' detect $model
expect "a picture and a video" 2 - 'not both' detect $model --input clip.mp4 examples/bag.png
expect "frames of pictures" 2 - 'for videos' detect $model examples/bag.png --frames 3
expect "a video into a picture" 2 - 'written as .mp4' detect $model --input clip.mp4 -o out.png

if "$tern" info | grep -q 'video.*not in this build'; then
    expect "a build without video says what to install" 1 - 'libavformat-dev, libavcodec-dev' detect $model --input clip.mp4
    skip "videos" "this build has no video support"
    finish
fi
expect "a missing video" 1 - 'no-such.mp4: can not be opened' detect $model --input no-such.mp4
cp $data/plain.onnx "$scratch/own.mp4"
expect "the video as its own output" 1 - 'replace the video' detect $model --input "$scratch/own.mp4" -o "$scratch/own.mp4"
expect "a text file" 1 - 'README.md: can not be opened as a video' detect $model --input README.md
expect "a folder" 1 - 'examples: can not be opened' detect $model --input examples
expect "an address without a server" 1 - 'rtsp://127.0.0.1:9/x: can not be opened' detect $model --input rtsp://127.0.0.1:9/x
[ -e /dev/video9 ] || expect "a camera that is not there" 1 - '/dev/video9' detect $model --input /dev/video9

if ! command -v ffmpeg >/dev/null || ! command -v ffprobe >/dev/null; then
    skip "videos" "no ffmpeg"
    finish
fi

make() { # ARGUMENT...: a video or picture
    ffmpeg -nostdin -y -loglevel error "$@" || exit 1
}
probe() { # FILE ENTRIES
    ffprobe -v error -count_frames -select_streams v -show_entries "$2" -of csv=p=0 "$1" | sed 's/,$//' | grep .
}

# ---- what is found in frames is what is found in the same pictures -----------------------------------------------------

# A head that looks at the picture; frames that change; a codec that loses nothing.
mkdir "$scratch/pictures"
make -f lavfi -i testsrc2=size=96x70:rate=10:duration=1 "$scratch/pictures/frame_%02d.png"
make -framerate 10 -i "$scratch/pictures/frame_%02d.png" -c:v ffv1 -pix_fmt bgr0 "$scratch/clip.mkv"
boxes() { { tr -d ' \n' && echo; } | sed 's/"detections"/\n&/g' | sed -n 's/^"detections":\(\[.*\]\)}.*/\1/p'; }
"$tern" detect $data/heads/yolov8.onnx "$scratch/pictures" --json >"$scratch/out" 2>"$scratch/err" && boxes <"$scratch/out" >"$scratch/want" &&
    "$tern" detect $data/heads/yolov8.onnx --input "$scratch/clip.mkv" --json >"$scratch/out" 2>"$scratch/err" &&
    boxes <"$scratch/out" >"$scratch/have" && [ "$(wc -l <"$scratch/have")" -eq 10 ] &&
    [ "$(sort -u "$scratch/have" | wc -l)" -gt 5 ] && cmp -s "$scratch/want" "$scratch/have"
result $? "frames give the boxes of the pictures they were made from"
[ "$(wc -l <"$scratch/out")" -eq 10 ] && grep -q '^{"frame":3,"time":0.2,"width":96,"height":70,"network_ms":.*,"detections":\[' "$scratch/out"
result $? "an object per line and frame"
expect "as text" 0 'clip.mkv, frame 10, 0.900 s: 96 x 70, 2 objects' - detect $model --input "$scratch/clip.mkv"
expect "no more frames than asked for" 0 'frame 4' - detect $model --input "$scratch/clip.mkv" --frames 4
[ "$(grep -c frame "$scratch/out")" -eq 4 ]
result $? "which are four"
mkdir "$scratch/txt" "$scratch/crops"
expect "label files and crops" 0 'frame 2' - detect $model --input "$scratch/clip.mkv" --frames 2 --txt "$scratch/txt" --crop "$scratch/crops"
[ -s "$scratch/txt/clip_1.txt" ] && [ -s "$scratch/txt/clip_2.txt" ] && [ -s "$scratch/crops/clip_2_1_cat.jpg" ]
result $? "are named after the video and the frame"
expect "frames above the limit of pixels" 1 - 'frames of 96 x 70 pixels' detect $model --input "$scratch/clip.mkv" --max-pixels 1000

# ---- what is written ---------------------------------------------------------------------------------------------------

make -f lavfi -i testsrc2=size=160x120:rate=30000/1001:duration=1.5 -pix_fmt yuv420p "$scratch/clip.mp4"
frames=$(probe "$scratch/clip.mp4" stream=nb_read_frames)
for ending in mp4 m4v mov mkv avi webm; do
    out=$scratch/out.$ending
    "$tern" detect $model --input "$scratch/clip.mp4" -o "$out" >"$scratch/out" 2>"$scratch/err" && [ ! -s "$scratch/err" ] &&
        [ "$(probe "$out" stream=width,height,nb_read_frames)" = "160,120,$frames" ] &&
        [ "$(probe "$out" stream=avg_frame_rate)" = 30000/1001 ]
    result $? "$ending: size, rate and number of frames"
done
probe "$scratch/clip.mp4" frame=pts_time >"$scratch/want" && probe "$scratch/out.mp4" frame=pts_time >"$scratch/have" && cmp -s "$scratch/want" "$scratch/have"
result $? "times stay"
make -i "$scratch/clip.mp4" -vf "select=not(mod(n\,3))+not(mod(n\,7))" -vsync vfr "$scratch/uneven.mkv"
"$tern" detect $model --input "$scratch/uneven.mkv" -o "$scratch/uneven.mp4" >"$scratch/out" 2>"$scratch/err" &&
    probe "$scratch/uneven.mkv" frame=pts_time >"$scratch/want" && probe "$scratch/uneven.mp4" frame=pts_time >"$scratch/have" &&
    [ "$(wc -l <"$scratch/want")" -gt 10 ] && cmp -s "$scratch/want" "$scratch/have"
result $? "uneven ones, too"

# The picture as it was beside the boxes, the boxes in it, and the colours right. Differences of single bytes: a mean.
mean_difference() { # A.ppm B.ppm
    cmp -l "$1" "$2" | awk 'function dec(o,  i, v) { for (i = 1; i <= length(o); i++) v = v * 8 + substr(o, i, 1); return v }
        { a = dec($2); b = dec($3); sum += a > b ? a - b : b - a } END { printf "%d\n", sum / (160 * 120 * 3) + 0.5 }'
}
make -i "$scratch/clip.mp4" -frames:v 1 "$scratch/plain.ppm"
make -i "$scratch/out.mp4" -frames:v 1 "$scratch/drawn.ppm"
"$tern" detect $model --input "$scratch/clip.mp4" --conf 0.99 -o "$scratch/same.mp4" --frames 5 >"$scratch/out" 2>"$scratch/err"
make -i "$scratch/same.mp4" -frames:v 1 "$scratch/same.ppm"
[ "$(mean_difference "$scratch/plain.ppm" "$scratch/same.ppm")" -le 8 ]
result $? "without boxes the picture stays"
[ "$(mean_difference "$scratch/same.ppm" "$scratch/drawn.ppm")" -gt "$(mean_difference "$scratch/plain.ppm" "$scratch/same.ppm")" ]
result $? "boxes are drawn"

make -i "$scratch/clip.mp4" -c copy -metadata:s:v rotate=90 "$scratch/turned.mp4"
if ffprobe -v error -show_entries stream_side_data=rotation -of csv=p=0 "$scratch/turned.mp4" | grep -q 90; then
    "$tern" detect $model --input "$scratch/turned.mp4" --conf 0.99 -o "$scratch/upright.mp4" >"$scratch/out" 2>"$scratch/err" &&
        grep -q 'frame 1, 0.000 s: 120 x 160' "$scratch/out" && [ "$(probe "$scratch/upright.mp4" stream=width,height)" = 120,160 ]
    result $? "a turned video is put upright"
    make -i "$scratch/turned.mp4" -frames:v 1 "$scratch/want.ppm"
    make -i "$scratch/upright.mp4" -frames:v 1 "$scratch/have.ppm"
    [ "$(mean_difference "$scratch/want.ppm" "$scratch/have.ppm")" -le 8 ]
    result $? "the way ffmpeg turns it"
else
    skip "a turned video is put upright" "this ffmpeg writes no rotation"
fi
make -f lavfi -i testsrc=size=161x121:rate=10:duration=1 -pix_fmt yuv444p "$scratch/odd.mp4"
expect "odd sizes" 0 'frame 10' - detect $model --input "$scratch/odd.mp4" -o "$scratch/odd_out.mp4"
[ "$(probe "$scratch/odd_out.mp4" stream=width,height,nb_read_frames)" = 161,121,10 ]
result $? "stay"

# ---- damage ------------------------------------------------------------------------------------------------------------

make -i "$scratch/clip.mp4" -c copy -movflags +faststart "$scratch/front.mp4"
size=$(wc -c <"$scratch/front.mp4")
head -c $((size / 2)) "$scratch/front.mp4" >"$scratch/half.mp4"
rm -f "$scratch/rest.mp4"
expect "a video that breaks off" 1 'frame 5' 'damaged packet' detect $model --input "$scratch/half.mp4" -o "$scratch/rest.mp4"
have=$(probe "$scratch/rest.mp4" stream=nb_read_frames)
[ "$have" -gt 5 ] && [ "$have" -lt "$frames" ]
result $? "what was there is written"
head -c 2000 "$scratch/clip.mp4" >"$scratch/start.mp4"
expect "a video without its index" 1 - 'can not be opened as a video' detect $model --input "$scratch/start.mp4" -o "$scratch/none.mp4"
make -f lavfi -i sine=duration=1 "$scratch/sound.wav"
expect "sound alone" 1 - 'has no video in it' detect $model --input "$scratch/sound.wav"
printf '#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n' >"$scratch/list.mp4"
expect "a playlist under the name of a video opens no address" 1 - 'list.mp4: ' detect $model --input "$scratch/list.mp4"
expect "a folder that is not there" 1 - 'can not be created' detect $model --input "$scratch/clip.mp4" -o "$scratch/no/out.mp4"
: >"$scratch/keep.mp4"
expect "a head that does not fit" 1 - 'frame 1' detect $model --input "$scratch/clip.mp4" --head face -o "$scratch/keep.mp4"
[ -e "$scratch/keep.mp4" ] && [ ! -s "$scratch/keep.mp4" ] && [ ! -e "$scratch/none.mp4" ]
result $? "after an error what was there is untouched"

# ---- Ctrl-C ------------------------------------------------------------------------------------------------------------

make -f lavfi -i testsrc2=size=320x240:rate=25:duration=400 -c:v mpeg4 -g 250 "$scratch/long.mkv"
"$tern" detect $model --input "$scratch/long.mkv" -o "$scratch/cut.mp4" >"$scratch/out" 2>"$scratch/err" &
job=$!
tries=0
while [ "$(grep -c frame "$scratch/out")" -lt 20 ] && [ $tries -lt 300 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
kill -INT $job
wait $job
code=$?
frames=$(probe "$scratch/cut.mp4" stream=nb_read_frames)
[ $code -eq 0 ] && [ ! -s "$scratch/err" ] && [ "$frames" -ge 20 ] && [ "$frames" -lt 10000 ] && [ "$frames" -eq "$(grep -c frame "$scratch/out")" ]
result $? "Ctrl-C ends the video and leaves a whole file"
"$tern" detect $model --input "$scratch/long.mkv" -o "$scratch/piped.mp4" 2>"$scratch/err" | head -n 3 >"$scratch/out"
grep -q 'standard output' "$scratch/err" && [ ! -e "$scratch/piped.mp4" ]
result $? "a closed pipe is an error"
! find "$scratch" -name '*tmp-*' | grep -q .
result $? "no temporary files are left"

# ---- a real network ----------------------------------------------------------------------------------------------------

yolo=$shared/models/yolov5/yolov5n/model.onnx
if [ -e "$yolo" ] && [ -e "$shared/images/bus.jpg" ]; then
    make -loop 1 -framerate 5 -i "$shared/images/bus.jpg" -frames:v 2 -c:v ffv1 -pix_fmt bgr0 "$scratch/bus.mkv"
    expect "a bus in a video" 0 '"name":"bus"' - detect "$yolo" --input "$scratch/bus.mkv" --json
    [ "$(grep -c '"name":"person".*"name":"bus"' "$scratch/out")" -eq 2 ]
    result $? "in every frame"
else
    skip "a bus in a video" "no $yolo"
fi
finish
