/* The calibration of a job: blocks one after the other, each kept as a file of the run
 * directory, so that a later process goes on from there. Ranks work together; rank 0 writes. */
#include "calibrate.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

/* One calibration while it runs. */
typedef struct calibration {
    sol_program *program;
    const sol_config *config;
    const sol_run_dir *dir;
    sol_job_calibration *out;
    sol_text lines;   /* calibrate.jsonl */
    int64_t restored; /* blocks that an earlier process did */
    double began;     /* sol_clock() of the first block done here */
} calibration;

static bool is_first(const calibration *k)
{
    return sol_dist_rank(k->program->dist) == 0;
}

static sol_status agree(const calibration *k, sol_status st, sol_err *err)
{
    return sol_dist_agree(k->program->dist, st, err);
}

static void block_path(const sol_run_dir *dir, int64_t block, char out[SOL_PATH_MAX])
{
    char name[64];
    snprintf(name, sizeof name, "calibrated/block-%03" PRId64 ".h5", block);
    sol_run_dir_file(dir, name, out);
}

/* ---- calibrate.jsonl ---- */

static sol_status add_first_line(calibration *k, uint64_t data, sol_err *err)
{
    const sol_config *c = k->config;
    sol_calib_opts o = sol_config_calib(c);
    uint64_t model = 0;
    if (!sol_config_random_shape(c)) SOL_TRY(sol_store_model_digest(c->model.init, &model, err));
    return sol_text_add(&k->lines, err,
                        "{\"windows\": %" PRId64 ", \"held_out\": %" PRId64 ", \"seq\": %" PRId64
                        ", \"data_digest\": \"%016" PRIx64 "\", \"model_digest\": \"%016" PRIx64
                        "\"}\n",
                        o.windows, o.held_out, o.seq, data, model);
}

/* What is not a number is null. */
static const char *number(double x, char out[32])
{
    snprintf(out, 32, isfinite(x) ? "%.9g" : "null", x);
    return out;
}

/* "self_attn.q_proj.weight", as it continues the name of the block. */
static sol_status add_layers(sol_text *t, const sol_calib_report *r, sol_err *err)
{
    bool some = false;
    char error[32];
    SOL_TRY(sol_text_add(t, err, "\"layers\": {"));
    for (int role = 0; role < SOL_ROLES; role++) {
        if (!isfinite(r->layer[role])) continue;
        SOL_TRY(sol_text_add(t, err, "%s\"%s\": %s", some ? ", " : "", sol_param_rows[role].name,
                             number(r->layer[role], error)));
        some = true;
    }
    return sol_text_add(t, err, "}");
}

sol_status sol_calibration_add_block(sol_text *t, const sol_calib_report *r, double seconds,
                                     sol_err *err)
{
    char a[32], b[32], c[32], d[32];
    SOL_TRY(sol_text_add(t, err,
                         "{\"block\": %" PRId64 ", \"error_before\": %s, \"error_solved\": %s, "
                         "\"error_after\": %s, \"error_held_out\": %s, ",
                         r->block, number(r->rounded, a), number(r->solved, b),
                         number(r->trained, c), number(r->held_out, d)));
    SOL_TRY(add_layers(t, r, err));
    return sol_text_add(t, err, ", \"seconds\": %.3f}", seconds);
}

static sol_status add_block_line(calibration *k, const sol_calib_report *r, double seconds,
                                 sol_err *err)
{
    SOL_TRY(sol_calibration_add_block(&k->lines, r, seconds, err));
    return sol_text_add(&k->lines, err, "\n");
}

static sol_status write_lines(const calibration *k, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_run_dir_file(k->dir, "calibrate.jsonl", path);
    return sol_file_write(path, k->lines.data, k->lines.n, err);
}

static double real_of(const json_t *line, const char *name)
{
    const json_t *x = json_object_get(line, name);
    return json_is_number(x) ? json_number_value(x) : NAN;
}

static bool read_block_line(const char *line, size_t n, sol_calib_report *r, double *seconds)
{
    json_t *j = json_loadb(line, n, 0, NULL);
    bool right = json_is_object(j) && json_integer_value(json_object_get(j, "block")) == r->block;
    r->rounded = real_of(j, "error_before");
    r->solved = real_of(j, "error_solved");
    r->trained = real_of(j, "error_after");
    r->held_out = real_of(j, "error_held_out");
    for (int role = 0; role < SOL_ROLES; role++)
        r->layer[role] = real_of(json_object_get(j, "layers"), sol_param_rows[role].name);
    *seconds = real_of(j, "seconds");
    json_decref(j);
    return right;
}

