/* Opens the source of a foreign model by what the path holds, and streams it into a model file
 * (source.c). `solera import` calls it. */
#include "foreign/import.h"

#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"
#include "foreign/origin.h"
#include "foreign/source.h"
#include "store/kind.h"

sol_dtype sol_dtype_wished(sol_dtype_wish wish, sol_dtype kept)
{
    const sol_dtype types[] = {[SOL_KEEP_DTYPE] = kept,
                               [SOL_TO_F32] = SOL_F32,
                               [SOL_TO_BF16] = SOL_BF16,
                               [SOL_TO_F16] = SOL_F16};
    return types[wish];
}

typedef struct random_source {
    uint64_t seed;
    sol_model *table; /* owned */
} random_source;

static sol_status random_rows(const sol_source *s, int param, const sol_param *p, int64_t row,
                              int64_t n, sol_source_scratch *scratch, void *out, sol_err *err)
{
    const random_source *r = s->impl;
    (void)scratch, (void)err;
    sol_param_init_random(NULL, r->table, param, r->seed, row * p->cols, n * p->cols, SOL_F32, out);
    return SOL_OK;
}

static void random_close(sol_source *s)
{
    random_source *r = s->impl;
    sol_model_free(&r->table);
    sol_free(r);
}

static sol_status open_random(sol_source *s, const char *shape, uint64_t seed, sol_err *err)
{
    random_source *r;
    *s = (sol_source){.dtype = SOL_F32};
    sol_status st = sol_alloc_array((void **)&r, 1, sizeof *r, err);
    if (st != SOL_OK) return st;
    *r = (random_source){.seed = seed};
    s->impl = r;
    s->read = random_rows;
    s->close = random_close;
    st = sol_copy_string(&s->path, shape, strlen(shape), err);
    if (st == SOL_OK) st = sol_model_config_named(shape, &s->config, err);
    if (st == SOL_OK) st = sol_model_describe(&r->table, &s->config, SOL_F32, err);
    if (st != SOL_OK) sol_source_close(s);
    return st;
}

static sol_status finish(sol_source *s, const char *out, const sol_import_opts *o,
                         sol_import_result *r, sol_err *err)
{
    sol_dtype dtype = sol_dtype_wished(o->dtype, s->dtype);
    sol_status st = SOL_OK;
    if (dtype == SOL_F16)
        return sol_fail(err, SOL_ERR_USAGE, "%s: a model file holds f32 or bf16, not f16", out);
    sol_origin_set(&s->config.origin, o->license, o->base_model);
    if (o->tokenizer) st = sol_source_set_tokenizer(s, o->tokenizer, false, err);
    r->dtype = dtype;
    r->config = s->config;
    if (st == SOL_OK)
        st = sol_source_to_file(s, out, dtype, o->pool, &o->progress, &r->weights, err);
    r->has_tokenizer = s->tokenizer != NULL;
    memcpy(r->notes, s->notes, sizeof r->notes);
    return st;
}

/* Whether a file is GGUF. What other programs, and this one, write and what is not imported as a
 * file is told what it is. */
static sol_status is_gguf(const char *path, bool *yes, sol_err *err)
{
    char first[4];
    size_t n = strlen(path);
    SOL_TRY(sol_file_head(path, first, sizeof first, err));
    *yes = memcmp(first, "GGUF", sizeof first) == 0;
    if (*yes) return SOL_OK;
    if (memcmp(first, "\x89HDF", sizeof first) == 0)
        return sol_fail(err, SOL_ERR_USAGE,
                        "%s: is an HDF5 file, as solera's own models are: those need no import",
                        path);
    if (memcmp(first, "PK\3\4", sizeof first) == 0)
        return sol_fail(
            err, SOL_ERR_UNSUPPORTED,
            "%s: is a PyTorch file: save the model as safetensors and import its folder", path);
    if (n > 12 && strcmp(path + n - 12, ".safetensors") == 0)
        return sol_fail(err, SOL_ERR_USAGE,
                        "%s: import the folder that it lies in, with config.json beside it", path);
    return SOL_OK;
}

static sol_status open_source(sol_source *s, const char *path, const sol_import_opts *o,
                              const char **name, sol_err *err)
{
    struct stat about;
    if (stat(path, &about) == 0 && S_ISDIR(about.st_mode)) {
        *name = "Hugging Face";
        return sol_source_open_hf(s, path, !o->tokenizer, err);
    }
    bool gguf;
    SOL_TRY(is_gguf(path, &gguf, err));
    if (gguf) {
        *name = "GGUF";
        return sol_source_open_gguf(s, path, !o->tokenizer, err);
    }
    *name = "llama2.c";
    SOL_TRY(sol_source_open_llama2c(s, path, err));
    if (!o->tokenizer)
        return sol_fail(
            err, SOL_ERR_USAGE,
            "%s: a llama2.c model comes without its tokenizer: name its file, too (--tokenizer)",
            path);
    return SOL_OK;
}

sol_status sol_import(const char *source, const char *out, const sol_import_opts *o,
                      sol_import_result *r, sol_err *err)
{
    sol_source s = {0};
    *r = (sol_import_result){0};
    sol_status st = open_source(&s, source, o, &r->source, err);
    if (st == SOL_OK) st = finish(&s, out, o, r, err);
    sol_source_close(&s);
    return st;
}

/* Takes BOS and EOS from the tokenizer, since a shape by name says nothing of tokens. */
static sol_status take_ends(sol_source *s, const char *tokenizer, sol_err *err)
{
    sol_tokenizer *t;
    SOL_TRY(sol_store_tokenizer(&t, tokenizer, err));
    s->config.bos_token_id = sol_tokenizer_bos(t);
    s->config.eos_token_id = sol_tokenizer_eos(t);
    sol_tokenizer_free(&t);
    return SOL_OK;
}

sol_status sol_import_random(const char *shape, uint64_t seed, const char *out,
                             const sol_import_opts *o, sol_import_result *r, sol_err *err)
{
    sol_source s = {0};
    *r = (sol_import_result){.source = "random"};
    sol_status st = open_random(&s, shape, seed, err);
    if (st == SOL_OK && o->tokenizer) st = take_ends(&s, o->tokenizer, err);
    if (st == SOL_OK) st = finish(&s, out, o, r, err);
    sol_source_close(&s);
    return st;
}
