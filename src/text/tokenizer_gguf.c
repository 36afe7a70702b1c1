/* Tokenizers from and to the arrays of GGUF metadata (tokenizer.ggml.*), which
 * foreign/gguf_import.c and foreign/gguf_export.c read and write. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "text/tokenizer_impl.h"

enum { GGUF_NORMAL = 1, GGUF_UNKNOWN, GGUF_CONTROL, GGUF_USER, GGUF_UNUSED, GGUF_BYTE };

static sol_status gguf_type(const sol_tokenizer_arrays *a, int64_t id, uint8_t *type, sol_err *err)
{
    static const uint8_t types[] = {
        [GGUF_NORMAL] = SOL_TOKEN_NORMAL,   [GGUF_UNKNOWN] = SOL_TOKEN_CONTROL,
        [GGUF_CONTROL] = SOL_TOKEN_CONTROL, [GGUF_USER] = SOL_TOKEN_USER,
        [GGUF_UNUSED] = SOL_TOKEN_UNUSED,   [GGUF_BYTE] = SOL_TOKEN_BYTE};
    int32_t given = a->types ? a->types[id] : GGUF_NORMAL;
    if (given < GGUF_NORMAL || given > GGUF_BYTE)
        return sol_fail(err, SOL_ERR_FORMAT, "token %lld has the unknown type %d", (long long)id,
                        given);
    *type = types[given];
    return SOL_OK;
}

/* Appends token `id`; scratch holds its length. Byte-level texts come in the printable alphabet,
 * SentencePiece writes U+2581 for a blank and <0xHH> for a byte. */
static sol_status add_gguf_token(sol_tokenizer *t, const sol_tokenizer_arrays *a, int64_t id,
                                 char *scratch, sol_err *err)
{
    sol_span s = a->tokens[id];
    uint8_t type = SOL_TOKEN_NORMAL;
    size_t n = s.n;
    int byte;
    SOL_TRY(gguf_type(a, id, &type, err));
    if (type == SOL_TOKEN_CONTROL || type == SOL_TOKEN_USER || type == SOL_TOKEN_UNUSED) {
        if (n) memcpy(scratch, s.at, n);
    } else if (t->kind == SOL_TOK_BYTE_LEVEL) {
        if (type == SOL_TOKEN_BYTE || !sol_runes_to_bytes(s.at, s.n, scratch, &n))
            return sol_fail(err, SOL_ERR_FORMAT,
                            "token %lld has characters outside the byte-level alphabet",
                            (long long)id);
    } else if ((byte = sol_byte_token(s.at, s.n)) >= 0) {
        scratch[0] = (char)byte;
        n = 1;
        type = SOL_TOKEN_BYTE;
    } else {
        n = sol_underscores_to_blanks(s.at, s.n, scratch);
    }
    if (a->types && a->types[id] == GGUF_UNKNOWN && t->unk < 0) t->unk = t->n_tokens;
    return sol_tok_add(t, scratch, n, type, a->scores ? a->scores[id] : 0, err);
}

static sol_status add_gguf_merge(sol_tokenizer *t, const sol_bytemap *by_text,
                                 const sol_tokenizer_arrays *a, int64_t i, char *scratch,
                                 sol_err *err)
{
    sol_span m = a->merges[i];
    const char *blank =
        m.n > 1 ? memchr(m.at + 1, ' ', m.n - 1) : NULL; /* the left part is never empty */
    if (!blank)
        return sol_fail(err, SOL_ERR_FORMAT, "merge %lld is not a pair of tokens", (long long)i);
    size_t n_left = (size_t)(blank - m.at), n_right = m.n - n_left - 1;
    memcpy(scratch, m.at, n_left);
    memcpy(scratch + n_left, blank + 1, n_right);
    const sol_bytemap_entry *left = sol_bytemap_get(by_text, m.at, n_left),
                            *right = sol_bytemap_get(by_text, blank + 1, n_right);
    const sol_bytemap_entry *both = sol_bytemap_get(by_text, scratch, n_left + n_right);
    if (!left || !right || !both)
        return sol_fail(err, SOL_ERR_FORMAT, "merge %lld '%.*s' names a text that is no token",
                        (long long)i, (int)(m.n < 64 ? m.n : 64), m.at);
    return sol_tok_add_merge(t, (int32_t)left->value, (int32_t)right->value, (int32_t)both->value,
                             err);
}

