/* Streams a source of parameters into a model file: a batch is read by the pool while the one
 * before it is written. */
#include "foreign/source.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/num.h"
#include "store/kind.h"
#include "store/parts.h"

/* Elements at a time, so that they stay in the cache, but at least one head or one row. */
enum { PIECE = 1 << 16 };

void sol_source_close(sol_source *s)
{
    if (s->close) s->close(s);
    sol_tokenizer_free(&s->tokenizer);
    sol_free(s->tokenizer_path);
    sol_free(s->more_tokens);
    sol_free(s->chat_template);
    sol_free(s->generation);
    sol_free(s->bos_token);
    sol_free(s->eos_token);
    sol_free(s->path);
    *s = (sol_source){0};
}

void sol_source_note(sol_source *s, const char *text)
{
    size_t n = strlen(s->notes);
    snprintf(s->notes + n, sizeof s->notes - n, "%s%s", n ? "\n" : "", text);
}

static void drop_long(sol_source *s, char **text, const char *note)
{
    enum { MAX_TEXT = 60000 }; /* bytes: a model file keeps it as an attribute */
    if (!*text || strlen(*text) <= MAX_TEXT) return;
    sol_source_note(s, note);
    sol_free(*text);
    *text = NULL;
}

void sol_source_drop_long_texts(sol_source *s)
{
    drop_long(s, &s->chat_template, "the chat template has more than 60000 bytes and is not kept");
    drop_long(s, &s->generation,
              "generation_config.json has more than 60000 bytes and is not kept for exports");
}

sol_status sol_source_set_tokenizer(sol_source *s, const char *path, bool own, sol_err *err)
{
    sol_tokenizer_free(&s->tokenizer);
    sol_free(s->tokenizer_path);
    s->own_tokenizer = own;
    return sol_copy_string(&s->tokenizer_path, path, strlen(path), err);
}

/* Where the chat template asks for a token that is another one for the tokenizer, it is set in the
 * template itself, so that every file that holds it says the same. The line leaves no trace: where
 * templates are run, a block takes the line end behind it. */
static void add_variable(const sol_source *s, const char *name, const char *value, int32_t id,
                         sol_text *to, sol_err *err)
{
    size_t n = 0;
    const char *own = sol_tokenizer_text(s->tokenizer, id, &n);
    if (!value || !strstr(s->chat_template, name)) return;
    if (strlen(value) == (own ? n : 0) && (!own || memcmp(own, value, n) == 0)) return;
    sol_text_add(to, err, "{%% set %s = '", name);
    for (; *value; value++)
        sol_text_add(to, err, *value == '\'' || *value == '\\' ? "\\%c" : "%c", *value);
    sol_text_add(to, err, "' %%}\n");
}

/* What the model says of chats and of generation goes with its tokenizer. */
static sol_status add_texts(sol_source *s, sol_err *err)
{
    sol_text chat = {0};
    sol_status st = SOL_OK;
    if (s->chat_template) {
        add_variable(s, "bos_token", s->bos_token, sol_tokenizer_bos(s->tokenizer), &chat, err);
        add_variable(s, "eos_token", s->eos_token, sol_tokenizer_eos(s->tokenizer), &chat, err);
        st = sol_text_add(&chat, err, "%s", s->chat_template);
        if (st == SOL_OK)
            st = sol_tokenizer_set_chat_template(s->tokenizer, chat.data, chat.n, err);
    }
    if (st == SOL_OK && s->generation)
        st = sol_tokenizer_set_generation(s->tokenizer, s->generation, strlen(s->generation), err);
    sol_free(chat.data);
    return st;
}

/* The model's own tokenizer, with what other files add to it, as far as the model has rows for
 * it. */
static sol_status open_own_tokenizer(sol_source *s, sol_err *err)
{
    sol_more_tokens more = {.json = s->more_tokens, .limit = s->config.vocab_size};
    char note[SOL_MORE_TOKENS_TEXT + 160];
    SOL_TRY(sol_tokenizer_open_more(&s->tokenizer, s->tokenizer_path, &more, err));
    if (more.left_out == 0) return SOL_OK;
    snprintf(note, sizeof note,
             "tokens that files beside tokenizer.json name and the vocabulary of %lld has no place "
             "for are left out: %lld, the first is %s",
             (long long)s->config.vocab_size, (long long)more.left_out, more.first);
    sol_source_note(s, note);
    return SOL_OK;
}

