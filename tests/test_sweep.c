/* The sweep file: points and grid as a list of jobs, and what is refused. */
#include "suite.h"

#include <string.h>

static char dir[64], file[96];

static void setup(void)
{
    char job[96];
    static const char text[] = "model: {init: m.h5}\ndata: {train: d.h5}\noptim: {lr: 0.5}\n";
    sol_test_dir_make(dir);
    snprintf(job, sizeof job, "%s/job.yaml", dir);
    snprintf(file, sizeof file, "%s/sweep.yaml", dir);
    ck_ok(sol_file_write(job, text, sizeof text - 1, err));
}

static void teardown(void)
{
    sol_test_dir_remove(dir);
}

static sol_status read_text(sol_sweep **s, const char *text, const sol_sweep_opts *o, sol_err *err)
{
    if (sol_file_write(file, text, strlen(text), err) != SOL_OK) return SOL_ERR_LIBRARY;
    return sol_sweep_read(s, file, o, err);
}

#define HEAD "base: job.yaml\ndir: runs/a\nseeds: [4, 9]\n"

START_TEST(points_times_grid)
{
    sol_sweep *s;
    sol_config *c;
    static const char *const names[] = {"one_32_0.1", "one_32_2e-3", "one_64_0.1", "one_64_2e-3",
                                        "b-c_32_0.1", "b-c_32_2e-3", "b-c_64_0.1", "b-c_64_2e-3"};
    ck_ok(read_text(&s,
                    HEAD "set: {train.steps: 7, optim.lr: 0.3}\npoints:\n  one:\n  b c: "
                         "{residual.schedule: none, train.steps: 8}\n"
                         "grid: {quant.group_size: [32, 64], optim.lr: [0.1, 2e-3]}\nagainst: "
                         "one_64_0.1\nmeasures: [nmse]\n",
                    NULL, err));
    ck_assert_int_eq(s->n_points, 8);
    for (int i = 0; i < 8; i++) ck_assert_str_eq(s->point[i].name, names[i]);
    ck_assert_int_eq(s->n_columns, 3);
    ck_assert_str_eq(s->column[2], "optim.lr");
    ck_assert_str_eq(s->point[5].cell[0], "b c");
    ck_assert_str_eq(s->point[5].cell[1], "32");
    ck_assert_str_eq(s->point[5].cell[2], "2e-3");
    ck_assert_int_eq(s->against, 2);
    ck_assert_int_eq(s->jobs, 1);
    ck_assert(s->keep_checkpoints);
    ck_ok(sol_sweep_job(s, 5, 1, &c, err));
    ck_assert_str_eq(c->run.dir, "runs/a/b-c_32_2e-3/seed-9");
    ck_assert_int_eq(c->run.seed, 9);
    ck_assert_int_eq(c->train.steps, 8);
    ck_assert_int_eq(c->quant.group_size, 32);
    ck_assert(c->optim.lr == 2e-3);
    ck_assert_int_eq(c->residual.schedule, SOL_RESIDUAL_NONE);
    ck_assert_str_eq(c->model.init, "m.h5");
    sol_config_free(&c);
    sol_sweep_free(&s);
    ck_assert_ptr_null(s);
}
END_TEST

START_TEST(one_point_and_the_command_line)
{
    sol_sweep *s;
    sol_config *c;
    static const char *const set[] = {"train.steps=3", "optim.lr=0.25"};
    char job[96];
    snprintf(job, sizeof job, "%s/job.yaml", dir);
    sol_sweep_opts o = {.base = job, .dir = "elsewhere", .jobs = 5, .set = set, .n_set = 2};
    ck_ok(read_text(&s, "seeds: [1]\nset: {train.steps: 9}\nkeep_checkpoints: false\n", &o, err));
    ck_assert_int_eq(s->n_points, 1);
    ck_assert_int_eq(s->n_columns, 0);
    ck_assert_int_eq(s->jobs, 5);
    ck_assert_int_eq(s->against, -1);
    ck_assert(!s->keep_checkpoints);
    ck_ok(sol_sweep_job(s, 0, 0, &c, err));
    ck_assert_str_eq(c->run.dir, "elsewhere/job/seed-1");
    ck_assert_int_eq(c->train.steps, 3);
    ck_assert(c->optim.lr == 0.25);
    sol_config_free(&c);
    sol_sweep_free(&s);
}
END_TEST

