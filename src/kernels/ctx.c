/* The context: processor, table of kernels, threads and log, made once and handed down to every
 * layer. */
#include "kernels/ctx.h"

#include "base/mem.h"

sol_status sol_ctx_create(sol_ctx **out, int n_threads, sol_cpu_features features,
                          const sol_log *log, sol_err *err)
{
    sol_ctx *ctx;
    *out = NULL;
    sol_status st = sol_alloc_array((void **)&ctx, 1, sizeof *ctx, err);
    if (st != SOL_OK) return st;
    if (log) ctx->log = *log;
    sol_cpu_detect(&ctx->cpu);
    sol_kernels_init(&ctx->kernels, sol_cpu_usable(&ctx->cpu, features));
    if (features != SOL_TIER_C && ctx->kernels.features == SOL_TIER_C)
        sol_log_line(log, SOL_LOG_WARN,
                     "no fast kernels for this processor (%s): the portable ones run",
                     ctx->cpu.model);
    st = sol_pool_create(&ctx->pool, n_threads, err);
    if (st != SOL_OK) sol_ctx_free(&ctx);
    *out = ctx;
    return st;
}

void sol_ctx_free(sol_ctx **ctx)
{
    if (!*ctx) return;
    sol_pool_free(&(*ctx)->pool);
    sol_free(*ctx);
    *ctx = NULL;
}
