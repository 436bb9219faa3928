#!/bin/sh
# tern serve as a command: pictures, page, HTTPS, keys, reload, drain.
. tests/serve/serve.sh
require_server

"$tern" serve --help >"$scratch/out" 2>&1 && grep -q 'tern serve models/' "$scratch/out"
result $? "help with examples"
"$tern" serve --tls-cert x >"$scratch/out" 2>&1
[ $? -eq 2 ] && grep -q 'go together' "$scratch/out"
result $? "a certificate without a key is a usage error"
"$tern" serve no-such-file >"$scratch/out" 2>&1
[ $? -eq 1 ] && grep -q 'no-such-file' "$scratch/out"
result $? "a missing model"
"$tern" serve --port 0 --api-key-file README.md >"$scratch/out" 2>&1
[ $? -eq 1 ] && grep -q 'README.md: a key' "$scratch/out"
result $? "a file that holds no keys"

# ---- the embedded model --------------------------------------------------------------------------------------------

start_server --max-body 1 || { result 1 "the server starts"; finish; }
ask "the page" 200 '<title>tern</title>' "$url/"
grep -qi '^content-security-policy: default-src' "$scratch/headers"
result $? "the page may load nothing from elsewhere"
ask "its style" 200 'color-scheme' "$url/style.css"
ask "its script" 200 'createImageBitmap' "$url/app.js"
ask "no other file" 404 'error' "$url/index.html.bak"
ask "HEAD" 200 '' -I "$url/v2/health/live"
ask "a picture" 200 '"results":\[{"index":3,"label":"Dress","score":0\.98' "$url/v1/models/fashion:classify" --data-binary @examples/dress.png
"$tern" classify examples/dress.png --json --top 1 | tr -d ' \n' | sed 's/.*\("index":3.*"score":[0-9.]*\).*/\1/' >"$scratch/want"
grep -qF -- "$(cat "$scratch/want")" "$scratch/out"
result $? "the same number as tern classify"
ask "a version of it" 200 '"version":"1"' "$url/v1/models/fashion/versions/1:classify" --data-binary @examples/dress.png
ask "three pictures in one form" 200 '"picture":"bag.png".*"label":"Bag".*"picture":"x".*"error":".*"picture":"coat.png".*"Coat"' \
    "$url/v1/models/fashion:classify" -F a=@examples/bag.png -F 'b=no picture;filename=x' -F c=@examples/coat.png -F top=1
printf '{"image":{"b64":"%s"},"top":2}' "$(base64 examples/bag.png | tr -d '\n')" >"$scratch/body"
ask "base64 in JSON" 200 '"results":\[{"index":8,"label":"Bag","score":[0-9.]*},{[^}]*}\]' \
    "$url/v1/models/fashion:classify" -H 'Content-Type: application/json' --data-binary "@$scratch/body"
ask "a picture that is none" 400 'error' "$url/v1/models/fashion:classify" -d hello
ask "an empty body" 400 'error' -X POST "$url/v1/models/fashion:classify"
ask "a setting that is none" 400 "'x' is no setting" "$url/v1/models/fashion:classify?x=1" --data-binary @examples/bag.png
ask "a wrong setting" 400 'whole number' "$url/v1/models/fashion:classify?top=0" --data-binary @examples/bag.png
ask "a classifier does not detect" 400 'it classifies' "$url/v1/models/fashion:detect" --data-binary @examples/bag.png
ask "a broken form" 400 'boundary' "$url/v1/models/fashion:classify" -H 'Content-Type: multipart/form-data; boundary=x' -d y
# A picture of 60,000 x 60,000 in 26 bytes: the header of a PNM.
printf 'P6\n60000 60000\n255\nxxxxxxxx' >"$scratch/bomb"
ask "a picture of 60,000 x 60,000" 400 'limit' "$url/v1/models/fashion:classify" --data-binary "@$scratch/bomb"
printf '{"inputs":[]}' | gzip >"$scratch/body.gz"
ask "an inflated body" 400 "is missing" "$url/v2/models/fashion/infer" -H 'Content-Encoding: gzip' --data-binary "@$scratch/body.gz"
head -c 30000000 /dev/zero | gzip >"$scratch/body.gz"
ask "a bomb of zeros" 413 'inflated body' "$url/v2/models/fashion/infer" -H 'Content-Encoding: gzip' --data-binary "@$scratch/body.gz"
head -c 1100000 /dev/zero >"$scratch/large"
ask "a body above the limit" 413 'max-body' "$url/v2/models/fashion/infer" --data-binary "@$scratch/large"
ask "unload" 200 '{}' -X POST "$url/v2/repository/models/fashion/unload"
ask "an unloaded model" 503 'not ready' "$url/v1/models/fashion:classify" --data-binary @examples/bag.png
ask "load" 200 '{}' -X POST "$url/v2/repository/models/fashion/load"
ask "a trace" 200 'live' "$url/v2/health/live" -H 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' -A 'an "agent"'
sleep 0.2
grep -q '"path":"/v2/health/live","status":200,.*"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","agent":"an \\"agent\\""}$' "$scratch/access"
result $? "is in the access log"
stop_server
[ "$code" -eq 0 ] && grep -q 'stopped' "$scratch/log"
result $? "SIGTERM ends it with 0"

