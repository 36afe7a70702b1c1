/* Jobs in YAML: values, defaults, errors with their place and a suggestion, --set, and what is
 * written reads back. */
#include "suite.h"

#include <string.h>

#include "config/keys.h"

#define HEAD "run: {dir: r}\nmodel: {init: m.h5}\ndata: {train: d.h5}\n"

static sol_status parse(sol_config **c, const char *yaml, sol_err *err)
{
    return sol_config_parse(c, "job.yaml", yaml, strlen(yaml), err);
}

START_TEST(values_and_defaults)
{
    sol_config *c;
    ck_ok(parse(&c,
                "# a comment\nrun:\n  dir: runs/x\n  seed: 7\nresidual: {warmup: false, form: "
                "'blend'}\noptim:\n  lr: 3e-4\n"
                "data:\n  eval: null\n  train: \"a \\\"b\\\" c\"\ncheckpoint:\n",
                err));
    ck_assert_str_eq(c->run.dir, "runs/x");
    ck_assert_int_eq(c->run.seed, 7);
    ck_assert(!c->residual.warmup);
    ck_assert_int_eq(c->residual.form, SOL_RESIDUAL_BLEND);
    ck_assert(c->optim.lr == 3e-4);
    ck_assert_str_eq(c->data.train->row[0].path, "a \"b\" c");
    ck_assert_str_eq(c->data.eval, "");
    ck_assert_str_eq(c->quant.method, "sherry");
    ck_assert_int_eq(c->quant.granularity, SOL_PER_GROUP);
    ck_assert_int_eq(c->quant.group_size, 128);
    ck_assert_int_eq(c->residual.schedule, SOL_RESIDUAL_COSINE);
    ck_assert(c->residual.lambda_max == 1.0);
    ck_ok(sol_config_set(c, "residual.warmup=true", err));
    ck_ok(sol_config_set(c, "train.steps=12", err));
    ck_ok(sol_config_set(c, "data.eval=a=b", err));
    ck_assert(c->residual.warmup);
    ck_assert_int_eq(c->train.steps, 12);
    ck_assert_str_eq(c->data.eval, "a=b");
    sol_config_free(&c);
    ck_assert_ptr_null(c);
    ck_ok(parse(&c, "", err));
    sol_config_free(&c);
    ck_ok(parse(&c, "# nothing\n---\n", err));
    sol_config_free(&c);
}
END_TEST

