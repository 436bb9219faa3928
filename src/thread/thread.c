/* The pool.
 *
 * One 64-bit word announces a job: a sequence number and the number of participants. Workers watch the word. Worker w
 * (1, 2, ...) takes part when w < participants; one that does not take part looks at nothing but the word, so the job's
 * fields may change while it still looks. Those that take part are waited for: `pending` counts them down, and the
 * fields stay as they are until it is 0. A worker can therefore miss jobs that do not concern it, and none that does.
 *
 * Watching is a spin of SPIN_NS, then a futex on the lower half of the word (the sequence number); the caller waits for
 * `pending` in the same way. Nobody spins when there are more participants than CPUs: the one that is waited for needs
 * the CPU. Sleeping and waking can not miss each other: the sleeper announces itself (`sleepers`, `caller_sleeps`)
 * before it looks at the value for the last time, the waker changes the value before it looks for sleepers, and both
 * are sequentially consistent.
 *
 * Participants that share a CPU wait for each other in every job, and a kernel that finds most CPUs of a small machine
 * busy does not look for the idle one when it wakes a thread (Linux's SIS_UTIL): they stay together for many
 * milliseconds. So a worker that sleeps, and last ran where the caller or another participant is, is told where to
 * wake; after that it may go wherever it might before.
 *
 * `lock` is held by the caller of the job; who does not get it runs alone. */
#include "thread/thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SPIN_NS = 50000,
    MAX_THREADS = 512,
    CPU_SETS = 8,           // of 1024 CPUs each
    MAX_MOVES = 8,          // in one job
    STOP = 0xffff,          // in place of the number of participants
    PARTICIPANTS_SHIFT = 48 // in the word; below it is the sequence number
};

typedef struct worker {
    pthread_t thread;
    int number;
    uint64_t seen;  // the word when the worker was made
    atomic_int cpu; // on which it last took part; -1: never did
} worker;

static struct {
    _Alignas(TN_CACHE_LINE) _Atomic uint64_t word;
    _Alignas(TN_CACHE_LINE) atomic_uint sleepers;
    atomic_int runs; // under way, on any thread
    _Alignas(TN_CACHE_LINE) atomic_uint pending;
    atomic_bool caller_sleeps;
    // The job; written by the caller while no worker takes part in one.
    _Alignas(TN_CACHE_LINE) tn_task_fn fn;
    void *context;
    int64_t count;
    int participants;
    uint64_t spin_ns;
    // Held by one caller at a time; guards what follows.
    _Alignas(TN_CACHE_LINE) atomic_flag lock;
    int workers;
    int cpus;
    bool forks; // are watched
    worker table[MAX_THREADS];
} pool = {.lock = ATOMIC_FLAG_INIT};

// This thread runs a task: what it starts runs on it alone.
static _Thread_local bool inside;
// Runs that this thread is in.
static _Thread_local int depth;

