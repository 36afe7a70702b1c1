/* A pipeline over batches of text: while one is read, the one before it is encoded and the one
 * before that is written. All three are tiles of one run of the pool; a group of pieces is encoded
 * by one tile, into ids of its own. */
#include "tokenize.h"

#include <string.h>

#include "base/mem.h"

/* A piece of more bytes than this (it has no place to be cut at) is encoded while it is written, so
 * that its ids never lie in memory. */
enum { LONG_PIECE = 4 << 20 };

enum { N_SLOTS = 3, READ_TILE = 0, WRITE_TILE = 1, FIRST_GROUP_TILE = 2 };

typedef struct piece_ids {
    size_t end;        /* of the piece's ids in its group's; they begin where the one before ends */
    int64_t n_special; /* control tokens that its text spells */
    int32_t first_special; /* the first of them */
} piece_ids;

typedef struct group { /* about SOL_DOCS_PIECE bytes of consecutive pieces */
    size_t from, to;   /* in the batch's pieces */
    sol_ids ids;
    sol_err err; /* status SOL_OK: encoded */
} group;

typedef struct slot {
    sol_batch batch;
    piece_ids *piece;
    group *group;
    size_t cap_pieces, n_groups, cap_groups;
    bool filled;
} slot;

typedef struct pipeline {
    const sol_tokenize_opts *opts;
    sol_docs_opts docs_opts;
    char eos[256]; /* its text; "": none */
    sol_docs *docs;
    sol_encoder **encoder; /* [threads] */
    int n_encoders;
    slot slots[N_SLOTS];
    slot *reading, *encoding, *writing; /* of this step; NULL: nothing to do */
    sol_dataset_writer *writer;
    int32_t last_id; /* written in the open document; -1: none */
    sol_err read_err, write_err;
    int64_t n_special; /* control tokens that were spelled in the text and stay text */
    bool warned;       /* of the first one */
    sol_tokenize_result *result;
} pipeline;

static int flags_of(const pipeline *l, const sol_piece *piece, const char *text)
{
    bool special = l->opts->special == SOL_SPECIAL_YES;
    int flags = piece->first ? sol_tokenizer_begin(l->opts->tokenizer, text, piece->n, special)
                             : SOL_ENCODE_CONTINUE | (special ? SOL_ENCODE_SPECIAL : 0);
    return flags | (piece->last ? SOL_ENCODE_TAIL : 0);
}

static sol_status name_place(const pipeline *l, const sol_piece *piece, sol_status st, sol_err *err)
{
    return st == SOL_OK ? SOL_OK
                        : sol_err_prefix(err, st, "%s:%lld", l->opts->docs.files[piece->file],
                                         (long long)piece->line);
}

static sol_status encode_piece(pipeline *l, slot *s, size_t i, sol_encoder *e, sol_ids *ids,
                               sol_err *err)
{
    const sol_piece *piece = &s->batch.piece[i];
    const char *text = s->batch.text + piece->at;
    sol_status st = SOL_OK;
    if (piece->n <= LONG_PIECE)
        st = name_place(
            l, piece, sol_encoder_run(e, text, piece->n, flags_of(l, piece, text), ids, err), err);
    s->piece[i] = (piece_ids){.end = ids->n};
    if (l->opts->special == SOL_SPECIAL_AUTO)
        s->piece[i].n_special = sol_tokenizer_count_special(l->opts->tokenizer, text, piece->n,
                                                            &s->piece[i].first_special);
    return st;
}

static void encode_group(pipeline *l, slot *s, group *g, sol_encoder *e)
{
    g->ids.n = 0;
    g->err = (sol_err){0};
    for (size_t i = g->from; i < g->to; i++)
        if (encode_piece(l, s, i, e, &g->ids, &g->err) != SOL_OK) break;
}

/* Cuts the batch into groups, by its content alone. */
static sol_status make_groups(slot *s, sol_err *err)
{
    size_t bytes = 0;
    s->n_groups = 0;
    SOL_TRY(sol_grow_array((void **)&s->piece, &s->cap_pieces, s->batch.n_pieces, sizeof *s->piece,
                           err));
    for (size_t i = 0; i < s->batch.n_pieces; i++) {
        if (s->n_groups == 0 || bytes >= SOL_DOCS_PIECE) {
            SOL_TRY(sol_grow_array((void **)&s->group, &s->cap_groups, s->n_groups + 1,
                                   sizeof *s->group, err));
            s->group[s->n_groups++].from = i;
            bytes = 0;
        }
        bytes += s->batch.piece[i].n;
        s->group[s->n_groups - 1].to = i + 1;
    }
    return SOL_OK;
}

static void read_slot(pipeline *l, slot *s)
{
    sol_status st = sol_docs_read(l->docs, &s->batch, &l->read_err);
    if (st == SOL_OK) st = make_groups(s, &l->read_err);
    s->filled = st == SOL_OK && s->batch.n_pieces > 0;
    for (size_t i = 0; i < s->batch.n_pieces; i++) l->result->text_bytes += s->batch.piece[i].n;
}

