/* The context that the program passes down to every layer. The library has no other shared
 * state.
 *
 *     sol_ctx *ctx;
 *     st = sol_ctx_create(&ctx, 0, SOL_TIER_BEST, NULL, err); // 0: a thread for every processor
 *     sol_ctx_free(&ctx); */
#ifndef SOLERA_KERNELS_CTX_H
#define SOLERA_KERNELS_CTX_H

#include "base/cpu.h"
#include "base/log.h"
#include "base/pool.h"
#include "kernels/kernels.h"

typedef struct sol_ctx {
    sol_pool *pool;      /* owned by the context */
    sol_kernels kernels; /* filled once, never changed afterwards */
    sol_cpu cpu;
    sol_log log;
} sol_ctx;

/* n_threads as in sol_pool_create. features: those that kernels may use, of which the processor's
 * are taken; SOL_TIER_BEST: all. log: copied, NULL for none; its `user` must outlive the context.
 * The caller owns *ctx and frees it after everything that was created with it. */
sol_status sol_ctx_create(sol_ctx **ctx, int n_threads, sol_cpu_features features,
                          const sol_log *log, sol_err *err);
void sol_ctx_free(sol_ctx **ctx);

#endif
