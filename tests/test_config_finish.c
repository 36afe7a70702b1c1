/* What a job derives from its keys, and what no job may ask for. */
#include "suite.h"

#include <string.h>

#define HEAD "run: {dir: r}\nmodel: {init: m.h5}\ndata: {train: d.h5}\n"

static sol_status parse(sol_config **c, const char *yaml, sol_err *err)
{
    return sol_config_parse(c, "job.yaml", yaml, strlen(yaml), err);
}

static sol_status parse_and_finish(const char *yaml, sol_err *err)
{
    sol_config *c;
    sol_status st = parse(&c, yaml, err);
    if (st == SOL_OK) st = sol_config_finish(c, err);
    sol_config_free(&c);
    return st;
}

START_TEST(what_spans_keys)
{
    ck_ok(parse_and_finish(HEAD, err));
    ck_fails(parse_and_finish("", err), SOL_ERR_CONFIG, "job.yaml: key 'run.dir': is needed");
    ck_fails(parse_and_finish("run: {dir: r}\n", err), SOL_ERR_CONFIG, "'model.init': is needed");
    ck_fails(parse_and_finish("run: {dir: r}\nmodel: {init: m}\n", err), SOL_ERR_CONFIG,
             "'data.train': is needed");
    ck_fails(
        parse_and_finish("run: {dir: r}\nmodel: {init: 'random:15m'}\ndata: {train: d}\n", err),
        SOL_ERR_CONFIG, "'model.tokenizer': is needed");
    ck_fails(
        parse_and_finish("run: {dir: r}\nmodel: {init: m, tokenizer: t}\ndata: {train: d}\n", err),
        SOL_ERR_CONFIG, "job.yaml:2:29: key 'model.tokenizer'");
    ck_fails(parse_and_finish(HEAD "train: {eval_every: 5}\n", err), SOL_ERR_CONFIG,
             "'data.eval': is needed");
    ck_ok(
        parse_and_finish("run: {dir: r}\nmodel: {init: m}\ndata: {train: d, source: self}\n", err));
    ck_fails(parse_and_finish("run: {dir: r}\nmodel: {init: m}\ndata: {source: self, train: "
                              "[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]}\n",
                              err),
             SOL_ERR_CONFIG, "'data.train': more than 15 files beside the text");
    ck_fails(parse_and_finish(HEAD "residual: {end_fraction: 0.1}\n", err), SOL_ERR_CONFIG,
             "is not below");
    ck_fails(parse_and_finish(HEAD "optim: {warmup_steps: 5000}\n", err), SOL_ERR_CONFIG,
             "5000 is more than train.steps 1000");
    ck_fails(parse_and_finish(HEAD "train: {eval_form: packed}\n"
                                   "quant: {overrides: [{match: a, method: absmean}]}\n",
                              err),
             SOL_ERR_CONFIG, "not absmean, which quant.overrides has for 'a'");
    ck_fails(parse_and_finish(HEAD "train: {eval_form: packed}\nquant: {method: twn, overrides: "
                                   "[{match: a, method: absmean}]}\n",
                              err),
             SOL_ERR_CONFIG, "not twn in fp16");
    ck_fails(parse_and_finish(HEAD "calibrate: {enabled: true}\nquant: {method: lsq}\n", err),
             SOL_ERR_CONFIG, "job.yaml:5:17: key 'quant.method': lsq cannot be calibrated");
}
END_TEST

