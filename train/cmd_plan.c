/* solera plan: opens a job as training would, without weights, and prints what it will take. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "calibrate.h"
#include "foreign/export.h"
#include "job_norms.h"
#include "job_self.h"
#include "job_teacher.h"
#include "run_dir.h"
#include "speed.h"
#include "task_plan.h"

struct args {
    sol_words set;
    bool json;
    int64_t ranks;
    double link, gflops;
};

static const sol_opt options[] = {
    {.name = "--set",
     .value = "SECTION.KEY=VALUE",
     .kind = SOL_OPT_EACH,
     .offset = offsetof(struct args, set),
     .help = "change a key of the job"},
    {.name = "--json",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, json),
     .help = "one JSON object on stdout"},
    {.name = "--ranks",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, ranks),
     .preset = "1",
     .min = 1,
     .max = SOL_DIST_MAX,
     .help = "of a job over N machines like this one: memory of each, bytes and time of a step"},
    {.name = "--link",
     .value = "GBIT",
     .kind = SOL_OPT_REAL,
     .offset = offsetof(struct args, link),
     .preset = "10",
     .min = 0.001,
     .max = 1e6,
     .with = "--ranks",
     .help = "what a machine sends and receives at once, in Gbit a second"},
    {.name = "--gflops",
     .value = "N",
     .kind = SOL_OPT_REAL,
     .offset = offsetof(struct args, gflops),
     .preset = "0",
     .min = 0,
     .max = 1e9,
     .help = "of other machines: GFLOP/s of a large product, as the log of a run there says; 0: "
             "measured here"},
    {0},
};

/* What a step costs. All multiplications count as two operations. */
typedef struct estimate {
    int64_t parameters, quantized; /* weights in all, and in quantized layers */
    double bits;                   /* a quantized weight, scales included */
    int64_t tokens;                /* a step */
    double flops;                  /* a step */
    double gemm_rate;              /* operations a second of a large product */
    bool elsewhere;                /* that was told, not measured on this machine now */
    double share;                  /* of it that a step reaches */
    double seconds;                /* the whole run */
    int ranks;
    double link;                       /* Gbit/s of a machine, each way */
    double sent;                       /* bytes a step from each rank */
    double computes, exchanges, hides; /* seconds of a step on each rank: that it computes, that
                                        * it exchanges besides, and meanwhile */
    size_t calibrate_bytes; /* of `solera calibrate` alone; 0: the job does not calibrate */
    double calibrate_seconds;
} estimate;

/* The files that `solera export` makes of the trained model, in its order of types; bytes 0:
 * refused, and why. */
enum { EXPORTS = 9 };
typedef struct export_plan {
    const char *type;
    uint64_t bytes;
    sol_err why;
} export_plan;

/* The share of the rate of a large product that a whole step reaches; the rest goes to attention,
 * norms, quantizer, optimizer. The faster the products, the smaller it is: measured were 0.83 to
 * 0.90 in fp32 with AVX2, and less with AVX-512 and with instructions for bf16. Machines that
 * --gflops speaks of are taken for fast ones. */
static double step_share(const sol_config *c, const sol_ctx *ctx, bool elsewhere)
{
    if (c->train.compute == SOL_BF16 && sol_gemm_bf16_native(ctx)) return 0.4;
    return elsewhere || ctx->cpu.features & SOL_CPU_AVX512 ? 0.6 : 0.83;
}

/* Of the packed form with its embedding in fp16, and either the codes once more as the kernels read
 * them, or the parameter that is being packed in fp32. */
static size_t packed_bytes(const sol_model *m, const sol_quant_spec *spec)
{
    double codes = 0, dense = 0, largest = 0;
    for (int i = 0; i < m->n_plain; i++) {
        const sol_param *p = &m->params[i];
        double n = (double)sol_param_count(p);
        sol_quant_spec own = sol_quant_for(spec, p->name);
        if (p->quantized && own.method)
            codes += (1.25 * n + 16.0 * (double)sol_quant_scale_count(&own, p->rows, p->cols)) / 8;
        else if (!sol_param_is_vector(p))
            dense += 2 * n;
        if (n > largest) largest = n;
    }
    double copy = m->dtype == SOL_F32 ? 0 : largest * sizeof(float);
    return (size_t)(codes + dense + (codes > copy ? codes : copy));
}

