/* A Hugging Face folder from a stranger. The first byte says which of its files the rest is; the
 * others are good ones. */
#include <string.h>
#include <unistd.h>

#include "foreign/hf.h"
#include "fuzz.h"

enum { FILES = 4 };
static const char *const names[FILES] = {"model.safetensors", "config.json",
                                         "generation_config.json", "model.safetensors.index.json"};
static char path[FILES][96], shard[96];
static char *good[FILES];
static size_t good_size[FILES];

static void make_folder(void)
{
    sol_ctx *ctx;
    sol_export_opts o = {0};
    sol_export_result r;
    char model[96];
    snprintf(model, sizeof model, "%s/m.h5", fuzz_dir());
    snprintf(shard, sizeof shard, "%s/shard.safetensors", fuzz_dir());
    sol_model_file c = {.model = fuzz_tiny_model(8, 8)};
    fuzz_check(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, NULL) == SOL_OK);
    fuzz_check(sol_model_file_write(&c, model, SOL_F32, NULL, NULL) == SOL_OK);
    fuzz_check(sol_export_safetensors(ctx, model, fuzz_dir(), &o, &r, NULL) == SOL_OK);
    for (int i = 0; i < FILES; i++) {
        snprintf(path[i], sizeof path[i], "%s/%s", fuzz_dir(), names[i]);
        if (i < FILES - 1)
            fuzz_check(sol_file_read(path[i], &good[i], &good_size[i], NULL) == SOL_OK);
    }
    fuzz_write(shard, good[0], good_size[0]);
    sol_model_file_free(&c);
    sol_ctx_free(&ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sol_source s;
    sol_err err = {0};
    if (size == 0) return -1;
    if (!good[0]) make_folder();
    int which = data[0] % FILES;
    if (which == FILES - 1) unlink(path[0]); /* an index is read where there is no single file */
    fuzz_write(path[which], data + 1, size - 1);
    sol_status st = sol_source_open_hf(&s, fuzz_dir(), false, &err);
    fuzz_check(st == SOL_OK || err.text[0]);
    if (st == SOL_OK) fuzz_import(&s);
    if (which == FILES - 1) {
        unlink(path[which]);
        which = 0;
    }
    fuzz_write(path[which], good[which], good_size[which]);
    return 0;
}
