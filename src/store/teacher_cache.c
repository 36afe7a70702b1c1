/* The cache of a teacher's predictions: packs windows, writes each in its place and counts those
 * that are complete. The verb distill-cache fills a cache, train/job_teacher.c reads it. */
#include "store/teacher_cache.h"

#include <string.h>

#include "base/crc.h"
#include "base/file.h"
#include "base/half.h"
#include "base/mem.h"
#include "base/num.h"
#include "store/parts.h"

/* The columns of a window, in the order of its checksum. */
enum { IDS, PROBS, REST, TARGET, COLUMNS };
static const char *const column_path[COLUMNS] = {"/ids", "/probs", "/rest", "/target"};

struct sol_teacher_cache {
    sol_teacher_cache_head head;
    int64_t done, committed;
    uint64_t offset[COLUMNS], crc_offset, count_offset; /* in the file */
    size_t bytes[COLUMNS], at[COLUMNS];                 /* of a window; its place in `window` */
    size_t total;
    uint8_t *window; /* one window as it lies in the file; owned */
    char *path;      /* owned */
    sol_in in;
    sol_out out;
};

static sol_h5_type column_type(const sol_teacher_cache_head *h, int column)
{
    if (column == IDS) return h->vocab_size <= 0x10000 ? SOL_H5_U16 : SOL_H5_U32;
    return column == PROBS ? SOL_H5_F16 : SOL_H5_F32;
}

static int column_dims(const sol_teacher_cache_head *h, int column, int64_t dims[3])
{
    dims[0] = h->windows;
    dims[1] = h->seq;
    dims[2] = h->k;
    return column == IDS || column == PROBS ? 3 : 2;
}

/* ---- creating and opening ---- */

static sol_status declare(sol_h5_writer *w, const sol_teacher_cache_head *h, sol_err *err)
{
    int id;
    int64_t one = 1, dims[3];
    SOL_TRY(sol_h5_set_u64(w, 0, "data_digest", h->data_digest, err));
    SOL_TRY(sol_h5_set_u64(w, 0, "teacher_digest", h->teacher_digest, err));
    SOL_TRY(sol_h5_set_u64(w, 0, "tokenizer_hash", h->tokenizer_hash, err));
    SOL_TRY(sol_h5_set_i64(w, 0, "vocab_size", h->vocab_size, err));
    SOL_TRY(sol_h5_set_i64(w, 0, "windows", h->windows, err));
    SOL_TRY(sol_h5_set_i64(w, 0, "seq", h->seq, err));
    SOL_TRY(sol_h5_set_i64(w, 0, "k", h->k, err));
    SOL_TRY(sol_h5_set_i64(w, 0, "samples", h->samples, err));
    SOL_TRY(sol_h5_set_i64(w, 0, "seed", h->seed, err));
    SOL_TRY(sol_h5_set_f64(w, 0, "temperature", h->temperature, err));
    if (h->teacher_dtype[0]) SOL_TRY(sol_h5_set_text(w, 0, "teacher_dtype", h->teacher_dtype, err));
    if (h->compute[0]) SOL_TRY(sol_h5_set_text(w, 0, "compute", h->compute, err));
    SOL_TRY(sol_h5_live(w, "/n_windows", SOL_H5_U64, 1, &one, &id, err));
    SOL_TRY(sol_h5_live(w, "/window_crc32c", SOL_H5_U32, 1, &h->windows, &id, err));
    for (int i = 0; i < COLUMNS; i++) {
        int n = column_dims(h, i, dims);
        SOL_TRY(sol_h5_live(w, column_path[i], column_type(h, i), n, dims, &id, err));
    }
    return SOL_OK;
}

static sol_status create(sol_h5_writer **w, const char *path, const sol_teacher_cache_head *head,
                         sol_err *err)
{
    SOL_TRY(sol_h5_create(w, path, SOL_FORMAT_TEACHER_CACHE, err));
    SOL_TRY(declare(*w, head, err));
    SOL_TRY(sol_h5_begin(*w, err));
    return sol_h5_commit(w, err);
}