/* What an evaluation holds in fp32 beside the model: Q(W), embedding and head as they ship. */
static size_t latent_bytes(const sol_model *m, const sol_quant_spec *spec)
{
    size_t n = sol_linear_weights(m);
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        if (!p->quantized && sol_param_shipped(p, spec) != SOL_F32) n += (size_t)sol_param_count(p);
    }
    return n * sizeof(float);
}

/* Rows on their way through the network, and beside the model what is latent, then the packed
 * form. */
static size_t evaluation_bytes(const sol_config *c, const sol_model *m, const sol_quant_spec *spec)
{
    int64_t rows = c->train.seq > 512 ? c->train.seq : 512,
            all = c->train.eval_windows * c->train.seq;
    if (all > 0 && all < rows) rows = all;
    size_t network = (size_t)rows * sol_net_row_bytes(&m->config);
    bool latent = spec->method && c->train.eval_form != SOL_EVAL_PACKED;
    size_t wide = latent ? latent_bytes(m, spec) : 0;
    size_t packed = sol_quant_packable(spec) ? packed_bytes(m, spec) : 0;
    return network + (wide > packed ? wide : packed);
}

static sol_status plan_memory(const sol_config *c, const sol_model *m, const sol_quant_spec *spec,
                              const sol_job_cut *cut, int ranks, const sol_job_teacher *teacher,
                              int threads, sol_plan *plan, sol_err *err)
{
    sol_study_opts study = {.every = c->study.every,
                            .steps = c->train.steps,
                            .layers = c->study.layers,
                            .sample_rows = c->study.rows,
                            .tokens = cut->rows * c->train.seq};
    sol_graph_opts o = {.batch = cut->rows,
                        .seq = c->train.seq,
                        .activation_checkpoints = c->train.activation_checkpoints,
                        .one_batch = cut->own * cut->micro == 1,
                        .by_layer = cut->by_layer,
                        .in_turns = cut->in_turns,
                        .compute = c->train.compute};
    sol_adamw_config adamw = sol_config_adamw(c);
    sol_lanes_opts lanes = {.lanes = cut->lanes, .transport = c->dist.transport};
    sol_plan_add(plan, "parameters", (size_t)m->n_elements * sol_dtype_size(m->dtype));
    sol_plan_add(plan, "optimizer moments", sol_adamw_bytes(m, &adamw) / (size_t)ranks);
    sol_plan_add(plan, "token batches",
                 (size_t)(c->train.batch * c->train.seq * c->train.accumulate) * 3 *
                     sizeof(int32_t));
    if (cut->lanes > 1) sol_plan_add(plan, "lanes and exchange", sol_lanes_bytes(m, &lanes, ranks));
    if (cut->by_layer && !c->optim.fused)
        sol_plan_add(plan, "parameter gradients",
                     (size_t)m->n_elements * sizeof(float) / (size_t)ranks);
    if (sol_job_has_teacher(c)) sol_job_teacher_opts(c, teacher, &o);
    if (teacher->teacher) sol_plan_add(plan, "teacher", teacher->teacher->bytes);
    if (c->train.eval_every > 0) sol_plan_add(plan, "evaluation", evaluation_bytes(c, m, spec));
    if (study.every > 0) SOL_TRY(sol_job_plan_study(c, m, &study, threads, plan, err));
    return sol_graph_plan(m, spec, &o, plan, err);
}

