/* Binary forms of a tokenizer: our own serialized one, which our files hold (store/parts.c),
 * written and read, and llama2.c's tokenizer.bin, read. All numbers are little-endian. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"

/* The serialized form begins with the magic and a u32 version.
 *
 * Version 1 goes on: u32 kind, u32 flags, i32 bos, i32 eos, i32 unk, u32 n_head, ids, u32 n_tail,
 * ids, u32 stages, {u32 length, bytes}, u32 tokens, {u8 type, u32 length, bytes}, f32
 * scores[tokens] with FLAG_SCORES, u32 merges, {i32 left, right, result}.
 *
 * Version 2, for tokenizers that version 1 cannot hold: i32 bos, i32 eos, and a tokenizer.json to
 * the end. */
enum {
    FLAG_IGNORE_MERGES = 1,
    FLAG_SPACE_PREFIX = 2,
    FLAG_SCORES = 4,
    FLAG_UNDERSCORES = 8,
    FLAGS = 15
};

typedef struct bytes_out {
    char *data;
    size_t n, capacity;
} bytes_out;

static sol_status put(bytes_out *o, const void *data, size_t n, sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)&o->data, &o->capacity, o->n + n, 1, err));
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
    SOL_TRY(put_u32(o, (uint32_t)n, err));
    return put(o, text, n, err);
}

static sol_status put_ids(bytes_out *o, const int32_t *id, int n, sol_err *err)
{
    SOL_TRY(put_u32(o, (uint32_t)n, err));
    for (int i = 0; i < n; i++) SOL_TRY(put_u32(o, (uint32_t)id[i], err));
    return SOL_OK;
}

static sol_status put_tokens(bytes_out *o, const sol_tokenizer *t, bool scores, sol_err *err)
{
    SOL_TRY(put_u32(o, (uint32_t)t->n_tokens, err));
    for (int32_t id = 0; id < t->n_tokens; id++) {
        size_t n;
        const char *text = sol_tok_text(t, id, &n);
        SOL_TRY(put(o, &t->type[id], 1, err));
        SOL_TRY(put_text(o, text, n, err));
    }
    if (scores)
        for (int32_t id = 0; id < t->n_tokens; id++) {
            uint32_t bits;
            memcpy(&bits, &t->score[id], 4);
            SOL_TRY(put_u32(o, bits, err));
        }
    return SOL_OK;
}

static sol_status put_version_1(bytes_out *o, const sol_tokenizer *t, sol_err *err)
{
    bool scores = t->kind == SOL_TOK_SENTENCEPIECE && !t->merges_given;
    uint32_t flags = (t->ignore_merges ? FLAG_IGNORE_MERGES : 0) |
                     (t->add_space_prefix ? FLAG_SPACE_PREFIX : 0) | (scores ? FLAG_SCORES : 0) |
                     (t->underscore_is_blank ? FLAG_UNDERSCORES : 0);
    SOL_TRY(put_u32(o, 1, err));
    SOL_TRY(put_u32(o, (uint32_t)t->kind, err));
    SOL_TRY(put_u32(o, flags, err));
    SOL_TRY(put_u32(o, (uint32_t)t->bos, err));
    SOL_TRY(put_u32(o, (uint32_t)t->eos, err));
    SOL_TRY(put_u32(o, (uint32_t)t->unk, err));
    SOL_TRY(put_ids(o, t->head, t->n_head, err));
    SOL_TRY(put_ids(o, t->tail, t->n_tail, err));
    SOL_TRY(put_u32(o, (uint32_t)t->pretok.n, err));
    for (int i = 0; i < t->pretok.n; i++)
        SOL_TRY(put_text(o, t->pretok.stage[i].source, strlen(t->pretok.stage[i].source), err));
    SOL_TRY(put_tokens(o, t, scores, err));
    size_t n_merges = scores ? 0 : t->n_merges;
    SOL_TRY(put_u32(o, (uint32_t)n_merges, err));
    for (size_t i = 0; i < n_merges; i++) {
        SOL_TRY(put_u32(o, (uint32_t)t->merges[i].left, err));
        SOL_TRY(put_u32(o, (uint32_t)t->merges[i].right, err));
        SOL_TRY(put_u32(o, (uint32_t)t->merges[i].result, err));
    }
    return SOL_OK;
}

