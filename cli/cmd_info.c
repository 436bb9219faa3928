/* tern info: what this build and this machine can do. */
#include <stdio.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cpu/cpu.h"
#include "vision/draw/draw.h"
#include "vision/image/image.h"
#include "vision/video/video.h"

static void print_text(const tn_cpu_info *cpu, const tn_cpu_system *system) {
    printf("tern         %s\n", tern_version());
    printf("processor    %s\n", system->name);
    printf("tier         %s (the machine has %s%s%s)\n", tern_cpu_tier_name(tern_cpu_get_tier()),
           tern_cpu_tier_name(cpu->tier), cpu->avx_vnni || cpu->avx512_vnni ? ", vnni" : "",
           cpu->avx512_bf16 ? ", bf16" : "");
    printf("cores        %d physical, %d logical\n", system->physical_cores, system->logical_cores);
    printf("caches       %zu KiB L1d, %zu KiB L2, %zu KiB L3\n", cpu->l1d >> 10, cpu->l2 >> 10, system->l3 >> 10);
    tern_image_format formats[TERN_IMAGE_FORMATS];
    tern_image_formats(formats);
    for (size_t i = 0; i < TERN_IMAGE_FORMATS; i++) {
        const tern_image_format *f = &formats[i];
        printf("%-12s %-5s%s%s\n", i ? "" : "pictures", f->name,
               f->library ? f->library : "not in this build; install ", f->library ? "" : f->package);
    }
    printf("%-12s %s\n", "drawing",
           tern_draw_library() ? tern_draw_library() : "not in this build; install libcairo2-dev");
    const char *video = tern_video_library();
    printf("%-12s %s\n", "video", video ? video : "not in this build; install libavformat-dev");
    printf("%-12s cJSON %s\n", "json", cJSON_Version());
}

static void print_json(const tn_cpu_info *cpu, const tn_cpu_system *system) {
    cJSON *root = cli_json_object(NULL, NULL);
    cli_json_string(root, "version", tern_version());
    cJSON *machine = cli_json_object(root, "cpu");
    cli_json_string(machine, "name", system->name);
    cli_json_string(machine, "tier", tern_cpu_tier_name(tern_cpu_get_tier()));
    cli_json_string(machine, "machine_tier", tern_cpu_tier_name(cpu->tier));
    cli_json_bool(machine, "avx_vnni", cpu->avx_vnni);
    cli_json_bool(machine, "avx512_vnni", cpu->avx512_vnni);
    cli_json_bool(machine, "avx512_bf16", cpu->avx512_bf16);
    cli_json_int(machine, "physical_cores", system->physical_cores);
    cli_json_int(machine, "logical_cores", system->logical_cores);
    cli_json_int(machine, "l1d_bytes", (int64_t)cpu->l1d);
    cli_json_int(machine, "l2_bytes", (int64_t)cpu->l2);
    cli_json_int(machine, "l3_bytes", (int64_t)system->l3);
    tern_image_format formats[TERN_IMAGE_FORMATS];
    tern_image_formats(formats);
    cJSON *pictures = cli_json_object(root, "pictures");
    for (size_t i = 0; i < TERN_IMAGE_FORMATS; i++) cli_json_string(pictures, formats[i].name, formats[i].library);
    cli_json_string(root, "drawing", tern_draw_library());
    cli_json_string(root, "video", tern_video_library());
    cli_json_string(root, "cjson", cJSON_Version());
    cli_json_print(root);
}

static int run(void *args, char **operands, int count) {
    (void)operands;
    (void)count;
    const tn_cpu_info *cpu = tn_cpu_get_info();
    if (((const cli_common *)args)->json) {
        print_json(cpu, tn_cpu_get_system());
    } else {
        print_text(cpu, tn_cpu_get_system());
    }
    return CLI_OK;
}

static const cli_option options[] = {CLI_OPT_CPU, CLI_OPT_JSON};
static const char *const examples[] = {"tern info", "tern info --json", "tern info --cpu avx2", NULL};

const cli_command cli_cmd_info = {
    .name = "info",
    .summary = "print what this build and this machine can do",
    .operands = "",
    .description = "Prints the version, the CPU, the instruction tier in force, caches and libraries.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the machine lacks the tier of --cpu",
    .max_operands = 0,
    .args_size = sizeof(cli_common),
    .run = run,
};