/* Every kind of mistake: the whole text of the error. */
static const struct {
    const char *yaml, *error;
} bad[] = {
    {"train:\n  step: 5\n",
     "job.yaml:2:3: key 'train.step': unknown key; did you mean 'train.steps'?"},
    {"train:\n  lr: 5\n", "job.yaml:2:3: key 'train.lr': unknown key; did you mean 'optim.lr'?"},
    {"train:\n  zzzzzzzzzzzzzzz: 5\n",
     "job.yaml:2:3: key 'train.zzzzzzzzzzzzzzz': unknown key; `solera help config` lists them"},
    {"trian:\n  steps: 5\n", "job.yaml:1:1: unknown section 'trian'; did you mean 'train'?"},
    {"steps: 5\n", "job.yaml:1:1: unknown section 'steps'; did you mean 'train.steps'?"},
    {"extends: other.yaml\n", "job.yaml:1:10: extends: a job extends another one only in a file"},
    {"train:\nextends: other.yaml\n", "job.yaml:2:1: extends: comes first in a file, and once"},
    {"train.steps: 5\n",
     "job.yaml:1:1: key 'train.steps': write it as 'steps' inside the section 'train:'"},
    {"qqqqqqqqqqqqq: 5\n",
     "job.yaml:1:1: unknown section 'qqqqqqqqqqqqq': one of run, model, data, quant, residual, "
     "distill, train, optim, eval, dist, checkpoint, calibrate, study"},
    {"train:\n  steps: many\n", "job.yaml:2:10: key 'train.steps': 'many' is not a whole number"},
    {"train:\n  steps: 1.5\n", "job.yaml:2:10: key 'train.steps': '1.5' is not a whole number"},
    {"train:\n  steps: \"5\"\n",
     "job.yaml:2:10: key 'train.steps': \"5\" is a text, not a whole number"},
    {"train:\n  steps:\n",
     "job.yaml:2:9: key 'train.steps': has no value: a whole number is needed"},
    {"train:\n  steps: 0\n",
     "job.yaml:2:10: key 'train.steps': 0 is out of range: 1 to 1000000000000"},
    {"train:\n  steps: 99999999999999999999\n",
     "job.yaml:2:10: key 'train.steps': 99999999999999999999 is out of range: 1 to 1000000000000"},
    {"optim:\n  lr: nan\n", "job.yaml:2:7: key 'optim.lr': 'nan' is not a number"},
    {"optim:\n  lr: 0x10\n", "job.yaml:2:7: key 'optim.lr': '0x10' is not a number"},
    {"optim:\n  lr: 1e999\n", "job.yaml:2:7: key 'optim.lr': 1e999 is out of range: 0 to 10"},
    {"optim:\n  lr: -1\n", "job.yaml:2:7: key 'optim.lr': -1 is out of range: 0 to 10"},
    {"residual:\n  warmup: yes\n",
     "job.yaml:2:11: key 'residual.warmup': 'yes' is neither true nor false"},
    {"residual:\n  form: mixed\n",
     "job.yaml:2:9: key 'residual.form': 'mixed' is not allowed: additive or blend"},
    {"residual:\n  form:\n",
     "job.yaml:2:8: key 'residual.form': '' is not allowed: additive or blend"},
    {"train:\n  steps: 5\n  steps: 6\n",
     "job.yaml:3:3: key 'train.steps': is there twice: first in line 2"},
    {"train:\n  steps: 5\noptim:\ntrain:\n  seq: 6\n",
     "job.yaml:4:1: section 'train' is there twice: first in line 1"},
    {"train:\n  steps: [1]\n", "job.yaml:2:10: key 'train.steps': wants a value, not a list"},
    {"train:\n  steps: {a: 1}\n", "job.yaml:2:10: key 'train.steps': wants a value, not a mapping"},
    {"train:\n  steps: &a 1\n", "job.yaml:2:10: anchors (&) are not supported"},
    {"train: &a\n  steps: 1\n", "job.yaml:1:8: anchors (&) are not supported"},
    {"train:\n  steps: *a\n", "job.yaml:2:10: aliases (*) are not supported"},
    {"train:\n  steps: !!int 1\n", "job.yaml:2:10: tags (!) are not supported"},
    {"train: !x\n  steps: 1\n", "job.yaml:1:8: tags (!) are not supported"},
    {"train: 5\n", "job.yaml:1:8: section 'train': wants keys below it, not a value"},
    {"- a\n", "job.yaml:1:1: a list has no place here"},
    {"hello\n", "job.yaml:1:1: a job file is a mapping of sections, this is a single value"},
    {"train:\n  ? {a: b}\n  : 1\n", "job.yaml:2:5: a mapping cannot be a key"},
    {"train:\n  steps: 5\n---\ntrain:\n  seq: 5\n",
     "job.yaml:3:1: a job file holds one document, a second one starts here"},
    {"train:\n\tsteps: 5\n", "job.yaml:2:1: not YAML: found character that cannot start any token "
                             "while scanning for the next token; a tab does "
                             "not indent, blanks do"},
    {"train: {steps: 5\n",
     "job.yaml:2:1: not YAML: did not find expected ',' or '}' while parsing a flow mapping"},
    {"run:\n  dir: ~/runs\n", "job.yaml:2:8: key 'run.dir': '~/runs': ~ is not expanded here: "
                              "write the path out, or ./~ for a name that "
                              "begins so"},
    {"data:\n  eval: $HOME/x\n",
     "job.yaml:2:9: key 'data.eval': '$HOME/x': $NAME is not expanded here: write the path out"},
    {"data:\n  train: a/${X}.h5\n", "job.yaml:2:10: key 'data.train': 'a/${X}.h5': $NAME is not "
                                    "expanded here: write the path out"},
    {"data:\n  train: {path: a.h5}\n",
     "job.yaml:2:10: key 'data.train': wants a file, or a list of files as [{path: a.h5, weight: "
     "3}, b.h5]"},
    {"data:\n  train: []\n", "job.yaml:2:10: key 'data.train': wants a file, or a list of files as "
                             "[{path: a.h5, weight: 3}, b.h5]"},
    {"data:\n  train:\n    - {path: a.h5, weight: 0}\n",
     "job.yaml:3:28: key 'data.train': weight: '0' is no number above 0, to 1e+09"},
    {"data:\n  train:\n    - a.h5\n    - {weight: 2}\n",
     "job.yaml:4:7: key 'data.train': a row without path"},
    {"data:\n  train: [a.h5, {path: a.h5}]\n",
     "job.yaml:2:24: key 'data.train': a.h5 is there twice"},
    {"data:\n  train: [{path: a.h5, share: 2}]\n",
     "job.yaml:2:24: key 'data.train': unknown field 'share': path or weight"},
    {"data:\n  train: [~/a.h5]\n",
     "job.yaml:2:11: key 'data.train': '~/a.h5': ~ is not expanded here: write the path out, or "
     "./~ for a name that begins so"},
    {"\xff\xfer\0u\0", "job.yaml: byte 0: is UTF-16: save it as UTF-8"},
    {"run:\n  dir: a\xe2\x80\xa8"
     "b\n",
     "job.yaml: byte 13: a line break of Unicode (U+0085, U+2028, U+2029) is not read: take it "
     "out"},
    {"%TAG !a! b\n---\nrun:\n", "job.yaml: byte 0: tags (%TAG) are not supported"},
    {"train: [[[[[[[[[[1]]]]]]]]]]\n", "job.yaml:1:15: is nested deeper than 8 levels"},
    {"[a, b]: 1\n", "job.yaml:1:1: a list cannot be a key"},
    {"run:\n  dir: \xff\xfe\n", "job.yaml: byte 12: invalid leading UTF-8 octet"},
    {"run:\n  dir: \"a\\0b\"\n", "job.yaml:2:8: key 'run.dir': is not valid UTF-8 text"},
    {"? \"\\n\"\n: 1\n", "job.yaml:1:3: this is not the name of a section"},
};

