/* The thread pool; also meant to be run under ThreadSanitizer. */
#include "test_util.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "thread/thread.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

enum { MAX_COUNT = 1000, MAX_PARTICIPANTS = 64 };

// What one job did: how often each task ran, and the share of each participant.
typedef struct record {
    int runs[MAX_COUNT]; // not atomic: a task that runs twice is a race that ThreadSanitizer sees
    atomic_int calls[MAX_PARTICIPANTS];
    int64_t begin[MAX_PARTICIPANTS], end[MAX_PARTICIPANTS];
    int threads;
} record;

static void note(void *context, int64_t begin, int64_t end, int worker) {
    record *r = context;
    assert_in_range(worker, 0, r->threads - 1);
    assert_true(begin < end);
    atomic_fetch_add(&r->calls[worker], 1);
    r->begin[worker] = begin;
    r->end[worker] = end;
    for (int64_t i = begin; i < end; i++) r->runs[i]++;
}

static void test_every_task_runs_once_in_static_shares(void **state) {
    (void)state;
    static record r;
    for (int threads = 1; threads <= 9; threads++) {
        for (int64_t count = 0; count <= 40; count++) {
            memset(&r, 0, sizeof r);
            r.threads = threads;
            tn_parallel_for(threads, count, note, &r);
            for (int64_t i = 0; i < count; i++) assert_int_equal(r.runs[i], 1);
            int64_t participants = threads < count ? threads : count, next = 0;
            for (int64_t p = 0; p < participants; p++) {
                assert_int_equal(r.calls[p], 1);
                assert_int_equal(r.begin[p], next);
                assert_int_equal(r.begin[p], p * count / participants);
                next = r.end[p];
            }
            assert_int_equal(next, count);
        }
    }
}

static void note_range(void *context, int64_t begin, int64_t end, int worker) {
    int64_t *share = (int64_t *)context + 2 * worker;
    share[0] = begin;
    share[1] = end;
}

static void test_huge_counts_do_not_overflow(void **state) {
    (void)state;
    int64_t share[2 * 7];
    tn_parallel_for(7, INT64_MAX, note_range, share);
    assert_int_equal(share[0], 0);
    for (int p = 1; p < 7; p++) assert_int_equal(share[2 * p], share[2 * p - 1]);
    assert_int_equal(share[13], INT64_MAX);
    for (int p = 0; p < 7; p++) assert_true(share[2 * p + 1] - share[2 * p] - INT64_MAX / 7 <= 1);
}

static void test_many_jobs_in_a_row(void **state) {
    (void)state;
    static record r;
    memset(&r, 0, sizeof r);
    r.threads = 4;
    for (int i = 0; i < 20000; i++) {
        tn_parallel_for(2 + i % 3, 2 + i % 5, note, &r);
        if (i % 4096 == 0) usleep(2000); // the workers fall asleep
    }
    int total = 0, want = 0;
    for (int i = 0; i < MAX_COUNT; i++) total += r.runs[i];
    for (int i = 0; i < 20000; i++) want += 2 + i % 5;
    assert_int_equal(total, want);
}

/* ---- nesting ---- */

typedef struct nested {
    pthread_t outer;
    int64_t sum;
} nested;

static void inner(void *context, int64_t begin, int64_t end, int worker) {
    nested *n = context;
    assert_int_equal(worker, 0);
    assert_true(pthread_equal(pthread_self(), n->outer));
    for (int64_t i = begin; i < end; i++) n->sum += i;
}

static void outer(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    nested *all = context;
    for (int64_t i = begin; i < end; i++) {
        all[i].outer = pthread_self();
        tn_parallel_for(8, 100, inner, &all[i]);
    }
}

static void test_nested_jobs_run_on_the_calling_thread(void **state) {
    (void)state;
    static nested all[16];
    memset(all, 0, sizeof all);
    tn_parallel_for(4, 16, outer, all);
    for (int i = 0; i < 16; i++) assert_int_equal(all[i].sum, 4950);
}

/* ---- two callers at once ---- */

static void test_alone(void **state) {
    (void)state;
    static record r;
    memset(&r, 0, sizeof r);
    r.threads = 4;
    assert_false(tn_thread_alone(true));
    tn_parallel_for(4, 100, note, &r);
    assert_true(tn_thread_alone(false));
    assert_int_equal(r.calls[0], 1);
    assert_int_equal(r.end[0], 100);
    tn_parallel_for(4, 100, note, &r);
    assert_int_equal(r.calls[0], 2);
    assert_int_equal(r.end[0], 25);
}

static void wait_for_other(void *context, int64_t begin, int64_t end, int worker) {
    (void)begin, (void)end, (void)worker;
    atomic_int *stage = context;
    int none = 0;
    atomic_compare_exchange_strong(stage, &none, 1); // the other participant may be late
    while (atomic_load(stage) != 2) usleep(100);
}