/* Before anything but the model is there of the training: what it takes beyond all that. */
static sol_status plan_calibration(const sol_config *c, const sol_model *m,
                                   const sol_quant_spec *spec, bool adds_norms, sol_ctx *ctx,
                                   sol_plan *plan, estimate *e, sol_err *err)
{
    sol_calib_opts o = sol_config_calib(c);
    size_t bytes = 0, model = (size_t)m->n_elements * sol_dtype_size(m->dtype);
    sol_calib_work rates;
    sol_err why = {0};
    if (!c->calibrate.enabled) return SOL_OK;
    o.added_norms = adds_norms;
    sol_status st = sol_calib_bytes(m, spec, &o, sol_pool_threads(ctx->pool), &bytes, &why);
    if (st != SOL_OK) return sol_job_blame(c, "quant.method", st, &why, err);
    /* A model that gets norms is copied. */
    if (adds_norms && model > bytes) bytes = model;
    /* Beside the program and the model, as plan_memory has them. */
    size_t beside = plan->row[0].bytes + plan->row[1].bytes,
           training = sol_plan_total(plan) - beside;
    e->calibrate_bytes = beside + bytes;
    if (bytes > training) sol_plan_add(plan, "more for calibration", bytes - training);
    SOL_TRY(sol_calib_rates(ctx, m, spec, &o, &rates, err));
    sol_calib_work w = sol_calib_count(m, spec, &o);
    e->calibrate_seconds = sol_calib_seconds(&w, &rates);
    return SOL_OK;
}

static void count_weights(const sol_model *m, const sol_quant_spec *spec, estimate *e)
{
    double bits = 0;
    e->parameters = m->n_weights;
    e->bits = 32;
    if (!spec->method) return;
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        if (!p->quantized) continue;
        sol_quant_spec own = sol_quant_for(spec, p->name);
        e->quantized += sol_param_count(p);
        bits += !own.method ? 16.0 * (double)sol_param_count(p)
                            : (own.method->packable ? 1.25 : 1.585) * (double)sol_param_count(p) +
                                  16.0 * (double)sol_quant_scale_count(&own, p->rows, p->cols);
    }
    if (e->quantized) e->bits = bits / (double)e->quantized;
}

/* With the default types of embedding and head. */
static void plan_exports(const sol_config *c, sol_model *m, sol_tokenizer *t,
                         const sol_quant_spec *spec, export_plan x[EXPORTS])
{
    static const char *const types[EXPORTS] = {"packed", "stq1_0", "q2_0", "tq1_0", "tq2_0",
                                               "q8_0",   "f16",    "bf16", "f32"};
    sol_windows windows = sol_job_windows(c);
    sol_dtype embed = spec->embed_type != SOL_F32 ? spec->embed_type : SOL_Q6;
    for (int i = 0; i < EXPORTS; i++) {
        sol_gguf_opts o = {.type = types[i]};
        x[i] = (export_plan){.type = types[i]};
        sol_status st =
            i == 0 ? sol_packed_model_bytes(m, t, spec, &windows, embed, &x[i].bytes, &x[i].why)
                   : sol_export_gguf_bytes(m, t, spec, &o, &x[i].bytes, &x[i].why);
        if (st != SOL_OK) x[i].bytes = 0;
    }
}

static void print_exports(const export_plan x[EXPORTS])
{
    char a[32];
    puts("exports      files of the trained model, with the default type of the embedding");
    for (int i = 0; i < EXPORTS; i++)
        printf("  %-26s %10s%s%s\n", x[i].type,
               x[i].bytes ? sol_bytes_text((double)x[i].bytes, a) : "-", x[i].bytes ? "" : "  ",
               x[i].bytes ? "" : x[i].why.text);
}

/* What a run opens before its first step, without weights. */
typedef struct opened {
    sol_program *program;
    const sol_config *config;
    int ranks;
    sol_ctx *ctx;
    sol_run_dir dir;
    sol_job_cut cut;
    sol_model_config model_config;
    bool adds_norms; /* job_norms.h */
    sol_tokenizer *tokenizer;
    sol_model *model;
    sol_quant_spec quant;
    sol_job_data train, calibration;
    sol_job_tokens eval;
    sol_batcher batcher;
    sol_job_teacher teacher;
    sol_task_plan *tasks;
    int n_tasks;
} opened;

/* Text from the model itself, of which the run samples so much before its first step, and the files
 * beside it. */