START_TEST(errors_say_where_what_and_what_else)
{
    sol_config *c;
    sol_err e = {0};
    ck_assert_int_eq(parse(&c, bad[_i].yaml, &e), SOL_ERR_CONFIG);
    ck_assert_ptr_null(c);
    ck_assert_str_eq(e.text, bad[_i].error);
}
END_TEST

/* What a plain scalar means, by the core schema of YAML 1.2; NULL: a value, otherwise a part of the
 * error. */
static const struct {
    const char *set;
    double value;
    const char *error;
} scalars[] = {
    {"run.seed=12", 12, NULL},
    {"run.seed=+7", 7, NULL},
    {"run.seed=0", 0, NULL},
    {"run.seed=0x1F", 31, NULL},
    {"run.seed=0xff", 255, NULL},
    {"run.seed=0o17", 15, NULL},
    {"run.seed=9007199254740991", 9007199254740991.0, NULL},
    {"run.seed=9007199254740992", 0, "9007199254740992 is out of range"},
    {"run.seed=0xffffffffffffffffff", 0, "is out of range"},
    {"run.seed=-1", 0, "-1 is out of range"},
    {"run.seed=010", 0,
     "'010' is not a whole number: write it without the leading 0 (octal is 0o17)"},
    {"run.seed=00", 0, "without the leading 0"},
    {"run.seed=1_000", 0, "'1_000' is not a whole number: write it without _"},
    {"run.seed=0b101", 0, "'0b101' is not a whole number"},
    {"run.seed=0o18", 0, "'0o18' is not a whole number"},
    {"run.seed=0x", 0, "'0x' is not a whole number"},
    {"run.seed=-0x10", 0, "'-0x10' is not a whole number"},
    {"run.seed=0X10", 0, "'0X10' is not a whole number"},
    {"run.seed=1e3", 0, "'1e3' is not a whole number: write 1000"},
    {"run.seed=5.0", 0, "'5.0' is not a whole number: write 5"},
    {"run.seed=1:30", 0, "'1:30' is not a whole number"},
    {"run.seed=1,000", 0, "'1,000' is not a whole number"},
    {"run.seed= 5", 0, "' 5' is not a whole number"},
    {"run.seed=+-5", 0, "'+-5' is not a whole number"},
    {"run.seed=", 0, "has no value"},
    {"run.seed=~", 0, "has no value"},
    {"run.seed=Null", 0, "has no value"},
    {"optim.lr=.5", 0.5, NULL},
    {"optim.lr=5.", 5, NULL},
    {"optim.lr=+.5e0", 0.5, NULL},
    {"optim.lr=1E-3", 1e-3, NULL},
    {"optim.lr=00.5", 0.5, NULL},
    {"optim.lr=-0.0", 0, NULL},
    {"optim.lr=010", 0, "without the leading 0"},
    {"optim.lr=1_0.5", 0, "'1_0.5' is not a number: write it without _"},
    {"optim.lr=.inf", 0, "'.inf' is not a number"},
    {"optim.lr=.NaN", 0, "'.NaN' is not a number"},
    {"optim.lr=1e400", 0, "1e400 is out of range"},
    {"optim.lr=1e-400", 0, "'1e-400' is too small to be told from 0"},
    {"optim.lr=.", 0, "'.' is not a number"},
    {"optim.lr=1e", 0, "'1e' is not a number"},
    {"optim.lr=0,5", 0, "'0,5' is not a number"},
    {"residual.warmup=True", 1, NULL},
    {"residual.warmup=TRUE", 1, NULL},
    {"residual.warmup=False", 0, NULL},
    {"residual.warmup=FALSE", 0, NULL},
    {"residual.warmup=tRue", 0, "'tRue' is neither true nor false"},
    {"residual.warmup=Yes", 0, "'Yes' is neither true nor false"},
    {"residual.warmup=on", 0, "'on' is neither true nor false"},
    {"residual.warmup=1", 0, "'1' is neither true nor false"},
    {"residual.warmup=", 0, "has no value"},
};