sol_status sol_teacher_cache_create(sol_teacher_cache **c, const char *path,
                                    const sol_teacher_cache_head *head, sol_err *err)
{
    sol_h5_writer *w = NULL;
    *c = NULL;
    sol_status st = create(&w, path, head, err);
    sol_h5_abort(&w);
    return st == SOL_OK ? sol_teacher_cache_open(c, path, true, err) : st;
}

/* A name of a type, "" where the file has none. */
static sol_status read_type(const sol_h5_file *f, const char *name, char out[8], sol_err *err)
{
    const char *text;
    out[0] = 0;
    if (!sol_h5_node_attr(&f->tree.node[0], name)) return SOL_OK;
    SOL_TRY(sol_h5_get_text(f, &f->tree.node[0], name, &text, err));
    if (strlen(text) >= 8)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: %s is '%.40s', expected the name of a type",
                        f->path, name, text);
    strcpy(out, text);
    return SOL_OK;
}

static sol_status read_head(const sol_h5_file *f, sol_teacher_cache_head *h, sol_err *err)
{
    const sol_h5_node *root = &f->tree.node[0];
    SOL_TRY(sol_part_check_format(f, SOL_FORMAT_TEACHER_CACHE, err));
    SOL_TRY(sol_h5_get_u64(f, root, "data_digest", &h->data_digest, err));
    SOL_TRY(sol_h5_get_u64(f, root, "teacher_digest", &h->teacher_digest, err));
    SOL_TRY(sol_h5_get_u64(f, root, "tokenizer_hash", &h->tokenizer_hash, err));
    SOL_TRY(sol_h5_get_i64(f, root, "vocab_size", 1, INT32_MAX, &h->vocab_size, err));
    SOL_TRY(sol_h5_get_i64(f, root, "windows", 1, INT64_MAX, &h->windows, err));
    SOL_TRY(sol_h5_get_i64(f, root, "seq", 1, INT32_MAX, &h->seq, err));
    SOL_TRY(sol_h5_get_i64(f, root, "k", 1, h->vocab_size, &h->k, err));
    /* Files of the first version have neither samples nor a seed. */
    if (sol_h5_node_attr(root, "samples"))
        SOL_TRY(sol_h5_get_i64(f, root, "samples", 0, h->k - 1, &h->samples, err));
    h->seed = -1;
    if (sol_h5_node_attr(root, "seed"))
        SOL_TRY(sol_h5_get_i64(f, root, "seed", 0, INT64_MAX, &h->seed, err));
    SOL_TRY(read_type(f, "teacher_dtype", h->teacher_dtype, err));
    SOL_TRY(read_type(f, "compute", h->compute, err));
    return sol_h5_get_f64(f, root, "temperature", &h->temperature, err);
}

/* Finds where each column lies. A dataset must have the shape that follows from the head: the
 * place of a window is computed from it. */
static sol_status find_columns(sol_teacher_cache *c, const sol_h5_file *f, sol_err *err)
{
    const sol_h5_node *n;
    int64_t one = 1, dims[3];
    uint64_t count;
    SOL_TRY(sol_h5_need_dataset(f, "/n_windows", SOL_H5_U64, 1, &one, &n, err));
    SOL_TRY(sol_h5_read(f, n, &count, err));
    c->count_offset = n->offset;
    SOL_TRY(sol_h5_need_dataset(f, "/window_crc32c", SOL_H5_U32, 1, &c->head.windows, &n, err));
    c->crc_offset = n->offset;
    for (int i = 0; i < COLUMNS; i++) {
        int n_dims = column_dims(&c->head, i, dims);
        SOL_TRY(sol_h5_need_dataset(f, column_path[i], column_type(&c->head, i), n_dims, dims, &n,
                                    err));
        c->offset[i] = n->offset;
        c->bytes[i] = (size_t)(n->bytes / n->dim[0]);
        c->at[i] = c->total;
        c->total += sol_round_up_size(c->bytes[i], 8);
    }
    if (count > (uint64_t)c->head.windows)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: /n_windows is %llu, expected at most %lld",
                        f->path, (unsigned long long)count, (long long)c->head.windows);
    c->done = c->committed = (int64_t)count;
    return SOL_OK;
}

/* What the cache needs of its file's structure; from then on it reads and writes by offset. */
static sol_status read_structure(sol_teacher_cache *c, sol_err *err)
{
    sol_h5_file f;
    SOL_TRY(sol_h5_open(&f, c->path, err));
    sol_status st = read_head(&f, &c->head, err);
    if (st == SOL_OK) st = find_columns(c, &f, err);
    sol_h5_close(&f);
    return st;
}