/* What the first line, [n], has otherwise than that of this calibration; NULL: nothing. */
static const char *first_difference(const calibration *k, const char *line, size_t n)
{
    static const char *const what[][2] = {
        {"windows", "text"},     {"held_out", "text"},      {"seq", "text"},
        {"data_digest", "text"}, {"model_digest", "model"},
    };
    const char *other = NULL;
    json_t *was = json_loadb(line, n, 0, NULL), *is = json_loads(k->lines.data, 0, NULL);
    for (size_t i = 0; i < sizeof what / sizeof what[0]; i++) {
        const json_t *a = json_object_get(was, what[i][0]), *b = json_object_get(is, what[i][0]);
        /* Files from before it was kept have no digest of the model. */
        bool same = json_equal(a, b) || (!a && strcmp(what[i][0], "model_digest") == 0);
        if (!other && !same) other = what[i][1];
    }
    json_decref(was);
    json_decref(is);
    return other;
}

/* Of text, which is that of the file at path. */
static sol_status take_lines(calibration *k, const char *path, const char *text, sol_err *err)
{
    const char *at = text, *end = strchr(at, '\n');
    const char *other = first_difference(k, at, end ? (size_t)(end - at) : 0);
    if (other)
        return sol_fail(err, SOL_ERR_CONFIG,
                        "%s: cannot resume, this is not the %s its blocks were calibrated %s", path,
                        other, strcmp(other, "model") == 0 ? "from" : "on");
    for (int64_t i = 0; i < k->restored; i++) {
        at = end + 1;
        end = strchr(at, '\n');
        k->out->block[i].block = i;
        if (!end || !read_block_line(at, (size_t)(end - at), &k->out->block[i], &k->out->took[i]))
            return sol_fail(err, SOL_ERR_FORMAT,
                            "%s: has no line of block %" PRId64 ", whose file is there", path, i);
        SOL_TRY(add_block_line(k, &k->out->block[i], k->out->took[i], err));
    }
    return SOL_OK;
}

/* The lines of the blocks that are there; a file of other data is refused. */
static sol_status read_lines(calibration *k, sol_err *err)
{
    char path[SOL_PATH_MAX], *text = NULL;
    size_t size;
    sol_run_dir_file(k->dir, "calibrate.jsonl", path);
    if (k->restored == 0) return SOL_OK;
    SOL_TRY(sol_file_read(path, &text, &size, err));
    sol_status st = take_lines(k, path, text, err);
    sol_free(text);
    return st;
}

/* ---- progress ---- */

static bool watch(void *user, int64_t block, const char *phase, int64_t done, int64_t total,
                  double share)
{
    calibration *k = user;
    char left[48];
    double here = (double)(block - k->restored) + share, all = (double)(k->out->n - k->restored);
    sol_live_show(k->program, false,
                  "block %" PRId64 " of %" PRId64 "  %s %" PRId64 "/%" PRId64 "  %s", block + 1,
                  k->out->n, phase, done, total, sol_left_text(k->began, here, all, left));
    return !sol_interrupted();
}

int sol_calibration_worst(const sol_calib_report *r)
{
    int worst = -1;
    for (int role = 0; role < SOL_ROLES; role++)
        if (isfinite(r->layer[role]) && (worst < 0 || r->layer[role] > r->layer[worst]))
            worst = role;
    return worst;
}

static void log_block(const calibration *k, const sol_calib_report *r, double seconds)
{
    char held[48] = "", layer[SOL_PARAM_NAME + 48] = "", took[32];
    if (isfinite(r->held_out)) snprintf(held, sizeof held, ", held out %.4f", r->held_out);
    int worst = sol_calibration_worst(r);
    if (worst >= 0)
        snprintf(layer, sizeof layer, ", worst layer %s %.4f", sol_param_rows[worst].name,
                 r->layer[worst]);
    sol_log_line(&k->program->log, SOL_LOG_INFO,
                 "block %" PRId64 " of %" PRId64
                 ": error rounded %.4f, solved %.4f, trained %.4f%s%s, %s",
                 r->block + 1, k->out->n, r->rounded, r->solved, r->trained, held, layer,
                 sol_duration_text(seconds, took));
}