# ---- precision ------------------------------------------------------------------------------------------------------

"$tern" serve --precision fp4 >"$scratch/out" 2>&1
[ $? -eq 2 ] && grep -q 'precision' "$scratch/out"
result $? "no such precision"
start_server --precision bf16
for precision in f32 bf16; do
    "$tern" classify examples/dress.png --precision $precision --json --top 1 | tr -d ' \n' |
        sed 's/.*\("index":3.*"score":[0-9.]*\).*/\1/' >"$scratch/$precision"
done
ask "a picture in bf16" 200 'Dress' "$url/v1/models/fashion:classify" --data-binary @examples/dress.png
grep -qF -- "$(cat "$scratch/bf16")" "$scratch/out" && ! cmp -s "$scratch/bf16" "$scratch/f32"
result $? "the number of tern classify in bf16, which is another one than in f32"
stop_server

# ---- keys, HTTPS ---------------------------------------------------------------------------------------------------

printf '# keys\nfirst-secret\nsecond-secret\n' >"$scratch/keys"
start_server --api-key-file "$scratch/keys" --no-control --access-log none
ask "without a key" 401 'a key is needed' "$url/v2"
ask "with another" 401 'a key is needed' "$url/v2" -H 'Authorization: Bearer first-secre'
ask "with the first key" 200 'tern' "$url/v2" -H 'Authorization: Bearer first-secret'
ask "the scheme in any case" 200 'tern' "$url/v2" -H 'Authorization: bearer first-secret'
ask "with the second key" 200 'tern' "$url/v2" -H 'X-API-Key: second-secret'
ask "probes need none" 200 'true' "$url/v2/health/ready"
ask "clients have no control" 403 'can not be loaded' -X POST "$url/v2/repository/models/fashion/unload" -H 'X-API-Key: second-secret'
ask "a page of another origin" 403 'other origins' -X POST "$url/v2/repository/index" -H 'X-API-Key: second-secret' -H 'Origin: https://evil.example'
ask "the server's own page" 200 'fashion' -X POST "$url/v2/repository/index" -H 'X-API-Key: second-secret' -H "Origin: $url"
stop_server
[ ! -s "$scratch/access" ]
result $? "no access log"
if command -v openssl >/dev/null && openssl req -x509 -newkey rsa:2048 -nodes -keyout "$scratch/key.pem" -out "$scratch/cert.pem" \
    -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 2>/dev/null; then
    start_server --tls-cert "$scratch/cert.pem" --tls-key "$scratch/key.pem"
    ask "HTTPS" 200 'Dress' --cacert "$scratch/cert.pem" "$url/v1/models/fashion:classify" --data-binary @examples/dress.png
    stop_server
    "$tern" serve --port 0 --tls-cert README.md --tls-key "$scratch/key.pem" >"$scratch/out" 2>&1
    [ $? -eq 1 ]
    result $? "a certificate that is none"
else
    skip "HTTPS" "openssl is not installed"
fi

start_server --cors https://app.example
ask "the question before a call" 204 '' -X OPTIONS "$url/v2/models/fashion/infer" -H 'Origin: https://app.example' -H 'Access-Control-Request-Method: POST'
grep -qi '^access-control-allow-headers: .*Content-Type' "$scratch/headers"
result $? "says what is allowed"
ask "a call of that page" 200 'Dress' "$url/v1/models/fashion:classify" -H 'Origin: https://app.example' --data-binary @examples/dress.png
grep -qi '^access-control-allow-origin: https://app.example' "$scratch/headers"
result $? "may be read by it"
stop_server

# ---- names of the server -------------------------------------------------------------------------------------------

