/* What the machine can do. Read once from CPUID, XCR0 and the system's files. */
#include "cpu/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const tier_names[] = {"scalar", "avx2", "avx512"};

static tn_cpu_info info;
static pthread_once_t info_once = PTHREAD_ONCE_INIT;
static pthread_once_t mask_once = PTHREAD_ONCE_INIT;
static atomic_int mask; // a tern_cpu_tier, never above info.tier once it is set

/* ---- instruction tiers ---- */

#if defined(__x86_64__)
static bool bit(unsigned word, int index) { return (word >> index) & 1u; }

// Which register files the operating system saves.
static unsigned xcr0(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static void read_name(void) {
    unsigned words[12] = {0};
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]))
            return;
    memcpy(info.name, words, sizeof words);
    info.name[sizeof words] = 0;
    // Vendors pad with blanks.
    size_t length = strlen(info.name), start = strspn(info.name, " ");
    while (length > start && info.name[length - 1] == ' ') length--;
    memmove(info.name, info.name + start, length - start);
    info.name[length - start] = 0;
}

static void read_features(void) {
    enum { YMM_STATE = 0x6, ZMM_STATE = 0xe6 };
    unsigned a, b, c1, d, b7, c7, a71 = 0;
    read_name();
    if (!__get_cpuid(1, &a, &b, &c1, &d)) return;
    bool osxsave = bit(c1, 27), avx = bit(c1, 28), fma = bit(c1, 12), f16c = bit(c1, 29);
    if (!osxsave || !avx || !fma || !f16c || (xcr0() & YMM_STATE) != YMM_STATE) return;
    unsigned subleaves;
    if (!__get_cpuid_count(7, 0, &subleaves, &b7, &c7, &d)) return;
    if (!bit(b7, 5)) return; // AVX2
    info.tier = TERN_CPU_AVX2;
    if (subleaves >= 1) __get_cpuid_count(7, 1, &a71, &b, &c1, &d);
    info.avx_vnni = bit(a71, 4);
    bool f = bit(b7, 16), dq = bit(b7, 17), bw = bit(b7, 30), vl = bit(b7, 31);
    if (!f || !dq || !bw || !vl || (xcr0() & ZMM_STATE) != ZMM_STATE) return;
    info.tier = TERN_CPU_AVX512;
    info.avx512_vnni = bit(c7, 11);
    info.avx512_bf16 = bit(a71, 5);
}
#else
static void read_features(void) {}
#endif

/* ---- caches and cores ---- */

// The first line of a small file of the system; false when it is not there.
static bool read_line(const char *path, char *line, size_t size) {
    FILE *file = fopen(path, "re");
    if (!file) return false;
    bool ok = fgets(line, (int)size, file) != NULL;
    fclose(file);
    return ok;
}

// Of the data or unified cache of that level: what one core can reach. sysconf adds up all L3 caches of some
// processors.
static size_t cache_size(int level, int name, size_t otherwise) {
    enum { INDICES = 8 };
    char path[128], line[64];
    for (int i = 0; i < INDICES; i++) {
        char *unit;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        if (!read_line(path, line, sizeof line)) break;
        if (strtol(line, NULL, 10) != level) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
        if (!read_line(path, line, sizeof line) || line[0] == 'I') continue; // Instruction
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        if (!read_line(path, line, sizeof line)) continue;
        unsigned long long size = strtoull(line, &unit, 10); // "32768K"
        if (size > 0 && size < 1u << 30) return (size_t)size << (*unit == 'K' ? 10 : *unit == 'M' ? 20 : 0);
    }
    long size = sysconf(name);
    return size > 0 ? (size_t)size : otherwise;
}

// The lowest number among the threads of a CPU's core: the same for all of them.
static int core_of(int cpu) {
    char path[128], line[256];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    return read_line(path, line, sizeof line) ? (int)strtol(line, NULL, 10) : cpu;
}