/* ---- the blocks ---- */

/* Blocks 0 .. n-1 whose files are there. */
static int64_t count_blocks(const calibration *k)
{
    char path[SOL_PATH_MAX];
    int64_t n = 0;
    for (; n < k->out->n; n++) {
        block_path(k->dir, n, path);
        if (!sol_file_exists(path)) break;
    }
    return n;
}

static sol_status restore_block(calibration *k, sol_calib *calib, int64_t block, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_model_file one;
    sol_live_show(k->program, false, "calibrating: block %" PRId64 " of %" PRId64 " from %s",
                  block + 1, k->out->n, k->dir->path);
    block_path(k->dir, block, path);
    sol_err why = {0};
    sol_status st = sol_model_file_read(&one, path, SOL_F32, NULL, &why);
    /* Files from before it was kept have no step. */
    if (st == SOL_OK && one.step != 0 && one.step != (uint64_t)block + 1)
        st =
            sol_fail(&why, SOL_ERR_FORMAT, "%s: is the file of block %" PRIu64, path, one.step - 1);
    if (st == SOL_OK) {
        st = sol_calib_restore(calib, block, one.model, &why);
        if (st != SOL_OK) sol_err_prefix(&why, st, "%s", path);
    }
    sol_model_file_free(&one);
    bool damaged = st == SOL_ERR_FORMAT || st == SOL_ERR_SHAPE;
    if (st != SOL_OK)
        return sol_fail(err, st, "%s%s", why.text,
                        damaged ? "; without this file the block is calibrated anew" : "");
    return sol_interrupted() ? sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted") : SOL_OK;
}

/* Its line first: a block whose file is there has one. */
static sol_status keep_block(calibration *k, const sol_calib *calib, const sol_calib_report *r,
                             double seconds, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_checkpoint_view one = {.model = sol_calib_block_model(calib),
                               .state.step = (uint64_t)r->block + 1};
    block_path(k->dir, r->block, path);
    SOL_TRY(add_block_line(k, r, seconds, err));
    SOL_TRY(write_lines(k, err));
    return sol_checkpoint_write(&one, path, SOL_F32, err);
}

static sol_status calibrate_block(calibration *k, sol_calib *calib, int64_t block, sol_err *err)
{
    sol_calib_report *r = &k->out->block[block];
    double begun = sol_clock();
    sol_status st = sol_calib_block(calib, block, r, err);
    k->out->took[block] = sol_clock() - begun;
    SOL_TRY(st);
    if (is_first(k)) st = keep_block(k, calib, r, k->out->took[block], err);
    SOL_TRY(agree(k, st, err));
    log_block(k, r, k->out->took[block]);
    return SOL_OK;
}

static sol_status run(calibration *k, sol_calib *calib, sol_err *err)
{
    for (int64_t b = 0; b < k->restored; b++) SOL_TRY(restore_block(k, calib, b, err));
    if (k->restored > 0)
        sol_log_line(&k->program->log, SOL_LOG_INFO, "%" PRId64 " calibrated blocks taken from %s",
                     k->restored, k->dir->path);
    k->began = sol_clock();
    sol_calib_watch(calib, watch, k);
    for (int64_t b = k->restored; b < k->out->n; b++) SOL_TRY(calibrate_block(k, calib, b, err));
    return SOL_OK;
}

static sol_status prepare(calibration *k, uint64_t digest, sol_err *err)
{
    char path[SOL_PATH_MAX];
    SOL_TRY(
        sol_alloc_array((void **)&k->out->block, (size_t)k->out->n, sizeof *k->out->block, err));
    SOL_TRY(sol_alloc_array((void **)&k->out->took, (size_t)k->out->n, sizeof *k->out->took, err));
    if (!is_first(k)) return SOL_OK;
    sol_run_dir_file(k->dir, "calibrated", path);
    SOL_TRY(sol_dir_create(path, err));
    SOL_TRY(add_first_line(k, digest, err));
    k->restored = count_blocks(k);
    return read_lines(k, err);
}