static sol_status load_tokenizer(sol_source *s, sol_err *err)
{
    if (!s->tokenizer_path) return s->tokenizer ? add_texts(s, err) : SOL_OK;
    if (s->own_tokenizer && s->more_tokens)
        SOL_TRY(open_own_tokenizer(s, err));
    else
        SOL_TRY(sol_store_tokenizer(&s->tokenizer, s->tokenizer_path, err));
    int32_t n = sol_tokenizer_vocab_size(s->tokenizer);
    if (n > s->config.vocab_size)
        return sol_fail(err, SOL_ERR_SHAPE, "%s: has %d tokens, but the vocabulary of %s has %lld",
                        s->tokenizer_path, (int)n, s->path, (long long)s->config.vocab_size);
    int64_t bos = s->config.bos_token_id, eos = s->config.eos_token_id;
    if (s->own_tokenizer)
        SOL_TRY(sol_tokenizer_set_bos_eos(s->tokenizer, bos < n ? (int32_t)bos : -1,
                                          eos < n ? (int32_t)eos : -1, err));
    return add_texts(s, err);
}

static bool is_rotated(const sol_param *p)
{
    return p->role == SOL_ROLE_Q || p->role == SOL_ROLE_K;
}

/* Interleaved RoPE rotates rows (2i, 2i+1) of a head, the half-split form rows (i, i + D/2): the
 * even rows go to the first half. rows is a number of whole heads. */
static void split_halves(const char *from, int64_t rows, size_t row_bytes, int64_t head_dim,
                         char *to)
{
    int64_t half = head_dim / 2;
    for (int64_t r = 0; r < rows; r++) {
        int64_t head = r / head_dim * head_dim, i = r % head_dim;
        int64_t source = head + (i < half ? 2 * i : 2 * (i - half) + 1);
        memcpy(to + (size_t)r * row_bytes, from + (size_t)source * row_bytes, row_bytes);
    }
}

/* Index of the first element that is infinite or NaN, or as fp32 above `max`; -1: there is none.
 * In bf16 the first pass finds the largest magnitude by its bits; a second one runs only where that
 * is bad. */
static int64_t first_bad(const void *x, sol_dtype type, float max, int64_t n)
{
    const sol_bf16 *h = x;
    uint16_t top = 0;
    if (type != SOL_BF16) return sol_first_beyond(x, n, max);
    for (int64_t i = 0; i < n; i++) {
        uint16_t size = h[i] & 0x7fffu;
        top = size > top ? size : top;
    }
    if (top < 0x7f80u) return -1;
    for (int64_t i = 0; i < n; i++)
        if ((h[i] & 0x7fffu) >= 0x7f80u) return i;
    return -1;
}

/* What a thread needs to read a piece. */
typedef struct reader {
    void *raw, *reordered; /* [elements] fp32; owned */
    sol_source_scratch scratch;
} reader;

/* Elements of the largest piece. */
static int64_t piece_elements(const sol_source *s, const sol_model *table)
{
    int64_t max = 1;
    for (int i = 0; i < table->n_params; i++) {
        const sol_param *p = &table->params[i];
        int64_t least = p->cols * (s->interleaved && is_rotated(p) ? table->config.head_dim : 1),
                all = sol_param_count(p);
        int64_t wanted = all < PIECE ? all : least > PIECE ? least : PIECE;
        if (wanted > max) max = wanted;
    }
    return max;
}

static sol_status reader_create(reader *r, int64_t elements, sol_err *err)
{
    SOL_TRY(sol_alloc_array(&r->raw, (size_t)elements, sizeof(float), err));
    return sol_alloc_array(&r->reordered, (size_t)elements, sizeof(float), err);
}

static void reader_free(reader *r)
{
    sol_free(r->raw);
    sol_free(r->reordered);
    sol_free(r->scratch.data);
}

/* Rows a piece of this parameter may have. */
static int64_t piece_rows(const sol_source *s, const sol_param *p, int64_t elements)
{
    int64_t rows = elements / p->cols;
    return s->interleaved && is_rotated(p) ? rows / s->config.head_dim * s->config.head_dim : rows;
}

