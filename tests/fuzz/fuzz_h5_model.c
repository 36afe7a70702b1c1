/* A checkpoint or model file from a stranger: an error, or a model that computes. */
#include "fuzz.h"

static void compute(sol_ctx *ctx, const sol_model_file *f)
{
    sol_net *net;
    sol_kv *kv;
    sol_net_opts o = {.max_rows = 2};
    double logprob[2];
    sol_err err = {0};
    if (sol_net_from_model(&net, ctx, f->model, f->tokenizer, &f->quant, &o, &err) != SOL_OK)
        return;
    if (sol_kv_create(&kv, net, 1, &err) == SOL_OK) {
        sol_row row = {.kv = kv, .token = 0};
        int32_t target = 0;
        fuzz_check(sol_net_logprobs(net, &row, 1, &target, logprob, &err) == SOL_OK || err.text[0]);
        sol_kv_free(&kv);
    }
    sol_net_free(&net);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sol_ctx *ctx;
    sol_checkpoint c;
    sol_file_kind kind;
    sol_tokenizer *t;
    sol_err err = {0};
    if (!ctx) fuzz_check(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, NULL) == SOL_OK);
    const char *path = fuzz_h5_file(data, size);
    if (sol_store_kind(path, &kind, &err) != SOL_OK) {
        fuzz_check(err.text[0]);
        return 0;
    }
    if (sol_store_tokenizer(&t, path, &err) == SOL_OK) sol_tokenizer_free(&t);
    if (sol_checkpoint_read(&c, path, SOL_BF16, &err) == SOL_OK) sol_checkpoint_free(&c);
    if (sol_checkpoint_read(&c, path, SOL_F32, &err) != SOL_OK) return 0;
    compute(ctx, &c.file);
    sol_checkpoint_free(&c);
    return 0;
}