/* Before hours go into the sampling. */
START_TEST(text_of_its_own)
{
#define SELF "run: {dir: r}\nmodel: {init: m.h5}\n"
    ck_ok(parse_and_finish(SELF "data: {source: self, self_tokens: 257}\n", err));
    ck_fails(parse_and_finish(SELF "data: {source: self, self_tokens: 256}\n", err), SOL_ERR_CONFIG,
             "job.yaml:3:35: key 'data.self_tokens': 256 tokens are no window of train.seq 256");
    ck_fails(parse_and_finish(SELF "data: {source: self, loss_on: answers}\n", err), SOL_ERR_CONFIG,
             "key 'data.loss_on': answers: the text");
    ck_ok(parse_and_finish(SELF "data: {source: self, self_weight: 1e-9}\n", err));
    ck_ok(parse_and_finish(SELF "data: {source: self, train: d, self_weight: 65535}\n", err));
    ck_fails(parse_and_finish(SELF "data: {source: self, train: d, self_weight: 65536}\n", err),
             SOL_ERR_CONFIG, "key 'data.train': d: the weight 1 is less than");
    ck_fails(parse_and_finish(SELF "data: {source: self, train: d, self_weight: 1e-5}\n", err),
             SOL_ERR_CONFIG, "key 'data.self_weight': the weight 1e-05 is less than");
#undef SELF
}
END_TEST

START_TEST(a_job_fits_into_a_checkpoint)
{
    enum { LONG = 60000 };
    static char yaml[LONG + 100];
    int at = snprintf(yaml, sizeof yaml, "%sdistill: {teacher: ", HEAD);
    memset(yaml + at, 'c', LONG);
    snprintf(yaml + at + LONG, sizeof yaml - (size_t)(at + LONG), "}\n");
    ck_fails(parse_and_finish(yaml, err), SOL_ERR_CONFIG, "job.yaml: the resolved job has 6");
}
END_TEST

START_TEST(views_of_the_words)
{
    sol_config *c;
    sol_quant_spec q;
    ck_ok(parse(&c,
                HEAD "quant: {group_size: 32}\nresidual: {schedule: exp, form: blend}\noptim: "
                     "{schedule: wsd, moments: 8bit}\n"
                     "train: {compute: bf16, param_dtype: bf16_nearest}\ndistill: {loss: cakld, "
                     "teacher_dtype: int8}\n",
                err));
    ck_ok(sol_config_quant(c, &q, err));
    ck_assert_str_eq(q.method->name, "sherry");
    ck_assert_int_eq(q.group_size, 32);
    ck_assert_int_eq(q.granularity, SOL_PER_GROUP);
    ck_assert_int_eq(q.scale_dtype, SOL_F16);
    ck_assert_int_eq(sol_config_residual(c).schedule, SOL_RESIDUAL_EXP);
    ck_assert_int_eq(sol_config_residual(c).form, SOL_RESIDUAL_BLEND);
    ck_assert_int_eq(sol_config_lr(c).kind, SOL_LR_WSD);
    ck_assert_int_eq(sol_config_adamw(c).moments, SOL_U8);
    ck_assert(!sol_config_adamw(c).stochastic_rounding);
    ck_assert_int_eq(sol_config_param_dtype(c), SOL_BF16);
    ck_assert_int_eq(c->train.compute, SOL_BF16);
    ck_assert_int_eq(sol_config_distill(c).kind, SOL_DISTILL_CAKLD);
    ck_assert_int_eq(c->distill.teacher_dtype, SOL_Q8);
    ck_ok(sol_config_set(c, "quant.group_size=30", err));
    ck_fails(sol_config_quant(c, &q, err), SOL_ERR_CONFIG, "30 is not a multiple of 4");
    ck_ok(sol_config_set(c, "quant.method=shery", err));
    ck_fails(sol_config_quant(c, &q, err), SOL_ERR_CONFIG,
             "'shery' is no quantizer; did you mean 'sherry'?");
    ck_ok(sol_config_set(c, "quant.method=none", err));
    ck_ok(sol_config_quant(c, &q, err));
    ck_assert_ptr_null(q.method);
    ck_assert_int_eq(sol_config_residual(c).schedule, SOL_RESIDUAL_NONE);
    sol_config_free(&c);
}
END_TEST

SOL_TEST_MAIN("config_finish", tcase_add_test(tc, what_spans_keys);
              tcase_add_test(tc, text_of_its_own); tcase_add_test(tc, a_job_fits_into_a_checkpoint);
              tcase_add_test(tc, views_of_the_words))