START_TEST(plain_scalars)
{
    sol_config *c;
    const char *set = scalars[_i].set;
    ck_ok(parse(&c, "", err));
    if (scalars[_i].error) {
        ck_fails(sol_config_set(c, set, err), SOL_ERR_CONFIG, scalars[_i].error);
    } else {
        ck_ok(sol_config_set(c, set, err));
        double got = set[0] == 'o'                 ? c->optim.lr
                     : strncmp(set, "run", 3) == 0 ? (double)c->run.seed
                                                   : c->residual.warmup;
        ck_assert_msg(got == scalars[_i].value, "%s is %g", set, got);
    }
    sol_config_free(&c);
}
END_TEST

/* Texts are what stands there, whatever it would be elsewhere. */
START_TEST(texts_stay_texts)
{
    static const char *const texts[] = {"1_000", "0x10",   "yes",   "True",    "010",
                                        "1e3",   "./~",    "a~",    "a$",      "$1",
                                        "a/~b",  "cost$9", "\"~\"", "\"null\""};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char yaml[64], want[16];
        sol_config *c;
        bool quoted = texts[i][0] == '"', tilde = strcmp(texts[i], "\"~\"") == 0;
        snprintf(want, sizeof want, "%.*s", (int)strlen(texts[i]) - 2 * quoted, texts[i] + quoted);
        snprintf(yaml, sizeof yaml, "\xef\xbb\xbfrun: {dir: %s}\r\n", texts[i]);
        if (tilde) {
            ck_fails(parse(&c, yaml, err), SOL_ERR_CONFIG, "~ is not expanded");
            continue;
        }
        ck_ok(parse(&c, yaml, err));
        ck_assert_str_eq(c->run.dir, want);
        sol_config_free(&c);
    }
}
END_TEST

START_TEST(errors_of_set)
{
    sol_config *c;
    ck_ok(parse(&c, "", err));
    ck_fails(sol_config_set(c, "train.steps", err), SOL_ERR_CONFIG,
             "--set train.steps: wants section.key=value");
    ck_fails(sol_config_set(c, "=4", err), SOL_ERR_CONFIG, "wants section.key=value");
    ck_fails(sol_config_set(c, "train.step=4", err), SOL_ERR_CONFIG, "did you mean 'train.steps'?");
    ck_fails(sol_config_set(c, "train.steps=x", err), SOL_ERR_CONFIG,
             "--set train.steps=x: key 'train.steps': 'x' is not a whole");
    ck_fails(sol_config_set(c, "train.steps=", err), SOL_ERR_CONFIG, "has no value");
    ck_fails(sol_config_set(c, "run.dir=\xc3(", err), SOL_ERR_CONFIG, "UTF-8");
    sol_config_free(&c);
}
END_TEST

