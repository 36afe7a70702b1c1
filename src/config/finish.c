/* Checks what spans keys, once parse.c has read all of them, and gives a job to the library as the
 * structs of its modules: quantizer, schedules, optimizer, distillation, calibration. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "config/keys.h"

sol_status sol_config_fail(const sol_config *c, const char *key, sol_err *err, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    int i = sol_key_find(key);
    sol_config_mark m = {0};
    if (i >= 0) m = c->mark[i];
    if (m.line > 0)
        return sol_fail(err, SOL_ERR_CONFIG, "%s:%d:%d: key '%s': %s", c->file[m.file], m.line,
                        m.column, key, text);
    return sol_fail(err, SOL_ERR_CONFIG, "%s: key '%s': %s",
                    m.line < 0   ? "--set"
                    : c->n_files ? c->file[0]
                                 : "defaults",
                    key, text);
}

bool sol_config_quantizes(const sol_config *c)
{
    return strcmp(c->quant.method, "none") != 0;
}

const char *sol_config_random_shape(const sol_config *c)
{
    return strncmp(c->model.init, "random:", 7) == 0 ? c->model.init + 7 : NULL;
}

bool sol_config_teaches_itself(const sol_config *c)
{
    return strcmp(c->distill.teacher, "self") == 0;
}

static sol_status unknown_method(const sol_config *c, sol_err *err)
{
    const char *names[64] = {"none"};
    int n = 1;
    char hint[SOL_HINT];
    for (int i = 0; i < sol_quantizer_count() && n < 64; i++)
        names[n++] = sol_quantizer_at(i)->name;
    return sol_config_fail(c, "quant.method", err, "'%s' is no quantizer%s", c->quant.method,
                           sol_name_hint(hint, c->quant.method, names, n, NULL));
}

sol_status sol_config_quant(const sol_config *c, sol_quant_spec *spec, sol_err *err)
{
    bool stride16 = c->quant.block_layout == SOL_LAYOUT_STRIDE16;
    sol_err why = {0};
    memset(spec, 0, sizeof *spec);
    spec->method = sol_quantizer_find(c->quant.method);
    if (c->quant.overrides)
        for (int i = 0; i < c->quant.overrides->n; i++)
            if (sol_quant_override_check(spec, &c->quant.overrides->row[i], &why) != SOL_OK)
                return sol_config_fail(c, "quant.overrides", err, "%s", why.text);
    if (!sol_config_quantizes(c) && c->quant.embed_type != SOL_F32)
        return sol_config_fail(c, "quant.embed_type", err, "%s needs a quant.method, which is none",
                               sol_config_word(c, "quant.embed_type"));
    if (!sol_config_quantizes(c)) return SOL_OK;
    if (!spec->method) return unknown_method(c, err);
    spec->embed_type = c->quant.embed_type;
    spec->overrides = c->quant.overrides;
    spec->granularity = c->quant.granularity;
    spec->group_size = spec->granularity == SOL_PER_GROUP ? (int)c->quant.group_size : 0;
    spec->layout = c->quant.block_layout;
    spec->scale_dtype = c->quant.scale_dtype;
    int unit = stride16 ? 64 : 4;
    spec->n = (int)c->quant.n;
    spec->m = (int)c->quant.m;
    if (spec->method->block == 0 && spec->n >= spec->m)
        return sol_config_fail(c, "quant.n", err, "%d is not below quant.m %d", spec->n, spec->m);
    if (spec->granularity == SOL_PER_GROUP && spec->group_size % unit != 0)
        return sol_config_fail(c, "quant.group_size", err, "%d is not a multiple of %d%s",
                               spec->group_size, unit,
                               stride16 ? ", as block_layout stride16 needs" : "");
    return SOL_OK;
}

sol_residual sol_config_residual(const sol_config *c)
{
    return (sol_residual){
        .schedule = sol_config_quantizes(c) ? c->residual.schedule : SOL_RESIDUAL_NONE,
        .form = c->residual.form,
        .warmup = c->residual.warmup,
        .lambda_max = (float)c->residual.lambda_max,
        .warmup_fraction = (float)c->residual.warmup_fraction,
        .end_fraction = (float)c->residual.end_fraction,
    };
}

sol_lr_schedule sol_config_lr(const sol_config *c)
{
    return (sol_lr_schedule){
        .kind = c->optim.schedule,
        .peak = (float)c->optim.lr,
        .min_ratio = (float)c->optim.min_ratio,
        .warmup_steps = c->optim.warmup_steps,
        .decay_fraction = (float)c->optim.decay_fraction,
    };
}

sol_adamw_config sol_config_adamw(const sol_config *c)
{
    return (sol_adamw_config){
        .beta1 = (float)c->optim.beta1,
        .beta2 = (float)c->optim.beta2,
        .eps = (float)c->optim.eps,
        .weight_decay = (float)c->optim.weight_decay,
        .stochastic_rounding = c->train.param_dtype == SOL_PARAMS_BF16_STOCHASTIC,
        .moments = c->optim.moments,
        .seed = (uint64_t)c->run.seed,
    };
}

sol_calib_opts sol_config_calib(const sol_config *c)
{
    return (sol_calib_opts){
        .windows = c->calibrate.windows,
        .held_out = c->calibrate.held_out,
        .seq = c->calibrate.seq ? c->calibrate.seq : c->train.seq,
        .seed = (uint64_t)c->run.seed,
        .compute = c->train.compute,
        .damping = c->calibrate.damping,
        .assign = c->calibrate.assign,
        .sweeps = (int)c->calibrate.sweeps,
        .starts = (int)c->calibrate.starts,
        .asymmetric = c->calibrate.asymmetric,
        .token_weights = c->calibrate.token_weights,
        .first_token = c->calibrate.first_token,
        .steps = c->calibrate.steps,
        .batch = c->calibrate.batch,
        .lr = c->calibrate.lr,
        .norms = c->calibrate.norms,
        .latent = c->calibrate.latent,
    };
}

sol_dtype sol_config_param_dtype(const sol_config *c)
{
    return c->train.param_dtype == SOL_PARAMS_F32 ? SOL_F32 : SOL_BF16;
}

/* What a fused update cannot have: a look at all gradients before the first of them is used. */
static sol_status check_fused(const sol_config *c, const sol_quant_spec *spec, sol_err *err)
{
    if (!c->optim.fused) return SOL_OK;
    if (c->train.grad_clip != 0)
        return sol_config_fail(c, "optim.fused", err,
                               "needs train.grad_clip 0, not %g: the norm of all gradients is not "
                               "known before the last of them",
                               c->train.grad_clip);
    if (c->train.accumulate != 1)
        return sol_config_fail(c, "optim.fused", err, "needs train.accumulate 1, not %lld",
                               (long long)c->train.accumulate);
    if (c->study.every > 0)
        return sol_config_fail(c, "optim.fused", err, "leaves no gradients for study.every %lld",
                               (long long)c->study.every);
    if (spec->method && spec->method->n_learned > 0)
        return sol_config_fail(c, "optim.fused", err,
                               "is not for %s, which learns the scales of its quantizer",
                               c->quant.method);
    return SOL_OK;
}

