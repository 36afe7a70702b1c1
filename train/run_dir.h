/* The directory of a run: config.yaml metrics.jsonl log.txt lock tokens-*.h5 study.h5
 * ckpt/step-NNNNNN.h5
 *
 *     sol_run_dir d;
 *     st = sol_run_dir_open(&d, path, resume, err); // makes and locks the directory
 *     st = sol_run_dir_claim(&d, yaml, err); // new run: from here on a kill leaves one to resume
 *     st = sol_run_dir_begin(&d, yaml, bytes, step, &lost, err); // after all else that may fail
 *     st = sol_run_dir_metrics_add(&d, line, n, err); // once a step
 *     sol_run_dir_close(&d); // without a begin the directory is as it was before the open
 *
 * A run changes and removes only the files that it makes itself, by their exact names. A link under
 * one of these names is refused, because it may lead to a file of somebody else. */
#ifndef SOLERA_TRAIN_RUN_DIR_H
#define SOLERA_TRAIN_RUN_DIR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/file.h"
#include "base/text.h"

enum { SOL_RUN_DIR_FILES = 27 }; /* a run makes beside ckpt/ */

typedef struct sol_run_dir {
    char path[SOL_PATH_MAX / 2];
    bool has_run; /* it held a run when it was opened */
    bool begun;
    bool had[SOL_RUN_DIR_FILES];    /* the files of a run that were there before */
    size_t had_dirs;                /* how much of "<path>/ckpt" was there */
    char lock_was[32], lock_is[32]; /* what the lock held, and holds */
    int lock_fd, metrics_fd;
    uint64_t metrics_bytes; /* length of metrics.jsonl */
    bool wait_when_full;    /* lines for which the disk has no space wait in memory */
    sol_text waiting;       /* owned */
    FILE *log;              /* log.txt, appended to */
} sol_run_dir;

/* A directory that holds a run is refused unless `resume` (SOL_ERR_USAGE), as is one that holds no
 * run but files of that name; one that another process uses always (SOL_ERR_LOCKED, with its
 * process id). */
sol_status sol_run_dir_open(sol_run_dir *d, const char *path, bool resume, sol_err *err);
/* For another rank: the directory that the first one has opened, as *d says; nothing in it is
 * written from here. SOL_ERR_IO: it is not the same directory, by its lock. */
sol_status sol_run_dir_join(sol_run_dir *d, const sol_run_dir *first, sol_err *err);
/* Writes config.yaml where no run was. */
sol_status sol_run_dir_claim(sol_run_dir *d, const char *config_yaml, sol_err *err);
/* Opens log.txt; opens metrics.jsonl and cuts it to `bytes` and whole lines of steps up to `step`
 * (*lost: there were less); removes what a killed process left half-written; writes config.yaml. */
sol_status sol_run_dir_begin(sol_run_dir *d, const char *config_yaml, uint64_t bytes, uint64_t step,
                             bool *lost, sol_err *err);
/* What is in the directory took long to make and a resume finds it: a close removes nothing. */
void sol_run_dir_keep(sol_run_dir *d);
/* Without a begin or keep removes what this process made. A failed open wants a close, too. */
void sol_run_dir_close(sol_run_dir *d);

/* "<path>/name" and "<path>/ckpt/step-NNNNNN.h5". */
void sol_run_dir_file(const sol_run_dir *d, const char *name, char out[SOL_PATH_MAX]);
void sol_run_dir_checkpoint(const sol_run_dir *d, uint64_t step, char out[SOL_PATH_MAX]);

/* Appends one line of n bytes, line break included: whole or not at all. */
sol_status sol_run_dir_metrics_add(sol_run_dir *d, const char *line, size_t n, sol_err *err);
/* All lines are on the disk, those that waited, too. */
sol_status sol_run_dir_metrics_sync(sol_run_dir *d, sol_err *err);
/* Of the last whole line of metrics.jsonl, before a begin, too; 0: there is none. */
sol_status sol_run_dir_last_step(const sol_run_dir *d, uint64_t *step, sol_err *err);

/* "step-000120.h5" -> 120; false for any other name. */
bool sol_run_dir_step_of(const char *name, uint64_t *step);
/* Steps of the checkpoints, newest first; *steps is owned by the caller. */
sol_status sol_run_dir_steps(const sol_run_dir *d, uint64_t **steps, int *n, sol_err *err);
/* Removes all checkpoints but the newest `keep`, and `best` (0: none). Makes ckpt/best.h5 a link to
 * the latter, if it is there. */
sol_status sol_run_dir_prune(const sol_run_dir *d, int64_t keep, uint64_t best, sol_err *err);

#endif
