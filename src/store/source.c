#include "store/source.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "store/parts.h"

enum { PIECE = 1 << 16 }; /* elements at a time, so that they stay in the cache, but at least one head or one row */

void sol_source_close(sol_source *s)
{
    if (s->close) s->close(s);
    sol_tokenizer_free(&s->tokenizer);
    sol_free(s->path);
    *s = (sol_source){0};
}

sol_status sol_source_set_tokenizer(sol_source *s, const char *path, sol_err *err)
{
    sol_tokenizer_free(&s->tokenizer);
    sol_status st = sol_tokenizer_open(&s->tokenizer, path, err);
    if (st == SOL_OK && sol_tokenizer_vocab_size(s->tokenizer) > s->config.vocab_size)
        st = sol_fail(err, SOL_ERR_SHAPE, "%s: has %d tokens, but the vocabulary of %s has %lld", path,
                      (int)sol_tokenizer_vocab_size(s->tokenizer), s->path, (long long)s->config.vocab_size);
    return st;
}

static bool is_rotated(const sol_param *p)
{
    size_t n = strlen(p->name);
    return n > 14 && (strcmp(p->name + n - 14, ".q_proj.weight") == 0 || strcmp(p->name + n - 14, ".k_proj.weight") == 0);
}

/* Interleaved RoPE turns rows (2i, 2i+1) of a head, the half-split form rows (i, i + D/2): the even rows go to the first
 * half. rows is a number of whole heads. */
static void split_halves(const float *from, int64_t rows, int64_t cols, int64_t head_dim, float *to)
{
    int64_t half = head_dim / 2;
    for (int64_t r = 0; r < rows; r++) {
        int64_t head = r / head_dim * head_dim, i = r % head_dim;
        int64_t source = head + (i < half ? 2 * i : 2 * (i - half) + 1);
        memcpy(to + r * cols, from + source * cols, (size_t)cols * sizeof *to);
    }
}

static sol_status check_finite(const sol_source *s, const sol_param *p, int64_t row, const float *x, int64_t n, sol_err *err)
{
    uint32_t most = 0; /* the largest magnitude, as bits: infinity and NaN are above all numbers */
    for (int64_t i = 0; i < n; i++) {
        uint32_t size = sol_f32_bits(x[i]) & 0x7fffffffu;
        most = size > most ? size : most;
    }
    for (int64_t i = 0; most >= 0x7f800000u && i < n; i++)
        if (!isfinite(x[i]))
            return sol_fail(err, SOL_ERR_FORMAT, "%s: %s: element [%lld, %lld] is not a finite number", s->path, p->name,
                            (long long)(row + i / p->cols), (long long)(i % p->cols));
    return SOL_OK;
}

typedef struct piece_buffers {
    float *raw, *turned; /* owned */
    int64_t elements;
} piece_buffers;

static sol_status alloc_pieces(piece_buffers *b, const sol_model *table, sol_err *err)
{
    b->elements = 1;
    for (int i = 0; i < table->n_params; i++) {
        const sol_param *p = &table->params[i];
        int64_t least = p->cols * (is_rotated(p) ? table->config.head_dim : 1), all = sol_param_count(p);
        int64_t wanted = all < PIECE ? all : least > PIECE ? least : PIECE;
        if (wanted > b->elements) b->elements = wanted;
    }
    sol_status st = sol_alloc_array((void **)&b->raw, (size_t)b->elements, sizeof *b->raw, err);
    return st == SOL_OK ? sol_alloc_array((void **)&b->turned, (size_t)b->elements, sizeof *b->turned, err) : st;
}

static void free_pieces(piece_buffers *b)
{
    sol_free(b->raw);
    sol_free(b->turned);
}

/* Rows a piece of this parameter may have. */
static int64_t piece_rows(const piece_buffers *b, const sol_model *table, const sol_param *p)
{
    int64_t rows = b->elements / p->cols;
    return is_rotated(p) ? rows / table->config.head_dim * table->config.head_dim : rows;
}