START_TEST(writing_reads_back)
{
    static const char *const nasty[] = {
        "true",
        "3",
        "a: b",
        "# x",
        "\"q\" \\ \x01\x7f\n\t",
        "\xc3\xa4",
        "-",
        "../x",
        "/a/b.h5", /* line breaks of Unicode, C1, no characters */
        "\xc2\x85 \xe2\x80\xa8 \xe2\x80\xa9 \xc2\x9b \xef\xbf\xbe \xef\xbf\xbf \xf0\x9f\x9a\x80",
        "~",
        "null"};
    for (size_t i = 0; i < sizeof nasty / sizeof nasty[0]; i++) {
        sol_config *a, *b;
        char *first, *second, *diff, set[64];
        bool fatal;
        ck_ok(parse(&a, HEAD "optim: {lr: 0.1, eps: 1.25e-9, beta1: 0.3333333333333333}\n", err));
        snprintf(set, sizeof set, "data.eval=%s", nasty[i]);
        ck_ok(sol_config_set(a, set, err));
        ck_ok(sol_config_write(a, &first, err));
        ck_ok(sol_config_parse(&b, "again", first, strlen(first), err));
        ck_assert_str_eq(b->data.eval, i < 10 ? nasty[i] : "");
        ck_assert(b->optim.lr == 0.1 && b->optim.eps == 1.25e-9 &&
                  b->optim.beta1 == 0.3333333333333333);
        ck_ok(sol_config_write(b, &second, err));
        ck_assert_str_eq(first, second);
        ck_ok(sol_config_diff(a, b, a->train.steps, &diff, &fatal, err));
        ck_assert_str_eq(diff, "");
        ck_assert(!fatal);
        sol_free(diff);
        sol_free(first);
        sol_free(second);
        sol_config_free(&a);
        sol_config_free(&b);
    }
}
END_TEST

/* A mixture from a file and from --set, written and read back; one file stays a text. */
START_TEST(mixtures_of_files)
{
    static const char text[] = "[{path: a.h5, weight: 3.0}, {path: \"b, c\", weight: 0.25}]";
    sol_config *a, *b;
    char *yaml;
    ck_ok(parse(&a,
                "data:\n  train:\n    - {weight: 3, path: a.h5}\n    - {path: 'b, c', weight: "
                ".25}\n",
                err));
    ck_assert_int_eq(a->data.train->n, 2);
    ck_assert_str_eq(a->data.train->row[1].path, "b, c");
    ck_assert(a->data.train->row[1].weight == 0.25);
    ck_ok(sol_config_write(a, &yaml, err));
    ck_assert_ptr_nonnull(strstr(yaml, text));
    ck_ok(sol_config_parse(&b, "again", yaml, strlen(yaml), err));
    ck_assert_int_eq(b->data.train->n, 2);
    ck_ok(sol_config_set(b, "data.train=[x.h5, y.h5, {path: z.h5, weight: 2}]", err));
    ck_assert_int_eq(b->data.train->n, 3);
    ck_assert(b->data.train->row[0].weight == 1);
    ck_ok(sol_config_set(b, "data.train=one.h5", err));
    ck_assert_int_eq(b->data.train->n, 1);
    ck_ok(sol_config_set(b, "data.train=", err));
    ck_assert_ptr_null(b->data.train);
    sol_free(yaml);
    sol_config_free(&a);
    sol_config_free(&b);
}
END_TEST

/* The words of every enum key: they stand in files that must stay readable. */
static const struct {
    const char *key, *words;
} enums[] = {
    {"data.source", "file|self"},
    {"data.special", "auto|yes|no"},
    {"data.loss_on", "all|answers"},
    {"quant.granularity", "per_tensor|per_channel|per_group"},
    {"quant.block_layout", "contiguous|stride16"},
    {"quant.scale_dtype", "fp16|fp32"},
    {"quant.embed_type", "none|q8|q6|q4|ternary"},
    {"residual.schedule", "none|linear|cosine|exp"},
    {"residual.form", "additive|blend"},
    {"distill.loss", "forward_kl|reverse_kl|cakld"},
    {"distill.hidden_form", "mse|relative"},
    {"distill.teacher_dtype", "fp32|bf16|int8"},
    {"train.compute", "fp32|bf16|auto"},
    {"train.eval_form", "both|packed"},
    {"train.param_dtype", "fp32|bf16_stochastic|bf16_nearest"},
    {"optim.schedule", "constant|cosine|linear|wsd"},
    {"optim.moments", "fp32|bf16|8bit"},
    {"dist.transport", "fp32|bf16"},
    {"checkpoint.on_full", "stop|continue"},
    {"calibrate.assign", "searched|nearest"},
    {"calibrate.latent", "hard|soft"},
};