start_server
ask "by default: not by a name of others" 403 'allowed-hosts' "$url/v2" -H 'Host: rebound.example.net'
ask "by default: localhost" 200 'tern' "$url/v2" -H 'Host: localhost:8000'
stop_server
start_server --allowed-hosts tern.example.org
ask "--allowed-hosts: the name" 200 'tern' "$url/v2" -H 'Host: tern.example.org'
ask "--allowed-hosts: another" 403 'allowed-hosts' "$url/v2" -H 'Host: example.org'
stop_server
start_server --host 0.0.0.0
ask "on all addresses: any name" 200 'tern' "${url%%//*}//127.0.0.1:${url##*:}/v2" -H 'Host: example.org'
stop_server

# ---- a repository --------------------------------------------------------------------------------------------------

mkdir -p "$scratch/models/clothes/1" "$scratch/models/.hidden/1" "$scratch/models/empty/1"
cp models/fashion.onnx "$scratch/models/clothes/1/model.onnx"
cp models/fashion.onnx "$scratch/models/alone.onnx"
"$tern" compile models/fashion.onnx -o "$scratch/models/quick.tern" >/dev/null
cat >"$scratch/models/clothes/config.pbtxt" <<END
name: "clothes"   # Triton's form
platform: "onnxruntime_onnx"
max_batch_size: 4
output [ { name: "prob" data_type: TYPE_FP32 dims: [ 10 ] label_filename: "names.txt" } ]
dynamic_batching { preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 100 }
version_policy: { all { } }
END
printf 'null\neins\nzwei\ndrei\n' >"$scratch/models/clothes/names.txt"
start_server "$scratch/models" --poll 0.2 --drain 0
ask "models of a folder" 503 '"ready":false' "$url/v2/health/ready"
ask "what they are" 200 '"name":"alone","version":"1","state":"READY".*"name":"clothes","version":"1","state":"READY".*"name":"empty","version":"1","state":"UNAVAILABLE","reason":".*no model.onnx' \
    -X POST "$url/v2/repository/index"
rmdir "$scratch/models/empty/1" "$scratch/models/empty"
ask "a compiled model" 200 '"index":3,"label":"Dress"' "$url/v1/models/quick:classify" --data-binary @examples/dress.png
ask "labels of a file" 200 '"index":3,"label":"drei"' "$url/v1/models/clothes:classify" --data-binary @examples/dress.png
ask "a configuration of Triton's" 200 '"max_batch_size":4.*"preferred_batch_size":\[2,4\],"max_queue_delay_microseconds":100' "$url/v2/models/clothes/config"
mkdir "$scratch/models/clothes/3"
cp models/fashion.onnx "$scratch/models/clothes/3/model.onnx"
for _ in $(seq 100); do
    curl -s "$url/v2/models/clothes" | grep -q '"versions":\["1","3"\]' && break
    sleep 0.1
done
ask "a new version" 200 '"versions":\["1","3"\]' "$url/v2/models/clothes"
ask "it is the one that answers" 200 '"version":"3"' "$url/v1/models/clothes:classify" --data-binary @examples/dress.png
rm -r "$scratch/models/clothes/1"
for _ in $(seq 100); do
    curl -s "$url/v2/models/clothes" | grep -q '"versions":\["3"\]' && break
    sleep 0.1
done
ask "an old version that is gone" 503 'not ready' "$url/v2/models/clothes/versions/1"
ask "a version that never was" 404 'no version 2' "$url/v2/models/clothes/versions/2"
ask "ready when all are" 200 'true' "$url/v2/health/ready"
mkdir -p "$scratch/models/alone/1"
cp models/fashion.onnx "$scratch/models/alone/1/model.onnx"
for _ in $(seq 100); do
    grep -q "two models are called 'alone'" "$scratch/log" && break
    sleep 0.1
done
[ "$(grep -c "models stay as they are: two models are called 'alone'" "$scratch/log")" -eq 1 ]
result $? "a repository that can not be read is told, once"
rm -r "$scratch/models/alone"
for name in '..' '.hidden' '%2e%2e%2falone' 'clothes%2f3'; do
    ask "no model is called $name" 404 'error' --path-as-is "$url/v2/models/$name/ready"
done

# Requests under way are answered; new ones find nobody. A preferred size stays, however slow it was when it was tried.
printf '{"max_delay_us": 1500000, "max_batch": 8, "preferred": [8]}' >"$scratch/models/clothes/config.json"
rm "$scratch/models/clothes/config.pbtxt"
for _ in $(seq 100); do
    curl -s "$url/v2/models/clothes/config" | grep -q 'delay_microseconds":1500000' && break
    sleep 0.1