/* by_text: the tokens as the file writes them, because merges name them so. */
static sol_status add_gguf_tokens(sol_tokenizer *t, const sol_tokenizer_arrays *a,
                                  sol_bytemap *by_text, char *scratch, sol_err *err)
{
    for (int64_t id = 0; id < a->n_tokens; id++) {
        sol_bytemap_entry *e;
        int is_new;
        SOL_TRY(add_gguf_token(t, a, id, scratch, err));
        if (a->n_merges == 0) continue;
        SOL_TRY(sol_bytemap_put(by_text, a->tokens[id].at, a->tokens[id].n, &e, &is_new, err));
        if (is_new) e->value = id;
    }
    for (int64_t i = 0; i < a->n_merges; i++)
        SOL_TRY(add_gguf_merge(t, by_text, a, i, scratch, err));
    return SOL_OK;
}

static sol_status add_gguf_vocab(sol_tokenizer *t, const sol_tokenizer_arrays *a, sol_err *err)
{
    sol_bytemap by_text = {0};
    size_t longest = 1;
    char *scratch;
    for (int64_t i = 0; i < a->n_tokens; i++) longest = sol_max_size(longest, a->tokens[i].n);
    for (int64_t i = 0; i < a->n_merges; i++) longest = sol_max_size(longest, a->merges[i].n);
    t->merges_given = a->n_merges > 0;
    SOL_TRY(sol_alloc_array((void **)&scratch, longest, 1, err));
    sol_status st = add_gguf_tokens(t, a, &by_text, scratch, err);
    sol_free(scratch);
    sol_bytemap_free(&by_text);
    return st;
}

static sol_status gguf_settings(sol_tokenizer *t, const sol_tokenizer_arrays *a, sol_err *err)
{
    bool spm = t->kind == SOL_TOK_SENTENCEPIECE, add_bos = spm;
    if (!spm) SOL_TRY(sol_pretok_add_named(&t->pretok, a->pre, &t->ignore_merges, &add_bos, err));
    if (a->bos < -1 || a->bos >= a->n_tokens || a->eos < -1 || a->eos >= a->n_tokens)
        return sol_fail(err, SOL_ERR_RANGE,
                        "BOS %lld or EOS %lld lies outside the vocabulary of %lld",
                        (long long)a->bos, (long long)a->eos, (long long)a->n_tokens);
    if ((a->bos < 0 && a->add_bos > 0) || (a->eos < 0 && a->add_eos > 0))
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "add_%s_token is true, but which token that is, the file does not say",
                        a->bos < 0 && a->add_bos > 0 ? "bos" : "eos");
    t->bos = (int32_t)a->bos;
    t->eos = (int32_t)a->eos;
    t->add_space_prefix = a->add_space_prefix < 0 ? spm : a->add_space_prefix;
    t->underscore_is_blank = spm;
    if (t->add_space_prefix && !spm)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "add_space_prefix is not supported for a byte-level tokenizer");
    if (t->bos >= 0 && (a->add_bos < 0 ? add_bos : a->add_bos)) t->head[t->n_head++] = t->bos;
    if (t->eos >= 0 && a->add_eos > 0) t->tail[t->n_tail++] = t->eos;
    return SOL_OK;
}

/* Some converters know no scores and write one for all, beside the merges that made the tokens:
 * llama.cpp follows the scores, the model's own tokenizer the merges. */
static bool contradicts_merges(const sol_tokenizer_arrays *a)
{
    float one = NAN;
    for (int64_t i = 0; i < a->n_tokens; i++) {
        if (a->types && a->types[i] != GGUF_NORMAL) continue;
        if (isnan(one)) one = a->scores[i];
        if (a->scores[i] != one) return false;
    }
    return a->n_merges > 0;
}

/* Puts a normalizer to NFC in front of the tokenizer, by way of its tokenizer.json, which names
 * neither BOS nor EOS. */
static sol_status add_nfc(sol_tokenizer **t, const char *name, sol_err *err)
{
    char *text = NULL, *with_nfc = NULL;
    size_t n;
    json_t *root = NULL;
    sol_tokenizer *old = *t;
    sol_status st = sol_tokenizer_to_json(old, &text, &n, err);
    if (st != SOL_OK) return st;
    *t = NULL;
    root = json_loadb(text, n, 0, NULL);
    if (root && json_object_set_new(root, "normalizer", json_pack("{s:s}", "type", "NFC")) == 0)
        with_nfc = json_dumps(root, JSON_COMPACT);
    st = with_nfc ? sol_tok_from_json(t, name, with_nfc, strlen(with_nfc), NULL, err)
                  : sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory for a tokenizer", name);
    if (st == SOL_OK) {
        (*t)->bos = old->bos;
        (*t)->eos = old->eos;
        st = sol_tok_finish(*t, name, err);
    }
    free(with_nfc);
    json_decref(root);
    sol_free(text);
    sol_tokenizer_free(&old);
    return st;
}

