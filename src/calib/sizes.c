/* Sizes of a calibration: the sets of layers, and what a whole job takes in memory and arithmetic.
 * calib.c allocates by them, `solera plan` prints them. */
#include "calib/sizes.h"

#include "base/num.h"
#include "calib/refine.h"
#include "kernels/gemm.h"
#include "kernels/stored.h"

const sol_layer_set sol_layer_sets[SOL_LAYER_SETS] = {
    {SOL_STAGE_INPUT_NORM, 3, {SOL_ROLE_Q, SOL_ROLE_K, SOL_ROLE_V}, false, "q, k, v"},
    {SOL_STAGE_HEADS, 1, {SOL_ROLE_O}, true, "o"},
    {SOL_STAGE_POST_NORM, 2, {SOL_ROLE_GATE, SOL_ROLE_UP}, false, "gate, up"},
    {SOL_STAGE_GATED, 1, {SOL_ROLE_DOWN}, true, "down"},
};

const sol_param *sol_layer_param(const sol_model *m, sol_role which)
{
    return sol_model_by_role(m, 0, which);
}

sol_quant_spec sol_layer_quant(const sol_quant_spec *spec, int64_t layer, sol_role which)
{
    char name[SOL_PARAM_NAME];
    return sol_quant_for(spec, sol_role_name(which, (int)layer, name));
}

int64_t sol_layer_set_rows(const sol_model *block, const sol_layer_set *s)
{
    int64_t rows = 0;
    for (int i = 0; i < s->n; i++) rows += sol_layer_param(block, s->which[i])->rows;
    return rows;
}

sol_model_config sol_calib_one_block(const sol_model_config *c)
{
    sol_model_config one = *c;
    one.num_hidden_layers = 1;
    one.vocab_size = 1;
    one.tie_word_embeddings = true;
    one.bos_token_id = one.eos_token_id = -1;
    return one;
}

sol_layer_extent sol_layer_widest(const sol_model *block, int64_t tokens, bool bf16)
{
    sol_layer_extent e = {0};
    for (int i = 0; i < SOL_LAYER_SETS; i++) {
        int64_t in = sol_layer_param(block, sol_layer_sets[i].which[0])->cols,
                out = sol_layer_set_rows(block, &sol_layer_sets[i]);
        e.in = sol_max_i64(e.in, in);
        e.out = sol_max_i64(e.out, out);
        e.weights = sol_max_i64(e.weights, in * out);
        e.scratch = sol_max_i64(e.scratch, (int64_t)sol_product_scratch(bf16, out, in));
        e.scratch = sol_max_i64(e.scratch, (int64_t)sol_product_scratch(bf16, in, tokens));
    }
    return e;
}

size_t sol_calib_block_bytes(const sol_model *block)
{
    return (size_t)block->n_elements * sizeof(float);
}

int64_t sol_calib_chunk_windows(const sol_calib_opts *o)
{
    int64_t n = o->seq < SOL_CALIB_CHUNK_TOKENS ? SOL_CALIB_CHUNK_TOKENS / o->seq : 1;
    return sol_min_i64(n, sol_ceil_div(o->windows + o->held_out, SOL_CALIB_LANES));
}

/* Bytes that filling the streams takes: the tokens and those that follow them, the embedding as it
 * ships, what it is rounded from where the model has it in bf16, and the workspace of
 * sol_packed_round. */
static size_t filling_bytes(const sol_model *m, const sol_quant_spec *spec, size_t tokens)
{
    const sol_param *p = sol_model_embedding(m);
    sol_stored s = {.type = spec->embed_type, .rows = p->rows, .cols = p->cols};
    size_t ids = 2 * tokens * sizeof(int32_t), floats = (size_t)sol_param_count(p) * sizeof(float);
    if (spec->embed_type == SOL_F32) return ids;
    if (m->dtype != SOL_F32) floats *= 2;
    if (spec->embed_type == SOL_TERNARY) return ids + floats;
    return ids + floats + sol_stored_bytes(&s) + sol_stored_scale_bytes(&s) +
           (size_t)p->cols * sizeof(float);
}

/* *bytes: what the tapes take by themselves, planned over a block without weights. */
static sol_status tape_bytes(const sol_model *block, const sol_quant_spec *spec,
                             const sol_calib_opts *o, size_t *bytes, sol_err *err)
{
    sol_plan plan = {0};
    sol_model_config wanted = block->config;
    wanted.sub_norm = wanted.sub_norm && !o->added_norms;
    for (int i = 0; i < 2 * SOL_STAGES; i++) { /* over original and over effective weights */
        sol_stage s;
        SOL_TRY(sol_stage_create(&s, (sol_stage_kind)(i / 2), NULL, block,
                                 i % 2 ? &block->config : &wanted, sol_calib_chunk_windows(o),
                                 o->seq, o->compute, err));
        sol_tape_report(s.tape, &plan);
        sol_stage_free(&s);
    }
    if (o->steps > 0) {
        sol_refine refine = {0};
        sol_model *weightless = (sol_model *)(uintptr_t)block; /* nothing is written to it */
        sol_status st = sol_refine_create(&refine, NULL, weightless, spec, o, err);
        if (st == SOL_OK) sol_tape_report(refine.tape, &plan);
        sol_refine_free(&refine);
        if (st != SOL_OK) return st;
        sol_plan_add(&plan, "training", sol_refine_bytes(block, o));
    }
    *bytes = sol_plan_total(&plan);
    return SOL_OK;
}

