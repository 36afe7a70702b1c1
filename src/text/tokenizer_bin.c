/* Binary forms: our own serialized one, and llama2.c's tokenizer.bin. All numbers little-endian. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"

/* Serialized, version 2: the magic, u32 version 2, i32 bos, i32 eos, and a tokenizer.json to the end: of tokenizers that version 1
 * cannot hold. Version 1: the magic, u32 version 1, u32 kind, u32 flags, i32 bos, i32 eos, i32 unk, u32 n_head, ids, u32
 * n_tail, ids, u32 stages, {u32 length, bytes}, u32 tokens, {u8 type, u32 length, bytes}, f32 scores[tokens]
 * with FLAG_SCORES, u32 merges, {i32 left, right, result}. */
enum { FLAG_IGNORE_MERGES = 1, FLAG_SPACE_PREFIX = 2, FLAG_SCORES = 4, FLAG_UNDERSCORES = 8, FLAGS = 15 };

typedef struct bytes_out {
    char *data;
    size_t n, capacity;
} bytes_out;

static sol_status put(bytes_out *o, const void *data, size_t n, sol_err *err)
{
    sol_status st = sol_grow_array((void **)&o->data, &o->capacity, o->n + n, 1, err);
    if (st != SOL_OK) return st;
    if (n) memcpy(o->data + o->n, data, n);
    o->n += n;
    return SOL_OK;
}

static sol_status put_u32(bytes_out *o, uint32_t v, sol_err *err)
{
    uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    return put(o, b, sizeof b, err);
}

static sol_status put_text(bytes_out *o, const char *text, size_t n, sol_err *err)
{
    sol_status st = put_u32(o, (uint32_t)n, err);
    return st == SOL_OK ? put(o, text, n, err) : st;
}

static sol_status put_ids(bytes_out *o, const int32_t *id, int n, sol_err *err)
{
    sol_status st = put_u32(o, (uint32_t)n, err);
    for (int i = 0; st == SOL_OK && i < n; i++) st = put_u32(o, (uint32_t)id[i], err);
    return st;
}

static sol_status put_tokens(bytes_out *o, const sol_tokenizer *t, bool scores, sol_err *err)
{
    sol_status st = put_u32(o, (uint32_t)t->n_tokens, err);
    for (int32_t id = 0; st == SOL_OK && id < t->n_tokens; id++) {
        size_t n;
        const char *text = sol_tok_text(t, id, &n);
        st = put(o, &t->type[id], 1, err);
        if (st == SOL_OK) st = put_text(o, text, n, err);
    }
    if (scores)
        for (int32_t id = 0; st == SOL_OK && id < t->n_tokens; id++) {
            uint32_t bits;
            memcpy(&bits, &t->score[id], 4);
            st = put_u32(o, bits, err);
        }
    return st;
}

static sol_status put_version_1(bytes_out *o, const sol_tokenizer *t, sol_err *err)
{
    bool scores = t->kind == SOL_TOK_SENTENCEPIECE && !t->merges_given;
    uint32_t flags = (t->ignore_merges ? FLAG_IGNORE_MERGES : 0) |
                     (t->add_space_prefix ? FLAG_SPACE_PREFIX : 0) | (scores ? FLAG_SCORES : 0) |
                     (t->underscore_is_blank ? FLAG_UNDERSCORES : 0);
    sol_status st = put_u32(o, 1, err);
    if (st == SOL_OK) st = put_u32(o, (uint32_t)t->kind, err);
    if (st == SOL_OK) st = put_u32(o, flags, err);
    if (st == SOL_OK) st = put_u32(o, (uint32_t)t->bos, err);
    if (st == SOL_OK) st = put_u32(o, (uint32_t)t->eos, err);
    if (st == SOL_OK) st = put_u32(o, (uint32_t)t->unk, err);
    if (st == SOL_OK) st = put_ids(o, t->head, t->n_head, err);
    if (st == SOL_OK) st = put_ids(o, t->tail, t->n_tail, err);
    if (st == SOL_OK) st = put_u32(o, (uint32_t)t->pretok.n, err);
    for (int i = 0; st == SOL_OK && i < t->pretok.n; i++)
        st = put_text(o, t->pretok.stage[i].source, strlen(t->pretok.stage[i].source), err);
    if (st == SOL_OK) st = put_tokens(o, t, scores, err);
    size_t n_merges = scores ? 0 : t->n_merges;
    if (st == SOL_OK) st = put_u32(o, (uint32_t)n_merges, err);
    for (size_t i = 0; st == SOL_OK && i < n_merges; i++) {
        st = put_u32(o, (uint32_t)t->merges[i].left, err);
        if (st == SOL_OK) st = put_u32(o, (uint32_t)t->merges[i].right, err);
        if (st == SOL_OK) st = put_u32(o, (uint32_t)t->merges[i].result, err);
    }
    return st;
}