static sol_status check_arrays(const sol_tokenizer_arrays *a, bool bpe, bool spm, sol_err *err)
{
    if (!bpe && !spm)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "tokenizer model '%.64s': gpt2 and llama are supported", a->model);
    if (bpe && a->n_merges < 1)
        return sol_fail(err, SOL_ERR_FORMAT, "a gpt2 tokenizer without merges");
    if (spm && !a->scores) return sol_fail(err, SOL_ERR_FORMAT, "a llama tokenizer without scores");
    if (spm && contradicts_merges(a))
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "the scores of all tokens are the same, and there are merges: which of "
                        "them counts is not known");
    if (a->n_tokens < 1 || a->n_tokens > SOL_TOK_MAX_IDS)
        return sol_fail(err, SOL_ERR_RANGE, "%lld tokens: 1 to %d fit", (long long)a->n_tokens,
                        SOL_TOK_MAX_IDS);
    return SOL_OK;
}

/* *t is the caller's to free after a failure, too. */
static sol_status load(sol_tokenizer **t, const sol_tokenizer_arrays *a, bool bpe, bool spm,
                       sol_err *err)
{
    sol_tokenizer_arrays own = *a;
    if (spm) own.n_merges = 0; /* some files carry them beside the scores, which alone decide */
    SOL_TRY(check_arrays(a, bpe, spm, err));
    SOL_TRY(sol_tok_create(t, bpe ? SOL_TOK_BYTE_LEVEL : SOL_TOK_SENTENCEPIECE, err));
    SOL_TRY(gguf_settings(*t, &own, err));
    return add_gguf_vocab(*t, &own, err);
}

sol_status sol_tokenizer_from_arrays(sol_tokenizer **out, const char *name,
                                     const sol_tokenizer_arrays *a, sol_err *err)
{
    bool bpe = strcmp(a->model, "gpt2") == 0, spm = strcmp(a->model, "llama") == 0;
    *out = NULL;
    sol_status st = load(out, a, bpe, spm, err);
    if (st != SOL_OK)
        sol_err_prefix(err, st, "%s", name);
    else
        st = sol_tok_finish(*out, name, err);
    if (st == SOL_OK && bpe && (a->nfc < 0 ? sol_pretok_name_means_nfc(a->pre) : a->nfc))
        st = add_nfc(out, name, err);
    if (st != SOL_OK) sol_tokenizer_free(out);
    return st;
}

struct sol_arrays_owner {
    char *bytes; /* all texts */
    size_t n_bytes, cap_bytes;
    sol_span *tokens, *merges;
    int32_t *types;
    float *scores;
};

void sol_arrays_owner_free(sol_arrays_owner **op)
{
    sol_arrays_owner *o = *op;
    if (!o) return;
    sol_free(o->bytes);
    sol_free(o->tokens);
    sol_free(o->merges);
    sol_free(o->types);
    sol_free(o->scores);
    sol_free(o);
    *op = NULL;
}

/* Appends n bytes and leaves space for one more. Spans hold only lengths until the bytes stop
 * moving. */
static sol_status add_bytes(sol_arrays_owner *o, const char *text, size_t n, sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)&o->bytes, &o->cap_bytes, o->n_bytes + n + 1, 1, err));
    if (n) memcpy(o->bytes + o->n_bytes, text, n);
    o->n_bytes += n;
    return SOL_OK;
}

static sol_status add_text(sol_arrays_owner *o, const sol_tokenizer *t, int32_t id, sol_err *err)
{
    char *text;
    size_t n;
    SOL_TRY(sol_tok_file_text(t, id, &text, &n, err));
    sol_status st = add_bytes(o, text, n, err);
    sol_free(text);
    return st;
}

/* What llama.cpp's converter writes for an id that the model has and the tokenizer lacks. */
static sol_status add_placeholder(sol_arrays_owner *o, int64_t id, sol_err *err)
{
    char text[32];
    return add_bytes(o, text, (size_t)snprintf(text, sizeof text, "[PAD%lld]", (long long)id), err);
}

