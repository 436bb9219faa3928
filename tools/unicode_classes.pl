#!/usr/bin/perl
# Writes src/ops/unicode_class.inc, the general categories and scripts of all characters, from the tables of Perl's
# Unicode::UCD (Debian's perl-modules):
#
#     perl tools/unicode_classes.pl > src/ops/unicode_class.inc
use strict;
use warnings;
use Unicode::UCD qw(prop_invmap);

# Runs of characters with one value, as [length, value].
sub runs {
    my ($property) = @_;
    my ($list, $map) = prop_invmap($property);
    my @runs;
    for my $i (0 .. $#$list) {
        my $next = $i < $#$list ? $list->[$i + 1] : 0x110000;
        last if $list->[$i] >= 0x110000;
        $next = 0x110000 if $next > 0x110000;
        if (@runs && $runs[-1][1] eq $map->[$i]) {
            $runs[-1][0] += $next - $list->[$i];
        } else {
            push @runs, [$next - $list->[$i], $map->[$i]];
        }
    }
    return @runs;
}

# Seven bits a byte, the low ones first; the high bit says that another follows.
sub varint {
    my ($n) = @_;
    my @bytes;
    while ($n > 127) {
        push @bytes, $n & 127 | 128;
        $n >>= 7;
    }
    return (@bytes, $n);
}

sub show {
    my ($name, @bytes) = @_;
    print "static const uint8_t $name\[] = {\n";
    while (my @line = splice @bytes, 0, 32) {
        print '    ', join(', ', @line), ",\n";
    }
    print "};\n";
}

my @categories = qw(Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn);
my %category = map { $categories[$_] => $_ } 0 .. $#categories;
my @scripts = sort keys %{ { map { $_->[1] => 1 } runs('Script') } };
@scripts = ('Unknown', grep { $_ ne 'Unknown' } @scripts);
my %script = map { $scripts[$_] => $_ } 0 .. $#scripts;

print "/* Made by tools/unicode_classes.pl of Unicode ", Unicode::UCD::UnicodeVersion(), "; do not edit. Runs of characters from 0 on. */\n";
print "/* The category's number and, times 32, the length up to 7; 0: the length follows in bytes of seven bits. */\n";
show('category_runs', map { my $c = $category{ $_->[1] }; $_->[0] < 8 ? $c | $_->[0] << 5 : ($c, varint($_->[0])) } runs('General_Category'));
print "/* The script's number, then the length. */\n";
show('script_runs', map { ($script{ $_->[1] }, varint($_->[0])) } runs('Script'));
print "static const char category_names[] = \"", join('', @categories), "\";\n";
print "/* In the order of their numbers, each ended by a 0. */\nstatic const char script_names[] =\n";
print "    \"$_\\0\"\n" for @scripts;
print "    ;\n";
