#!/bin/sh
# docs/operators.md is what `tern inspect --ops --markdown` prints, and the other forms list as many operators.
tern=${TERN_BUILD:-build}/tern
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

"$tern" inspect --ops --markdown >"$work/operators.md"
if cmp -s "$work/operators.md" docs/operators.md; then
    echo "ok 1 - docs/operators.md is current"
else
    echo "not ok 1 - docs/operators.md is current (build/tern inspect --ops --markdown >docs/operators.md)"
    diff "$work/operators.md" docs/operators.md | head -20 | sed 's/^/# /'
fi

listed=$(grep -c '| native |$\|| function |$\|| registered |$' docs/operators.md)
stated=$(sed -n 's/.* \([0-9]*\) operators\.$/\1/p' docs/operators.md)
text=$("$tern" inspect --ops | tail -n +2 | wc -l)
json=$("$tern" inspect --ops --json | grep -c '"by"')
if [ "$listed" -gt 200 ] && [ "$listed" = "$stated" ] && [ "$listed" = "$text" ] && [ "$listed" = "$json" ]; then
    echo "ok 2 - the text, JSON and Markdown list as many operators ($listed)"
else
    echo "not ok 2 - operators: $stated stated, $listed in Markdown, $text as text, $json in JSON"
fi

if "$tern" inspect --ops | grep -q '^ai.onnx  *Softmax  *1, 11, 13  *native  *float$'; then
    echo "ok 3 - versions and types of an operator"
else
    echo "not ok 3 - versions and types of an operator"
    "$tern" inspect --ops | grep ' Softmax ' | sed 's/^/# /'
fi
echo "1..3"