/* ---- waiting ---- */

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(const void *address, uint32_t value) {
    syscall(SYS_futex, address, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake_all(const void *address) {
    syscall(SYS_futex, address, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

// The sequence number's lower 32 bits inside the word.
static const void *word_futex(void) {
    const uint32_t *halves = (const uint32_t *)(const void *)&pool.word;
    return &halves[__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__];
}

static uint64_t wait_for_word(uint64_t seen, uint64_t spin_ns) {
    uint64_t end = spin_ns ? tn_clock_ns() + spin_ns : 0;
    while (spin_ns) {
        for (int i = 0; i < 32; i++) {
            uint64_t word = atomic_load_explicit(&pool.word, memory_order_acquire);
            if (word != seen) return word;
            pause_cpu();
        }
        if (tn_clock_ns() >= end) break;
    }
    atomic_fetch_add(&pool.sleepers, 1);
    uint64_t word;
    while ((word = atomic_load(&pool.word)) == seen) futex_wait(word_futex(), (uint32_t)seen);
    atomic_fetch_sub(&pool.sleepers, 1);
    return word;
}

static void wait_for_workers(void) {
    uint64_t end = pool.spin_ns ? tn_clock_ns() + pool.spin_ns : 0;
    while (pool.spin_ns) {
        for (int i = 0; i < 32; i++) {
            if (atomic_load_explicit(&pool.pending, memory_order_acquire) == 0) return;
            pause_cpu();
        }
        if (tn_clock_ns() >= end) break;
    }
    atomic_store(&pool.caller_sleeps, true);
    unsigned left;
    while ((left = atomic_load(&pool.pending)) != 0) futex_wait(&pool.pending, left);
    atomic_store(&pool.caller_sleeps, false);
}

/* ---- workers ---- */

// floor(p * count / participants), without overflow.
static int64_t share_begin(int64_t count, int participants, int p) {
    int64_t whole = count / participants, rest = count % participants;
    return p * whole + p * rest / participants;
}

static void run_share(int p) {
    int64_t begin = share_begin(pool.count, pool.participants, p),
            end = share_begin(pool.count, pool.participants, p + 1);
    if (begin < end) pool.fn(pool.context, begin, end, p);
}

static void *worker_main(void *argument) {
    worker *self = argument;
    int number = self->number;
    uint64_t seen = self->seen, spin_ns = 0;
    inside = true;
    for (;;) {
        seen = wait_for_word(seen, spin_ns);
        uint64_t participants = seen >> PARTICIPANTS_SHIFT;
        if (participants == STOP) return NULL;
        if ((uint64_t)number >= participants) continue;
        run_share(number);
        spin_ns = pool.spin_ns;
        int cpu = sched_getcpu();
        if (cpu != atomic_load_explicit(&self->cpu, memory_order_relaxed))
            atomic_store_explicit(&self->cpu, cpu, memory_order_relaxed);
        // The pool outlives every job, so looking at it after the countdown is safe.
        if (atomic_fetch_sub(&pool.pending, 1) == 1 && atomic_load(&pool.caller_sleeps)) futex_wake_all(&pool.pending);
    }
}

/* ---- places ---- */

typedef struct move {
    pthread_t thread;
    cpu_set_t allowed[CPU_SETS];
} move;

// Keeps the worker to a CPU that is not `used`, if it may use one; move->allowed is where it might be before.
static bool keep_to_free_cpu(pthread_t thread, cpu_set_t *used, move *m) {
    m->thread = thread;
    if (pthread_getaffinity_np(thread, sizeof m->allowed, m->allowed) != 0) return false;
    int cpu = 0, most = CPU_SETS * CPU_SETSIZE;
    size_t size = sizeof m->allowed;
    while (cpu < most && (!CPU_ISSET_S(cpu, size, m->allowed) || CPU_ISSET_S(cpu, size, used))) cpu++;
    if (cpu == most) return false;
    cpu_set_t one[CPU_SETS];
    CPU_ZERO_S(sizeof one, one);
    CPU_SET_S(cpu, sizeof one, one);
    CPU_SET_S(cpu, size, used);
    return pthread_setaffinity_np(thread, sizeof one, one) == 0;
}

// Sends workers of the next job that would wake where another participant is to CPUs of their own; returns how many.
static int part(int participants, move *moves) {
    cpu_set_t used[CPU_SETS], seen[CPU_SETS];
    int collisions = 0, count = 0, here = sched_getcpu();
    if (here < 0) return 0;
    CPU_ZERO_S(sizeof used, used);
    CPU_SET_S(here, sizeof used, used);
    memcpy(seen, used, sizeof seen);
    for (int w = 0; w < participants - 1; w++) {
        int cpu = atomic_load_explicit(&pool.table[w].cpu, memory_order_relaxed);
        if (cpu < 0) continue;
        collisions += CPU_ISSET_S(cpu, sizeof used, used);
        CPU_SET_S(cpu, sizeof used, used);
    }
    for (int w = 0; w < participants - 1 && collisions > 0 && count < MAX_MOVES; w++) {
        int cpu = atomic_load_explicit(&pool.table[w].cpu, memory_order_relaxed);
        if (cpu < 0) continue;
        bool collides = CPU_ISSET_S(cpu, sizeof seen, seen);
        CPU_SET_S(cpu, sizeof seen, seen);
        if (!collides) continue;
        collisions--;
        count += keep_to_free_cpu(pool.table[w].thread, used, &moves[count]);
    }
    return count;
}

static void wake_workers(int participants) {
    move moves[MAX_MOVES];
    int count = pool.spin_ns ? part(participants, moves) : 0;
    futex_wake_all(word_futex());
    for (int i = 0; i < count; i++) pthread_setaffinity_np(moves[i].thread, sizeof moves[i].allowed, moves[i].allowed);
}

static void announce(uint64_t participants) {
    const uint64_t sequence_mask = ((uint64_t)1 << PARTICIPANTS_SHIFT) - 1;
    uint64_t sequence = (atomic_load_explicit(&pool.word, memory_order_relaxed) + 1) & sequence_mask;
    atomic_store(&pool.word, participants << PARTICIPANTS_SHIFT | sequence);
    if (atomic_load(&pool.sleepers) == 0) return;
    if (participants == STOP) {
        futex_wake_all(word_futex());
    } else {
        wake_workers((int)participants);
    }
}

// After fork() the child has no workers, whatever the parent's pool was doing.
static void reset_after_fork(void) {
    pool.workers = 0;
    atomic_store(&pool.sleepers, 0);
    atomic_store(&pool.pending, 0);
    atomic_store(&pool.caller_sleeps, false);
    atomic_store(&pool.runs, depth > 0);
    atomic_flag_clear(&pool.lock);
}

static int count_cpus(void) {
    cpu_set_t allowed[CPU_SETS];
    return sched_getaffinity(0, sizeof allowed, allowed) == 0 ? CPU_COUNT_S(sizeof allowed, allowed) : 1;
}

static bool start_worker(void) {
    worker *w = &pool.table[pool.workers];
    w->number = pool.workers + 1;
    atomic_init(&w->cpu, -1);
    w->seen = atomic_load_explicit(&pool.word, memory_order_relaxed);
    // Signals are for the program's own threads.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int code = pthread_create(&w->thread, NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (code != 0) {
        tn_log(TERN_LOG_WARNING, "no thread %d: running with %d", w->number + 1, w->number);
        return false;
    }
    char name[16];
    snprintf(name, sizeof name, "tern-%d", w->number);
    pthread_setname_np(w->thread, name);
    pool.workers++;
    return true;
}

// Makes the pool as large as it can be, up to `threads` participants, and returns how many there are.
static int grow(int threads) {
    if (pool.workers == 0 && !pool.forks) {
        pthread_atfork(NULL, NULL, reset_after_fork);
        pool.forks = true;
    }
    if (pool.cpus == 0) pool.cpus = count_cpus();
    while (pool.workers < threads - 1 && start_worker()) {}
    return TN_MIN(threads, pool.workers + 1);
}

/* ---- jobs ---- */

void tn_thread_run_begin(void) {
    if (depth++ == 0 && !inside) atomic_fetch_add_explicit(&pool.runs, 1, memory_order_relaxed);
}

void tn_thread_run_end(void) {
    if (--depth == 0 && !inside) atomic_fetch_sub_explicit(&pool.runs, 1, memory_order_relaxed);
}

// `threads`, less where other runs need CPUs. The caller has the lock.
static int fair(int threads) {
    int others = atomic_load_explicit(&pool.runs, memory_order_relaxed) - (depth > 0);
    if (others <= 0) return threads;
    if (pool.cpus == 0) pool.cpus = count_cpus();
    return TN_MAX(TN_MIN(threads, pool.cpus - others), 1);
}

void tn_parallel_for(int threads, int64_t count, tn_task_fn fn, void *context) {
    if (count <= 0) return;
    threads = TN_MIN(threads, MAX_THREADS);
    if (threads > count) threads = (int)count;
    if (threads <= 1 || inside || atomic_flag_test_and_set_explicit(&pool.lock, memory_order_acquire)) {
        fn(context, 0, count, 0);
        return;
    }
    threads = fair(threads);
    if (threads == 1) {
        atomic_flag_clear_explicit(&pool.lock, memory_order_release);
        fn(context, 0, count, 0);
        return;
    }
    inside = true;
    pool.participants = grow(threads);
    pool.fn = fn;
    pool.context = context;
    pool.count = count;
    pool.spin_ns = pool.participants <= pool.cpus ? SPIN_NS : 0;
    if (pool.participants > 1) {
        atomic_store_explicit(&pool.pending, (unsigned)pool.participants - 1, memory_order_relaxed);
        announce((uint64_t)pool.participants);
    }
    run_share(0);
    if (pool.participants > 1) wait_for_workers();
    inside = false;
    atomic_flag_clear_explicit(&pool.lock, memory_order_release);
}

bool tn_thread_alone(bool on) {
    bool before = inside;
    inside = on;
    return before;
}

void tn_thread_shutdown(void) {
    if (inside) return; // a task can not wait for itself
    while (atomic_flag_test_and_set_explicit(&pool.lock, memory_order_acquire)) sched_yield();
    if (pool.workers > 0) announce(STOP);
    for (int i = 0; i < pool.workers; i++) pthread_join(pool.table[i].thread, NULL);
    pool.workers = 0;
    atomic_flag_clear_explicit(&pool.lock, memory_order_release);
}

/* ---- mutex ---- */

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(tn_mutex), "tn_mutex must hold a pthread_mutex_t");

static pthread_mutex_t *native(tn_mutex *m) { return (pthread_mutex_t *)(void *)m; }

bool tn_mutex_init(tn_mutex *m) { return pthread_mutex_init(native(m), NULL) == 0; }
void tn_mutex_release(tn_mutex *m) { pthread_mutex_destroy(native(m)); }
void tn_mutex_lock(tn_mutex *m) { pthread_mutex_lock(native(m)); }
void tn_mutex_unlock(tn_mutex *m) { pthread_mutex_unlock(native(m)); }
