/* Prints the report of the verb bench, which measures (bench_infer.h, bench_train.h). */
#include "bench_report.h"

#include <math.h>

/* Four digits, without an exponent. */
static const char *number(double x, char text[32])
{
    snprintf(text, 32, x >= 1000 ? "%.0f" : "%.4g", x);
    return text;
}

void sol_bench_report_row(const char *what, double median, double low, double high,
                          const char *unit, const char *share)
{
    char m[32], l[32], h[32];
    printf("| %s | %s | %s to %s | %s | %s |\n", what, number(median, m), number(low, l),
           number(high, h), unit, share);
    fflush(stdout);
}

static void row_of_series(const char *what, sol_bench_series *s, const char *share)
{
    sol_bench_report_row(what, sol_bench_series_median(s), sol_bench_series_quantile(s, 0.1),
                         sol_bench_series_quantile(s, 0.9), "tokens/s", share);
}

static const char *share_text(double share, const char *of, char text[64])
{
    text[0] = 0;
    if (isfinite(share)) snprintf(text, 64, "%.2f of %s", share, of);
    return text;
}

static void print_machine(const sol_ctx *ctx)
{
    char features[SOL_CPU_TEXT];
    printf("solera %s%s%s on %s: %s, %d of %d threads; %s\n\n", SOL_VERSION,
           sol_build_commit[0] ? ", commit " : "", sol_build_commit, ctx->cpu.model,
           sol_cpu_text(ctx->kernels.features, features), sol_pool_threads(ctx->pool),
           ctx->cpu.n_online, sol_gemm_library());
}

void sol_bench_report_begin(sol_bench_infer *b, const char *model, double load_seconds)
{
    char what[96], share[64];
    double bandwidth = b->bandwidth.best / 1e9, decode = sol_bench_series_median(&b->decode),
           many = sol_bench_series_median(&b->side_by_side);
    print_machine(b->ctx);
    printf("| measured | median | 10 %% to 90 %% | unit | share |\n|---|---|---|---|---|\n");
    sol_bench_report_row("memory read, the best", bandwidth, bandwidth, bandwidth, "GB/s", "");
    snprintf(what, sizeof what, "%s: layout made", model);
    sol_bench_report_row(what, load_seconds, load_seconds, load_seconds, "s", "");
    snprintf(what, sizeof what, "%s: decode, %.1f MB a token", model,
             (double)sol_net_bytes_per_token(b->net) / 1e6);
    row_of_series(what, &b->decode,
                  share_text(sol_bench_infer_memory_share(b), "the memory's rate", share));
    snprintf(what, sizeof what, "%s: decode, %lld texts side by side", model,
             (long long)b->at_once);
    snprintf(share, sizeof share, "%.1f times one", decode > 0 ? many / decode : 0);
    row_of_series(what, &b->side_by_side, share);
    for (int i = 0; i < b->n_prompts; i++) {
        snprintf(what, sizeof what, "%s: prefill, %lld tokens", model, (long long)b->prompt[i]);
        row_of_series(what, &b->prefill[i],
                      share_text(sol_bench_infer_product_share(b, i), "the product alone", share));
    }
}