static const struct {
    const char *text, *part;
} bad[] = {
    {"", "is empty"},
    {"[1, 2]", "sweep: expected a mapping"},
    {"dir: a\nseeds: [1]\n", "has no base"},
    {"base: job.yaml\nseeds: [1]\n", "has no dir"},
    {"base: job.yaml\ndir: a\n", "has no seeds"},
    {"base: other.yaml\ndir: a\nseeds: [1]\n", "other.yaml: cannot open"},
    {HEAD "seeds: [1]\n", "sweep.yaml:4:1: sweep: 'seeds' is there twice"},
    {"base: job.yaml\ndir: a\nseeds: [1, 2, 1]\n", "sweep.yaml:3:15: seeds: 1 is there twice"},
    {"base: job.yaml\ndir: a\nseeds: [1, -2]\n", "sweep.yaml:3:12: seeds: expected a whole number"},
    {"base: job.yaml\ndir: a\nseeds: 1\n", "seeds: expected a list"},
    {HEAD "jobs: 0\n", "sweep.yaml:4:7: jobs: expected a whole number from 1 to 1024"},
    {HEAD "jobs: two\n", "jobs: expected"},
    {HEAD "keep_checkpoints: maybe\n", "sweep.yaml:4:19: keep_checkpoints: expected true or false"},
    {HEAD "grdi: {a.b: [1]}\n", "sweep.yaml:4:1: unknown key 'grdi'; did you mean 'grid'?"},
    {HEAD "zzzzzzzzz: 1\n", "unknown key 'zzzzzzzzz': one of base, dir"},
    {HEAD "grid: {optim.lr: 3}\n", "sweep.yaml:4:18: grid: optim.lr: expected a list of values"},
    {HEAD "grid: {optim.lr: []}\n", "expected a list of values"},
    {HEAD "grid: {optim.lr: [[1]]}\n", "optim.lr: expected one value"},
    {HEAD "grid: {optim.lrs: [1]}\n", "sweep.yaml:4:8: "},
    {HEAD "grid: {optim.lr: [1, fast]}\n", "fast"},
    {HEAD "grid: {optim.lr: [1, 1]}\n",
     "sweep.yaml:4:22: grid: optim.lr: 1 and 1 are the same value"},
    {HEAD "grid: {optim.lr: [1, 0.001, .5, 1e-3]}\n",
     "sweep.yaml:4:33: grid: optim.lr: 0.001 and 1e-3 are the same value: take one of them out"},
    {HEAD "grid: {train.seq: [16, 0x10]}\n", "16 and 0x10 are the same value"},
    {HEAD "grid: {residual.warmup: [true, false, TRUE]}\n", "true and TRUE are the same value"},
    {HEAD "grid: {optim.weight_decay: [0, -0.0]}\n", "0 and -0.0 are the same value"},
    {HEAD "grid: {data.train: [\"a b\", a-b]}\n", "two points would share the directory a-b"},
    {HEAD "points: {a: {optim.lr: 1}, b: 3}\n",
     "sweep.yaml:4:31: points: expected a mapping of keys"},
    {HEAD "points: {}\n", "points: is empty"},
    {HEAD "points: {a b: , a-b: }\n", "two points would share the directory a-b"},
    {HEAD "points: {a: {run.dir: x}}\n", "run.dir: is set by the sweep"},
    {HEAD "set: {train.steps: 0}\n", "sweep.yaml:4:7: train.steps=0: "},
    {HEAD "set: {train.eval_every: 5}\n", "sweep.yaml: point job: "},
    {HEAD "points: {a: , b: }\nagainst: c\n",
     "sweep.yaml:5:10: against: expected the name of a point, as a"},
    {HEAD "measures: nmse\n", "measures: expected a list of names"},
    {HEAD "grid: {optim.lr: [1\n", "not YAML"},
    {HEAD "points: {\"a\\0b\": }\n", "points: expected a name"},
    {HEAD "points: {.: }\n", "sweep.yaml:4:10: points: '.' is no name of a directory"},
    {HEAD "points: {..: }\n", "points: '..' is no name of a directory"},
    {HEAD "points: {...: }\n", "points: '...' is no name of a directory"},
    {HEAD "points: {a/b: }\n", "points: 'a/b': a name holds no slash"},
    {HEAD "points: {/etc: }\n", "points: '/etc': a name holds no slash"},
    {HEAD "points: {'a\\b': }\n", "a name holds no slash"},
    {HEAD "points: {a|b: }\n", "no bar"},
    {HEAD "points: {\"a\\tb\": }\n", "no control character"},
    {HEAD "points: {\"a\\x1b[2J\": }\n", "no control character"},
    {HEAD "points: {\"a\\nb\": }\n", "no control character"},
    {HEAD "points: {table.md: }\n", "a point cannot have the directory 'table.md'"},
    {HEAD "points: {Table.CSV: }\n", "a point cannot have the directory 'Table.CSV'"},
    {HEAD "points: {table.md.tmp: }\n", "a point cannot have the directory 'table.md.tmp'"},
    {HEAD "points: {index.html: }\n", "a point cannot have the directory 'index.html'"},
    {HEAD "points: {a: , A: }\n",
     "two points would share the directory A where capital letters do not count"},
    {HEAD "points: {\"\": }\n", "points: expected a name"},
    {HEAD "points: {a: , a: }\n", "points: 'a' is there twice"},
    {HEAD "grid: {data.train: [.., a]}\n", "a point cannot have the directory '..'"},
    {HEAD "grid: {data.train: [table.md]}\n", "a point cannot have the directory 'table.md'"},
    {HEAD "grid: {data.train: [\"a\\nb\"]}\n", "a value holds no bar and no control character"},
    {HEAD "grid: {data.train: [~/a.h5]}\n", "~ is not expanded"},
    {HEAD "grid: {train.steps: [\"5\"]}\n", "\"5\" is a text, not a whole number"},
    {HEAD "grid: {train.steps: [1_0]}\n", "write it without _"},
    {HEAD "set: {data.train: \"null\"}\n", "the text \"null\" cannot be set by a sweep"},
    {"base: ~/job.yaml\ndir: a\nseeds: [1]\n",
     "sweep.yaml:1:7: base: '~/job.yaml': ~ is not expanded"},
    {"base: job.yaml\ndir: $HOME/a\nseeds: [1]\n",
     "sweep.yaml:2:6: dir: '$HOME/a': $NAME is not expanded"},
    {"base: job.yaml\ndir: a\nseeds: [\"1\"]\n", "seeds: expected a whole number"},
    {"base: job.yaml\ndir: a\nseeds: [010]\n", "seeds: expected a whole number"},
    {HEAD "keep_checkpoints: yes\n", "keep_checkpoints: expected true or false"},
    {HEAD "grid: [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]\n",
     "sweep.yaml:4:14: is nested deeper than 8 levels"},
    {"base: &a job.yaml\ndir: *a\n", "sweep.yaml:1:7: anchors (&) are not supported"},
    {"base: !x job.yaml\n", "sweep.yaml:1:7: tags (!) are not supported"},
    {HEAD "---\nbase: x\n", "sweep.yaml:4:1: a sweep holds one document, a second one starts here"},
};