/* Rows [row, row + n) of parameter `index` as `to` (fp32 or bf16), in our order. */
static sol_status read_piece(const sol_source *s, int index, const sol_param *p, int64_t row,
                             int64_t n, reader *r, sol_dtype to, void *out, sol_err *err)
{
    int64_t count = n * p->cols;
    sol_dtype is = s->type ? s->type(s, index) : SOL_F32;
    bool reorder = s->interleaved && is_rotated(p);
    void *x = is == to && !reorder ? out : r->raw;
    SOL_TRY(s->read(s, index, p, row, n, &r->scratch, x, err));
    int64_t bad = first_bad(x, is, sol_dtype_max(to), count);
    if (bad >= 0)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: %s: element [%lld, %lld] is not a finite number%s", s->path, p->name,
                        (long long)(row + bad / p->cols), (long long)(bad % p->cols),
                        is == SOL_F32 && isfinite(((const float *)x)[bad]) ? " in bf16" : "");
    if (reorder) {
        split_halves(x, n, (size_t)p->cols * sol_dtype_size(is), s->config.head_dim, r->reordered);
        x = r->reordered;
    }
    if (x != out) sol_convert(out, to, x, is, count);
    return SOL_OK;
}

enum { BATCH_PIECES = 16, WRITE_TILE = 0, FIRST_READ_TILE = 1 };

typedef struct piece {
    int param;
    int64_t row, n; /* rows */
    int64_t at;     /* element of the batch's data */
    sol_err err;    /* status SOL_OK: read */
} piece;

typedef struct batch {
    piece piece[BATCH_PIECES];
    int n_pieces;
    char *data; /* [capacity] elements as they are written; owned */
} batch;

typedef struct transfer {
    sol_source *s;
    sol_model *table;
    sol_h5_writer *w;
    sol_params_out params;
    sol_dtype dtype;
    reader *reader; /* [n_readers], one a thread */
    int n_readers;
    int64_t elements, capacity; /* of a piece, of a batch */
    batch batch[2];
    batch *reading, *writing; /* of this step; NULL: nothing to do */
    int param;                /* the next piece begins with this row of this parameter */
    int64_t row, done;
    sol_err write_err, tokenizer_err;
    atomic_bool tokenizer_done;
} transfer;

/* The next pieces of the model, as many as the batch holds; their order and size depend on the
 * model alone. */
static void next_batch(transfer *t, batch *b)
{
    int64_t filled = 0;
    for (b->n_pieces = 0; t->param < t->table->n_params && b->n_pieces < BATCH_PIECES;
         b->n_pieces++) {
        const sol_param *p = &t->table->params[t->param];
        int64_t step = piece_rows(t->s, p, t->elements), n = sol_min_i64(p->rows - t->row, step);
        if (filled + n * p->cols > t->capacity) break;
        b->piece[b->n_pieces] = (piece){.param = t->param, .row = t->row, .n = n, .at = filled};
        filled += n * p->cols;
        t->row += n;
        if (t->row < p->rows) continue;
        t->row = 0;
        t->param++;
    }
}

/* A failure is left in t->write_err, too. */
static sol_status write_batch(transfer *t, const batch *b)
{
    for (int i = 0; i < b->n_pieces; i++) {
        const piece *x = &b->piece[i];
        int64_t count = x->n * t->table->params[x->param].cols;
        const char *from = b->data + (size_t)x->at * sol_dtype_size(t->dtype);
        SOL_TRY(sol_params_put(&t->params, x->param, from, t->dtype, count, &t->write_err));
        t->done += count;
    }
    return SOL_OK;
}

static sol_status read_in_batch(const transfer *t, batch *b, int i, int thread)
{
    piece *x = &b->piece[i];
    return read_piece(t->s, x->param, &t->table->params[x->param], x->row, x->n, &t->reader[thread],
                      t->dtype, b->data + (size_t)x->at * sol_dtype_size(t->dtype), &x->err);
}

static void run_tile(void *arg, int64_t tile, int thread)
{
    transfer *t = arg;
    if (tile >= FIRST_READ_TILE)
        read_in_batch(t, t->reading, (int)(tile - FIRST_READ_TILE), thread);
    else if (t->writing)
        write_batch(t, t->writing);
}

static sol_status read_batch(const transfer *t, batch *b, int thread)
{
    for (int i = 0; i < b->n_pieces; i++) SOL_TRY(read_in_batch(t, b, i, thread));
    return SOL_OK;
}

/* Tile 0 reads the tokenizer; until it is there, tile 1 reads and writes on its own. With one
 * thread it finds nothing to wait for. */
static void run_first_tile(void *arg, int64_t tile, int thread)
{
    transfer *t = arg;
    if (tile == 0) {
        load_tokenizer(t->s, &t->tokenizer_err);
        atomic_store(&t->tokenizer_done, true);
        return;
    }
    batch *b = t->reading = &t->batch[0];
    while (!atomic_load(&t->tokenizer_done)) {
        next_batch(t, b);
        if (b->n_pieces == 0) break;
        if (read_batch(t, b, thread) != SOL_OK || write_batch(t, b) != SOL_OK) break;
    }
}

