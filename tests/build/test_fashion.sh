#!/bin/sh
# The embedded model: the file is the one that models/fashion.json describes, tern's accuracy on the 10,000 test pictures
# is the one that PyTorch had, and the samples are classified.
tern=${TERN_BUILD:-build}/tern
data=/usr/share/datasets/fashion-mnist
number=0
result() { # OK DESCRIPTION DETAIL
    number=$((number + 1))
    if [ "$1" = yes ]; then echo "ok $number - $2"; else
        echo "not ok $number - $2"
        printf '%s\n' "$3" | sed 's/^/# /'
    fi
}
fact() { sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\",]*\).*/\1/p" models/fashion.json; }

sum=$(sha256sum models/fashion.onnx | cut -d ' ' -f 1)
[ "$sum" = "$(fact sha256)" ] && same=yes || same=no
result "$same" "fashion.onnx is the file that fashion.json describes" "$sum"
bytes=$(wc -c <models/fashion.onnx)
[ "$bytes" -le 1000000 ] && small=yes || small=no
result "$small" "it has at most 1 MB" "$bytes bytes"

out=$("$tern" classify --top 5 examples/*.png 2>&1)
good=$(printf '%s\n' "$out" | awk '
    # examples/ankle-boot.png: Ankle boot 0.9544; Sneaker 0.0149; ...
    { n = split($0, part, ";"); name = tolower($1); gsub(/examples\/|\.png:/, "", name)
      first = tolower(part[1]); sub(/^[^:]*: /, "", first); sub(/ [0-9.]*$/, "", first); gsub(/ /, "-", first); sub(/\/top$/, "", first)
      if (n == 5) lines++
      if (first == name) right++ }
    END { print (lines == 10 && right >= 9 ? "yes" : "no") }')
result "$good" "ten samples: five classes each, at least nine right" "$out"

if [ -e "$data/t10k-images-idx3-ubyte.gz" ]; then
    out=$("$tern" eval models/fashion.onnx "$data/t10k-images-idx3-ubyte.gz" "$data/t10k-labels-idx1-ubyte.gz" 2>&1)
    good=$(printf '%s\n' "$out" | awk -v torch="$(fact test_accuracy)" '
        /^accuracy/ { d = $2 - 100 * torch; if (d < 0) d = -d; found = d <= 0.05 && $2 >= 92.5 }
        END { print found ? "yes" : "no" }')
    result "$good" "accuracy on the test pictures is PyTorch's to 0.05 percentage points" "$out"
else
    number=$((number + 1))
    echo "ok $number - accuracy on the test pictures # SKIP the package dataset-fashion-mnist is not installed"
fi
echo "1..$number"