static sol_status add_texts(sol_arrays_owner *o, const sol_tokenizer *t, int64_t n_tokens,
                            size_t n_merges, sol_err *err)
{
    static const int32_t types[] = {[SOL_TOKEN_NORMAL] = GGUF_NORMAL,
                                    [SOL_TOKEN_CONTROL] = GGUF_CONTROL,
                                    [SOL_TOKEN_USER] = GGUF_USER,
                                    [SOL_TOKEN_BYTE] = GGUF_BYTE,
                                    [SOL_TOKEN_UNUSED] = GGUF_UNUSED};
    for (int64_t id = 0; id < n_tokens; id++) {
        size_t from = o->n_bytes;
        bool own = id < t->n_tokens, unknown = id == t->unk && t->kind == SOL_TOK_SENTENCEPIECE;
        SOL_TRY(own ? add_text(o, t, (int32_t)id, err) : add_placeholder(o, id, err));
        o->tokens[id].n = o->n_bytes - from;
        o->types[id] = unknown ? GGUF_UNKNOWN : own ? types[t->type[id]] : GGUF_UNUSED;
    }
    for (size_t i = 0; i < n_merges; i++) {
        size_t from = o->n_bytes;
        SOL_TRY(add_text(o, t, t->merges[i].left, err));
        o->bytes[o->n_bytes++] = ' '; /* for which add_bytes left space */
        SOL_TRY(add_text(o, t, t->merges[i].right, err));
        o->merges[i].n = o->n_bytes - from;
    }
    const char *at = o->bytes;
    for (int64_t id = 0; id < n_tokens; at += o->tokens[id++].n) o->tokens[id].at = at;
    for (size_t i = 0; i < n_merges; at += o->merges[i++].n) o->merges[i].at = at;
    return SOL_OK;
}

/* rank: [t->n_tokens], a buffer. */
static sol_status scores_of_ranks(const sol_tokenizer *t, int32_t *rank, float *score, sol_err *err)
{
    SOL_TRY(sol_tok_last_ranks(t, rank, err));
    for (int32_t id = 0; id < t->n_tokens; id++) {
        size_t n;
        const char *text = sol_tok_text(t, id, &n);
        if (rank[id] == SOL_TOK_TWO_LEFT ||
            rank[id] >= SOL_TOK_MAX_IDS) /* more do not fit into a float */
            return sol_fail(err, SOL_ERR_UNSUPPORTED,
                            "GGUF wants the scores of a SentencePiece tokenizer: this one has "
                            "merges, whose order gives none, because "
                            "token %d '%.*s' has no merge of its two parts",
                            id, (int)(n < 64 ? n : 64), text);
        score[id] = rank[id] >= 0 ? -(float)rank[id] : 0;
    }
    return SOL_OK;
}

/* Scores merge any two neighbours that spell a token, the best token first; merges only the pairs
 * that are listed, the first pair first. The two do the same when the merges make every token out
 * of its own text, because then only the pair that completes a token is ever seen side by side
 * there: the rank of that pair is the token's score. Two neighbours never spell a token that the
 * merges leave in three or more pieces, but they do spell one left in two. */
static sol_status scores_of_merges(const sol_tokenizer *t, float *score, sol_err *err)
{
    int32_t *rank;
    SOL_TRY(sol_alloc_array((void **)&rank, (size_t)t->n_tokens, sizeof *rank, err));
    sol_status st = scores_of_ranks(t, rank, score, err);
    sol_free(rank);
    return st;
}

static sol_status add_scores(sol_arrays_owner *o, const sol_tokenizer *t, int64_t n_tokens,
                             sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)&o->scores, (size_t)n_tokens, sizeof *o->scores, err));
    for (int64_t id = t->n_tokens; id < n_tokens; id++) o->scores[id] = -10000;
    if (t->merges_given) return scores_of_merges(t, o->scores, err);
    memcpy(o->scores, t->score, (size_t)t->n_tokens * sizeof *o->scores);
    return SOL_OK;
}

/* Whether the merges make every token out of its own text. rank: [t->n_tokens], a buffer. */
static sol_status all_merged(const sol_tokenizer *t, int32_t *rank, bool *yes, sol_err *err)
{
    SOL_TRY(sol_tok_last_ranks(t, rank, err));
    *yes = true;
    for (int32_t id = 0; id < t->n_tokens; id++)
        if (rank[id] < SOL_TOK_NOT_MERGED) *yes = false;
    return SOL_OK;
}

/* A name of a pre-tokenizer implies ignore_merges on or off. Where the merges make every token out
 * of its text it makes no difference, and a name that implies the other setting will do. */