sol_distill sol_config_distill(const sol_config *c)
{
    return (sol_distill){
        .kind = c->distill.loss,
        .temperature = (float)c->distill.temperature,
        .top_k = c->distill.top_k,
        .samples =
            c->distill.samples < c->distill.top_k / 4 ? c->distill.samples : c->distill.top_k / 4,
        .weight = (float)c->distill.weight,
        .ce_weight = (float)c->distill.ce_weight,
    };
}

static sol_status check_distill(const sol_config *c, sol_err *err)
{
    if (!c->distill.teacher[0] && c->distill.cache[0])
        return sol_config_fail(c, "distill.teacher", err,
                               "is needed: the cache must be of this teacher");
    if (!c->distill.teacher[0]) return SOL_OK;
    if (c->distill.cache[0] && c->distill.hidden_weight > 0)
        return sol_config_fail(c, "distill.hidden_weight", err,
                               "needs the teacher itself: a cache holds no hidden states");
    if (c->distill.cache[0] && c->distill.relation_weight > 0)
        return sol_config_fail(
            c, "distill.relation_weight", err,
            "needs the teacher itself: a cache holds no queries, keys and values");
    if (c->distill.grad_norms > 0 && c->optim.fused)
        return sol_config_fail(c, "distill.grad_norms", err,
                               "has no gradients to measure with optim.fused");
    if (sol_config_teaches_itself(c) && sol_config_random_shape(c))
        return sol_config_fail(c, "distill.teacher", err, "self is a trained model, not %s",
                               c->model.init);
    if (c->distill.weight == 0 && c->distill.ce_weight == 0)
        return sol_config_fail(c, "distill.weight", err,
                               "0 and distill.ce_weight 0 leave nothing to learn");
    return SOL_OK;
}