static void print_sampled(const sol_config *c)
{
    const sol_sources *files = c->data.train;
    double sum = c->data.self_weight;
    char count[32];
    sol_count_text((double)c->data.self_tokens, count);
    if (!files) {
        printf("data         from the model itself: %s tokens\n", count);
        return;
    }
    for (int i = 0; i < files->n; i++) sum += files->row[i].weight;
    printf("data         %.3g %% from the model itself: %s tokens\n",
           100 * c->data.self_weight / sum, count);
    for (int i = 0; i < files->n; i++)
        printf("             %.3g %% %s\n", 100 * files->row[i].weight / sum, files->row[i].path);
}

/* What is trained on, a line a file. */
static sol_status print_data(const opened *j, sol_err *err)
{
    if (j->config->data.source == SOL_DATA_SELF) print_sampled(j->config);
    for (int i = 0; i < j->train.n; i++) {
        sol_text line = {0};
        sol_status st = sol_job_data_describe(j->config, &j->train, &j->batcher, i, &line, err);
        if (st == SOL_OK) printf("%-12s %s\n", i ? "" : "data", line.data);
        sol_free(line.data);
        if (st != SOL_OK) return st;
    }
    return SOL_OK;
}

static sol_status print_text(const opened *j, const estimate *e, const sol_plan *plan,
                             const export_plan x[EXPORTS], sol_err *err)
{
    const sol_config *c = j->config;
    int threads = sol_pool_threads(j->ctx->pool);
    char a[32], b[32], here[48];
    printf("model        %s: %s parameters", c->model.init,
           sol_count_text((double)e->parameters, a));
    if (e->quantized)
        printf(", %s of them quantized by %s to %.4g bits", sol_count_text((double)e->quantized, b),
               c->quant.method, e->bits);
    if (c->quant.overrides) printf(", but for quant.overrides");
    printf("\nrun          %" PRId64 " steps of %s tokens: %s tokens\n", c->train.steps,
           sol_count_text((double)e->tokens, a),
           sol_count_text((double)e->tokens * (double)c->train.steps, b));
    SOL_TRY(print_data(j, err));
    printf("memory       %s%s\n", sol_bytes_text((double)sol_plan_total(plan), a),
           e->ranks > 1 ? " a rank" : "");
    for (int i = 0; i < plan->n; i++)
        printf("  %-26s %10s\n", plan->row[i].what, sol_bytes_text((double)plan->row[i].bytes, a));
    printf("arithmetic   %sFLOP a step\n", sol_count_text(e->flops, a));
    snprintf(here, sizeof here, "here with %d threads", threads);
    printf("time         about %s in all, at %.0f %% of the %sFLOP/s that a product of matrices "
           "reaches %s\n",
           sol_duration_text(e->seconds, b), 100 * e->share, sol_count_text(e->gemm_rate, a),
           e->elsewhere ? "there" : here);
    if (e->ranks > 1)
        printf("ranks        %d of such a machine with %" PRId64
               " lane%s each: a step computes for %.3g s; the %s that each sends and receives at "
               "%g Gbit/s take %.3g s more, and %.3g s behind the backward pass\n",
               e->ranks, j->cut.own, j->cut.own == 1 ? "" : "s", e->computes,
               sol_bytes_text(e->sent, a), e->link, e->exchanges, e->hides);
    if (e->calibrate_bytes)
        printf("calibration  about %s before that; `solera calibrate` alone takes %s\n",
               sol_duration_text(e->calibrate_seconds, b),
               sol_bytes_text((double)e->calibrate_bytes, a));
    print_exports(x);
    return SOL_OK;
}

/* "data": files, the share of the windows that each gives, its windows; of a text that was read in
 * part these are null. */