static sol_status end_document(pipeline *l, sol_err *err)
{
    l->last_id = -1;
    l->result->documents++;
    return sol_dataset_writer_end(l->writer, err);
}

static sol_status write_ids(void *user, const int32_t *id, size_t n, sol_err *err)
{
    pipeline *l = user;
    if (n) l->last_id = id[n - 1];
    l->result->tokens += (int64_t)n;
    return sol_dataset_writer_append(l->writer, id, n, err);
}

static sol_status write_long(pipeline *l, const slot *s, const sol_piece *piece, sol_encoder *e,
                             sol_err *err)
{
    const char *text = s->batch.text + piece->at;
    sol_status st =
        sol_encoder_stream(e, text, piece->n, flags_of(l, piece, text), write_ids, l, err);
    return st == SOL_ERR_IO ? st /* of the dataset, not of the text */
                            : name_place(l, piece, st, err);
}

/* Ends a piece whose ids are written. */
static sol_status end_piece(pipeline *l, const sol_piece *piece, sol_err *err)
{
    int32_t eos = sol_tokenizer_eos(l->opts->tokenizer);
    if (!piece->last) return SOL_OK;
    if (eos >= 0 && l->last_id != eos) SOL_TRY(write_ids(l, &eos, 1, err));
    return end_document(l, err);
}

static sol_status write_group(pipeline *l, const slot *s, const group *g, sol_encoder *e,
                              sol_err *err)
{
    size_t at = 0;
    for (size_t i = g->from; i < g->to; i++) {
        const sol_piece *piece = &s->batch.piece[i];
        if (piece->n > LONG_PIECE)
            SOL_TRY(write_long(l, s, piece, e, err));
        else
            SOL_TRY(write_ids(l, g->ids.id + at, s->piece[i].end - at, err));
        at = s->piece[i].end;
        SOL_TRY(end_piece(l, piece, err));
    }
    return SOL_OK;
}

static void write_slot(pipeline *l, slot *s, sol_encoder *e)
{
    for (size_t g = 0; g < s->n_groups; g++)
        if (write_group(l, s, &s->group[g], e, &l->write_err) != SOL_OK) break;
    s->filled = false;
}

static void run_tile(void *arg, int64_t tile, int thread)
{
    pipeline *l = arg;
    if (tile == READ_TILE && l->reading) read_slot(l, l->reading);
    if (tile == WRITE_TILE && l->writing) write_slot(l, l->writing, l->encoder[thread]);
    if (tile >= FIRST_GROUP_TILE)
        encode_group(l, l->encoding, &l->encoding->group[tile - FIRST_GROUP_TILE],
                     l->encoder[thread]);
}

static void show_progress(sol_program *p, const pipeline *l, double from)
{
    uint64_t done, total;
    char left[48], size[32];
    double seconds = sol_clock() - from;
    sol_docs_progress(l->docs, &done, &total);
    if (!sol_live_due(p) || done == 0 || seconds <= 0) return;
    double share = total ? (double)done / (double)total : 0;
    sol_live_show(p, false, "tokenizing  %.0f %%  %s of text  %.1f MB/s  %.1f M tokens  %s",
                  100 * share, sol_bytes_text((double)l->result->text_bytes, size),
                  (double)l->result->text_bytes / 1e6 / seconds, (double)l->result->tokens / 1e6,
                  sol_left_text(from, share, 1, left));
}

/* Warns of the first control token that the encoded text spells. */
static void watch_special(sol_program *p, pipeline *l, const slot *s)
{
    for (size_t i = 0; i < s->batch.n_pieces; i++) {
        const sol_piece *at = &s->batch.piece[i];
        size_t n;
        l->n_special += s->piece[i].n_special;
        if (l->warned || !s->piece[i].n_special) continue;
        const char *text = sol_tokenizer_text(l->opts->tokenizer, s->piece[i].first_special, &n);
        sol_log_line(&p->log, SOL_LOG_WARN,
                     "%s:%lld: the text spells the special token %.*s, which is encoded as plain "
                     "text; %s makes such texts tokens, `no` ends this warning",
                     l->opts->docs.files[at->file], (long long)at->line, (int)(n < 64 ? n : 64),
                     text, l->opts->special_yes);
        l->warned = true;
    }
}

/* The first failure in the order of the text: what is being written came before what is being
 * encoded, and so on. */
static sol_status step_status(const pipeline *l, sol_err *err)
{
    const sol_err *first = l->write_err.status ? &l->write_err : NULL;
    if (!first && l->encoding)
        for (size_t g = 0; g < l->encoding->n_groups; g++)
            if (l->encoding->group[g].err.status) {
                first = &l->encoding->group[g].err;
                break;
            }
    if (!first && l->read_err.status) first = &l->read_err;
    if (!first) return SOL_OK;
    return sol_fail(err, first->status, "%s", first->text);
}

