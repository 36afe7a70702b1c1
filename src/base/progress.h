/* How a long call says how far it is.
 *
 *     sol_progress progress = {show, user}; // bool show(void *, const char *, int64_t, int64_t)
 *     if (!sol_progress_show(&progress, "model.embed_tokens.weight", done, total))
 *         return SOL_ERR_INTERRUPTED; */
#ifndef SOLERA_BASE_PROGRESS_H
#define SOLERA_BASE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Called after each piece: `done` of `total` (weights, bytes) of `part`, a tensor or a phase of the
 * call; false stops the call, which returns SOL_ERR_INTERRUPTED. */
typedef struct sol_progress {
    bool (*show)(void *user, const char *part, int64_t done, int64_t total);
    void *user;
} sol_progress;

/* Tells p, which may be NULL or have no show; false: it wants the call to stop. */
static inline bool sol_progress_show(const sol_progress *p, const char *part, int64_t done,
                                     int64_t total)
{
    return !p || !p->show || p->show(p->user, part, done, total);
}

#endif