static sol_status put_version_2(bytes_out *o, const sol_tokenizer *t, sol_err *err)
{
    sol_status st = put_u32(o, 2, err);
    if (st == SOL_OK) st = put_u32(o, (uint32_t)t->bos, err);
    if (st == SOL_OK) st = put_u32(o, (uint32_t)t->eos, err);
    return st == SOL_OK ? put(o, t->json, t->n_json, err) : st;
}

sol_status sol_tokenizer_serialize(const sol_tokenizer *t, void **data, size_t *size, sol_err *err)
{
    bytes_out o = {0};
    sol_status st = put(&o, SOL_TOK_MAGIC, sizeof SOL_TOK_MAGIC - 1, err);
    if (st == SOL_OK) st = t->json ? put_version_2(&o, t, err) : put_version_1(&o, t, err);
    if (st != SOL_OK) {
        sol_free(o.data);
        o = (bytes_out){0};
    }
    *data = o.data;
    *size = o.n;
    return st;
}

/* A cursor that stops at the first short read: `bad` stays set and everything read after it is 0. */
typedef struct bytes_in {
    const uint8_t *data;
    size_t size, at;
    bool bad;
} bytes_in;

static const char *get(bytes_in *in, size_t n)
{
    if (in->bad || n > in->size - in->at) {
        in->bad = true;
        return NULL;
    }
    in->at += n;
    return (const char *)in->data + in->at - n;
}

static uint32_t get_u32(bytes_in *in)
{
    const uint8_t *b = (const uint8_t *)get(in, 4);
    return b ? b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24 : 0;
}