// CPUs that a container's quota amounts to, rounded up; 0 when there is none.
static int quota_cores(void) {
    char line[128];
    long long quota, period;
    if (read_line("/sys/fs/cgroup/cpu.max", line, sizeof line)) {
        char *end; // "200000 100000", or "max 100000", which gives 0
        quota = strtoll(line, &end, 10);
        period = strtoll(end, NULL, 10);
    } else {
        if (!read_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", line, sizeof line)) return 0;
        quota = strtoll(line, NULL, 10);
        if (!read_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us", line, sizeof line)) return 0;
        period = strtoll(line, NULL, 10);
    }
    if (quota <= 0 || period <= 0) return 0;
    long long cores = quota / period + (quota % period != 0);
    return (int)TN_MIN(cores, 1 << 16);
}

static void read_cores(void) {
    enum { SETS = 8 };
    cpu_set_t allowed[SETS], cores[SETS];
    CPU_ZERO_S(sizeof cores, cores);
    info.logical_cores = info.physical_cores = 1;
    if (sched_getaffinity(0, sizeof allowed, allowed) != 0) return;
    int logical = 0;
    for (int cpu = 0; cpu < SETS * CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET_S(cpu, sizeof allowed, allowed)) continue;
        logical++;
        int core = core_of(cpu);
        if (core >= 0 && core < SETS * CPU_SETSIZE) CPU_SET_S(core, sizeof cores, cores);
    }
    int physical = CPU_COUNT_S(sizeof cores, cores), quota = quota_cores();
    if (quota > 0) {
        logical = TN_MIN(logical, quota);
        physical = TN_MIN(physical, quota);
    }
    info.logical_cores = TN_MAX(logical, 1);
    info.physical_cores = TN_MAX(physical, 1);
}

static void read_info(void) {
    info.tier = TERN_CPU_SCALAR;
    snprintf(info.name, sizeof info.name, "unknown");
    read_features();
    info.l1d = cache_size(1, _SC_LEVEL1_DCACHE_SIZE, 32 << 10);
    info.l2 = cache_size(2, _SC_LEVEL2_CACHE_SIZE, 512 << 10);
    info.l3 = cache_size(3, _SC_LEVEL3_CACHE_SIZE, 4 << 20);
    read_cores();
}

const tn_cpu_info *tn_cpu_get_info(void) {
    pthread_once(&info_once, read_info);
    return &info;
}

/* ---- the mask ---- */

static void read_environment(void) {
    tern_cpu_tier best = tn_cpu_get_info()->tier, wanted = best;
    const char *value = getenv("TERN_CPU");
    if (value && *value && tn_cpu_tier_parse(value, &wanted, NULL) != TERN_OK)
        tn_log(TERN_LOG_WARNING, "TERN_CPU=%s is not scalar, avx2 or avx512; using %s", value, tier_names[best]);
    if (wanted > best) {
        tn_log(TERN_LOG_WARNING, "TERN_CPU=%s: this machine does not have it; using %s", value, tier_names[best]);
        wanted = best;
    }
    atomic_store(&mask, (int)wanted);
}

tern_cpu_tier tn_cpu_tier(void) {
    pthread_once(&mask_once, read_environment);
    return (tern_cpu_tier)atomic_load_explicit(&mask, memory_order_relaxed);
}

tern_status tn_cpu_set_mask(tern_cpu_tier highest, tern_error *err) {
    if ((unsigned)highest >= TN_COUNT(tier_names))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%d is not a CPU tier", (int)highest);
    tern_cpu_tier best = tn_cpu_get_info()->tier;
    if (highest > best)
        return tn_fail(err, TERN_UNSUPPORTED, "CPU tier %s: this machine has %s at best", tier_names[highest],
                       tier_names[best]);
    pthread_once(&mask_once, read_environment);
    atomic_store(&mask, (int)highest);
    return TERN_OK;
}

const char *tn_cpu_tier_name(tern_cpu_tier tier) {
    return (unsigned)tier < TN_COUNT(tier_names) ? tier_names[tier] : "unknown";
}

tern_status tn_cpu_tier_parse(const char *name, tern_cpu_tier *out, tern_error *err) {
    for (size_t i = 0; i < TN_COUNT(tier_names); i++) {
        if (strcmp(name, tier_names[i]) != 0) continue;
        *out = (tern_cpu_tier)i;
        return TERN_OK;
    }
    return tn_fail(err, TERN_INVALID_ARGUMENT, "\"%s\" is not a CPU tier; scalar, avx2 and avx512 are", name);
}
