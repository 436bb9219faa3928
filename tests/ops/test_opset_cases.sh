#!/bin/sh
# ONNX's own cases in other opsets: each is converted to the newest, to 11 and to 9. What can be expressed there must
# give the same outputs, and what can not must say so in one line with the node and the reason.
. tests/cli/expect.sh

archive=$shared/onnx/onnx-tests.tar.xz
if [ ! -e "$archive" ]; then
    skip "ONNX's own cases in other opsets" "no $archive"
    finish
fi
mkdir "$scratch/cases"
if ! tar -xf "$archive" -C "$scratch/cases" 2>/dev/null; then
    skip "ONNX's own cases in other opsets" "tar can not unpack .xz here"
    finish
fi
grep -v '^#' tests/data/onnx_known_failures.txt | sort >"$scratch/known"

# Converts all cases; $scratch/refused has what the opset can not express.
convert_all() { # OPSET
    mkdir "$scratch/$1"
    : >"$scratch/refused"
    find "$scratch/cases" -name model.onnx | while read -r file; do
        case=${file%/model.onnx}
        to=$scratch/$1/${case##*/}
        mkdir "$to"
        if "$tern" convert "$file" --opset "$1" -o "$to/model.onnx" >/dev/null 2>"$scratch/why"; then
            ln -s "$case"/test_data_set_* "$to"
        else
            cat "$scratch/why" >>"$scratch/refused"
            rm -r "$to"
        fi
    done
}

for target in "28 1700" "11 950" "9 650"; do
    opset=${target% *} least=${target#* }
    convert_all "$opset"
    sed 's/^/# /' "$scratch/refused" | grep -v "can not be written in opset $opset: "
    ! grep -qv "^tern: .*(.*, opset [0-9]*): can not be written in opset $opset: ." "$scratch/refused"
    result $? "opset $opset: $(wc -l <"$scratch/refused") cases are refused, with node and reason"
    timeout 500 "$tern" verify --tolerances tests/data/onnx_tolerances.txt "$scratch/$opset" >"$scratch/out" 2>"$scratch/err"
    passed=$(grep -v '^FAIL: ' "$scratch/out" | tail -n 1 | sed 's/ passed.*//')
    [ "$passed" -ge "$least" ]
    result $? "opset $opset: $passed data sets pass, at least $least"
    sed -n "s|^FAIL: $scratch/$opset/\([^/:]*\).*|\1|p" "$scratch/out" | sort -u >"$scratch/failed"
    comm -23 "$scratch/failed" "$scratch/known" >"$scratch/new"
    sed 's/^/# fails: /' "$scratch/new"
    [ ! -s "$scratch/new" ]
    result $? "opset $opset: no case fails that does not fail in its own"
done

if /usr/bin/python3 -c 'import onnx' 2>/dev/null; then
    for opset in 11 9; do
        # The library knows operators up to its own opset and IR version; models of other domains keep theirs.
        find "$scratch/$opset" -name model.onnx >"$scratch/list"
        /usr/bin/python3 - "$scratch/list" >"$scratch/out" 2>"$scratch/err" <<'PYTHON'
import sys
import onnx
bad = checked = 0
for path in open(sys.argv[1]):
    model = onnx.load(path.strip())
    if model.ir_version > onnx.IR_VERSION or any(o.domain not in ("", "ai.onnx") for o in model.opset_import):
        continue
    checked += 1
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        bad += 1
        print("#", path.strip(), str(error).splitlines()[0])
print("# checked", checked)
sys.exit(bad > 0 or checked < 500)
PYTHON
        result $? "opset $opset: ONNX's checker accepts what comes out"
    done
else
    skip "ONNX's checker on what comes out" "python3-onnx is not installed"
fi
finish
