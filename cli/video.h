/* A command's way through a video: frame by frame, with a progress line, to a file when asked for; Ctrl-C ends it as if
 * the video ended there. */
#ifndef CLI_VIDEO_H
#define CLI_VIDEO_H

#include "cli/cli.h"
#include "vision/video/video.h"

typedef struct cli_video {
    const char *label;  /* of the progress line */
    const char *source; /* as for tern_video_open */
    const char *output; /* written from the frames as `frame` leaves them; NULL: nothing is */
    uint64_t max_pixels;
    int64_t frames; /* at most; 0: all */
    /* Called for each, numbers from 1. */
    tern_status (*frame)(void *context, int64_t number, tern_video_frame *frame, tern_error *err);
    void *context;
} cli_video;

/* To be called before any thread is made: SIGINT, SIGTERM and SIGPIPE stay pending from then on, and cli_video_run
 * looks for them, so that no file is left half written. */
void cli_video_hold_signals(void);
/* The exit code; errors have been printed. */
int cli_video_run(const cli_video *v);

#endif