/* The first failure in the order of the parameters. */
static sol_status step_status(const transfer *t, sol_err *err)
{
    const sol_err *first = t->tokenizer_err.status ? &t->tokenizer_err
                           : t->write_err.status   ? &t->write_err
                                                   : NULL;
    if (!first && t->reading)
        for (int i = 0; i < t->reading->n_pieces; i++)
            if (t->reading->piece[i].err.status) {
                first = &t->reading->piece[i].err;
                break;
            }
    return first ? sol_fail(err, first->status, "%s", first->text) : SOL_OK;
}

static sol_status copy_params(transfer *t, sol_pool *pool, const sol_progress *progress,
                              sol_err *err)
{
    sol_pool_run(pool, 2, run_first_tile, t);
    SOL_TRY(step_status(t, err));
    t->reading = NULL;
    for (int step = 0;; step++) {
        t->writing = t->reading;
        t->reading = &t->batch[step % 2];
        next_batch(t, t->reading);
        if (t->reading->n_pieces == 0) t->reading = NULL;
        if (!t->reading && !t->writing) return SOL_OK;
        sol_pool_run(pool, FIRST_READ_TILE + (t->reading ? t->reading->n_pieces : 0), run_tile, t);
        SOL_TRY(step_status(t, err));
        const batch *shown = t->writing ? t->writing : t->reading;
        const char *name = t->table->params[shown->piece[0].param].name;
        if (!sol_progress_show(progress, name, t->done, t->table->n_weights))
            return sol_fail(err, SOL_ERR_INTERRUPTED, "%s: import interrupted", t->s->path);
    }
}

static sol_status alloc_transfer(transfer *t, int threads, sol_err *err)
{
    t->elements = piece_elements(t->s, t->table);
    t->capacity = t->elements > BATCH_PIECES * PIECE ? t->elements : BATCH_PIECES * PIECE;
    SOL_TRY(sol_alloc_array((void **)&t->reader, (size_t)threads, sizeof *t->reader, err));
    while (t->n_readers < threads)
        SOL_TRY(reader_create(&t->reader[t->n_readers++], t->elements, err));
    for (int i = 0; i < 2; i++)
        SOL_TRY(sol_alloc_array((void **)&t->batch[i].data, (size_t)t->capacity,
                                sol_dtype_size(t->dtype), err));
    return SOL_OK;
}

static void free_transfer(transfer *t)
{
    for (int i = 0; i < t->n_readers; i++) reader_free(&t->reader[i]);
    sol_free(t->reader);
    for (int i = 0; i < 2; i++) sol_free(t->batch[i].data);
    sol_params_out_free(&t->params);
    sol_model_free(&t->table);
}

static sol_status write_file(transfer *t, const char *path, sol_pool *pool,
                             const sol_progress *progress, sol_part_blob *tokenizer, sol_err *err)
{
    const sol_source *s = t->s;
    SOL_TRY(sol_model_describe(&t->table, &s->config, t->dtype, err));
    SOL_TRY(alloc_transfer(t, sol_pool_threads(pool), err));
    SOL_TRY(sol_h5_create(&t->w, path, SOL_FORMAT_CHECKPOINT, err));
    SOL_TRY(sol_part_put_root(t->w, NULL, 0, 0, err));
    SOL_TRY(sol_part_put_config(t->w, &s->config, err));
    SOL_TRY(sol_params_declare(&t->params, t->w, t->table, t->dtype, err));
    SOL_TRY(sol_h5_begin(t->w, err));
    SOL_TRY(copy_params(t, pool, progress, err));
    SOL_TRY(sol_part_put_tokenizer(t->w, s->tokenizer, tokenizer, err));
    SOL_TRY(sol_h5_begin(t->w, err));
    return sol_part_fill(t->w, tokenizer, err);
}

sol_status sol_source_to_file(sol_source *s, const char *path, sol_dtype dtype, sol_pool *pool,
                              const sol_progress *progress, int64_t *weights, sol_err *err)
{
    transfer t = {.s = s, .dtype = dtype};
    sol_part_blob tokenizer = {0};
    sol_status st = write_file(&t, path, pool, progress, &tokenizer, err);
    if (st == SOL_OK)
        st = sol_h5_commit(&t.w, err);
    else
        sol_h5_abort(&t.w);
    *weights = t.done;
    sol_free(tokenizer.data);
    free_transfer(&t);
    return st;
}