static void print_json_data(const opened *j)
{
    json_t *list = json_array();
    for (int i = 0; i < j->train.n; i++) {
        int64_t windows = sol_batcher_stream_windows(&j->batcher, i);
        double share = (double)j->batcher.stream[i].share / (double)j->batcher.round;
        json_array_append_new(
            list, json_pack("{s:s, s:f, s:o}", "file", j->train.name[i], "share", share, "windows",
                            j->train.file[i].part ? json_null() : json_integer(windows)));
    }
    char *text = json_dumps(list, JSON_REAL_PRECISION(6));
    printf(", \"data\": %s", text ? text : "null");
    free(text);
    json_decref(list);
}

static void print_json(const opened *j, const estimate *e, const sol_plan *plan,
                       const export_plan x[EXPORTS])
{
    const sol_config *c = j->config;
    printf("{\"parameters\": %" PRId64 ", \"quantized\": %" PRId64
           ", \"bits_per_weight\": %.6g, \"steps\": %" PRId64 ", \"tokens_per_step\": %" PRId64
           ", \"flops_per_step\": %.6g, \"gemm_flops\": %.6g, \"seconds\": %.6g, \"memory_bytes\": "
           "%zu, \"ranks\": %d, \"step_seconds\": %.6g, \"exchange_seconds\": %.6g, "
           "\"exchange_hidden_seconds\": %.6g, \"exchange_bytes\": %.0f, \"memory\": {",
           e->parameters, e->quantized, e->bits, c->train.steps, e->tokens, e->flops, e->gemm_rate,
           e->seconds, sol_plan_total(plan), e->ranks, e->computes + e->exchanges, e->exchanges,
           e->hides, e->sent);
    for (int i = 0; i < plan->n; i++)
        printf("%s\"%s\": %zu", i ? ", " : "", plan->row[i].what, plan->row[i].bytes);
    printf("}");
    if (e->calibrate_bytes)
        printf(", \"calibrate_seconds\": %.6g, \"calibrate_memory_bytes\": %zu",
               e->calibrate_seconds, e->calibrate_bytes);
    print_json_data(j);
    printf(", \"export_bytes\": {");
    for (int i = 0, n = 0; i < EXPORTS; i++)
        if (x[i].bytes) printf("%s\"%s\": %" PRIu64, n++ ? ", " : "", x[i].type, x[i].bytes);
    puts("}}");
}

static void close_job(opened *j)
{
    sol_task_plans_free(&j->tasks, j->n_tasks);
    sol_job_teacher_close(&j->teacher);
    sol_job_close_data(&j->calibration);
    sol_job_close_tokens(&j->eval);
    sol_job_close_data(&j->train);
    sol_model_free(&j->model);
    sol_tokenizer_free(&j->tokenizer);
    sol_run_dir_close(&j->dir);
}

/* Text that the run would sample from the model is not there yet. */
static sol_status open_train_data(opened *j, sol_err *err)
{
    const sol_config *c = j->config;
    if (c->data.source == SOL_DATA_SELF)
        return sol_job_check_self(j->program, c, &j->model_config, j->tokenizer, err);
    SOL_TRY(sol_job_look_at_data(j->program, c, "data.train", c->data.train, j->tokenizer,
                                 &j->train, err));
    return sol_job_batcher(c, &j->train, &j->batcher, err);
}

/* Windows are counted where all of the data is there. */
static sol_status open_calibration(opened *j, sol_err *err)
{
    const sol_config *c = j->config;
    const char *key = c->calibrate.data[0] ? "calibrate.data" : "data.train";
    sol_job_data *d = c->calibrate.data[0] ? &j->calibration : &j->train;
    sol_sources one = sol_one_source(c->calibrate.data);
    if (!c->calibrate.enabled) return SOL_OK;
    if (c->calibrate.data[0])
        SOL_TRY(sol_job_look_at_data(j->program, c, key, &one, j->tokenizer, d, err));
    return sol_job_calibration_check(c, key, sol_job_data_whole(d) ? d : NULL, err);
}

static sol_status open_evaluation(opened *j, sol_err *err)
{
    const sol_config *c = j->config;
    if (c->train.eval_every > 0)
        SOL_TRY(sol_job_look_at_tokens(j->program, c, "data.eval", c->data.eval, j->tokenizer,
                                       &j->eval, err));
    return sol_job_tasks(c, &j->tasks, &j->n_tasks, err);
}

