/* How much memory there is. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Of the control group (version 2) that the process is in; SIZE_MAX: no limit, or no control groups. In a container the
 * group is mounted as the root. */
static size_t group_limit(void) {
    FILE *f = fopen("/sys/fs/cgroup/memory.max", "re");
    char text[32], *end = text;
    if (!f) return SIZE_MAX;
    unsigned long long bytes = fgets(text, sizeof text, f) ? strtoull(text, &end, 10) : 0;
    fclose(f);
    return end == text || bytes > SIZE_MAX ? SIZE_MAX : (size_t)bytes; /* "max" is no number */
}

size_t tn_memory_total(void) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t machine = SIZE_MAX;
    if (pages <= 0 || page <= 0 || !tn_mul_size((size_t)pages, (size_t)page, &machine)) machine = SIZE_MAX;
    return TN_MIN(machine, group_limit());
}