/* The largest workspace that a solve of the layers of a set takes, over all blocks. */
static size_t max_solve_bytes(const sol_model *m, const sol_quant_spec *spec,
                              const sol_layer_set *s, int64_t rows, int64_t cols,
                              const sol_calib_opts *o, int threads)
{
    size_t max = 0;
    for (int64_t layer = 0; layer < m->config.num_hidden_layers; layer++)
        for (int i = 0; i < s->n; i++) {
            sol_quant_spec own = sol_layer_quant(spec, layer, s->which[i]);
            size_t some =
                own.method ? sol_calib_solve_bytes(&own, rows, cols, o->starts, threads) : 0;
            if (some > max) max = some;
        }
    return max;
}

sol_status sol_calib_bytes(const sol_model *m, const sol_quant_spec *spec, const sol_calib_opts *o,
                           int threads, size_t *bytes, sol_err *err)
{
    sol_model_config one = sol_calib_one_block(&m->config);
    sol_model *block = NULL;
    size_t tapes = 0, rows = (size_t)(sol_calib_chunk_windows(o) * o->seq),
           tokens = (size_t)((o->windows + o->held_out) * o->seq);
    /* The streams are filled before any layer is solved: the larger of both. */
    size_t passing = filling_bytes(m, spec, tokens);
    sol_status st = sol_calib_check_quant(spec, err);
    if (st == SOL_OK) st = sol_model_describe(&block, &one, SOL_F32, err);
    if (st == SOL_OK) st = tape_bytes(block, spec, o, &tapes, err);
    if (st != SOL_OK) {
        sol_model_free(&block);
        return st;
    }
    sol_layer_extent e =
        sol_layer_widest(block, sol_calib_chunk_windows(o) * o->seq, o->compute == SOL_BF16);
    for (int i = 0; i < SOL_LAYER_SETS; i++) {
        size_t some = max_solve_bytes(
            m, spec, &sol_layer_sets[i], sol_layer_set_rows(block, &sol_layer_sets[i]),
            sol_layer_param(block, sol_layer_sets[i].which[0])->cols, o, threads);
        passing = sol_max_size(passing, some);
    }
    size_t streams = 3 * tokens * (size_t)m->config.hidden_size,
           moments = (size_t)(e.in * e.in + e.weights);
    *bytes = tapes + passing + 3 * sol_calib_block_bytes(block) + (size_t)e.scratch +
             sol_share_bytes(o->dist, (int64_t)moments) +
             tokens * (sizeof(double) + sizeof(int32_t)) +
             (streams + rows * (size_t)(e.in + e.out) + 2 * moments + 2 * (size_t)e.weights) *
                 sizeof(float);
    sol_model_free(&block);
    return SOL_OK;
}

static void add_work(sol_calib_work *sum, const sol_calib_work *w)
{
    sum->products += w->products;
    sum->training += w->training;
    sum->solver += w->solver;
    sum->factors += w->factors;
    sum->search += w->search;
}

/* The layers of set i of a block. */
static sol_calib_work set_work(const sol_model *m, const sol_quant_spec *spec,
                               const sol_calib_opts *o, int64_t layer, int i)
{
    const sol_layer_set *s = &sol_layer_sets[i];
    double tokens = (double)((o->windows + o->held_out) * o->seq),
           trained = (double)(o->steps * o->batch * o->seq);
    double passes = o->steps > 0 ? 3 : 2; /* of the whole block: rounded, solved, trained */
    int64_t in = sol_model_by_role(m, layer, s->which[0])->cols, out = 0;
    for (int k = 0; k < s->n; k++) out += sol_model_by_role(m, layer, s->which[k])->rows;
    /* H, B, the layer's own passes: wanted outputs, and for what follows it. */
    double uses = passes + (s->adds ? 2 : 4);
    sol_quant_spec own = sol_layer_quant(spec, layer, s->which[0]);
    sol_calib_work w = {0};
    if (own.method) w = sol_calib_solve_work(&own, o, out, in);
    w.products = 2 * tokens * (double)(in * in + in * out) + 2 * tokens * uses * (double)(in * out);
    w.training = 6 * trained * (double)(in * out); /* forward and backward */
    return w;
}

sol_calib_work sol_calib_count(const sol_model *m, const sol_quant_spec *spec,
                               const sol_calib_opts *o)
{
    sol_calib_work sum = {0};
    for (int64_t layer = 0; layer < m->config.num_hidden_layers; layer++)
        for (int i = 0; i < SOL_LAYER_SETS; i++) {
            sol_calib_work w = set_work(m, spec, o, layer, i);
            add_work(&sum, &w);
        }
    return sum;
}

void sol_calib_shares(const sol_model *m, const sol_quant_spec *spec, const sol_calib_opts *o,
                      int64_t layer, double at[2 * SOL_LAYER_SETS + 1])
{
    /* Of a processor with AVX2, where products make 44 GFLOP/s and the solver a third of it: for a
     * line that says the time left such proportions do. */
    static const sol_calib_work typical = {
        .products = 3, .training = 3, .solver = 1, .factors = 2, .search = 0.1};
    double sum = 0, training = 0;
    for (int i = 0; i < SOL_LAYER_SETS; i++) {
        sol_calib_work w = set_work(m, spec, o, layer, i);
        training += w.training / typical.training;
        w.training = 0;
        at[2 * i] = sum;
        at[2 * i + 1] = sum + w.products / typical.products;
        sum += sol_calib_seconds(&w, &typical);
    }
    at[2 * SOL_LAYER_SETS] = sum;
    for (int i = 0; i <= 2 * SOL_LAYER_SETS; i++) at[i] /= sum + training;
}