static sol_status put_version_2(bytes_out *o, const sol_tokenizer *t, sol_err *err)
{
    SOL_TRY(put_u32(o, 2, err));
    SOL_TRY(put_u32(o, (uint32_t)t->bos, err));
    SOL_TRY(put_u32(o, (uint32_t)t->eos, err));
    return put(o, t->json, t->n_json, err);
}

static sol_status put_all(bytes_out *o, const sol_tokenizer *t, sol_err *err)
{
    SOL_TRY(put(o, SOL_TOK_MAGIC, sizeof SOL_TOK_MAGIC - 1, err));
    return t->json ? put_version_2(o, t, err) : put_version_1(o, t, err);
}

sol_status sol_tokenizer_serialize(const sol_tokenizer *t, void **data, size_t *size, sol_err *err)
{
    bytes_out o = {0};
    sol_status st = put_all(&o, t, err);
    if (st != SOL_OK) {
        sol_free(o.data);
        o = (bytes_out){0};
    }
    *data = o.data;
    *size = o.n;
    return st;
}

/* A cursor that stops at the first short read: `bad` stays set, and what is read after it is 0. */
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

static sol_status get_stage(bytes_in *in, sol_tokenizer *t, sol_err *err)
{
    char *regex;
    uint32_t n = get_u32(in);
    const char *text = get(in, n);
    if (!text) return SOL_OK;
    SOL_TRY(sol_copy_string(&regex, text, n, err));
    sol_status st = sol_pretok_add(&t->pretok, regex, err);
    sol_free(regex);
    return st;
}

static sol_status get_stages(bytes_in *in, sol_tokenizer *t, sol_err *err)
{
    uint32_t count = get_count(in, 4);
    for (uint32_t i = 0; i < count; i++) {
        if (in->bad) break;
        SOL_TRY(get_stage(in, t, err));
    }
    return SOL_OK;
}

static sol_status get_tokens(bytes_in *in, sol_tokenizer *t, bool scores, sol_err *err)
{
    uint32_t count = get_count(in, 5);
    for (uint32_t id = 0; id < count; id++) {
        const char *type = get(in, 1);
        uint32_t n = get_u32(in);
        const char *text = get(in, n);
        if (!text) break;
        if ((uint8_t)*type >= SOL_TOKEN_TYPES)
            return sol_fail(err, SOL_ERR_FORMAT, "token %u has the unknown type %d", id, *type);
        SOL_TRY(sol_tok_add(t, text, n, (uint8_t)*type, 0, err));
    }
    if (!scores || in->bad) return SOL_OK;
    for (uint32_t id = 0; id < count; id++) t->score[id] = get_f32(in);
    return SOL_OK;
}

static sol_status get_merges(bytes_in *in, sol_tokenizer *t, sol_err *err)
{
    uint32_t count = get_count(in, 12);
    for (uint32_t i = 0; i < count; i++) {
        if (in->bad) break;
        int32_t left = (int32_t)get_u32(in), right = (int32_t)get_u32(in),
                result = (int32_t)get_u32(in);
        SOL_TRY(sol_tok_add_merge(t, left, right, result, err));
    }
    return SOL_OK;
}

static sol_status get_version_1(bytes_in *in, sol_tokenizer *t, uint32_t flags, sol_err *err)
{
    t->ignore_merges = flags & FLAG_IGNORE_MERGES;
    t->add_space_prefix = flags & FLAG_SPACE_PREFIX;
    t->merges_given = !(flags & FLAG_SCORES);
    t->underscore_is_blank = flags & FLAG_UNDERSCORES;
    t->bos = (int32_t)get_u32(in);
    t->eos = (int32_t)get_u32(in);
    t->unk = (int32_t)get_u32(in);
    get_ids(in, t->head, &t->n_head);
    get_ids(in, t->tail, &t->n_tail);
    SOL_TRY(get_stages(in, t, err));
    SOL_TRY(get_tokens(in, t, flags & FLAG_SCORES, err));
    return get_merges(in, t, err);
}