static float get_f32(bytes_in *in)
{
    uint32_t bits = get_u32(in);
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* A count of things of at least `each` bytes: no more than the rest of the data can hold. */
static uint32_t get_count(bytes_in *in, size_t each)
{
    uint32_t n = get_u32(in);
    if (n > (in->size - in->at) / each) in->bad = true;
    return in->bad ? 0 : n;
}

static sol_status fail_at(const bytes_in *in, const char *name, const char *what, sol_err *err)
{
    return sol_fail(err, SOL_ERR_FORMAT, "%s: byte %zu of %zu: %s", name, in->at, in->size, what);
}

static void get_ids(bytes_in *in, int32_t *id, int *n)
{
    uint32_t count = get_count(in, 4);
    if (count > SOL_TOK_MAX_TEMPLATE) in->bad = true;
    *n = in->bad ? 0 : (int)count;
    for (int i = 0; i < *n; i++) id[i] = (int32_t)get_u32(in);
}

static sol_status get_stages(bytes_in *in, sol_tokenizer *t, sol_err *err)
{
    sol_status st = SOL_OK;
    uint32_t count = get_count(in, 4);
    for (uint32_t i = 0; st == SOL_OK && !in->bad && i < count; i++) {
        char *regex;
        uint32_t n = get_u32(in);
        const char *text = get(in, n);
        if (!text) break;
        st = sol_copy_string(&regex, text, n, err);
        if (st == SOL_OK) st = sol_pretok_add(&t->pretok, regex, err);
        sol_free(regex);
    }
    return st;
}

static sol_status get_tokens(bytes_in *in, sol_tokenizer *t, bool scores, sol_err *err)
{
    sol_status st = SOL_OK;
    uint32_t count = get_count(in, 5);
    for (uint32_t id = 0; st == SOL_OK && !in->bad && id < count; id++) {
        const char *type = get(in, 1);
        uint32_t n = get_u32(in);
        const char *text = get(in, n);
        if (!text) break;
        if ((uint8_t)*type >= SOL_TOKEN_TYPES)
            return sol_fail(err, SOL_ERR_FORMAT, "token %u has the unknown type %d", id, *type);
        st = sol_tok_add(t, text, n, (uint8_t)*type, 0, err);
    }
    if (scores)
        for (uint32_t id = 0; st == SOL_OK && !in->bad && id < count; id++) t->score[id] = get_f32(in);
    return st;
}

static sol_status get_merges(bytes_in *in, sol_tokenizer *t, sol_err *err)
{
    sol_status st = SOL_OK;
    uint32_t count = get_count(in, 12);
    for (uint32_t i = 0; st == SOL_OK && !in->bad && i < count; i++) {
        int32_t left = (int32_t)get_u32(in), right = (int32_t)get_u32(in), result = (int32_t)get_u32(in);
        st = sol_tok_add_merge(t, left, right, result, err);
    }
    return st;
}

static sol_status from_version_1(sol_tokenizer **out, const char *name, bytes_in in, sol_err *err)
{
    sol_tokenizer *t;
    uint32_t kind = get_u32(&in), flags = get_u32(&in);
    if (kind > SOL_TOK_SENTENCEPIECE || flags > FLAGS)
        return fail_at(&in, name, "unknown kind or flags of a tokenizer", err);
    sol_status st = sol_tok_create(&t, (sol_tok_kind)kind, err);
    if (st != SOL_OK) return st;
    t->ignore_merges = flags & FLAG_IGNORE_MERGES;
    t->add_space_prefix = flags & FLAG_SPACE_PREFIX;
    t->merges_given = !(flags & FLAG_SCORES);
    t->underscore_is_blank = flags & FLAG_UNDERSCORES;
    t->bos = (int32_t)get_u32(&in);
    t->eos = (int32_t)get_u32(&in);
    t->unk = (int32_t)get_u32(&in);
    get_ids(&in, t->head, &t->n_head);
    get_ids(&in, t->tail, &t->n_tail);
    st = get_stages(&in, t, err);
    if (st == SOL_OK) st = get_tokens(&in, t, flags & FLAG_SCORES, err);
    if (st == SOL_OK) st = get_merges(&in, t, err);
    if (st != SOL_OK)
        sol_err_prefix(err, st, "%s", name);
    else if (in.bad)
        st = fail_at(&in, name, "the tokenizer ends early or a count is too large", err);
    else if (in.at != in.size)
        st = fail_at(&in, name, "bytes behind the tokenizer", err);
    if (st != SOL_OK) sol_tokenizer_free(&t);
    *out = t;
    return st;
}

static sol_status from_version_2(sol_tokenizer **out, const char *name, bytes_in in, sol_err *err)
{
    int32_t bos = (int32_t)get_u32(&in), eos = (int32_t)get_u32(&in);
    if (in.bad) return fail_at(&in, name, "the tokenizer ends early", err);
    sol_status st = sol_tok_from_json(out, name, (const char *)in.data + in.at, in.size - in.at, err);
    if (st != SOL_OK) return st;
    (*out)->bos = bos;
    (*out)->eos = eos;
    return st;
}

sol_status sol_tok_from_serialized(sol_tokenizer **out, const char *name, const uint8_t *data, size_t size,
                                   sol_err *err)
{
    bytes_in in = {.data = data, .size = size};
    *out = NULL;
    get(&in, sizeof SOL_TOK_MAGIC - 1);
    uint32_t version = get_u32(&in);
    if (version == 1) return from_version_1(out, name, in, err);
    if (version == 2) return from_version_2(out, name, in, err);
    return fail_at(&in, name, "neither version 1 nor 2 of a serialized tokenizer: a newer solera may read it", err);
}

/* llama2.c: u32 longest token, {f32 score, u32 length, bytes} to the end. Ids 0 unknown, 1 BOS, 2
 * unused, 3..258 the bytes. There is no EOS: these models are trained on documents that end where the next BOS
 * stands, and never see token 2. */
sol_status sol_tok_from_llama2c(sol_tokenizer **out, const char *name, const uint8_t *data, size_t size,
                                sol_err *err)
{
    enum { FIRST_BYTE = 3 };
    bytes_in in = {.data = data, .size = size};
    sol_tokenizer *t;
    *out = NULL;
    sol_status st = sol_tok_create(&t, SOL_TOK_SENTENCEPIECE, err);
    if (st != SOL_OK) return st;
    uint32_t longest = get_u32(&in);
    for (int32_t id = 0; st == SOL_OK && !in.bad && in.at < size; id++) {
        float score = get_f32(&in);
        uint32_t n = get_u32(&in);
        const char *text = get(&in, n);
        if (!text || n > longest) {
            in.bad = true;
        } else if (id < FIRST_BYTE) { /* written with a line break on both sides */
            while (n > 1 && text[0] == '\n') text++, n--;
            while (n > 1 && text[n - 1] == '\n') n--;
            st = sol_tok_add(t, text, n, SOL_TOKEN_CONTROL, score, err);
        } else if (id < FIRST_BYTE + 256) {
            char want[8], byte = (char)(id - FIRST_BYTE);
            snprintf(want, sizeof want, "<0x%02X>", id - FIRST_BYTE);
            if (n != 6 || memcmp(text, want, 6) != 0) in.bad = true;
            st = sol_tok_add(t, &byte, 1, SOL_TOKEN_BYTE, score, err);
        } else {
            st = sol_tok_add(t, text, n, SOL_TOKEN_NORMAL, score, err);
        }
    }
    if (st != SOL_OK)
        sol_err_prefix(err, st, "%s", name);
    else if (in.bad || t->n_tokens < FIRST_BYTE + 256)
        st = fail_at(&in, name, "not a tokenizer: no serialized form, no JSON, and not llama2.c's layout", err);
    t->bos = t->head[0] = 1;
    t->eos = -1;
    t->unk = 0;
    t->n_head = 1;
    t->add_space_prefix = true;
    if (st != SOL_OK) sol_tokenizer_free(&t);
    *out = t;
    return st;
}
