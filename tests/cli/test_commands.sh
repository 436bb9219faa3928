#!/bin/sh
# What all commands have in common: help with examples and exit codes, and suggestions for what is misspelt.
. tests/cli/expect.sh

"$tern" --help | sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' >"$scratch/commands"
[ "$(wc -l <"$scratch/commands")" -ge 10 ]
result $? "the list of commands"
while read -r command; do
    expect "$command: examples in its help" 0 '^examples:$' - "$command" --help
    grep -q '^exit codes: 0 done; 1 .*; 2 wrong command line$' "$scratch/out"
    result $? "$command: exit codes in its help"
    grep -q "^  tern $command" "$scratch/out"
    result $? "$command: an example begins with the command"
    expect "$command: an option that is misspelt" 2 - "did you mean '--help'?" "$command" --hepl
    expect "$command: an option that there is not" 2 - "no option '--zzyzx'" "$command" --zzyzx
done <"$scratch/commands"
expect "an option that is like another by chance" 2 - "no option '--thread' (tern" convert x --thread 2
expect "a command that is misspelt" 2 - "did you mean 'bench'?" bnech
expect "a command that there is not" 2 - 'no command' zzyzx
finish
