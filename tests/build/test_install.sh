#!/bin/sh
# Installs into an empty folder and builds C and C++ programs against what is there, with pkg-config and with CMake,
# against both libraries. The programs are run on the embedded model's file.
root=$(pwd)
build=$root/${TERN_BUILD:-build}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
number=0

ok() { number=$((number + 1)) && echo "ok $number - $1"; }
not_ok() { number=$((number + 1)) && echo "not ok $number - $1" && sed 's/^/# /' "$work/log"; }
skip() { number=$((number + 1)) && echo "ok $number - $1 # SKIP $2"; }
try() { # DESCRIPTION COMMAND...
    description=$1
    shift
    if "$@" >"$work/log" 2>&1; then ok "$description"; else not_ok "$description"; fi
}

cat >"$work/use.c" <<'END'
#include <stdio.h>
#include <tern/tern.h>
int main(int argc, char **argv) {
    tern_error err;
    tern_model *model = NULL;
    if (argc != 2 || tern_model_load(&model, argv[1], NULL, &err) != TERN_OK) return 1;
    printf("%s: %d outputs\n", tern_version(), tern_model_output_count(model));
    tern_model_free(model);
    return 0;
}
END
cat >"$work/use.cc" <<'END'
#include <iostream>
#include <tern/tern.h>
int main(int argc, char **argv) {
    tern_error err;
    tern_model *model = nullptr;
    if (argc != 2 || tern_model_load(&model, argv[1], nullptr, &err) != TERN_OK) return 1;
    // A custom operator from C++: refused, because tern has it.
    tern_op_param x = {"X", TERN_TYPE(FLOAT), nullptr, false, false};
    tern_op relu = {};
    relu.name = "Relu";
    relu.inputs = relu.outputs = &x;
    relu.n_inputs = relu.n_outputs = 1;
    relu.compute = [](tern_op_context *c, void *) { return tern_op_fail(c, TERN_INTERNAL, "never called"); };
    if (tern_op_register(&relu, &err) != TERN_INVALID_ARGUMENT) return 1;
    std::cout << tern_version() << ": " << tern_model_output_count(model) << " outputs\n";
    tern_model_free(model);
    return 0;
}
END
cat >"$work/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(use LANGUAGES C ${CXX})
find_package(tern 0.1 REQUIRED)
add_executable(use_shared use.c)
target_link_libraries(use_shared PRIVATE tern::tern)
add_executable(use_static use.c)
target_link_libraries(use_static PRIVATE tern::tern_static)
if(CXX)
  add_executable(use_cxx use.cc)
  target_link_libraries(use_cxx PRIVATE tern::tern)
endif()
END

runs() { # PROGRAM: prints the version and the number of outputs
    [ "$(LD_LIBRARY_PATH=$libdir "$1" "$root/models/fashion.onnx")" = "$version: 1 outputs" ]
}
clamps() { # PROGRAM
    [ "$(LD_LIBRARY_PATH=$libdir "$1")" = "0 0.5 1" ]
}
compile() { # COMPILER SOURCE OUTPUT PKG-CONFIG-OPTION...
    compiler=$1 source=$2 output=$3
    shift 3
    # shellcheck disable=SC2046 # flags are words
    "$compiler" "$work/$source" -o "$work/$output" $(pkg-config "$@" --cflags --libs tern)
}

version=$(sed -n 's/^#define TERN_VERSION  *"\(.*\)"/\1/p' include/tern/version.h)
try "cmake --install" cmake --install "$build" --prefix "$work/first"
# Moved after installation: nothing in the tree may hold its place.
mv "$work/first" "$work/tree"
pc=$(find "$work/tree" -name tern.pc)
libdir=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH="$libdir/pkgconfig"

for file in include/tern/tern.h bin/tern; do
    try "installs $file" test -f "$work/tree/$file"
done
for file in libtern.a libtern.so libtern.so.0 "libtern.so.$version" pkgconfig/tern.pc cmake/tern/tern-config.cmake; do
    try "installs $file" test -e "$libdir/$file"
done
try "the version of the header is that of tern.pc" test "$(pkg-config --modversion tern)" = "$version"
try "headers of the library only" test -z "$(find "$work/tree/include" -type f | grep -v '/include/tern/[a-z]*\.h$')"

try "C program with pkg-config" compile cc use.c c_shared
try "it runs" runs "$work/c_shared"
cp "$root/examples/custom_operator.c" "$work"
try "the example of a custom operator" compile cc custom_operator.c custom_operator
try "it runs" clamps "$work/custom_operator"
cxx=
if command -v g++ >/dev/null; then
    try "C++ program with pkg-config" compile g++ use.cc cxx_shared
    try "it runs" runs "$work/cxx_shared"
    cxx=CXX
else
    skip "C++ program" "g++ is not installed"
fi
# The archive alone: the shared library is hidden for a moment.
mkdir "$work/hidden" && mv "$libdir"/libtern.so* "$work/hidden"
try "C program with pkg-config --static" compile cc use.c c_static --static
try "it runs" runs "$work/c_static"
mv "$work/hidden"/* "$libdir"

try "CMake finds the package" cmake -G Ninja -S "$work" -B "$work/use" "-DCMAKE_PREFIX_PATH=$work/tree" "-DCXX=$cxx"
try "CMake builds against it" cmake --build "$work/use"
try "program with tern::tern runs" runs "$work/use/use_shared"
try "program with tern::tern_static runs" runs "$work/use/use_static"
if [ -n "$cxx" ]; then try "C++ program with tern::tern runs" runs "$work/use/use_cxx"; fi
try "the installed command runs" "$work/tree/bin/tern" --version
echo "1..$number"