done
curl -s -m 30 -o "$scratch/slow" -w '%{http_code}' "$url/v1/models/clothes:classify" --data-binary @examples/dress.png >"$scratch/slow-status" &
client=$!
sleep 0.5
kill "$server"
wait "$client"
wait "$server"
code=$?
server=
[ "$(cat "$scratch/slow-status")" = 200 ] && grep -q '"index":3' "$scratch/slow" && [ "$code" -eq 0 ]
result $? "a request under way is answered after SIGTERM"

# Told a second time, the server does not wait for the rest of --drain, nor for the request.
printf '{"max_delay_us": 60000000, "max_batch": 8, "preferred": [8]}' >"$scratch/models/clothes/config.json"
start_server "$scratch/models" --poll 0 --drain 600
curl -s -m 100 -o "$scratch/slow" "$url/v1/models/clothes:classify" --data-binary @examples/dress.png &
client=$!
for _ in $(seq 100); do
    curl -s "$url/metrics" | grep -q '^nv_inference_pending_request_count{model="clothes",version="3"} 1' && break
    sleep 0.1
done
kill "$server"
for _ in $(seq 100); do
    grep -q draining "$scratch/log" && break
    sleep 0.1
done
ask "not ready while draining" 503 'false' "$url/v2/health/ready"
kill -HUP "$server"
ask "SIGHUP does not end it" 503 'false' "$url/v2/health/ready"
kill "$server"
wait "$client"
wait "$server"
code=$?
server=
[ "$code" -eq 1 ] && grep -q 'stopped with 1 requests under way' "$scratch/log"
result $? "a second SIGTERM gives up what is under way, with 1"
start_server "$scratch/models/alone.onnx" --poll 0 --drain 600
kill "$server"
for _ in $(seq 100); do
    grep -q draining "$scratch/log" && break
    sleep 0.1
done
stop_server
[ "$code" -eq 0 ]
result $? "a second SIGTERM with nothing under way: 0"

start_server "$scratch/models/alone.onnx" --poll 0 --drain 0
printf broken >"$scratch/models/alone.onnx"
sleep 0.5
ask "nobody looks without being asked" 200 '"reason":""' -X POST "$url/v2/repository/index"
kill -HUP "$server"
for _ in $(seq 100); do
    curl -s -X POST "$url/v2/repository/index" | grep -q 'not reloaded' && break
    sleep 0.1
done
ask "SIGHUP: a broken file does not replace the model" 200 '"state":"READY","reason":"not reloaded' -X POST "$url/v2/repository/index"
ask "which goes on" 200 'Dress' "$url/v1/models/alone:classify" --data-binary @examples/dress.png
stop_server

# ---- real detectors ------------------------------------------------------------------------------------------------

if [ -e "$shared/models/yolov5/yolov5n.pt" ]; then
    start_server "$shared/models/yolov5/yolov5n.pt"
    ask "a detector from a checkpoint" 200 '"name":"bus"' "$url/v1/models/yolov5n:detect" --data-binary "@$shared/images/bus.jpg"
    tr '{' '\n' <"$scratch/out" | sed -n 's/.*"box":\(\[[^]]*\]\).*/\1/p' >"$scratch/have"
    "$tern" detect "$shared/models/yolov5/yolov5n.pt" "$shared/images/bus.jpg" --json | tr -d ' \n' | tr '{' '\n' |
        sed -n 's/.*"box":\(\[[^]]*\]\).*/\1/p' >"$scratch/want"
    [ -s "$scratch/want" ] && [ "$(cat "$scratch/have")" = "$(cat "$scratch/want")" ]
    result $? "the boxes of tern detect, digit for digit"
    curl -s -H 'Accept: image/jpeg' "$url/v1/models/yolov5n:detect" --data-binary "@$shared/images/bus.jpg" >"$scratch/boxes.jpg"
    [ "$(od -An -tx1 -N3 "$scratch/boxes.jpg" | tr -d ' ')" = ffd8ff ] && ! cmp -s "$scratch/boxes.jpg" "$shared/images/bus.jpg"
    result $? "the annotated picture"
    ask "both pictures at once" 200 '"picture":"bus.jpg".*"name":"bus".*"picture":"zidane.jpg".*"name":"tie"' "$url/v1/models/yolov5n:detect" \
        -F "a=@$shared/images/bus.jpg" -F "b=@$shared/images/zidane.jpg"
    ask "a higher limit" 200 '"detections":\[\]' "$url/v1/models/yolov5n:detect?conf=0.99" --data-binary "@$shared/images/bus.jpg"
    stop_server
else
    skip "a detector from a checkpoint" "there are no shared models"
fi
finish
