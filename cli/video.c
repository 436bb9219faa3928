#include "cli/video.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/base.h"
#include "cli/progress.h"

static void held_signals(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

void cli_video_hold_signals(void) {
    sigset_t set;
    held_signals(&set);
    sigaddset(&set, SIGPIPE); /* a closed pipe is an error of the write then */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static bool interrupted(void *context) {
    (void)context;
    sigset_t pending;
    return sigpending(&pending) == 0 && (sigismember(&pending, SIGINT) > 0 || sigismember(&pending, SIGTERM) > 0);
}

typedef struct walk {
    const cli_video *video;
    tern_video_reader *reader;
    tern_video_writer *writer; /* NULL: none */
    cli_progress progress;
    int64_t count;
} walk;

static tern_status all_frames(walk *w, tern_error *err) {
    const cli_video *v = w->video;
    tern_video_frame frame = {0};
    tern_status status = TERN_OK;
    bool got = true, shared = isatty(STDOUT_FILENO); /* what is printed would run into the line */
    while (status == TERN_OK && (v->frames == 0 || w->count < v->frames)) {
        status = tern_video_read(w->reader, &frame, &got, err);
        if (status != TERN_OK || !got) break;
        if (shared) cli_progress_clear(&w->progress);
        status = v->frame(v->context, w->count + 1, &frame, err);
        if (status == TERN_OK && w->writer) status = tern_video_write(w->writer, &frame.image, frame.time, err);
        w->count++;
        cli_progress_step(&w->progress, 1);
    }
    cli_progress_clear(&w->progress);
    tern_image_release(&frame.image);
    return status;
}

static tern_status walk_video(walk *w, tern_error *err) {
    const cli_video *v = w->video;
    const tern_video_options options = {.max_pixels = v->max_pixels, .stop = interrupted};
    TN_TRY(tern_video_open(&w->reader, v->source, &options, err));
    const tern_video_info *info = tern_video_get_info(w->reader);
    if (v->output) TN_TRY(tern_video_create(&w->writer, v->output, info, err));
    int64_t total = v->frames && (info->frames == 0 || v->frames < info->frames) ? v->frames : info->frames;
    cli_progress_begin_rate(&w->progress, v->label, "frames", total);
    uint64_t start = tn_clock_ns();
    TN_TRY(all_frames(w, err));
    double seconds = (double)(tn_clock_ns() - start) * 1e-9;
    if (w->count == 0) {
        return tn_fail(err, TERN_INVALID_FORMAT, "%s: %s", v->source,
                       interrupted(NULL) ? "interrupted before the first frame" : "no frame could be read");
    }
    if (w->writer) TN_TRY(tern_video_finish(&w->writer, err));
    if (w->progress.on) {
        cli_error("%lld frames, %.1f frames per second", (long long)w->count, (double)w->count / TN_MAX(seconds, 1e-9));
    }
    return TERN_OK;
}

int cli_video_run(const cli_video *v) {
    walk w = {.video = v};
    tern_error err;
    int code = walk_video(&w, &err) == TERN_OK ? CLI_OK : cli_fail(&err);
    int64_t damaged = w.reader ? tern_video_damaged(w.reader) : 0;
    if (code == CLI_OK && damaged > 0) {
        cli_error("%s: %lld damaged packet%s left out", v->source, (long long)damaged,
                  damaged == 1 ? " was" : "s were");
        code = CLI_FAILED;
    }
    tern_video_abandon(w.writer);
    tern_video_close(w.reader);
    return code;
}