START_TEST(what_is_refused)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sol_sweep *s;
        ck_fails(read_text(&s, bad[i].text, NULL, err),
                 strstr(bad[i].part, "cannot open") ? SOL_ERR_IO : SOL_ERR_CONFIG, bad[i].part);
        ck_assert_ptr_null(s);
    }
}
END_TEST

/* As many brackets, keys or bytes as one likes: an error at once. */
START_TEST(hostile_sizes)
{
    static const struct {
        const char *unit;
        int n;
        const char *part;
    } rows[] = {
        {"[", 220000, "is nested deeper than 8 levels"},
        {"- ", 220000, "is nested deeper than 8 levels"},
        {"{a: ", 220000, "is nested deeper than 8 levels"},
        {"a: &a\n", 100000, "anchors"},
        {"%TAG !a! x\n", 90000, "tags (%TAG)"},
        {"k: 1\n", 200000, "more than 10000 entries"},
        {"# a comment\n", 100000, "has 1200000 bytes; no job or sweep has more than 1048576"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len = strlen(rows[i].unit);
        char *text = malloc(len * (size_t)rows[i].n + 1);
        sol_sweep *s;
        for (int k = 0; k < rows[i].n; k++) memcpy(text + len * (size_t)k, rows[i].unit, len);
        text[len * (size_t)rows[i].n] = 0;
        ck_fails(read_text(&s, text, NULL, err), SOL_ERR_CONFIG, rows[i].part);
        free(text);
    }
}
END_TEST

START_TEST(a_byte_order_mark_and_other_words)
{
    sol_sweep *s;
    ck_ok(read_text(&s,
                    "\xef\xbb\xbf" HEAD
                    "keep_checkpoints: False\njobs: 0x2\npoints: {a: ~, b c: null, d: }\n",
                    NULL, err));
    ck_assert(!s->keep_checkpoints);
    ck_assert_int_eq(s->jobs, 2);
    ck_assert_int_eq(s->n_points, 3);
    sol_sweep_free(&s);
}
END_TEST

START_TEST(too_many_points)
{
    char text[4096] = HEAD "grid:\n";
    static const char *const keys[] = {"optim.lr", "optim.eps", "optim.beta1", "optim.beta2",
                                       "optim.weight_decay"};
    for (int i = 0; i < 5; i++)
        sprintf(text + strlen(text), "  %s: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]\n", keys[i]);
    sol_sweep *s;
    ck_fails(read_text(&s, text, NULL, err), SOL_ERR_CONFIG,
             "grid: has more than 10000 combinations");
}
END_TEST

SOL_TEST_MAIN("sweep", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, points_times_grid);
              tcase_add_test(tc, one_point_and_the_command_line);
              tcase_add_test(tc, what_is_refused); tcase_add_test(tc, too_many_points);
              tcase_add_test(tc, hostile_sizes);
              tcase_add_test(tc, a_byte_order_mark_and_other_words))
