/* Reads llama2.c's `.bin` (the version without a magic number) as a source for import.c: 7
 * int32, then fp32 tensors, all layers of a kind together. */
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "foreign/origin.h"
#include "foreign/source.h"

enum { HEADER = 28 };

typedef struct llama2c {
    sol_in in;
    uint64_t base[SOL_ROLES]; /* byte offset of the first parameter of each role; those of all
                                 layers follow each other */
} llama2c;

/* Where each kind begins; returns the size that the file must have. */
static uint64_t lay_out(const sol_model_config *c, llama2c *f)
{
    static const sol_role order[] = {SOL_ROLE_EMBED,     SOL_ROLE_INPUT_NORM, SOL_ROLE_Q,
                                     SOL_ROLE_K,         SOL_ROLE_V,          SOL_ROLE_O,
                                     SOL_ROLE_POST_NORM, SOL_ROLE_GATE,       SOL_ROLE_DOWN,
                                     SOL_ROLE_UP,        SOL_ROLE_FINAL_NORM, SOL_ROLE_HEAD};
    uint64_t at = HEADER;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const sol_param_row *row = &sol_param_rows[order[i]];
        int64_t count = sol_dim_size(c, row->rows) * sol_dim_size(c, row->cols) *
                        (row->in_block ? c->num_hidden_layers : 1);
        if (order[i] == SOL_ROLE_HEAD)
            at += 4 * (uint64_t)(c->max_position_embeddings *
                                 c->head_dim); /* tables of RoPE: not read */
        f->base[order[i]] = at;
        if (sol_role_present(c, order[i])) at += 4 * (uint64_t)count;
    }
    return at;
}

static sol_status read_header(sol_source *s, llama2c *f, sol_err *err)
{
    int32_t h[7] = {0};
    if (f->in.size < HEADER)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: has %llu bytes, a llama2.c model has a header of %d", s->path,
                        (unsigned long long)f->in.size, HEADER);
    sol_status st = sol_in_read(&f->in, 0, h, sizeof h, err);
    if (st != SOL_OK) return st;
    if (memcmp(h, "24ka", 4) == 0 || memcmp(h, "ak42", 4) == 0)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: is a llama2.c file of version %d, expected the one without a version",
                        s->path, (int)h[1]);
    int64_t heads = h[3], vocab = h[5] < 0 ? -(int64_t)h[5] : h[5];
    if (heads < 1 || h[0] < 1 || h[0] % heads)
        return sol_fail(
            err, SOL_ERR_FORMAT,
            "%s: is neither GGUF nor a llama2.c model: width %d and %d heads in its header",
            s->path, (int)h[0], (int)h[3]);
    s->config = (sol_model_config){
        .hidden_size = h[0],
        .intermediate_size = h[1],
        .num_hidden_layers = h[2],
        .num_attention_heads = heads,
        .num_key_value_heads = h[4],
        .vocab_size = vocab,
        .max_position_embeddings = h[6],
        .head_dim = h[0] / heads,
        .tie_word_embeddings = h[5] > 0,
        .rms_norm_eps = 1e-5,
        .rope_theta = 10000,
        .bos_token_id = vocab > 1 ? 1 : -1,
        .eos_token_id = vocab > 2 ? 2 : -1,
    };
    st = sol_model_config_check(&s->config, err);
    if (st != SOL_OK) return sol_err_prefix(err, st, "%s: header of a llama2.c model", s->path);
    uint64_t want = lay_out(&s->config, f);
    if (want != f->in.size)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: has %llu bytes, its header (llama2.c) asks for %llu", s->path,
                        (unsigned long long)f->in.size, (unsigned long long)want);
    return SOL_OK;
}

static sol_status read_rows(const sol_source *s, int param, const sol_param *p, int64_t row,
                            int64_t n, sol_source_scratch *scratch, void *out, sol_err *err)
{
    const llama2c *f = s->impl;
    uint64_t at =
        f->base[p->role] + (p->layer > 0 ? 4 * (uint64_t)(p->layer * sol_param_count(p)) : 0);
    (void)param;
    (void)scratch;
    return sol_in_read(&f->in, at + 4 * (uint64_t)(row * p->cols), out,
                       (size_t)(n * p->cols) * sizeof(float), err);
}

static void close_file(sol_source *s)
{
    llama2c *f = s->impl;
    sol_in_close(&f->in);
    sol_free(f);
}

sol_status sol_source_open_llama2c(sol_source *s, const char *path, sol_err *err)
{
    llama2c *f;
    *s = (sol_source){.dtype = SOL_F32, .interleaved = true};
    sol_status st = sol_copy_string(&s->path, path, strlen(path), err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&f, 1, sizeof *f, err);
    if (st == SOL_OK) {
        f->in.fd = -1;
        s->impl = f;
        s->read = read_rows;
        s->close = close_file;
        st = sol_in_open(&f->in, s->path, err);
    }
    if (st == SOL_OK) st = read_header(s, f, err);
    if (st == SOL_OK) sol_origin_of_path(s, path);
    if (st != SOL_OK) sol_source_close(s);
    return st;
}