static void word_reads_back(const char *key, const char *word)
{
    char assignment[96];
    sol_config *c, *again;
    char *yaml, *diff;
    bool fatal;
    uint64_t before, after;
    ck_ok(sol_config_create(&c, err));
    snprintf(assignment, sizeof assignment, "%s=%s", key, word);
    ck_ok(sol_config_set(c, assignment, err));
    ck_assert_str_eq(sol_config_word(c, key), word);
    ck_ok(sol_config_write(c, &yaml, err));
    ck_ok(parse(&again, yaml, err));
    ck_assert_str_eq(sol_config_word(again, key), word);
    ck_ok(sol_config_diff(c, again, c->train.steps, &diff, &fatal, err));
    ck_assert_str_eq(diff, "");
    ck_ok(sol_config_digest(c, false, &before, err));
    ck_ok(sol_config_digest(again, false, &after, err));
    ck_assert_uint_eq(before, after);
    snprintf(assignment, sizeof assignment, "%s=%s_", key, word);
    ck_fails(sol_config_set(c, assignment, err), SOL_ERR_CONFIG, "is not allowed");
    ck_assert_str_eq(sol_config_word(c, key), word);
    sol_free(yaml);
    sol_free(diff);
    sol_config_free(&c);
    sol_config_free(&again);
}

START_TEST(words_of_enum_keys)
{
    int n = 0;
    for (int i = 0; i < SOL_CONFIG_KEYS; i++) n += sol_keys[i].type == SOL_TYPE_ENUM;
    ck_assert_int_eq(n, sizeof enums / sizeof *enums);
    for (int i = 0; i < n; i++) {
        char list[256];
        const sol_enumerator *words = sol_keys[sol_key_find(enums[i].key)].words;
        ck_assert_str_eq(sol_enum_list(words, "|", "|", list, sizeof list), enums[i].words);
        for (const sol_enumerator *e = words; e->name; e++) word_reads_back(enums[i].key, e->name);
    }
}
END_TEST

START_TEST(word_of_no_enum_key)
{
    sol_config *c;
    ck_ok(sol_config_create(&c, err));
    ck_assert_ptr_null(sol_config_word(c, "train.steps"));
    ck_assert_ptr_null(sol_config_word(c, "quant.method"));
    ck_assert_ptr_null(sol_config_word(c, "train.computer"));
    sol_config_free(&c);
}
END_TEST

static void expect_diff(const char *old, const char *now, const char *want, bool want_fatal)
{
    sol_config *a, *b;
    char *text;
    bool fatal;
    ck_ok(parse(&a, old, err));
    ck_ok(parse(&b, now, err));
    ck_ok(sol_config_diff(a, b, a->train.steps, &text, &fatal, err));
    ck_assert_str_eq(text, want);
    ck_assert_int_eq(fatal, want_fatal);
    sol_free(text);
    sol_config_free(&a);
    sol_config_free(&b);
}