static sol_status find_pre(const sol_tokenizer *t, const char **pre, sol_err *err)
{
    int32_t *rank;
    bool yes = false;
    *pre = sol_pretok_name(&t->pretok, t->ignore_merges);
    const char *other = *pre || t->ignore_merges ? NULL : sol_pretok_name(&t->pretok, true);
    if (!other) return SOL_OK;
    SOL_TRY(sol_alloc_array((void **)&rank, (size_t)t->n_tokens, sizeof *rank, err));
    sol_status st = all_merged(t, rank, &yes, err);
    if (yes) *pre = other;
    sol_free(rank);
    return st;
}

static sol_status fill_owner(sol_arrays_owner *o, const sol_tokenizer *t, int64_t n_tokens,
                             size_t n_merges, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)&o->tokens, (size_t)n_tokens, sizeof *o->tokens, err));
    SOL_TRY(sol_alloc_array((void **)&o->types, (size_t)n_tokens, sizeof *o->types, err));
    SOL_TRY(sol_alloc_array((void **)&o->merges, n_merges, sizeof *o->merges, err));
    SOL_TRY(add_texts(o, t, n_tokens, n_merges, err));
    return t->kind == SOL_TOK_SENTENCEPIECE ? add_scores(o, t, n_tokens, err) : SOL_OK;
}

/* GGUF has one token in front of a text, which it calls BOS, and one behind it, which is EOS. */
static sol_status check_template(const sol_tokenizer *t, sol_err *err)
{
    if (t->n_head <= 1 && (t->n_tail == 0 || (t->n_tail == 1 && t->tail[0] == t->eos)))
        return SOL_OK;
    return sol_fail(err, SOL_ERR_UNSUPPORTED,
                    "GGUF puts at most BOS in front of a text and EOS behind it: this tokenizer "
                    "has %d and %d tokens there",
                    t->n_head, t->n_tail);
}

/* Refuses a tokenizer that GGUF has no words for. *pre: the name of its pre-tokenizer. */
static sol_status check_expressible(const sol_tokenizer *t, int64_t n_tokens, const char **pre,
                                    sol_err *err)
{
    *pre = "default";
    if (t->json && !t->only_nfc)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "GGUF cannot say what this tokenizer does: it has %s", t->beyond);
    if (n_tokens < t->n_tokens)
        return sol_fail(err, SOL_ERR_SHAPE, "the tokenizer has %d tokens, the model %lld",
                        (int)t->n_tokens, (long long)n_tokens);
    SOL_TRY(check_template(t, err));
    if (t->kind != SOL_TOK_SENTENCEPIECE) SOL_TRY(find_pre(t, pre, err));
    if (!*pre)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "GGUF has no name for this tokenizer's pre-tokenizer");
    if (t->only_nfc && !sol_pretok_name_means_nfc(*pre))
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "GGUF cannot say what this tokenizer does: it brings texts to NFC, which "
                        "%s does not mean",
                        *pre);
    return SOL_OK;
}

sol_status sol_tokenizer_to_arrays(const sol_tokenizer *t, int64_t n_tokens,
                                   sol_tokenizer_arrays *a, sol_arrays_owner **owner, sol_err *err)
{
    bool spm = t->kind == SOL_TOK_SENTENCEPIECE;
    size_t n_merges = spm ? 0 : t->n_merges;
    const char *pre;
    *a = (sol_tokenizer_arrays){0};
    *owner = NULL;
    SOL_TRY(check_expressible(t, n_tokens, &pre, err));
    SOL_TRY(sol_alloc_array((void **)owner, 1, sizeof **owner, err));
    sol_arrays_owner *o = *owner;
    sol_status st = fill_owner(o, t, n_tokens, n_merges, err);
    if (st != SOL_OK) {
        sol_arrays_owner_free(owner);
        return st;
    }
    *a = (sol_tokenizer_arrays){.model = spm ? "llama" : "gpt2",
                                .pre = pre,
                                .tokens = o->tokens,
                                .n_tokens = n_tokens,
                                .scores = o->scores,
                                .types = o->types,
                                .merges = o->merges,
                                .n_merges = (int64_t)n_merges,
                                .bos = t->n_head ? t->head[0] : t->bos,
                                .eos = t->eos,
                                .unk = t->unk,
                                .add_bos = t->n_head > 0,
                                .add_eos = t->n_tail > 0,
                                .add_space_prefix = t->add_space_prefix,
                                .nfc = sol_pretok_name_means_nfc(pre) ? t->only_nfc : -1};
    return SOL_OK;
}
