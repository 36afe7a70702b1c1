/* The context that is handed down from the program to every layer: no other state is shared. */
#ifndef SOLERA_KERNELS_CTX_H
#define SOLERA_KERNELS_CTX_H

#include "base/cpu.h"
#include "base/log.h"
#include "base/pool.h"
#include "kernels/kernels.h"

typedef struct sol_ctx {
    sol_pool *pool; /* owned by the context */
    sol_kernels k;  /* filled once, never changed afterwards */
    sol_cpu cpu;
    sol_log log;
} sol_ctx;

/* n_threads as in sol_pool_create. tier: the tier to use, lowered to what the processor and this build have; pass
 * SOL_TIER_BEST for the best one. */
#define SOL_TIER_BEST ((sol_tier)-1)
sol_status sol_ctx_create(sol_ctx **ctx, int n_threads, sol_tier tier, const sol_log *log, sol_err *err);
void sol_ctx_free(sol_ctx **ctx);

#endif
