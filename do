#!/bin/sh
# The one script: ./do help
set -u
cd "$(dirname "$0")" || exit 1

usage() {
    cat <<'END'
./do demo     install what is missing, build, and classify and find clothes in the pictures of examples/
./do test     install what is missing, build with gcc and clang, and run every check and test
./do build    build build/tern, build/libtern.a and build/libtern.so with what is there
./do serve    install what is missing, build, and serve the embedded model, or: ./do serve MODEL|REPOSITORY...
./do bench    build, and time a table of networks beside ONNX Runtime and OpenCV: ./do bench --help;
              or what serving costs: ./do bench serve --help
./do fuzz     build the fuzz targets with clang and run each for a minute: ./do fuzz [NAME [SECONDS]]
./do format   format the sources as .clang-format says
./do check    layers, budgets, banned functions, exported symbols, formatting
./do clean    remove build/
./do help     this text

CC chooses the compiler, JOBS the number of parallel jobs (one per processor).
END
}

jobs=${JOBS:-$(nproc 2>/dev/null || echo 1)}
export TERN_SHARED="${TERN_SHARED:-$PWD/../shared}"

say() { printf '\n== %s\n' "$*"; }
fail() {
    printf './do: %s\n' "$*" >&2
    exit 1
}

# ---- packages ------------------------------------------------------------------------------------------------------

# Debian package, how its presence is seen, what it is for.
packages_build="
gcc             command:cc          C compiler
libc6-dev       header:stdio.h      headers of the C library
cmake           command:cmake       configures the build
ninja-build     command:ninja       runs the build
pkg-config      command:pkg-config  finds the picture libraries
libcjson-dev    header:cjson/cJSON.h reads and writes JSON
zlib1g-dev      header:zlib.h       reads .gz data sets
libyaml-dev     header:yaml.h       reads descriptions of models
libjpeg-dev     header:jpeglib.h    reads JPEG pictures
libpng-dev      header:png.h        reads PNG pictures
libwebp-dev     header:webp/decode.h reads WebP pictures
libtiff-dev     header:tiffio.h     reads TIFF pictures
libgif-dev      header:gif_lib.h    reads GIF pictures
libopenjp2-7-dev pkg:libopenjp2     reads JPEG 2000 pictures
libcairo2-dev   header:cairo/cairo.h draws boxes into pictures
libmicrohttpd-dev header:microhttpd.h serves models over HTTP
"
packages_test="
libcmocka-dev   header:cmocka.h     unit tests
libavformat-dev header:libavformat/avformat.h reads and writes videos
libavcodec-dev  header:libavcodec/avcodec.h decodes and encodes videos
libswscale-dev  header:libswscale/swscale.h converts the colours of videos
libavutil-dev   header:libavutil/avutil.h what those three share
ffmpeg          command:ffmpeg      makes and checks videos for tests
libonnx-testdata file:/usr/share/libonnx-testdata/data ONNX's own test cases of opset 17
dataset-fashion-mnist file:/usr/share/datasets/fashion-mnist accuracy of the embedded model
clang           command:clang       second compiler, as a check
g++             command:g++         C++ program in the test of the installation
clang-format    command:clang-format checks the formatting
shellcheck      command:shellcheck  checks the shell scripts
curl            command:curl        talks to the server in its tests
openssl         command:openssl     makes a certificate in the test of HTTPS
haproxy         command:/usr/sbin/haproxy three servers behind a proxy, one killed and one drained
iproute2        command:ip          network namespaces of that test
python3         command:python3     load for that test
python3-yaml    file:/usr/lib/python3/dist-packages/yaml reads the manifests of deploy/ in their test
python3-onnx    python:onnx         ONNX's checker, for what tern convert writes
python3-opencv  python:cv2          OpenCV's resize and DNN module, as a reference
"
packages_fuzz="
clang           command:clang       compiler with libFuzzer
libclang-rt-dev libfuzzer           run-time library of libFuzzer
"

