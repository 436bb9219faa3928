/* What the machine can do. Read once from CPUID, XCR0 and the system's files. */
#include "cpu/cpu.h"

#include <fcntl.h>
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
static tn_cpu_system around;
static pthread_once_t info_once = PTHREAD_ONCE_INIT;
static pthread_once_t around_once = PTHREAD_ONCE_INIT;
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
    memcpy(around.name, words, sizeof words);
    around.name[sizeof words] = 0;
    // Vendors pad with blanks.
    size_t length = strlen(around.name), start = strspn(around.name, " ");
    while (length > start && around.name[length - 1] == ' ') length--;
    memmove(around.name, around.name + start, length - start);
    around.name[length - start] = 0;
}

static void read_features(void) {
    enum { YMM_STATE = 0x6, ZMM_STATE = 0xe6 };
    unsigned a, b, c1, d, b7, c7, a71 = 0;
    /* The macro, as the functions ask for the highest leaf each time, and CPUID is slow in a virtual machine. */
    if (__get_cpuid_max(0, NULL) < 7) return;
    __cpuid(1, a, b, c1, d);
    bool osxsave = bit(c1, 27), avx = bit(c1, 28), fma = bit(c1, 12), f16c = bit(c1, 29);
    if (!osxsave || !avx || !fma || !f16c || (xcr0() & YMM_STATE) != YMM_STATE) return;
    unsigned subleaves;
    __cpuid_count(7, 0, subleaves, b7, c7, d);
    if (!bit(b7, 5)) return; // AVX2
    info.tier = TERN_CPU_AVX2;
    if (subleaves >= 1) __cpuid_count(7, 1, a71, b, c1, d);
    info.avx_vnni = bit(a71, 4);
    bool f = bit(b7, 16), dq = bit(b7, 17), bw = bit(b7, 30), vl = bit(b7, 31);
    if (!f || !dq || !bw || !vl || (xcr0() & ZMM_STATE) != ZMM_STATE) return;
    info.tier = TERN_CPU_AVX512;
    info.avx512_vnni = bit(c7, 11);
    info.avx512_bf16 = bit(a71, 5);
}

// Whether leaf 0xb, extended topology, says that no core has several threads.
static bool one_thread_per_core(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(0xb, 0, &a, &b, &c, &d) && (c >> 8 & 0xff) == 1 && (b & 0xffff) == 1;
}
#else
static void read_name(void) {}
static void read_features(void) {}
static bool one_thread_per_core(void) { return false; }
#endif

/* ---- caches and cores ---- */

// The first line of a small file of the system; false when it is not there.
static bool read_line(const char *path, char *line, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, line, size - 1);
    close(fd);
    line[n > 0 ? n : 0] = 0;
    line[strcspn(line, "\n")] = 0;
    return n > 0;
}

static size_t cache_size(int name, size_t otherwise) {
    long size = sysconf(name);
    return size > 0 ? (size_t)size : otherwise;
}

// sysconf adds up all L3 caches of some processors; one core can reach one of them.
static size_t l3_size(void) {
    enum { INDICES = 8 };
    char path[128], line[64];
    for (int i = INDICES - 1; i >= 0; i--) {
        char *unit;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        if (!read_line(path, line, sizeof line) || strtol(line, NULL, 10) != 3) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        if (!read_line(path, line, sizeof line)) continue;
        unsigned long long size = strtoull(line, &unit, 10); // "32768K"
        if (size > 0 && size < 1u << 30) return (size_t)size << (*unit == 'K' ? 10 : *unit == 'M' ? 20 : 0);
    }
    return cache_size(_SC_LEVEL3_CACHE_SIZE, 4 << 20);
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
    around.logical_cores = around.physical_cores = 1;
    if (sched_getaffinity(0, sizeof allowed, allowed) != 0) return;
    int logical = 0;
    bool apart = one_thread_per_core();
    for (int cpu = 0; cpu < SETS * CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET_S(cpu, sizeof allowed, allowed)) continue;
        logical++;
        int core = apart ? cpu : core_of(cpu);
        if (core >= 0 && core < SETS * CPU_SETSIZE) CPU_SET_S(core, sizeof cores, cores);
    }
    int physical = CPU_COUNT_S(sizeof cores, cores), quota = quota_cores();
    if (quota > 0) {
        logical = TN_MIN(logical, quota);
        physical = TN_MIN(physical, quota);
    }
    around.logical_cores = TN_MAX(logical, 1);
    around.physical_cores = TN_MAX(physical, 1);
}

static void read_info(void) {
    info.tier = TERN_CPU_SCALAR;
    read_features();
    info.l1d = cache_size(_SC_LEVEL1_DCACHE_SIZE, 32 << 10);
    info.l2 = cache_size(_SC_LEVEL2_CACHE_SIZE, 512 << 10);
}

static void read_system(void) {
    snprintf(around.name, sizeof around.name, "unknown");
    read_name();
    around.l3 = l3_size();
    read_cores();
}

const tn_cpu_info *tn_cpu_get_info(void) {
    pthread_once(&info_once, read_info);
    return &info;
}

const tn_cpu_system *tn_cpu_get_system(void) {
    pthread_once(&around_once, read_system);
    return &around;
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