/* The keys for which no checkpoint of the run in run.dir can go on with this job, "" for none. */
static sol_status keys_of_other_run(const opened *j, char **text, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_config *was = NULL;
    uint64_t *steps = NULL;
    int n = 0;
    bool other = false;
    sol_run_dir_file(&j->dir, "config.yaml", path);
    SOL_TRY(sol_config_read(&was, path, err));
    if (j->config->train.lanes == 0) was->train.lanes = 0;
    sol_status st = sol_run_dir_steps(&j->dir, &steps, &n, err);
    int64_t oldest = st == SOL_OK && n > 0 ? (int64_t)steps[n - 1] : 0;
    if (st == SOL_OK) st = sol_config_diff(was, j->config, oldest, text, &other, err);
    if (st == SOL_OK && !other) (*text)[0] = 0;
    sol_free(steps);
    sol_config_free(&was);
    return st;
}

static sol_status note_run(const opened *j, sol_err *err)
{
    const char *dir = j->config->run.dir;
    char *text = NULL;
    if (!j->dir.has_run) return SOL_OK;
    sol_status st = keys_of_other_run(j, &text, err);
    if (st == SOL_OK && text[0])
        sol_log_line(&j->program->log, SOL_LOG_WARN,
                     "%s holds a run that does not go on with these keys: %s; another run.dir "
                     "starts a new one",
                     dir, text);
    else if (st == SOL_OK)
        sol_log_line(&j->program->log, SOL_LOG_INFO,
                     "%s holds a run already: train goes on with it by --resume, another run.dir "
                     "starts a new one",
                     dir);
    sol_free(text);
    return st;
}

/* In the order of sol_trainer_open, and by the same functions: what a run refuses, its plan refuses
 * in the same words. */
static sol_status open_job(opened *j, sol_plan *plan, sol_err *err)
{
    const sol_config *c = j->config;
    SOL_TRY(sol_config_quant(c, &j->quant, err));
    SOL_TRY(sol_run_dir_open(&j->dir, c->run.dir, true, err));
    SOL_TRY(note_run(j, err));
    SOL_TRY(sol_job_cut_step(c, j->ranks, &j->cut, err));
    SOL_TRY(sol_job_model_header(c, &j->model_config, &j->tokenizer, err));
    j->adds_norms = sol_job_adds_norms(c, &j->model_config);
    if (j->adds_norms) sol_family_add_sub_norms(&j->model_config);
    SOL_TRY(sol_model_describe(&j->model, &j->model_config, sol_config_param_dtype(c), err));
    SOL_TRY(sol_job_check_quant(c, j->model, &j->quant, err));
    SOL_TRY(sol_product_once(j->ctx, c->train.compute, err));
    /* Measured after a product, so that the buffers of the BLAS library are counted, and before
     * data are read. */
    sol_plan_add(plan, "program and libraries", sol_peak_rss());
    SOL_TRY(open_train_data(j, err));
    SOL_TRY(open_calibration(j, err));
    sol_job_student student = {&j->model_config, j->tokenizer,
                               sol_job_data_whole(&j->train) ? &j->train : NULL};
    SOL_TRY(sol_job_teacher_describe(c, &student, &j->teacher, err));
    SOL_TRY(plan_memory(c, j->model, &j->quant, &j->cut, j->ranks, &j->teacher,
                        sol_pool_threads(j->ctx->pool), plan, err));
    return open_evaluation(j, err);
}

/* Seconds in which the exchange of gradients is hidden, at so many bytes a gradient and a second:
 * that of a block behind the backward pass of the block below it, in a rank's last micro-batch;
 * with optim.fused its parameters are, too. A method with a backward of its own has none before the
 * end.
 */
