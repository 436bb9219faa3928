#!/bin/sh
# shellcheck disable=SC2317 # functions that are called by name
# Three servers, each in a network namespace of its own, behind HAProxy and nginx as deploy/ has them. Under load one
# server is killed, one drained, and the killed one started again. The whole runs in namespaces of network, mounts and
# processes that end with this script, however it ends.
if [ "${1:-}" != inside ]; then
    for tool in unshare nsenter ip curl python3; do
        command -v "$tool" >/dev/null || { echo "1..0 # SKIP $tool is not installed" && exit 0; }
    done
    for user in "" "--user --map-root-user"; do
        # shellcheck disable=SC2086 # options, or none
        unshare $user --mount --net --pid --fork --mount-proc ip link add probe type bridge 2>/dev/null || continue
        # shellcheck disable=SC2086
        exec unshare $user --mount --net --pid --fork --mount-proc --kill-child sh "$0" inside
    done
    echo "1..0 # SKIP network namespaces with a bridge may not be made here"
    exit 0
fi
PATH=$PATH:/usr/sbin:/sbin
. tests/serve/serve.sh
require_server

# ---- machines ------------------------------------------------------------------------------------------------------

network() {
    ip link set lo up && ip link add bridge type bridge && ip addr add 10.77.0.1/24 dev bridge &&
        ip link set bridge up || return 1
    for n in 1 2 3; do
        unshare --net sleep 1000 &
        holder=$!
        eval "machine_$n=$holder"
        until [ "$(readlink "/proc/$holder/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
        ip link add "veth$n" type veth peer name eth0 netns "$holder" && ip link set "veth$n" master bridge up &&
            nsenter -t "$holder" -n sh -c "ip addr add 10.77.0.1$n/24 dev eth0 && ip link set eth0 up" || return 1
    done
}

server_1=0
server_2=0
start_machine() { # N
    eval "holder=\$machine_$1"
    nsenter -t "$holder" -n "$tern" serve --host 0.0.0.0 --threads 1 --executors 1 --drain 2 \
        >>"$scratch/access$1" 2>>"$scratch/log$1" &
    eval "server_$1=$!"
}

await() { # COMMAND...: up to 20 seconds
    for _ in $(seq 200); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    return 1
}
ready() { curl -sf -m 2 "http://10.77.0.1$1:8000/v2/health/ready"; }
ready_at() { [ "$(curl -s -m 2 -o /dev/null -w '%{http_code}' "http://10.77.0.1$1:8000/v2/health/ready")" = "$2" ]; }
# Answers to inference of machine N so far.
answers() { grep -c '/infer","status":200' "$scratch/access$1"; }
more_answers() { [ "$(answers "$1")" -gt "$2" ]; }

# ---- proxies -------------------------------------------------------------------------------------------------------

start_haproxy() {
    haproxy -c -q -f deploy/haproxy.cfg >"$scratch/err" 2>&1 || return 1
    haproxy -db -f deploy/haproxy.cfg >"$scratch/proxy" 2>&1 &
    proxy=$!
}

# The folders that Debian's nginx writes to are others here, and the only user there may be is root.
start_nginx() {
    for folder in /run /var/lib/nginx /var/log/nginx; do mount -t tmpfs tmpfs "$folder" || return 1; done
    nginx -q -t -c "$PWD/deploy/nginx.conf" -g 'user root root;' >"$scratch/err" 2>&1 || return 1
    nginx -c "$PWD/deploy/nginx.conf" -g 'user root root; daemon off;' >"$scratch/proxy" 2>&1 &
    proxy=$!
}

# ---- the test ------------------------------------------------------------------------------------------------------

# Every request has an answer, and no more than one.
judge_load() { # FILE NAME
    cat "$1" >"$scratch/out"
    sed 's/^/# /' "$1"
    python3 - "$1" <<'PYTHON'
import json, sys
r = json.load(open(sys.argv[1]))
sys.exit(not (r["failed"] == 0 and r["answered_once"] == r["requests"] > 300))
PYTHON
    result $? "$2"
}

under_load() { # PROXY
    rm -f "$scratch/stop"
    python3 tests/serve/load.py http://10.77.0.1:8080 "$scratch/stop" 12 >"$scratch/load" 2>"$scratch/err" &
    load=$!
    for n in 1 2 3; do
        await more_answers $n $(($(answers $n) + 20))
        result $? "$1: requests reach server $n"
    done
    kill -9 "$server_1"
    wait "$server_1"
    await more_answers 3 $(($(answers 3) + 50))
    kill "$server_2"
    await ready_at 2 503
    result $? "$1: the drained server says that it is not ready"
    wait "$server_2"
    result $? "$1: and ends with 0: none of its requests was given up"
    await more_answers 3 $(($(answers 3) + 50))
    before=$(answers 1)
    start_machine 1
    await more_answers 1 $((before + 20))
    result $? "$1: the killed server takes part again when it is back"
    : >"$scratch/stop"
    wait "$load"
    judge_load "$scratch/load" "$1: one killed, one drained, one back: each request has one answer, the right one"
    start_machine 2
    await ready 2
}

proxied() { # NAME
    command -v "$1" >/dev/null || {
        skip "three servers behind $1" "$1 is not installed"
        return
    }
    "start_$1" && await curl -sf http://10.77.0.1:8080/v2/health/ready
    result $? "$1 takes deploy/'s configuration and finds the servers"
    have=$(curl -s -o "$scratch/out" -w '%{http_code}' http://10.77.0.1:8080/metrics)
    [ "$have" = 403 ]
    result $? "$1: /metrics is not for clients"
    ask "$1: a picture" 200 '"label":"Dress"' http://10.77.0.1:8080/v1/models/fashion:classify \
        --data-binary @examples/dress.png
    ask "$1: the page's own calls" 200 '"label":"Dress"' http://10.77.0.1:8080/v1/models/fashion:classify \
        -H 'Origin: http://10.77.0.1:8080' --data-binary @examples/dress.png
    under_load "$1"
    kill "$proxy"
    wait "$proxy" 2>/dev/null
}

network >"$scratch/err" 2>&1 || { result 1 "a bridge and three network namespaces"; finish; }
for n in 1 2 3; do start_machine $n; done
for n in 1 2 3; do
    await ready $n
    result $? "server $n is ready"
done
# The load sees what goes wrong: without a proxy a killed server is a failed request.
python3 tests/serve/load.py http://10.77.0.11:8000 "$scratch/stop" 4 >"$scratch/load" 2>"$scratch/err" &
load=$!
await more_answers 1 100
kill -9 "$server_1"
wait "$server_1"
sleep 0.2
: >"$scratch/stop"
wait "$load"
python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); sys.exit(r["failed"] == 0)' "$scratch/load"
result $? "without a proxy the killed server's requests fail"
start_machine 1
await ready 1
proxied haproxy
proxied nginx
finish