present() { # PROBE
    case $1 in
    command:*) command -v "${1#command:}" >/dev/null 2>&1 ;;
    header:*)
        command -v cc >/dev/null 2>&1 &&
            printf '#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <setjmp.h>\n#include <%s>\n' \
                "${1#header:}" | cc -E - >/dev/null 2>&1
        ;;
    pkg:*) command -v pkg-config >/dev/null 2>&1 && pkg-config --exists "${1#pkg:}" ;;
    file:*) [ -e "${1#file:}" ] ;;
    python:*) /usr/bin/python3 -c "import ${1#python:}" >/dev/null 2>&1 ;;
    libfuzzer)
        command -v clang >/dev/null 2>&1 &&
            [ -e "$(clang -print-file-name="libclang_rt.fuzzer-$(uname -m).a" 2>/dev/null)" ]
        ;;
    esac
}

# Installs the packages of the lists whose probes fail; does nothing, silently, when all are there.
need() { # LIST...
    missing=
    reasons=
    lists=$(printf '%s\n' "$@")
    while read -r package probe why; do
        [ -n "$package" ] || continue
        present "$probe" && continue
        missing="$missing $package"
        reasons="$reasons$(printf '    %-22s %s' "$package" "$why")
"
    done <<END
$lists
END
    [ -n "$missing" ] || return 0
    printf 'These Debian packages are missing:\n%s' "$reasons"
    command -v apt-get >/dev/null || fail "there is no apt-get here; install the equivalent of:$missing"
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        # Without a terminal nobody can type a password.
        as_root="sudo"
        [ -t 0 ] || as_root="sudo -n"
        command -v sudo >/dev/null ||
            fail "only root may install them and there is no sudo; as root: apt-get install$missing"
    fi
    say "installing:$missing"
    # shellcheck disable=SC2086 # lists of words
    { $as_root apt-get update -q && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
        --no-install-recommends $missing; } ||
        fail "apt-get did not install them; as root: apt-get install$missing"
}

# ---- building ------------------------------------------------------------------------------------------------------

build() { # DIRECTORY [CMAKE OPTION...]
    directory=$1
    shift
    command -v cmake >/dev/null || fail "cmake is missing; ./do demo installs what a build needs"
    command -v ninja >/dev/null || fail "ninja is missing; ./do demo installs what a build needs"
    # A cache of another place (a copied tree) or a broken configuration would fail: start again then.
    if [ -e "$directory/CMakeCache.txt" ] &&
        ! grep -qx "CMAKE_HOME_DIRECTORY:INTERNAL=$(pwd -P)" "$directory/CMakeCache.txt"; then
        rm -rf "$directory"
    fi
    mkdir -p "$directory"
    cmake -G Ninja -S . -B "$directory" "$@" >"$directory/configure.log" 2>&1 || {
        cat "$directory/configure.log"
        return 1
    }
    grep -E 'not found, so' "$directory/configure.log"
    ninja -C "$directory" -j "$jobs"
}

do_build() { build build "$@" || fail "the build failed"; }

do_demo() {
    need "$packages_build"
    say "building"
    do_build -DTERN_TESTS=OFF
    tools/demo build || fail "the demo failed"
    say "the same in a browser: ./do serve"
}

do_serve() {
    need "$packages_build"
    say "building"
    do_build -DTERN_TESTS=OFF
    say "serving; the page is at http://127.0.0.1:8000, Ctrl-C ends it"
    exec build/tern serve "$@"
}

# ---- testing -------------------------------------------------------------------------------------------------------

counts=build/test-counts

# A step that is one test: it passes when the command does.
step() { # DESCRIPTION COMMAND...
    description=$1
    shift
    say "$description"
    if "$@" >"build/step.log" 2>&1; then
        echo "ok     $description"
        echo "1 0 0" >>"$counts"
    else
        cat build/step.log
        echo "FAILED $description"
        echo "0 1 0" >>"$counts"
        return 1
    fi
}

run() { # NAME BUILD SECONDS PROGRAM...
    name=$1 directory=$2 seconds=$3
    shift 3
    say "running: $name"
    TERN_BUILD=$directory tools/run_tests -n "$name" -c "$counts" -t "$seconds" "$@"
}

