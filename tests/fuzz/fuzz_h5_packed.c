/* A packed model from a stranger: an error, or a model that computes. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sol_ctx *ctx;
    sol_net *net;
    sol_kv *kv;
    sol_net_opts o = {.max_rows = 2};
    sol_err err = {0};
    if (!ctx) fuzz_check(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, NULL) == SOL_OK);
    const char *path = fuzz_h5_file(data, size);
    if (sol_net_open(&net, ctx, path, &o, &err) != SOL_OK) {
        fuzz_check(net == NULL && err.text[0]);
        return 0;
    }
    if (sol_kv_create(&kv, net, 1, &err) == SOL_OK) {
        sol_row row = {.kv = kv, .token = 0};
        int32_t target = 0;
        double logprob;
        fuzz_check(sol_net_logprobs(net, &row, 1, &target, &logprob, &err) == SOL_OK ||
                   err.text[0]);
        sol_kv_free(&kv);
    }
    sol_net_free(&net);
    return 0;
}
