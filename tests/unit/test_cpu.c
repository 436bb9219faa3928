/* CPU tiers. The environment is read once per process, so each case of TERN_CPU runs in a child of its own. */
#include "test_util.h"

#include <sys/wait.h>

#include "cpu/cpu.h"
#include "tern/log.h"

static void test_info_is_sensible(void **state) {
    (void)state;
    const tn_cpu_info *info = tn_cpu_get_info();
    assert_ptr_equal(info, tn_cpu_get_info());
    const tn_cpu_system *system = tn_cpu_get_system();
    assert_ptr_equal(system, tn_cpu_get_system());
    assert_in_range(system->physical_cores, 1, system->logical_cores);
    assert_in_range(info->l1d, 4 << 10, 1 << 20);
    assert_true(info->l2 >= info->l1d && system->l3 >= 1 << 20);
    assert_true(system->name[0] != 0);
#if defined(__x86_64__)
    assert_int_equal(info->tier >= TERN_CPU_AVX2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
    assert_int_equal(info->tier >= TERN_CPU_AVX512,
                     __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
    assert_int_equal(info->avx512_vnni, info->tier >= TERN_CPU_AVX512 && __builtin_cpu_supports("avx512vnni"));
    assert_int_equal(info->avx512_bf16, info->tier >= TERN_CPU_AVX512 && __builtin_cpu_supports("avx512bf16"));
#else
    assert_int_equal(info->tier, TERN_CPU_SCALAR);
#endif
}

static void test_names(void **state) {
    (void)state;
    for (int i = TERN_CPU_SCALAR; i <= TERN_CPU_AVX512; i++) {
        tern_cpu_tier tier;
        assert_int_equal(tern_cpu_tier_parse(tern_cpu_tier_name((tern_cpu_tier)i), &tier, NULL), TERN_OK);
        assert_int_equal(tier, i);
    }
    tern_cpu_tier tier = TERN_CPU_AVX2;
    tern_error err = {0};
    assert_int_equal(tern_cpu_tier_parse("avx9", &tier, &err), TERN_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "avx9"));
    assert_int_equal(tier, TERN_CPU_AVX2);
    assert_int_equal(tern_cpu_tier_parse(NULL, &tier, NULL), TERN_INVALID_ARGUMENT);
    assert_string_equal(tern_cpu_tier_name((tern_cpu_tier)77), "unknown");
}

static void test_mask(void **state) {
    (void)state;
    tern_cpu_tier best = tn_cpu_get_info()->tier;
    for (int i = TERN_CPU_SCALAR; i <= TERN_CPU_AVX512; i++) {
        tern_error err = {0};
        if (i <= (int)best) {
            assert_int_equal(tern_cpu_set_mask((tern_cpu_tier)i, &err), TERN_OK);
            assert_int_equal(tern_cpu_get_tier(), i);
        } else {
            assert_int_equal(tern_cpu_set_mask((tern_cpu_tier)i, &err), TERN_UNSUPPORTED);
            assert_int_equal(tern_cpu_get_tier(), best);
        }
    }
    assert_int_equal(tern_cpu_set_mask((tern_cpu_tier)3, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_cpu_set_mask((tern_cpu_tier)-1, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_cpu_set_mask(best, NULL), TERN_OK);
}

/* ---- TERN_CPU ---- */

static void count_warning(void *context, tern_log_level level, const char *line) {
    (void)line;
    if (level == TERN_LOG_WARNING) ++*(int *)context;
}

// Run by the child: prints nothing, returns tier + 10 * warnings.
static int child_main(void) {
    int warnings = 0;
    tern_set_log(count_warning, &warnings, TERN_LOG_WARNING);
    int tier = (int)tern_cpu_get_tier();
    tern_cpu_get_tier();
    return tier + 10 * warnings;
}

static void expect_environment(const char *value, int want) {
    fflush(stdout);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (value)
            setenv("TERN_CPU", value, 1);
        else
            unsetenv("TERN_CPU");
        execl("/proc/self/exe", "test_cpu", "--child", (char *)NULL);
        _exit(99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), want);
}

static void test_environment(void **state) {
    (void)state;
    int best = (int)tn_cpu_get_info()->tier;
    expect_environment(NULL, best);
    expect_environment("", best);
    expect_environment("scalar", TERN_CPU_SCALAR);
    expect_environment("avx2", best >= TERN_CPU_AVX2 ? TERN_CPU_AVX2 : best + 10);
    expect_environment("avx512", best >= TERN_CPU_AVX512 ? TERN_CPU_AVX512 : best + 10);
    expect_environment("sse", best + 10);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--child") == 0) return child_main();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info_is_sensible),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_environment),
    };
    return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