static sol_status open_at(sol_teacher_cache *c, const char *path, bool write, sol_err *err)
{
    SOL_TRY(sol_copy_string(&c->path, path, strlen(path), err));
    /* Locked before it is read: another process may have written windows until now. */
    if (write) SOL_TRY(sol_out_reopen(&c->out, c->path, err));
    if (write) SOL_TRY(sol_out_lock(&c->out, err));
    SOL_TRY(read_structure(c, err));
    SOL_TRY(sol_alloc_array((void **)&c->window, c->total, 1, err));
    return sol_in_open(&c->in, c->path, err);
}

sol_status sol_teacher_cache_open(sol_teacher_cache **out, const char *path, bool write,
                                  sol_err *err)
{
    *out = NULL;
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    (*out)->in.fd = (*out)->out.fd = -1;
    sol_status st = open_at(*out, path, write, err);
    if (st != SOL_OK) sol_teacher_cache_close(out);
    return st;
}

void sol_teacher_cache_close(sol_teacher_cache **cp)
{
    sol_teacher_cache *c = *cp;
    if (!c) return;
    sol_in_close(&c->in);
    sol_out_close(&c->out, NULL);
    sol_free(c->window);
    sol_free(c->path);
    sol_free(c);
    *cp = NULL;
}

const sol_teacher_cache_head *sol_teacher_cache_get_head(const sol_teacher_cache *c)
{
    return &c->head;
}

int64_t sol_teacher_cache_done(const sol_teacher_cache *c)
{
    return c->done;
}

/* ---- windows ---- */

/* The checksum of the window in the buffer. The padding between columns counts, and is zero. */
static uint32_t window_crc(const sol_teacher_cache *c)
{
    return sol_crc32c(0, c->window, c->total);
}

/* Fills the buffer with a window. probs: [seq, k + 2], after the tokens' the rest's and the
 * target's. */
static void pack_window(sol_teacher_cache *c, const int32_t *ids, const float *probs)
{
    int64_t k = c->head.k;
    bool in_u16 = column_type(&c->head, IDS) == SOL_H5_U16;
    sol_f16 *p16 = (sol_f16 *)(c->window + c->at[PROBS]);
    float *rest = (float *)(c->window + c->at[REST]),
          *target = (float *)(c->window + c->at[TARGET]);
    for (int64_t i = 0; i < c->head.seq * k; i++) {
        if (in_u16)
            ((uint16_t *)(c->window + c->at[IDS]))[i] = (uint16_t)ids[i];
        else
            ((uint32_t *)(c->window + c->at[IDS]))[i] = (uint32_t)ids[i];
    }
    for (int64_t n = 0; n < c->head.seq; n++) {
        const float *p = probs + n * (k + 2);
        for (int64_t j = 0; j < k; j++) p16[n * k + j] = sol_f32_to_f16(p[j]);
        /* As computed: the rest does not take up what the tokens lose in rounding to fp16. */
        rest[n] = p[k];
        target[n] = p[k + 1];
    }
}

sol_status sol_teacher_cache_append(sol_teacher_cache *c, const int32_t *ids, const float *probs,
                                    sol_err *err)
{
    if (c->done == c->head.windows)
        return sol_fail(err, SOL_ERR_RANGE, "%s: is full with %lld windows", c->path,
                        (long long)c->done);
    pack_window(c, ids, probs);
    for (int i = 0; i < COLUMNS; i++)
        SOL_TRY(sol_out_write(&c->out, c->offset[i] + (uint64_t)c->done * c->bytes[i],
                              c->window + c->at[i], c->bytes[i], err));
    uint32_t crc = window_crc(c);
    SOL_TRY(sol_out_write(&c->out, c->crc_offset + (uint64_t)c->done * sizeof crc, &crc, sizeof crc,
                          err));
    c->done++;
    return SOL_OK;
}