static sol_status check_eval_form(const sol_config *c, const sol_quant_spec *spec, sol_err *err)
{
    if (c->train.eval_form != SOL_EVAL_PACKED || sol_quant_packable(spec)) return SOL_OK;
    sol_quant_spec own = *spec;
    own.overrides = NULL;
    int n = sol_quant_packable(&own) ? spec->overrides->n : 0;
    for (int i = 0; i < n; i++) {
        const sol_quant_override *row = &spec->overrides->row[i];
        if (row->method && !row->method->packable)
            return sol_config_fail(c, "train.eval_form", err,
                                   "packed needs methods that can be packed, not %s, which "
                                   "quant.overrides has for '%s'",
                                   row->method->name, row->match);
    }
    return sol_config_fail(
        c, "train.eval_form", err,
        "packed needs a method that can be packed, with scales in fp16, not %s in %s",
        c->quant.method, sol_config_word(c, "quant.scale_dtype"));
}

/* The weights of the sampled text, which is the first file, and of those beside it. */
static sol_status check_self_weights(const sol_config *c, sol_err *err)
{
    sol_mixture m = {.n = 1, .stream[0].weight = c->data.self_weight};
    int64_t share[SOL_MIX_MAX], round;
    int at;
    sol_err why = {0};
    for (int i = 0; c->data.train && i < c->data.train->n; i++)
        m.stream[m.n++].weight = c->data.train->row[i].weight;
    if (sol_mixture_shares(&m, share, &round, &at, &why) == SOL_OK) return SOL_OK;
    if (at == 0) return sol_config_fail(c, "data.self_weight", err, "%s", why.text);
    return sol_config_fail(c, "data.train", err, "%s: %s", c->data.train->row[at - 1].path,
                           why.text);
}

/* What the sampled text cannot be, before hours go into it. */
static sol_status check_self(const sol_config *c, sol_err *err)
{
    if (c->data.source != SOL_DATA_SELF) return SOL_OK;
    if (c->data.loss_on == SOL_LOSS_ON_ANSWERS)
        return sol_config_fail(c, "data.loss_on", err,
                               "answers: the text that data.source self samples has none");
    if (c->data.self_tokens <= c->train.seq)
        return sol_config_fail(c, "data.self_tokens", err,
                               "%lld tokens are no window of train.seq %lld, which takes one more",
                               (long long)c->data.self_tokens, (long long)c->train.seq);
    return check_self_weights(c, err);
}

/* Before a run samples its text, or a sweep begins. */
static sol_status check_calibrate(const sol_config *c, const sol_quant_spec *spec, sol_err *err)
{
    sol_err why = {0};
    if (!c->calibrate.enabled || sol_calib_check_quant(spec, &why) == SOL_OK) return SOL_OK;
    return sol_config_fail(c, "quant.method", err, "%s", why.text);
}