static void *hold_the_pool(void *context) {
    // The job ends only after the other caller's job has ended.
    tn_parallel_for(2, 2, wait_for_other, context);
    return NULL;
}

static void test_second_caller_does_not_wait(void **state) {
    (void)state;
    atomic_int stage = 0;
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, hold_the_pool, &stage), 0);
    while (atomic_load(&stage) != 1) usleep(100);
    static record r;
    memset(&r, 0, sizeof r);
    r.threads = 4;
    tn_parallel_for(4, 100, note, &r);
    assert_int_equal(r.calls[0], 1);
    assert_int_equal(r.begin[0], 0);
    assert_int_equal(r.end[0], 100);
    atomic_store(&stage, 2);
    assert_int_equal(pthread_join(other, NULL), 0);
}

static void add_to(void *context, int64_t begin, int64_t end, int worker) {
    int64_t *sums = context;
    for (int64_t i = begin; i < end; i++) sums[8 * worker] += i;
}

static void *caller(void *context) {
    int64_t *bad = context;
    for (int i = 0; i < 3000; i++) {
        int64_t sums[8 * 4] = {0};
        tn_parallel_for(4, 50, add_to, sums);
        if (sums[0] + sums[8] + sums[16] + sums[24] != 1225) ++*bad;
    }
    return NULL;
}

static void test_many_callers(void **state) {
    (void)state;
    pthread_t threads[4];
    int64_t bad[4] = {0};
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, caller, &bad[i]), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(bad[i], 0);
    }
}

/* ---- life of the pool ---- */

/* ---- runs at once ---- */

typedef struct other_run {
    atomic_int state; // 0: begins, 1: under way, 2: may end
} other_run;

static void *run_beside(void *context) {
    other_run *o = context;
    tn_thread_run_begin();
    atomic_store(&o->state, 1);
    while (atomic_load(&o->state) != 2) sched_yield();
    tn_thread_run_end();
    return NULL;
}

static void highest_worker(void *context, int64_t begin, int64_t end, int worker) {
    atomic_int *highest = context;
    (void)begin, (void)end;
    int seen = atomic_load(highest);
    while (worker > seen && !atomic_compare_exchange_weak(highest, &seen, worker)) {}
}

static int participants_of_a_job(int threads) {
    atomic_int highest = 0;
    tn_parallel_for(threads, threads, highest_worker, &highest);
    return atomic_load(&highest) + 1;
}

static void test_runs_leave_cpus_to_each_other(void **state) {
    (void)state;
    int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN), threads = TN_MAX(cpus, 2);
    tn_thread_run_begin();
    tn_thread_run_begin(); // a run inside the run is no other one
    assert_int_equal(participants_of_a_job(threads), threads);
    other_run o = {0};
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, run_beside, &o), 0);
    while (atomic_load(&o.state) != 1) sched_yield();
    assert_true(participants_of_a_job(threads) <= TN_MAX(cpus - 1, 1));
    atomic_store(&o.state, 2);
    pthread_join(t, NULL);
    assert_int_equal(participants_of_a_job(threads), threads);
    tn_thread_run_end();
    tn_thread_run_end();
}

static void test_shutdown_and_restart(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        int64_t bad = 0, sums[8 * 4] = {0};
        tn_parallel_for(4, 50, add_to, sums);
        if (sums[0] + sums[8] + sums[16] + sums[24] != 1225) bad++;
        assert_int_equal(bad, 0);
        if (i % 2) usleep(300);
        tn_thread_shutdown();
        tn_thread_shutdown(); // twice is fine
    }
}

