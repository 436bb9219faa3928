#!/bin/sh
# Each rule of tools/check catches a file that breaks it, and passes one that does not.
tools=$(pwd)/tools
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/src/base" "$work/src/graph" "$work/src/ops" "$work/src/kernels/x86" "$work/src/kernels/scalar" \
    "$work/vision" "$work/cli" "$work/include/tern" "$work/examples" "$work/tests"
cp .clang-format "$work"
cd "$work" || exit 1
# Pipelines run in subshells, so the count is in a file.
echo 0 >count
next() {
    number=$(($(cat count) + 1))
    echo "$number" >count
}

check() { TERN_BUILD=$work/none "$tools/check" "$1" 2>&1; }

# Writes stdin to FILE, sees whether the check objects to it, and removes it.
catches() { # CHECK FILE TEXT-OF-THE-COMPLAINT
    cat >"$2"
    next
    out=$(check "$1")
    code=$?
    rm "$2"
    if [ "$code" -eq 1 ] && printf '%s\n' "$out" | grep '^# ' | grep -qF "$3"; then
        echo "ok $number - $1: $2: $3"
    else
        echo "not ok $number - $1: $2: $3"
        printf '%s\n' "$out" | sed 's/^/#  /'
    fi
}

passes() { # CHECK FILE
    cat >"$2"
    next
    if out=$(check "$1"); then echo "ok $number - $1: passes $2"; else
        echo "not ok $number - $1: passes $2"
        printf '%s\n' "$out" | sed 's/^/#  /'
    fi
    rm "$2"
}

echo '#include "graph/graph.h"' | catches layers src/base/a.c "base (level 0) may not include graph/graph.h"
echo '#include "ops/ops.h"' | catches layers src/graph/a.h "graph (level 2) may not include ops/ops.h"
echo '#include "kernels/gemm.h"' | catches layers src/graph/a.c "may not include kernels/gemm.h"
echo '#include "graph/dump.h"' | catches layers src/ops/a.c "its header for others is graph/graph.h"
echo '#include "kernels/gemm_internal.h"' | catches layers src/ops/a.c "is private to kernels/"
echo '#include "kernels/ref/ref.h"' | catches layers src/kernels/scalar/a.c "the reference kernels are for tests"
echo '#include "graph/graph.h"' | catches layers vision/a.c "vision sees tern/ and base/ only"
echo '#include "base/base.h"' | catches layers include/tern/a.h "a public header may include only tern/ headers"
echo '#include "base/base.h"' | catches layers examples/a.c "an example may include only tern/ headers"
echo '#include "a.h"' | catches layers src/base/a.c 'by its folder, as "base/a.h"'
echo '#include <immintrin.h>' | catches layers src/ops/a.c "belong into src/kernels/x86"
echo '#include <immintrin.h>' | catches layers src/kernels/scalar/a.c "belong into src/kernels/x86"
echo 'int a;' | catches layers src/newfolder.c "has no level"
printf '#include <immintrin.h>\n#include "base/base.h"\n#include "kernels/gemm_internal.h"\n' |
    passes layers src/kernels/x86/a.c
printf '#include "base/base.h"\n#include "graph/graph.h"\n#include "kernels/gemm.h"\n#include "ops/a_internal.h"\n' |
    passes layers src/ops/a.c

function_of() { # LINES
    printf 'static int f(int a,\n             int b) {\n'
    awk -v n="$(($1 - 3))" 'BEGIN { for (i = 0; i < n; i++) print "    a += b;" }'
    printf '}\n'
}
function_of 151 | catches budget src/base/a.c "src/base/a.c:1: a function of 151 lines"
function_of 22 | catches budget src/base/a.c "the median function has 22 lines"
awk 'BEGIN { for (i = 0; i < 1001; i++) print "int a" i ";" }' | catches budget src/base/a.c "1001 lines, at most 1000"
{
    function_of 150
    echo 'static int g(void) { return 0; }'
    echo 'static int h(void) { return 0; }'
    function_of 20
} | passes budget src/base/a.c

echo 'void f(char *a, char *b) { strcpy(a, b); }' | catches banned src/base/a.c "strcpy"
echo 'void f(char *a) { sprintf(a, "b"); }' | catches banned tests/a.c "sprintf"
echo 'int f(char *a) { return atoi (a); }' | catches banned cli/a.c "atoi"
echo 'int f(char *a) { return system(a); }' | catches banned cli/a.c "system"
echo 'void *f(void) { return malloc(1); }' | catches banned src/ops/a.c "malloc"
echo 'void f(void *p) { free(p); }' | catches banned src/ops/a.c "free"
echo 'void f(void) { abort(); }' | catches banned src/ops/a.c "abort"
echo 'void f(void) { printf("x"); }' | catches banned src/ops/a.c "printf"
printf '/* never strcpy(a, b)\n * or malloc(1) */\n// abort()\nconst char *a = "free(p) \\" exit(1)";\nvoid f(a *b) { b->free(1), tn_free(1), snprintf(a, 1, a); }\n' |
    passes banned src/ops/a.c

printf '/* TO%s: more */\n' DO | catches text src/ops/a.c "src/ops/a.c:1"
printf 'int a; \n' | catches text src/ops/a.c "src/ops/a.c:1"
printf 'int a;\n' | passes text src/ops/a.c
if [ "$(clang-format --version 2>/dev/null | sed 's/.*version \([0-9]*\).*/\1/')" = 14 ]; then
    printf 'int  f( int a ){return a;}\n' | catches format src/ops/a.c "src/ops/a.c:1"
    printf 'int f(int a) { return a; }\n' | passes format src/ops/a.c
fi
# shellcheck disable=SC2016 # as it stands
printf 'if true; then\n' | catches shell tests/a.sh "tests/a.sh"

# Exported symbols, with a library made for the purpose.
mkdir tools build
printf 'tern_a\ntern_b\n' >tools/symbols.txt
printf 'TERN_API int tern_a(int x);\nTERN_API int\ntern_b(int x);\n' >include/tern/a.h
symbols() { # DESCRIPTION EXPECTED-CODE TEXT
    next
    cc -shared -fPIC -o build/libtern.so -x c - 2>/dev/null || return
    out=$(TERN_BUILD=build "$tools/check" symbols 2>&1)
    code=$?
    if [ "$code" -eq "$2" ] && printf '%s\n' "$out" | grep -qF "$3"; then echo "ok $number - symbols: $1"; else
        echo "not ok $number - symbols: $1"
        printf '%s\n' "$out" | sed 's/^/#  /'
    fi
}
echo 'int tern_a(int x) { return x; } int tern_b(int x) { return x; }' | symbols "as listed" 0 "ok 1"
echo 'int tern_a(int x) { return x; }' | symbols "one is missing" 1 "missing: tern_b"
echo 'int tern_a(int x) { return x; } int tern_b(int x) { return x; } int c;' | symbols "one too many" 1 "not in the list: c"
echo "1..$(cat count)"