static sol_status check_model_and_data(const sol_config *c, sol_err *err)
{
    bool random = sol_config_random_shape(c);
    bool self = c->data.source == SOL_DATA_SELF;
    if (random && !c->model.tokenizer[0])
        return sol_config_fail(c, "model.tokenizer", err, "is needed where model.init is '%s'",
                               c->model.init);
    if (!random && c->model.tokenizer[0])
        return sol_config_fail(c, "model.tokenizer", err,
                               "is only for model.init random:SHAPE; '%s' brings its own",
                               c->model.init);
    if (self && random)
        return sol_config_fail(c, "data.source", err,
                               "self samples from a trained model, not from %s", c->model.init);
    if (!self && !c->data.train)
        return sol_config_fail(c, "data.train", err, "is needed where data.source is file");
    if (self && c->data.train && c->data.train->n == SOL_MIX_MAX)
        return sol_config_fail(c, "data.train", err,
                               "more than %d files beside the text that data.source self samples",
                               SOL_MIX_MAX - 1);
    if (c->train.eval_every > 0 && !c->data.eval[0])
        return sol_config_fail(c, "data.eval", err, "is needed where train.eval_every is set");
    if (c->eval.tasks[0] && c->train.eval_every == 0)
        return sol_config_fail(c, "eval.tasks", err, "needs train.eval_every, which is 0");
    return SOL_OK;
}

/* A checkpoint keeps the resolved job in an attribute, which holds less than 64 KiB. */
static sol_status check_size(const sol_config *c, sol_err *err)
{
    enum { MAX_BYTES = 60000 };
    char *yaml;
    SOL_TRY(sol_config_write(c, &yaml, err));
    size_t bytes = strlen(yaml);
    sol_free(yaml);
    return bytes <= MAX_BYTES
               ? SOL_OK
               : sol_fail(err, SOL_ERR_CONFIG,
                          "%s: the resolved job has %zu bytes, a checkpoint keeps at most %d",
                          c->n_files ? c->file[0] : "job", bytes, MAX_BYTES);
}

sol_status sol_config_finish(const sol_config *c, sol_err *err)
{
    sol_quant_spec spec;
    for (int i = 0; i < SOL_CONFIG_KEYS; i++) {
        const char *text = sol_keys[i].type == SOL_TYPE_TEXT
                               ? *(char *const *)((const char *)c + sol_keys[i].offset)
                               : "";
        if ((sol_keys[i].flags & SOL_KEY_REQUIRED) && !text[0])
            return sol_config_fail(c, sol_keys[i].path, err, "is needed: %s", sol_keys[i].help);
    }
    SOL_TRY(check_model_and_data(c, err));
    SOL_TRY(check_self(c, err));
    SOL_TRY(check_distill(c, err));
    SOL_TRY(sol_config_quant(c, &spec, err));
    if (spec.method && spec.method->n_learned > 0 && sol_config_param_dtype(c) != SOL_F32)
        return sol_config_fail(c, "train.param_dtype", err,
                               "%s learns the scales of its quantizer, which needs fp32, not %s",
                               c->quant.method, sol_config_word(c, "train.param_dtype"));
    SOL_TRY(check_fused(c, &spec, err));
    SOL_TRY(check_eval_form(c, &spec, err));
    SOL_TRY(check_calibrate(c, &spec, err));
    if (c->residual.warmup && c->residual.warmup_fraction >= c->residual.end_fraction)
        return sol_config_fail(c, "residual.warmup_fraction", err,
                               "%g is not below residual.end_fraction %g",
                               c->residual.warmup_fraction, c->residual.end_fraction);
    if (c->optim.warmup_steps > c->train.steps)
        return sol_config_fail(c, "optim.warmup_steps", err, "%lld is more than train.steps %lld",
                               (long long)c->optim.warmup_steps, (long long)c->train.steps);
    if ((double)c->train.batch * (double)c->train.seq * (double)c->train.accumulate > 1e12)
        return sol_config_fail(c, "train.batch", err,
                               "batch x seq x accumulate is more than 1e12 tokens a step");
    return check_size(c, err);
}