# Programs and scripts of the tests; paths have no blanks.
unit_tests() { find "$1/tests" -type f -name 'test_*' -perm -100 | LC_ALL=C sort; }
script_tests() { find tests -name 'test_*.sh' | LC_ALL=C sort; }
replays() {
    for program in "$1"/fuzz/replay_*; do
        corpus=fuzz/corpus/${program##*/replay_}
        [ ! -d "$corpus" ] || echo "$program $corpus"
    done
}

# run, with one program a line on stdin.
run_lines() { # NAME BUILD SECONDS
    lines=$(cat)
    [ -n "$lines" ] || return 0
    name=$1 directory=$2 seconds=$3
    set --
    while read -r line; do set -- "$@" "$line"; done <<END
$lines
END
    run "$name" "$directory" "$seconds" "$@"
}

do_test() {
    need "$packages_build" "$packages_test"
    mkdir -p build
    : >"$counts"
    begin=$(date +%s)
    step "build with ${CC:-gcc}, warnings are errors" build build -DTERN_TESTS=ON -DTERN_WERROR=ON
    run checks build 300 tools/check
    { unit_tests build && script_tests && replays build; } | run_lines tests build 600
    step "build with clang, warnings are errors" build build/clang -DCMAKE_C_COMPILER=clang -DTERN_WERROR=ON
    step "build with the address and undefined behaviour sanitizers" \
        build build/asan -DTERN_SANITIZE=address,undefined -DTERN_WERROR=ON &&
        { unit_tests build/asan && script_tests | grep -v '^tests/build/' && replays build/asan; } |
        run_lines asan build/asan 900
    step "build with the thread sanitizer" build build/tsan -DTERN_SANITIZE=thread -DTERN_WERROR=ON &&
        unit_tests build/tsan | grep -E 'thread|concurrent|parallel|/runtime/|/serve/' | run_lines tsan build/tsan 900
    say "done in $(($(date +%s) - begin)) seconds"
    awk '{ p += $1; f += $2; s += $3 } END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 || p == 0 }' \
        "$counts"
}

# ---- the rest ------------------------------------------------------------------------------------------------------

do_bench() { # [OPTION...] [MODEL...] | kernels [OPTION...] | serve [OPTION...] [MODEL...]
    mkdir -p build
    build build >build/bench.log 2>&1 || { cat build/bench.log && fail "the build failed"; }
    if [ "${1:-}" = kernels ]; then
        shift
        ninja -C build bench_kernels >build/bench.log || { cat build/bench.log && fail "the build failed"; }
        exec build/bench_kernels "$@" bench/shapes/*.txt
    fi
    command -v python3 >/dev/null || fail "python3 is missing: apt-get install python3"
    if [ "${1:-}" = serve ]; then
        shift
        ninja -C build bench_load bench_json >build/bench.log || { cat build/bench.log && fail "the build failed"; }
        exec python3 bench/serve.py "$@"
    fi
    exec python3 bench/run.py "$@"
}

do_fuzz() { # [NAME [SECONDS]]
    need "$packages_build" "$packages_fuzz"
    build build/fuzz-build -DCMAKE_C_COMPILER=clang -DTERN_FUZZ=ON -DTERN_TESTS=OFF || fail "the build failed"
    [ -z "${1:-}" ] || [ -e "fuzz/fuzz_$1.c" ] || fail "there is no fuzz target called $1"
    for program in build/fuzz-build/fuzz/fuzz_*; do
        name=${program##*/fuzz_}
        [ "${1:-$name}" = "$name" ] || continue
        say "fuzzing $name"
        mkdir -p "build/fuzz-found/$name" "build/fuzz-corpus/$name" "fuzz/corpus/$name"
        # A dictionary where there is one; -dict with an empty name would be an error.
        dict_option=
        [ ! -e "fuzz/$name.dict" ] || dict_option="-dict=fuzz/$name.dict"
        # shellcheck disable=SC2086 # nothing, or one word
        "$program" $dict_option -max_total_time="${2:-60}" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
            -artifact_prefix="build/fuzz-found/$name/" "build/fuzz-corpus/$name" "fuzz/corpus/$name" ||
            fail "$name failed; the input is in build/fuzz-found/$name"
    done
}

do_format() {
    command -v clang-format >/dev/null || fail "clang-format is missing: apt-get install clang-format"
    for tree in include src vision cli serve tests fuzz bench examples; do
        [ ! -d "$tree" ] || find "$tree" -name '*.[ch]'
    done | xargs clang-format -i
}

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
demo | serve | test | build | bench | fuzz | format) "do_$command" "$@" ;;
check) tools/check "$@" ;;
clean) rm -rf build ;;
help | -h | --help) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