/* *out is raw or turned. */
static sol_status read_piece(sol_source *s, int index, const sol_param *p, int64_t row, int64_t n, piece_buffers *b,
                             const float **out, sol_err *err)
{
    sol_status st = s->read(s, index, p, row, n, b->raw, err);
    if (st == SOL_OK) st = check_finite(s, p, row, b->raw, n * p->cols, err);
    *out = b->raw;
    if (st == SOL_OK && s->interleaved && is_rotated(p)) {
        split_halves(b->raw, n, p->cols, s->config.head_dim, b->turned);
        *out = b->turned;
    }
    return st;
}

sol_status sol_source_to_model(sol_source *s, sol_checkpoint *c, sol_err *err)
{
    piece_buffers b = {0};
    *c = (sol_checkpoint){0};
    sol_status st = sol_model_create(&c->model, &s->config, SOL_F32, err);
    if (st == SOL_OK) st = alloc_pieces(&b, c->model, err);
    for (int i = 0; st == SOL_OK && i < c->model->n_params; i++) {
        const sol_param *p = &c->model->params[i];
        int64_t step = piece_rows(&b, c->model, p);
        for (int64_t row = 0; st == SOL_OK && row < p->rows; row += step) {
            int64_t n = p->rows - row < step ? p->rows - row : step;
            const float *data;
            st = read_piece(s, i, p, row, n, &b, &data, err);
            if (st == SOL_OK)
                memcpy(sol_model_f32(c->model, p) + row * p->cols, data, (size_t)(n * p->cols) * sizeof *data);
        }
    }
    free_pieces(&b);
    c->tokenizer = s->tokenizer;
    s->tokenizer = NULL;
    if (st != SOL_OK) sol_checkpoint_free(c);
    return st;
}

typedef struct transfer {
    sol_source *s;
    sol_model *table;
    sol_h5_writer *w;
    sol_params_out params;
    piece_buffers pieces;
    const sol_import_progress *progress;
} transfer;

static sol_status copy_param(transfer *t, int index, int64_t *done, sol_err *err)
{
    const sol_param *p = &t->table->params[index];
    int64_t step = piece_rows(&t->pieces, t->table, p);
    sol_status st = SOL_OK;
    for (int64_t row = 0; st == SOL_OK && row < p->rows; row += step) {
        int64_t n = p->rows - row < step ? p->rows - row : step;
        const float *data;
        st = read_piece(t->s, index, p, row, n, &t->pieces, &data, err);
        if (st == SOL_OK) st = sol_params_put(&t->params, index, data, SOL_F32, n * p->cols, err);
        *done += n * p->cols;
        if (st == SOL_OK && t->progress && !t->progress->show(t->progress->user, p->name, *done, t->table->n_weights))
            st = sol_fail(err, SOL_ERR_INTERRUPTED, "%s: import interrupted", t->s->path);
    }
    return st;
}

sol_status sol_source_to_file(sol_source *s, const char *path, sol_dtype dtype, const sol_import_progress *progress,
                              int64_t *weights, sol_err *err)
{
    transfer t = {.s = s, .progress = progress};
    sol_part_blob tokenizer = {0};
    *weights = 0;
    sol_status st = sol_model_describe(&t.table, &s->config, dtype, err);
    if (st == SOL_OK) st = alloc_pieces(&t.pieces, t.table, err);
    if (st == SOL_OK) st = sol_h5_create(&t.w, path, SOL_FORMAT_CHECKPOINT, err);
    if (st == SOL_OK) st = sol_part_put_root(t.w, NULL, 0, 0, err);
    if (st == SOL_OK) st = sol_part_put_config(t.w, &s->config, err);
    if (st == SOL_OK) st = sol_part_put_tokenizer(t.w, s->tokenizer, &tokenizer, err);
    if (st == SOL_OK) st = sol_params_declare(&t.params, t.w, t.table, dtype, err);
    if (st == SOL_OK) st = sol_h5_begin(t.w, err);
    if (st == SOL_OK) st = sol_part_fill(t.w, &tokenizer, err);
    for (int i = 0; st == SOL_OK && i < t.table->n_params; i++) st = copy_param(&t, i, weights, err);
    if (st == SOL_OK)
        st = sol_h5_commit(&t.w, err);
    else
        sol_h5_abort(&t.w);
    sol_params_out_free(&t.params);
    sol_free(tokenizer.data);
    free_pieces(&t.pieces);
    sol_model_free(&t.table);
    return st;
}
