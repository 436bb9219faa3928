# Prints "file:line:code" for each line of C, with comments and the contents of strings and characters taken out.
# The line numbers are those of the file.
FNR == 1 { comment = 0 }
{
    line = $0
    out = ""
    while (length(line) > 0) {
        if (comment) {
            at = index(line, "*/")
            if (!at) break
            line = substr(line, at + 2)
            comment = 0
            continue
        }
        if (!match(line, /\/\*|\/\/|"|'/)) {
            out = out line
            break
        }
        mark = substr(line, RSTART, 2)
        out = out substr(line, 1, RSTART - 1)
        rest = substr(line, RSTART + 2)
        if (mark == "//") break
        if (mark == "/*") {
            comment = 1
            line = rest
            continue
        }
        # A string or character: skip to its unescaped end.
        quote = substr(mark, 1, 1)
        rest = substr(line, RSTART + 1)
        for (i = 1; i <= length(rest); i++) {
            c = substr(rest, i, 1)
            if (c == "\\") i++
            else if (c == quote) break
        }
        out = out quote quote
        line = substr(rest, i + 1)
    }
    if (out ~ /[^ \t]/) print FILENAME ":" FNR ":" out
}