static void test_a_forked_child_gets_its_own_pool(void **state) {
    (void)state;
    if (UNDER_TSAN) tt_skip("the thread sanitizer does not support it"); // it does not allow threads after such a fork
    int64_t sums[8 * 4] = {0};
    tn_parallel_for(4, 50, add_to, sums);
    fflush(stdout);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(20);
        memset(sums, 0, sizeof sums);
        tn_parallel_for(4, 50, add_to, sums);
        _exit(sums[0] + sums[8] + sums[16] + sums[24] == 1225 && sums[8] > 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- places ---- */

typedef struct places {
    int cpu;             // on which every participant is held for a while; -1: none
    atomic_int narrowed; // participants that are kept from some CPU of `all` for good
    cpu_set_t all;
} places;

// The caller widens the set of a worker it moved right after the wake, which the worker's first steps may precede.
static bool stays_narrow(const cpu_set_t *all) {
    cpu_set_t mine;
    for (int i = 0; i < 5000; i++) {
        if (sched_getaffinity(0, sizeof mine, &mine) != 0 || CPU_EQUAL(&mine, all)) return false;
        usleep(1000);
    }
    return true;
}

static void stay(void *context, int64_t begin, int64_t end, int worker) {
    places *p = context;
    cpu_set_t one;
    (void)begin, (void)end, (void)worker;
    if (p->cpu < 0) {
        if (stays_narrow(&p->all)) p->narrowed++;
        return;
    }
    CPU_ZERO(&one);
    CPU_SET(p->cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
}

static void be_free(void *context, int64_t begin, int64_t end, int worker) {
    places *p = context;
    (void)begin, (void)end, (void)worker;
    assert_int_equal(sched_setaffinity(0, sizeof p->all, &p->all), 0);
}

// A worker that is told where to wake may go anywhere afterwards.
static void test_workers_keep_their_cpus(void **state) {
    (void)state;
    places p = {.cpu = -1};
    if (sched_getaffinity(0, sizeof p.all, &p.all) != 0 || CPU_COUNT(&p.all) < 2) tt_skip("this needs two CPUs");
    int cpu = 0;
    while (!CPU_ISSET(cpu, &p.all)) cpu++;
    for (int i = 0; i < 20; i++) {
        p.cpu = cpu; // all of them together
        tn_parallel_for(2, 2, stay, &p);
        tn_parallel_for(2, 2, be_free, &p);
        usleep(1000); // the worker sleeps
        p.cpu = -1;
        tn_parallel_for(2, 2, stay, &p); // which wakes it elsewhere
        usleep(1000);
        p.narrowed = 0;
        tn_parallel_for(2, 2, stay, &p);
        assert_int_equal(p.narrowed, 0);
    }
}

static void count_one(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    for (int64_t i = begin; i < end; i++) atomic_fetch_add((atomic_int *)context, 1);
}

// Callers that move between CPUs, and jobs that come as workers spin, are about to sleep, sleep, or are being moved:
// one that was not woken would hold this test for ever.
static void *run_jobs_anywhere(void *context) {
    cpu_set_t all;
    tt_rng rng = tt_rng_init(*(uint64_t *)context);
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    for (int i = 0; i < 1500; i++) {
        cpu_set_t one;
        int cpu = (int)tt_random_below(&rng, CPU_SETSIZE);
        while (!CPU_ISSET(cpu, &all)) cpu = (cpu + 1) % CPU_SETSIZE;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
        if (i % 2) sched_setaffinity(0, sizeof all, &all);
        atomic_int count;
        atomic_init(&count, 0);
        tn_parallel_for(2 + i % 3, 64, count_one, &count);
        assert_int_equal(atomic_load(&count), 64);
        usleep((useconds_t)tt_random_below(&rng, 150)); // workers sleep after 50
    }
    sched_setaffinity(0, sizeof all, &all);
    return NULL;
}

static void test_sleeping_workers_wake(void **state) {
    (void)state;
    pthread_t threads[2];
    uint64_t seeds[2] = {1, 2};
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, run_jobs_anywhere, &seeds[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    seeds[0] = 3;
    run_jobs_anywhere(&seeds[0]);
}

/* ---- mutex ---- */

typedef struct guarded {
    tn_mutex mutex;
    int64_t value;
} guarded;

static void count_up(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    guarded *g = context;
    for (int64_t i = begin; i < end; i++) {
        tn_mutex_lock(&g->mutex);
        g->value++;
        tn_mutex_unlock(&g->mutex);
    }
}

static void test_mutex(void **state) {
    (void)state;
    guarded g = {.value = 0};
    assert_true(tn_mutex_init(&g.mutex));
    tn_parallel_for(4, 10000, count_up, &g);
    assert_int_equal(g.value, 10000);
    tn_mutex_release(&g.mutex);
}

static int stop_pool(void **state) {
    (void)state;
    tn_thread_shutdown();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_runs_once_in_static_shares),
        cmocka_unit_test(test_huge_counts_do_not_overflow),
        cmocka_unit_test(test_many_jobs_in_a_row),
        cmocka_unit_test(test_nested_jobs_run_on_the_calling_thread),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_second_caller_does_not_wait),
        cmocka_unit_test(test_many_callers),
        cmocka_unit_test(test_runs_leave_cpus_to_each_other),
        cmocka_unit_test(test_shutdown_and_restart),
        cmocka_unit_test(test_a_forked_child_gets_its_own_pool),
        cmocka_unit_test(test_workers_keep_their_cpus),
        cmocka_unit_test(test_sleeping_workers_wake),
        cmocka_unit_test(test_mutex),
    };
    return cmocka_run_group_tests_name("thread", tests, NULL, stop_pool);
}
