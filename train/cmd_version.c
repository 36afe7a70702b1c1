/* solera version: what this program is, and what of this machine it uses. */
#include "program.h"

#ifndef SOL_COMMIT
#define SOL_COMMIT ""
#endif
#ifndef SOL_VARIANT
#define SOL_VARIANT "unknown"
#endif

const char sol_build_commit[] = SOL_COMMIT;

static sol_status run(sol_program *p, void *args, sol_err *err)
{
    sol_ctx *ctx;
    char text[SOL_CPU_TEXT];
    (void)args;
    SOL_TRY(sol_program_ctx(p, &ctx, err));
    sol_cpu_features unused = ctx->cpu.features & ~ctx->kernels.features;
    printf("solera %s\n", SOL_VERSION);
    printf("commit   %s\n", sol_build_commit[0] ? sol_build_commit : "unknown");
    printf("build    %s, %s\n", SOL_VARIANT, __VERSION__);
    printf("kernels  %s (best here: %s)\n", sol_tier_name(ctx->kernels.features),
           sol_tier_name(ctx->cpu.features));
    printf("features %s", sol_cpu_text(ctx->kernels.features, text));
    if (unused) printf(" (unused: %s)", sol_cpu_text(unused, text));
    printf("\n");
    printf("gemm     %s\n", sol_gemm_library());
    printf("bf16     %s%s\n", sol_gemm_bf16_kernel(ctx),
           sol_gemm_bf16_native(ctx) ? "" : " (no instructions for it: cast to fp32)");
    printf("mpi      %s\n", sol_dist_library());
    printf("cpu      %s\n", ctx->cpu.model);
    printf("threads  %d\n", sol_pool_threads(ctx->pool));
    return SOL_OK;
}

const sol_verb sol_verb_version = {
    .name = "version",
    .summary = "version, build, kernels and the features of the processor that they use",
    .run = run,
};