/* What is being read, encoded and written at once. */
static sol_status run_step(sol_program *p, sol_pool *pool, pipeline *l, sol_err *err)
{
    int64_t n_groups = l->encoding ? (int64_t)l->encoding->n_groups : 0;
    sol_pool_run(pool, FIRST_GROUP_TILE + n_groups, run_tile, l);
    SOL_TRY(step_status(l, err));
    if (l->encoding) watch_special(p, l, l->encoding);
    if (sol_interrupted())
        return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted: nothing was written");
    return SOL_OK;
}

static sol_status run_pipeline(sol_program *p, sol_pool *pool, pipeline *l, sol_err *err)
{
    double from = sol_clock();
    bool more = true;
    for (int step = 0;; step++) {
        slot *s = &l->slots[step % N_SLOTS];
        l->writing = l->encoding && l->encoding->filled ? l->encoding : NULL;
        l->encoding = l->reading && l->reading->filled ? l->reading : NULL;
        l->reading = more ? s : NULL;
        if (!l->reading && !l->encoding && !l->writing) break;
        SOL_TRY(run_step(p, pool, l, err));
        more = more && l->reading->filled &&
               (l->opts->max_bytes == 0 || l->result->text_bytes < l->opts->max_bytes);
        show_progress(p, l, from);
    }
    l->result->seconds = sol_clock() - from;
    return SOL_OK;
}

static void report(sol_program *p, pipeline *l)
{
    uint64_t bytes;
    sol_docs_report(l->docs);
    sol_docs_skipped(l->docs, &l->result->skipped, &bytes);
    if (l->n_special)
        sol_log_line(
            &p->log, SOL_LOG_WARN,
            "special tokens that the text spells and that were encoded as plain text: %lld",
            (long long)l->n_special);
}

static void pipeline_free(pipeline *l)
{
    for (int i = 0; i < N_SLOTS; i++) {
        slot *s = &l->slots[i];
        for (size_t g = 0; g < s->cap_groups; g++) sol_ids_free(&s->group[g].ids);
        sol_batch_free(&s->batch);
        sol_free(s->piece);
        sol_free(s->group);
    }
    for (int i = 0; i < l->n_encoders; i++) sol_encoder_free(&l->encoder[i]);
    sol_free(l->encoder);
    sol_docs_close(&l->docs);
    sol_dataset_writer_abort(&l->writer);
}

/* EOS in the text parts documents. Long ones are cut where that keeps their ids. */
static void complete_docs(sol_program *p, pipeline *l)
{
    const sol_tokenizer *t = l->opts->tokenizer;
    bool special = l->opts->special == SOL_SPECIAL_YES;
    size_t n;
    const char *eos = sol_tokenizer_text(t, sol_tokenizer_eos(t), &n);
    snprintf(l->eos, sizeof l->eos, "%.*s", (int)n, eos ? eos : "");
    sol_docs_opts *o = &l->docs_opts;
    *o = l->opts->docs;
    o->log = &p->log;
    o->waits = &sol_until_interrupted;
    o->separator[0] = SOL_DOCS_SEPARATOR;
    o->separator[1] = l->eos[0] ? l->eos : NULL;
    o->cut = sol_tokenizer_can_cut(t) && !special;
    o->cut_lines = sol_tokenizer_can_cut_lines(t);
    o->cut_words = special ? NULL : t;
}

static sol_status open_pipeline(sol_program *p, pipeline *l, int threads, sol_err *err)
{
    const sol_tokenize_opts *opts = l->opts;
    const sol_tokenizer *t = opts->tokenizer;
    complete_docs(p, l);
    SOL_TRY(sol_docs_open(&l->docs, &l->docs_opts, err));
    SOL_TRY(sol_alloc_array((void **)&l->encoder, (size_t)threads, sizeof *l->encoder, err));
    while (l->n_encoders < threads)
        SOL_TRY(sol_encoder_create(&l->encoder[l->n_encoders++], t, err));
    return sol_dataset_writer_open(&l->writer, opts->out, sol_tokenizer_vocab_size(t),
                                   sol_tokenizer_hash(t), err);
}

static sol_status tokenize(sol_program *p, sol_pool *pool, pipeline *l, sol_err *err)
{
    SOL_TRY(open_pipeline(p, l, sol_pool_threads(pool), err));
    SOL_TRY(run_pipeline(p, pool, l, err));
    if (l->last_id >= 0) SOL_TRY(end_document(l, err)); /* left unread from here on */
    if (l->result->documents == 0)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: no text in it", l->opts->docs.files[0]);
    return sol_dataset_writer_close(&l->writer, err);
}

sol_status sol_tokenize_files(sol_program *p, const sol_tokenize_opts *opts, sol_tokenize_result *r,
                              sol_err *err)
{
    pipeline l = {.opts = opts, .result = r, .last_id = -1};
    sol_ctx *ctx;
    *r = (sol_tokenize_result){0};
    SOL_TRY(sol_program_ctx(p, &ctx, err));
    sol_status st = tokenize(p, ctx->pool, &l, err);
    sol_live_clear(p);
    if (st == SOL_OK && opts->max_bytes == 0) report(p, &l);
    pipeline_free(&l);
    return st;
}