/* Another length is another run only where the steps that are done would have been others. */
START_TEST(length_after_some_steps)
{
    static const struct {
        const char *schedules;
        int64_t steps;
        bool fatal;
    } rows[] = {
        {"optim: {schedule: constant}\nresidual: {schedule: none}\n", 1000, false},
        {"optim: {schedule: constant}\nresidual: {schedule: cosine}\n", 1000, true},
        {"optim: {schedule: constant}\nresidual: {schedule: cosine}\n", 0, false},
        {"optim: {schedule: cosine}\nresidual: {schedule: none}\n", 2, true},
        {"optim: {schedule: wsd}\nresidual: {schedule: none}\n", 801,
         false}, /* falls from 800 on */
        {"optim: {schedule: wsd}\nresidual: {schedule: none}\n", 802, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sol_config *a, *b;
        char *text, yaml[512];
        bool fatal;
        snprintf(yaml, sizeof yaml, "%s%s", HEAD, rows[i].schedules);
        ck_ok(parse(&a, yaml, err));
        ck_ok(parse(&b, yaml, err));
        ck_ok(sol_config_set(b, "train.steps=2000", err));
        ck_ok(sol_config_diff(a, b, rows[i].steps, &text, &fatal, err));
        ck_assert_str_eq(text, "train.steps: 1000 -> 2000");
        ck_assert_msg(fatal == rows[i].fatal, "row %zu", i);
        sol_free(text);
        sol_config_free(&a);
        sol_config_free(&b);
    }
}
END_TEST

START_TEST(difference_of_two_jobs)
{
    expect_diff(HEAD, HEAD, "", false);
    expect_diff(HEAD, HEAD "checkpoint: {every: 5}\n", "checkpoint.every: 200 -> 5", false);
    expect_diff(HEAD, HEAD "checkpoint: {every: 5}\noptim: {lr: 0.5}\n", "optim.lr: 0.0001 -> 0.5",
                true);
    expect_diff(HEAD, HEAD "train: {steps: 5}\n", "train.steps: 1000 -> 5", true);
    expect_diff(HEAD "quant: {method: none}\n", HEAD "quant: {method: none}\ntrain: {steps: 5}\n",
                "train.steps: 1000 -> 5", false);
}
END_TEST

/* Texts that YAML holds only as escapes read back from the job that a run keeps. */
START_TEST(any_text_reads_back)
{
    static const char *const texts[] = {
        "\x01\x1f\x7f\n\t\r\"\\",   "\xc2\x80\xc2\x85\xc2\x9f\xc2\xa0",
        "\xe2\x80\xa8\xe2\x80\xa9", "\xef\xbb\xbf\xef\xbf\xbd\xef\xbf\xbe\xef\xbf\xbf",
        "\xf0\x9f\x98\x80",         "\xee\x80\xa8"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char assignment[96], *yaml;
        sol_config *c, *again;
        ck_ok(sol_config_create(&c, err));
        snprintf(assignment, sizeof assignment, "train.sample_prompt=%s", texts[i]);
        ck_ok(sol_config_set(c, assignment, err));
        ck_ok(sol_config_write(c, &yaml, err));
        ck_ok(parse(&again, yaml, err));
        ck_assert_str_eq(again->train.sample_prompt, texts[i]);
        sol_free(yaml);
        sol_config_free(&c);
        sol_config_free(&again);
    }
}
END_TEST

START_TEST(reference_is_the_file_in_configs)
{
    char *made, *kept;
    size_t n;
    sol_config *c, *defaults;
    char *diff;
    bool fatal;
    ck_ok(sol_config_reference(NULL, &made, err));
    ck_ok(sol_file_read("configs/reference.yaml", &kept, &n, err));
    ck_assert_msg(
        strcmp(made, kept) == 0,
        "configs/reference.yaml is old: build/release/solera help config > configs/reference.yaml");
    ck_ok(parse(&c, made, err));
    ck_ok(sol_config_create(&defaults, err));
    ck_ok(sol_config_diff(c, defaults, c->train.steps, &diff, &fatal, err));
    ck_assert_str_eq(diff, "");
    sol_free(diff);
    sol_free(made);
    sol_free(kept);
    sol_config_free(&c);
    sol_config_free(&defaults);
    ck_ok(sol_config_reference("optim", &made, err));
    ck_assert_ptr_null(strstr(made, "train:"));
    sol_free(made);
    ck_fails(sol_config_reference("optimizer", &made, err), SOL_ERR_USAGE,
             "no section or key 'optimizer'");
}
END_TEST

SOL_TEST_MAIN("config", tcase_add_test(tc, values_and_defaults);
              tcase_add_loop_test(tc, errors_say_where_what_and_what_else, 0,
                                  (int)(sizeof bad / sizeof bad[0]));
              tcase_add_loop_test(tc, plain_scalars, 0, (int)(sizeof scalars / sizeof scalars[0]));
              tcase_add_test(tc, texts_stay_texts); tcase_add_test(tc, errors_of_set);
              tcase_add_test(tc, writing_reads_back); tcase_add_test(tc, words_of_enum_keys);
              tcase_add_test(tc, word_of_no_enum_key); tcase_add_test(tc, difference_of_two_jobs);
              tcase_add_test(tc, length_after_some_steps); tcase_add_test(tc, mixtures_of_files);
              tcase_add_test(tc, any_text_reads_back);
              tcase_add_test(tc, reference_is_the_file_in_configs))