static sol_status from_version_1(sol_tokenizer **out, const char *name, bytes_in in, sol_err *err)
{
    uint32_t kind = get_u32(&in), flags = get_u32(&in);
    if (kind > SOL_TOK_SENTENCEPIECE || flags > FLAGS)
        return fail_at(&in, name, "unknown kind or flags of a tokenizer", err);
    SOL_TRY(sol_tok_create(out, (sol_tok_kind)kind, err));
    sol_status st = get_version_1(&in, *out, flags, err);
    if (st != SOL_OK)
        sol_err_prefix(err, st, "%s", name);
    else if (in.bad)
        st = fail_at(&in, name, "the tokenizer ends early or a count is too large", err);
    else if (in.at != in.size)
        st = fail_at(&in, name, "bytes behind the tokenizer", err);
    if (st != SOL_OK) sol_tokenizer_free(out);
    return st;
}

static sol_status from_version_2(sol_tokenizer **out, const char *name, bytes_in in, sol_err *err)
{
    int32_t bos = (int32_t)get_u32(&in), eos = (int32_t)get_u32(&in);
    if (in.bad) return fail_at(&in, name, "the tokenizer ends early", err);
    SOL_TRY(
        sol_tok_from_json(out, name, (const char *)in.data + in.at, in.size - in.at, NULL, err));
    (*out)->bos = bos;
    (*out)->eos = eos;
    return SOL_OK;
}

sol_status sol_tok_from_serialized(sol_tokenizer **out, const char *name, const uint8_t *data,
                                   size_t size, sol_err *err)
{
    bytes_in in = {.data = data, .size = size};
    *out = NULL;
    get(&in, sizeof SOL_TOK_MAGIC - 1);
    uint32_t version = get_u32(&in);
    if (version == 1) return from_version_1(out, name, in, err);
    if (version == 2) return from_version_2(out, name, in, err);
    return fail_at(&in, name,
                   "neither version 1 nor 2 of a serialized tokenizer: a newer solera may read it",
                   err);
}

enum { FIRST_BYTE = 3 }; /* the token of byte 0 in llama2.c's files */

static sol_status get_llama2c_token(bytes_in *in, sol_tokenizer *t, int32_t id, uint32_t longest,
                                    sol_err *err)
{
    float score = get_f32(in);
    uint32_t n = get_u32(in);
    const char *text = get(in, n);
    if (!text || n > longest) {
        in->bad = true;
        return SOL_OK;
    }
    if (id < FIRST_BYTE) { /* written with a line break on both sides */
        while (n > 1 && text[0] == '\n') text++, n--;
        while (n > 1 && text[n - 1] == '\n') n--;
        return sol_tok_add(t, text, n, SOL_TOKEN_CONTROL, score, err);
    }
    if (id >= FIRST_BYTE + 256) return sol_tok_add(t, text, n, SOL_TOKEN_NORMAL, score, err);
    char want[8], byte = (char)(id - FIRST_BYTE);
    snprintf(want, sizeof want, "<0x%02X>", id - FIRST_BYTE);
    if (n != 6 || memcmp(text, want, 6) != 0) in->bad = true;
    return sol_tok_add(t, &byte, 1, SOL_TOKEN_BYTE, score, err);
}

static sol_status get_llama2c(bytes_in *in, sol_tokenizer *t, sol_err *err)
{
    uint32_t longest = get_u32(in);
    t->bos = t->head[0] = 1;
    t->eos = -1;
    t->unk = 0;
    t->n_head = 1;
    t->add_space_prefix = true;
    for (int32_t id = 0; in->at < in->size; id++) {
        if (in->bad) break;
        SOL_TRY(get_llama2c_token(in, t, id, longest, err));
    }
    return SOL_OK;
}

/* llama2.c: u32 longest token, {f32 score, u32 length, bytes} to the end. Ids 0 unknown, 1 BOS, 2
 * unused, 3..258 the bytes. There is no EOS: these models are trained on documents that end where
 * the next BOS stands, and never see token 2. */
sol_status sol_tok_from_llama2c(sol_tokenizer **out, const char *name, const uint8_t *data,
                                size_t size, sol_err *err)
{
    bytes_in in = {.data = data, .size = size};
    *out = NULL;
    SOL_TRY(sol_tok_create(out, SOL_TOK_SENTENCEPIECE, err));
    sol_status st = get_llama2c(&in, *out, err);
    if (st != SOL_OK)
        sol_err_prefix(err, st, "%s", name);
    else if (in.bad || (*out)->n_tokens < FIRST_BYTE + 256)
        st =
            fail_at(&in, name,
                    "not a tokenizer: no serialized form, no JSON, and not llama2.c's layout", err);
    if (st != SOL_OK) sol_tokenizer_free(out);
    return st;
}
