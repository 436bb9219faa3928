# Prints "lines file:line" for each function of a formatted C file. A body opens with a brace at the end of a line that
# does not begin with a blank, and closes with a brace in the first column; a one-line function counts as 1.
FNR == 1 { open = 0; head = 0 }
{
    if (open) {
        if (/^}/) {
            print FNR - start + 1, FILENAME ":" start
            open = 0
        }
        next
    }
    if (/^[ \t\/*#}]/ || /^$/) {
        # Parameters that go on over several lines are indented.
        if (!(head && /^[ \t]/)) { head = 0; next }
    } else head = FNR
    if (/;[ \t]*(\/[\/*].*)?$/ && !/{/) { head = 0; next }
    if (/\)[ \t]*{.*}[ \t]*(\/[\/*].*)?$/) { print 1, FILENAME ":" FNR; head = 0; next }
    if (/\)[ \t]*{[ \t]*(\/[\/*].*)?$/) { open = 1; start = head; head = 0; next }
    if (/{[ \t]*(\/[\/*].*)?$/) head = 0
}
