# Checks #include lines against the layers of the design: a file includes headers of its own folder and of strictly
# lower levels. Of another folder only <folder>/<folder>.h is public, except that kernels/ has one header per family
# and cli/, vision/ their own; headers that end in _internal.h stay at home.
BEGIN {
    n = split("base 0 cpu 1 thread 1 tensor 1 kernels 2 proto 2 graph 2 io 2 ops 3 onnx 3 opt 4 plan 4 runtime 5 api 6", w, " ")
    for (i = 1; i < n; i += 2) level[w[i]] = w[i + 1]
    public["ops/fused.h"] # attributes of tern's own operators, which the passes of opt/ write
}
function bad(text) { print FILENAME ":" FNR ": " text; }
FNR == 1 {
    depth = split(FILENAME, part, "/")
    tree = part[1] # src, include, vision, cli, serve, examples
    folder = tree == "src" ? part[2] : tree
    tests = tree == "src" && part[3] == "ref" # the naive kernels
    if (tree == "src" && !(folder in level)) bad("folder src/" folder " has no level in tools/layers.awk")
}
/^[ \t]*#[ \t]*include[ \t]*["<]/ {
    quoted = $0 ~ /include[ \t]*"/
    target = $0
    sub(/^[^"<]*["<]/, "", target)
    sub(/[">].*/, "", target)
    if (target ~ /(^|\/)(imm|xmm|emm|avx|x86|arm_ne)[a-z0-9]*intrin\.h$|arm_neon\.h/) {
        # Half-precision conversion may be one instruction; everything else vectorised is a kernel.
        if (FILENAME !~ /^src\/kernels\/x86\// && FILENAME !~ /^src\/base\/float_array\.c$/)
            bad("intrinsics (" target ") belong into src/kernels/x86")
        next
    }
    if (!quoted) {
        if (target ~ /^tern\// && tree != "examples") bad("write #include \"" target "\"")
        next
    }
    slash = index(target, "/")
    if (!slash) { bad("include \"" target "\" by its folder, as \"" folder "/" target "\""); next }
    other = substr(target, 1, slash - 1)
    if (other == "tern") next
    if (tree == "include") { bad("a public header may include only tern/ headers, not " target); next }
    if (tree == "examples") { bad("an example may include only tern/ headers, not " target); next }
    if (other == folder) {
        if (target ~ /\/ref\// && !tests) bad("the reference kernels are for tests, not for " FILENAME)
        next
    }
    if (target ~ /_internal\.h$/) { bad(target " is private to " other "/"); next }
    if (tree == "src") {
        if (!(other in level)) { bad("src/ may not include " target); next }
        if (level[other] >= level[folder]) {
            bad(folder " (level " level[folder] ") may not include " target " (level " level[other] ")")
            next
        }
    } else if (tree == "vision") {
        if (other != "base") { bad("vision sees tern/ and base/ only, not " target); next }
    } else if (tree == "cli" || tree == "serve") {
        if (!(other in level) && other != "vision" && !(tree == "serve" && other == "cli")) {
            bad(tree " may not include " target)
            next
        }
    }
    if (target in public) next
    if (other in level && other != "kernels" && target != other "/" other ".h" && target !~ /\.inc$/)
        bad(target " is private to " other "/; its header for others is " other "/" other ".h")
}