static double hidden_seconds(const opened *j, const estimate *e, double gradient, double link)
{
    const sol_config *c = j->config;
    bool straight = !j->quant.method || sol_quant_is_straight_through(&j->quant);
    double param = c->optim.fused ? (double)sol_dtype_size(j->model->dtype) : 0;
    double elements = (double)sol_graph_part_at(j->model, true, 1).n_elements;
    double travels = elements * (e->ranks - 1) / e->ranks * (gradient + param) / link;
    double computes = (double)(j->cut.rows * c->train.seq) * sol_block_backward_flops(c, j->model) /
                      (e->share * e->gemm_rate);
    if (!straight && !j->cut.by_layer) return 0;
    return (double)(j->model->config.num_hidden_layers - 1) *
           (travels < computes ? travels : computes);
}

/* A step of ranks on machines of their own, each like this one: an even share of the arithmetic,
 * and the exchange, in which each sends and receives (N - 1) / N of all gradients and of all
 * parameters at the rate of its link. */
static void estimate_steps(const opened *j, estimate *e)
{
    const sol_config *c = j->config;
    double n = (double)j->model->n_elements, share = (e->ranks - 1.0) / e->ranks;
    double gradient = c->dist.transport == SOL_BF16 ? 2 : 4, link = 1e9 * e->link / 8;
    e->sent = share * n * (gradient + (double)sol_dtype_size(j->model->dtype));
    e->computes = e->flops / (e->ranks * e->share * e->gemm_rate);
    e->hides = hidden_seconds(j, e, gradient, link);
    e->exchanges = e->sent / link - e->hides;
    e->seconds = (e->computes + e->exchanges) * (double)c->train.steps;
}

static sol_status plan_job(sol_program *p, const sol_config *c, const struct args *args,
                           sol_err *err)
{
    opened j = {.program = p,
                .config = c,
                .ranks = (int)args->ranks,
                .dir = {.lock_fd = -1, .metrics_fd = -1}};
    sol_plan plan = {0};
    estimate e = {.ranks = (int)args->ranks,
                  .link = args->link,
                  .gemm_rate = 1e9 * args->gflops,
                  .elsewhere = args->gflops > 0};
    export_plan exports[EXPORTS];
    sol_interrupt_catch(false);
    if (p->threads == 0) p->threads = c->run.threads;
    sol_status st = sol_program_ctx(p, &j.ctx, err);
    if (st == SOL_OK) st = open_job(&j, &plan, err);
    if (st == SOL_OK && !e.elsewhere)
        st = sol_product_rate(j.ctx, c->train.compute, &e.gemm_rate, err);
    if (st == SOL_OK)
        st = plan_calibration(c, j.model, &j.quant, j.adds_norms, j.ctx, &plan, &e, err);
    if (st == SOL_OK) {
        count_weights(j.model, &j.quant, &e);
        e.tokens = c->train.batch * c->train.seq * c->train.accumulate;
        e.flops = sol_step_flops(c, j.model, j.teacher.teacher, e.tokens);
        e.share = step_share(c, j.ctx, e.elsewhere);
        estimate_steps(&j, &e);
        plan_exports(c, j.model, j.tokenizer, &j.quant, exports);
        if (args->json)
            print_json(&j, &e, &plan, exports);
        else
            st = print_text(&j, &e, &plan, exports, err);
    }
    close_job(&j);
    return st;
}

static sol_status run(sol_program *p, void *argp, sol_err *err)
{
    struct args *args = argp;
    sol_config *c;
    SOL_TRY(sol_job_read(p, &c, p->word[0], &args->set, err));
    if (c->train.lanes == 0) c->train.lanes = args->ranks;
    sol_status st = plan_job(p, c, args, err);
    sol_config_free(&c);
    return st;
}

const sol_verb sol_verb_plan = {
    .name = "plan",
    .words = "CONFIG.yaml",
    .min_words = 1,
    .max_words = 1,
    .summary = "parameters, memory, arithmetic and time of a job and the sizes of its exports, "
               "before anything is allocated",
    .details = "Fails where `solera train` would fail before its first step, in the same words: "
               "run.dir, model, data, teacher\n"
               "and tasks are opened as a run opens them, but weights are not read, of a text the "
               "first 64 MB are, and nothing is\n"
               "left behind. A run.dir that holds a run is as good as for train --resume.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