sol_status sol_teacher_cache_commit(sol_teacher_cache *c, sol_err *err)
{
    uint64_t count = (uint64_t)c->done;
    if (c->done == c->committed) return SOL_OK;
    SOL_TRY(sol_out_sync(&c->out, err));
    SOL_TRY(sol_out_write(&c->out, c->count_offset, &count, sizeof count, err));
    SOL_TRY(sol_out_sync(&c->out, err));
    c->committed = c->done;
    return SOL_OK;
}

static int64_t id_at(const sol_teacher_cache *c, int64_t i)
{
    const uint8_t *ids = c->window + c->at[IDS];
    return column_type(&c->head, IDS) == SOL_H5_U16 ? ((const uint16_t *)ids)[i]
                                                    : ((const uint32_t *)ids)[i];
}

static bool is_probability(float p)
{
    return p >= 0 && p <= 1;
}

/* Reads the first k tokens of each position from the buffer; the probability of the others is
 * added to the rest. Returns false if an id is not in the vocabulary or a probability is not in
 * [0, 1]. */
static bool unpack_window(const sol_teacher_cache *c, int64_t k, int32_t *ids, float *probs,
                          float *target)
{
    int64_t K = c->head.k;
    const sol_f16 *p16 = (const sol_f16 *)(c->window + c->at[PROBS]);
    const float *rest = (const float *)(c->window + c->at[REST]),
                *of_target = (const float *)(c->window + c->at[TARGET]);
    bool good = true;
    for (int64_t n = 0; n < c->head.seq; n++) {
        float *p = probs + n * (k + 1);
        double others = rest[n];
        good = good && is_probability(rest[n]) && is_probability(of_target[n]);
        for (int64_t j = 0; j < K; j++) {
            int64_t id = id_at(c, n * K + j);
            float value = sol_f16_to_f32(p16[n * K + j]);
            good = good && id < c->head.vocab_size && is_probability(value);
            if (j < k) ids[n * k + j] = good ? (int32_t)id : 0;
            if (j < k)
                p[j] = value;
            else
                others += value;
        }
        p[k] = (float)others;
    }
    if (target) memcpy(target, c->window + c->at[TARGET], c->bytes[TARGET]);
    return good;
}

static sol_status damaged(const sol_teacher_cache *c, int64_t window, sol_err *err)
{
    return sol_fail(err, SOL_ERR_FORMAT, "%s: window %lld is damaged", c->path, (long long)window);
}

/* Reads a window into the buffer and compares it with its checksum. */
static sol_status load_window(sol_teacher_cache *c, int64_t window, sol_err *err)
{
    uint32_t crc = 0;
    for (int i = 0; i < COLUMNS; i++)
        SOL_TRY(sol_in_read(&c->in, c->offset[i] + (uint64_t)window * c->bytes[i],
                            c->window + c->at[i], c->bytes[i], err));
    SOL_TRY(
        sol_in_read(&c->in, c->crc_offset + (uint64_t)window * sizeof crc, &crc, sizeof crc, err));
    return crc == window_crc(c) ? SOL_OK : damaged(c, window, err);
}

sol_status sol_teacher_cache_read(sol_teacher_cache *c, int64_t window, int64_t k, int32_t *ids,
                                  float *probs, float *target, sol_err *err)
{
    if (window < 0 || window >= c->committed || k < 1 || k > c->head.k ||
        (c->head.samples && k != c->head.k))
        return sol_fail(err, SOL_ERR_RANGE,
                        "%s: window %lld with %lld tokens is not among its %lld with %lld", c->path,
                        (long long)window, (long long)k, (long long)c->committed,
                        (long long)c->head.k);
    SOL_TRY(load_window(c, window, err));
    return unpack_window(c, k, ids, probs, target) ? SOL_OK : damaged(c, window, err);
}

static sol_status load_windows(sol_teacher_cache *c, sol_err *err)
{
    for (int64_t w = 0; w < c->committed; w++) SOL_TRY(load_window(c, w, err));
    return SOL_OK;
}

sol_status sol_teacher_cache_verify(const char *path, uint64_t *bytes, sol_err *err)
{
    sol_teacher_cache *c;
    *bytes = 0;
    SOL_TRY(sol_teacher_cache_open(&c, path, false, err));
    for (int i = 0; i < COLUMNS; i++) *bytes += (uint64_t)c->committed * c->bytes[i];
    sol_status st = load_windows(c, err);
    sol_teacher_cache_close(&c);
    return st;
}