sol_status sol_job_calibration_check(const sol_config *c, const char *key, const sol_job_data *data,
                                     sol_err *err)
{
    sol_calib_opts o = sol_config_calib(c);
    sol_quant_spec spec;
    sol_batcher b;
    sol_err why = {0};
    sol_status st = sol_config_quant(c, &spec, err);
    if (st == SOL_OK && sol_calib_check_quant(&spec, &why) != SOL_OK)
        st = sol_config_fail(c, "quant.method", err, "%s", why.text);
    if (st != SOL_OK || !data) return st;
    st = sol_batcher_init_mixed(&b, &data->mix, o.seq, o.seed, &why);
    if (st != SOL_OK) return sol_job_blame(c, key, st, &why, err);
    int lacks = sol_batcher_short_stream(&b, o.windows + o.held_out);
    if (lacks < 0) return SOL_OK;
    return sol_config_fail(c, key, err,
                           "%s%sholds %" PRId64 " windows of %" PRId64
                           " tokens; calibrate.windows are %" PRId64 ", calibrate.held_out %" PRId64
                           " more%s",
                           data->n > 1 ? data->name[lacks] : "", data->n > 1 ? ": " : "",
                           sol_batcher_stream_windows(&b, lacks), o.seq, o.windows, o.held_out,
                           data->n > 1 ? ", of which it would give more than it has" : "");
}

sol_status sol_job_calibration_open(sol_job_calibration *r, sol_program *p, const sol_config *c,
                                    const sol_run_dir *dir, sol_job_made how, const sol_model *m,
                                    const sol_tokenizer *t, const char *key,
                                    const sol_job_data *train, sol_err *err)
{
    char made[SOL_PATH_MAX];
    *r = (sol_job_calibration){.key = key, .data = train, .n = m->config.num_hidden_layers};
    sol_status st = sol_job_calibration_check(c, key, NULL, err);
    if (st == SOL_OK && c->calibrate.data[0]) {
        r->key = "calibrate.data";
        sol_run_dir_file(dir, "tokens-calibrate.h5", made);
        sol_sources one = sol_one_source(c->calibrate.data);
        st = sol_job_open_data(p, c, r->key, &one, made, how, t, &r->own, err);
        r->data = &r->own;
    }
    return st == SOL_OK ? sol_job_calibration_check(c, r->key, r->data, err) : st;
}

static sol_status calibrate(calibration *k, sol_ctx *ctx, sol_model *m, sol_calib **calib,
                            sol_err *err)
{
    sol_job_calibration *r = k->out;
    sol_calib_opts o = sol_config_calib(k->config);
    sol_quant_spec spec;
    sol_err why = {0};
    char took[32];
    o.added_norms = r->added_norms;
    SOL_TRY(sol_config_quant(k->config, &spec, err));
    o.dist = k->program->dist;
    sol_status st = prepare(k, r->data->digest, err);
    SOL_TRY(agree(k, st, err));
    SOL_TRY(sol_dist_broadcast(o.dist, &k->restored, sizeof k->restored, err));
    st = sol_calib_create(calib, ctx, m, &spec, &o, &r->data->mix, &why);
    if (st != SOL_OK) st = sol_job_blame(k->config, r->key, st, &why, err);
    SOL_TRY(agree(k, st, err));
    st = run(k, *calib, err);
    sol_live_clear(k->program);
    if (st != SOL_OK) return st;
    for (int64_t i = 0; i < r->n; i++) r->seconds += r->took[i];
    sol_log_line(&k->program->log, SOL_LOG_INFO, "calibrated in %s",
                 sol_duration_text(r->seconds, took));
    return SOL_OK;
}

sol_status sol_job_calibrate(sol_job_calibration *r, sol_program *p, sol_ctx *ctx,
                             const sol_config *c, const sol_run_dir *dir, sol_model *m,
                             sol_err *err)
{
    calibration k = {.program = p, .config = c, .dir = dir, .out = r};
    sol_calib *calib = NULL;
    sol_status st = calibrate(&k, ctx, m, &calib, err);
    sol_calib_free(&calib);
    sol_free(k.lines.data);
    return st;
}

void sol_job_calibration_free(sol_job_calibration *r)
{
    sol_job_close_data(&r->own);
    sol_free(r->block);
    sol_free(r->took);
    *r = (sol_job_calibration){0};
}
