/* The report of runs with made-up records: the page stands alone, says what the numbers say, and
 * survives any name. */
#include "suite.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "study/plot.h"
#include "study/seeds.h"
#include "../train/metrics.h"

enum { LAYERS = 3, RECORDS = 5 };

static char dir[64], path[96], out[96];

static void setup(void)
{
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/study.h5", dir);
    snprintf(out, sizeof out, "%s/report", dir);
}

static void teardown(void)
{
    sol_test_dir_remove(dir);
}

static bool have_gnuplot(void)
{
    if (sol_plot_available(NULL) == SOL_OK) return true;
    printf("skipped: gnuplot is not installed\n");
    return false;
}

/* `trapped` of the mass sits near alpha at the end, in layer 1 twice that; NaN where a real first
 * record has NaN. */
static void make_file_of(int records, double trapped)
{
    sol_study_head head = {.method = "sherry",
                           .granularity = "per_group",
                           .block_layout = "contiguous",
                           .group_size = 32,
                           .every = 10,
                           .steps = 45,
                           .sample_rows = 256};
    static const char *const names[LAYERS] = {"model.layers.0.self_attn.q_proj.weight",
                                              "model.layers.0.mlp.down_proj.weight",
                                              "model.layers.1.mlp.up_proj.weight"};
    sol_study_layer layers[LAYERS];
    sol_study_file *f;
    for (int i = 0; i < LAYERS; i++) {
        layers[i] = (sol_study_layer){.block = i / 2,
                                      .rows = 32,
                                      .cols = 32,
                                      .weight_rows = 32,
                                      .token_rows = 16,
                                      .w_range = 0.1};
        snprintf(layers[i].name, sizeof layers[i].name, "%s", names[i]);
    }
    ck_ok(sol_study_file_create(&f, path, &head, layers, LAYERS, sol_study_columns,
                                SOL_STUDY_COLUMNS, RECORDS, NULL, err));
    for (int r = 0; r < records; r++) {
        /* The last one comes early. */
        uint64_t step = r < 4 ? (uint64_t)r * 10 : 31, tokens = step * 64;
        double lambda = 1 - r / 4.0, lr = 1e-3, loss = 3 - 0.3 * r;
        static float measure[SOL_MEASURE_COUNT][LAYERS];
        static uint32_t hist[SOL_HIST_KINDS][LAYERS * SOL_HIST_LOG2_BINS];
        const void *rows[SOL_STUDY_COLUMNS] = {&step, &tokens, &lambda, &lr, &loss};
        memset(hist, 0, sizeof hist);
        for (int m = 0; m < SOL_MEASURE_COUNT; m++) {
            for (int l = 0; l < LAYERS; l++) measure[m][l] = 0.01f * (float)(m + l + r);
            rows[SOL_STUDY_MEASURES + m] = measure[m];
        }
        for (int l = 0; l < LAYERS; l++) {
            measure[SOL_M_near_alpha][l] = (float)((l == 1 ? 2 : 1) * trapped * r / 4);
            measure[SOL_M_valley_mass][l] = (float)(0.2 - trapped * r / 8);
            measure[SOL_M_zero_flips][l] = r == 0 ? NAN : r == 4 ? 0.9f : 0.25f;
        }
        for (int k = 0; k < SOL_HIST_KINDS; k++) {
            for (int l = 0; l < LAYERS; l++)
                for (int b = 0; b < sol_hist_bins(k); b++)
                    hist[k][l * sol_hist_bins(k) + b] = (uint32_t)(b % 7 + r);
            rows[SOL_STUDY_HISTOGRAMS + k] = hist[k];
        }
        ck_ok(sol_study_file_append(f, rows, err));
    }
    sol_study_file_close(&f);
}

static void make_file(double trapped)
{
    make_file_of(RECORDS, trapped);
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (const char *s = text; (s = strstr(s, part)); s += strlen(part)) n++;
    return n;
}

static char *read_page(const char *name)
{
    char file[160], *text;
    size_t n;
    snprintf(file, sizeof file, "%s/%s", out, name);
    ck_ok(sol_file_read(file, &text, &n, err));
    return text;
}

START_TEST(means_and_comparable_records)
{
    sol_study_run run;
    make_file(0.2);
    ck_ok(sol_study_run_read(&run, path, "x", err));
    ck_assert_double_eq_tol(sol_study_mean(&run, SOL_M_near_alpha, 4), (0.2 + 0.4 + 0.2) / 3, 1e-6);
    ck_assert(isnan(sol_study_mean(&run, SOL_M_zero_flips, 0)));
    ck_assert_double_eq_tol(sol_study_first(&run, SOL_M_zero_flips), 0.25, 1e-6);
    /* Not the 0.9 of the short interval. */
    ck_assert_double_eq_tol(sol_study_last(&run, SOL_M_zero_flips), 0.25, 1e-6);
    ck_assert_double_eq_tol(sol_study_last(&run, SOL_M_near_alpha), 0.8 / 3, 1e-6);
    ck_assert_int_eq(run.n_slices, 5);
    ck_assert_int_eq(run.slice[4], 4);
    run.step[4] = 60; /* nor of a longer one, which a resume with another study.every has */
    ck_assert_double_eq_tol(sol_study_last(&run, SOL_M_zero_flips), 0.25, 1e-6);
    run.step[4] = 40;
    ck_assert_double_eq_tol(sol_study_last(&run, SOL_M_zero_flips), 0.9, 1e-6);
    sol_study_run_free(&run);
}
END_TEST

START_TEST(page_stands_alone)
{
    static const char *const figures[] = {"flips_rank",      "trapping",   "heat_near_alpha",
                                          "heat_zero_flips", "heat_er_dw", "layers",
                                          "powers",          "kinds",      "layer_002"};
    static const char *const kinds[] = {"svg", "png", "gp"};
    sol_study_run runs[2];
    char file[200];
    if (!have_gnuplot()) return;
    make_file(0.2);
    ck_ok(sol_study_run_read(&runs[0], path, "'a<b>&\"'$1`id` it's\\", err));
    ck_ok(sol_study_run_read(&runs[1], path, "second", err));
    runs[0].curve.eval_digest = runs[1].curve.eval_digest = 1;
    ck_ok(sol_report_write(runs, 2, out, err));
    char *page = read_page("index.html");
    ck_assert_ptr_null(strstr(page, "Not comparable"));
    sol_free(page);
    runs[1].curve.eval_digest = 2;
    ck_ok(sol_report_write(runs, 2, out, err));
    page = read_page("index.html");
    ck_assert_ptr_nonnull(strstr(page, "<b>Not comparable:</b> these runs differ in data.eval"));
    ck_assert_ptr_null(strstr(page, "<script"));
    ck_assert_ptr_null(strstr(page, "a<b>"));
    ck_assert_ptr_nonnull(strstr(page, "a&lt;b&gt;&amp;&quot;"));
    /* Nothing is loaded: addresses occur in names of XML spaces only. */
    ck_assert_int_eq(count(page, "http"),
                     count(page, "xmlns=\"http") + count(page, "xmlns:xlink=\"http"));
    ck_assert_int_eq(count(page, "src="), 0);
    ck_assert_int_eq(count(page, "<svg"), 11);
    ck_assert_int_eq(count(page, "<svg"), count(page, "</svg>"));
    ck_assert_int_eq(count(page, "<table"), count(page, "</table>"));
    ck_assert_int_eq(count(page, " id=\"gnuplot_canvas\"") + count(page, " id='gpDot'"), 0);
    ck_assert_ptr_nonnull(strstr(page, "pile up at two magnitudes: trapped"));
    ck_assert_ptr_nonnull(strstr(page, "layer 0 down (0.400)"));
    sol_free(page);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        for (int k = 0; k < 3; k++) {
            snprintf(file, sizeof file, "%s/%s.%s", out, figures[i], kinds[k]);
            ck_assert_msg(sol_file_exists(file), "%s", file);
        }
    char *heat = read_page("heat_zero_flips.gp");
    ck_assert_int_gt(count(heat, " 0.25"), 0);
    /* Flips of the short interval. */
    ck_assert_int_eq(count(heat, " 0.9\n") + count(heat, " 0.9 "), 0);
    sol_free(heat);
    char *csv = read_page("measures.csv");
    ck_assert_int_eq(count(csv, "\n"), 1 + 2 * RECORDS);
    ck_assert_ptr_nonnull(strstr(csv, "\"'a<b>&\"\"'$1`id` it's\\\",0,1,3,"));
    sol_free(csv);
    snprintf(file, sizeof file, "%s/gnuplot.log", out);
    ck_assert(!sol_file_exists(file));
    sol_study_run_free(&runs[0]);
    sol_study_run_free(&runs[1]);
}
END_TEST

/* Two seeds of a job and a run of another one: two points, means, extremes; a seed that ended early
 * stands alone. */
START_TEST(seeds_are_joined)
{
    sol_study_run runs[4], joined[4] = {0};
    int place[4], n;
    const char *const names[] = {"x/seed-1", "x/seed-2", "y", "x/seed-3"};
    for (int i = 0; i < 4; i++) {
        make_file_of(i == 3 ? 4 : RECORDS, i == 1 ? 0.4 : 0.2);
        ck_ok(sol_study_run_read(&runs[i], path, names[i], err));
        runs[i].recipe = (sol_study_recipe){
            .known = true, .job = i == 2 ? 7 : 5, .steps = 123456, .seed = i + 1};
    }
    ck_ok(sol_study_join_seeds(runs, 4, joined, &n, place, err));
    ck_assert_int_eq(n, 3);
    ck_assert(place[0] == 0 && place[1] == 0 && place[2] == 1 && place[3] == 2);
    ck_assert_str_eq(joined[0].name, "x");
    ck_assert_str_eq(joined[1].name, "y");
    ck_assert_str_eq(joined[2].name, "x/seed-3");
    ck_assert_int_eq(joined[0].n_seeds, 2);
    ck_assert_int_eq(joined[1].n_seeds, 0);
    double a = sol_study_mean(&runs[0], SOL_M_near_alpha, 4),
           b = sol_study_mean(&runs[1], SOL_M_near_alpha, 4);
    ck_assert_double_eq_tol(sol_study_mean(&joined[0], SOL_M_near_alpha, 4), (a + b) / 2, 1e-6);
    ck_assert_double_eq_tol(joined[0].low[SOL_M_near_alpha][4], a, 1e-6);
    ck_assert_double_eq_tol(joined[0].high[SOL_M_near_alpha][4], b, 1e-6);
    ck_assert(isnan(joined[0].high[SOL_M_zero_flips][0]));
    ck_assert_uint_eq(joined[0].hist[SOL_HIST_W][5], runs[0].hist[SOL_HIST_W][5]);
    if (have_gnuplot()) {
        ck_ok(sol_report_write(runs, 3, out, err));
        char *page = read_page("index.html");
        ck_assert_ptr_nonnull(strstr(page, "<td class=\"n\">123456</td>"));
        ck_assert_ptr_nonnull(strstr(page, "<td class=\"n\">1, 2</td>"));
        ck_assert_ptr_nonnull(strstr(page, "a band from the lowest seed to the highest"));
        sol_free(page);
    }
    for (int i = 0; i < 4; i++) sol_study_run_free(&runs[i]);
    for (int i = 0; i < n; i++) sol_study_run_free(&joined[i]);
}
END_TEST

/* No seeds of one job: runs that saw other data under one name, and a run beside its own copy. */
START_TEST(what_is_no_other_seed)
{
    static const struct {
        uint64_t model, teacher, data, eval;
        int64_t seed;
        int n;
    } second[] = {{3, 4, 5, 6, 2, 1}, {0, 0, 0, 0, 2, 1}, {7, 4, 5, 6, 2, 2}, {3, 7, 5, 6, 2, 2},
                  {3, 4, 7, 6, 2, 2}, {3, 4, 5, 7, 2, 2}, {3, 4, 5, 6, 1, 2}};
    for (size_t k = 0; k < sizeof second / sizeof *second; k++) {
        sol_study_run runs[2], joined[2] = {0};
        int place[2], n;
        make_file_of(RECORDS, 0.2);
        for (int i = 0; i < 2; i++) {
            ck_ok(sol_study_run_read(&runs[i], path, i ? "b" : "a", err));
            runs[i].recipe = (sol_study_recipe){.known = true, .job = 5};
            runs[i].recipe.seed = i ? second[k].seed : 1;
            runs[i].curve.model_digest = i ? second[k].model : 3;
            runs[i].curve.teacher_digest = i ? second[k].teacher : 4;
            runs[i].curve.data_digest = i ? second[k].data : 5;
            runs[i].curve.eval_digest = i ? second[k].eval : 6;
        }
        ck_ok(sol_study_join_seeds(runs, 2, joined, &n, place, err));
        ck_assert_int_eq(n, second[k].n);
        for (int i = 0; i < 2; i++) sol_study_run_free(&runs[i]);
        for (int i = 0; i < n; i++) sol_study_run_free(&joined[i]);
    }
}
END_TEST

START_TEST(losses_make_one_more_figure)
{
    sol_study_run run;
    if (!have_gnuplot()) return;
    make_file(0.05);
    ck_ok(sol_study_run_read(&run, path, "x", err));
    run.curve.n = 1300; /* more than the points of a curve */
    run.curve.n_evals = 2;
    double **arrays[] = {&run.curve.step,      &run.curve.loss,      &run.curve.lambda,
                         &run.curve.eval_step, &run.curve.eval_loss, &run.curve.packed_loss,
                         &run.curve.lr};
    for (int k = 0; k < 7; k++) {
        ck_ok(sol_alloc_array((void **)arrays[k], 1300, sizeof(double), err));
        for (int i = 0; i < 1300; i++)
            (*arrays[k])[i] = k == 0 || k == 3 ? i : i == 7 ? NAN : 1.0 / (i + 1);
    }
    ck_ok(sol_report_write(&run, 1, out, err));
    char *page = read_page("index.html");
    ck_assert_int_eq(count(page, "<svg"), 12);
    ck_assert_ptr_nonnull(strstr(page, "no pile-up"));
    sol_free(page);
    sol_study_run_free(&run);
}
END_TEST

START_TEST(where_a_run_diverged)
{
    double step[] = {1, 2, 3, 4, 5}, records[] = {0, 2, 4};
    static const struct {
        double loss[5];
        int n, first, from;
    } cases[] = {{{3, 2, 1, 1, 1}, 0, -1, -1},
                 {{3, NAN, 2, INFINITY, 1}, 2, 2, -1},
                 {{3, 2, NAN, NAN, NAN}, 3, 3, 3},
                 {{3, NAN, 2, NAN, NAN}, 3, 2, 4},
                 {{NAN, NAN, NAN, NAN, NAN}, 5, 1, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double loss[5];
        memcpy(loss, cases[i].loss, sizeof loss);
        sol_study_run run = {.curve = {.n = 5, .step = step, .loss = loss}};
        sol_study_divergence d = sol_study_find_divergence(&run);
        ck_assert_int_eq(d.n, cases[i].n);
        ck_assert_int_eq((int)d.first, cases[i].first);
        ck_assert_int_eq((int)d.from, cases[i].from);
    }
    double loss[] = {3, NAN, NAN}; /* records alone, without metrics.jsonl */
    sol_study_run run = {.n_records = 3, .step = records, .loss = loss};
    ck_assert_int_eq((int)sol_study_find_divergence(&run).first, 2);
    run.is_static = true;
    ck_assert_int_eq(sol_study_find_divergence(&run).n, 0);
}
END_TEST

/* A run that was stopped early: flips are of no record. */
START_TEST(one_record)
{
    sol_study_run run;
    if (!have_gnuplot()) return;
    make_file_of(1, 0.2);
    ck_ok(sol_study_run_read(&run, path, "short", err));
    ck_ok(sol_report_write(&run, 1, out, err));
    sol_study_run_free(&run);
    char *page = read_page("index.html");
    ck_assert_ptr_nonnull(strstr(page, "not measured in these records"));
    sol_free(page);
}
END_TEST

/* Ten layers are named of 21, of which all have their whole mass at alpha. */
START_TEST(layers_that_are_alike)
{
    sol_model_config c = {.vocab_size = 8,
                          .hidden_size = 16,
                          .intermediate_size = 16,
                          .num_hidden_layers = 3,
                          .num_attention_heads = 1,
                          .num_key_value_heads = 1,
                          .head_dim = 16,
                          .max_position_embeddings = 8,
                          .rms_norm_eps = 1e-5,
                          .rope_theta = 10000};
    sol_quant_spec view = {.method = sol_quantizer_find("sherry"), .granularity = SOL_PER_CHANNEL};
    sol_ctx *ctx;
    sol_model *model;
    sol_study_run run;
    if (!have_gnuplot()) return;
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_model_create(&model, &c, SOL_F32, err));
    for (int64_t i = 0; i < model->n_elements; i++)
        ((float *)model->data)[i] = i % 4 ? 0.5f : 0.01f;
    ck_ok(sol_study_run_static(&run, ctx, model, &view, "alike", err));
    ck_ok(sol_report_write(&run, 1, out, err));
    char *page = read_page("index.html");
    ck_assert_int_eq(count(page, "<span class=\"nb\">"), 10);
    sol_free(page);
    sol_study_run_free(&run);
    sol_model_free(&model);
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(without_gnuplot)
{
    sol_study_run run;
    make_file(0.2);
    ck_ok(sol_study_run_read(&run, path, "x", err));
    char *keep = strdup(getenv("PATH"));
    setenv("PATH", "/nowhere", 1);
    ck_fails(sol_report_write(&run, 1, out, err), SOL_ERR_UNSUPPORTED, "package gnuplot-nox");
    setenv("PATH", keep, 1);
    free(keep);
    ck_assert(!sol_file_exists(out));
    sol_study_run_free(&run);
}
END_TEST

START_TEST(a_script_that_fails)
{
    static const char *const names[] = {"bad"};
    char file[160], *log;
    size_t n;
    sol_plot p;
    if (!have_gnuplot()) return;
    sol_plot_begin(&p, "bad", 100, 100);
    sol_text_add(&p.draw, NULL, "nonsense\n");
    ck_ok(sol_plot_write(&p, dir, err));
    sol_plot_free(&p);
    ck_fails(sol_plot_run(dir, names, 1, err), SOL_ERR_LIBRARY, "invalid command");
    snprintf(file, sizeof file, "%s/gnuplot.log", dir);
    ck_ok(sol_file_read(file, &log, &n, err));
    ck_assert_ptr_nonnull(strstr(log, "bad.gp"));
    sol_free(log);
}
END_TEST

START_TEST(labels)
{
    char text[96];
    sol_study_layer l = {.name = "model.layers.12.self_attn.q_proj.weight", .block = 12};
    ck_assert_str_eq(sol_study_layer_label(&l, text, sizeof text), "12 q");
    memcpy(l.name, "lm_head.weight", 15);
    ck_assert_str_eq(sol_study_layer_label(&l, text, sizeof text), "lm_head.weight");
}
END_TEST

static sol_status read_calibration(const char *text, size_t n, int64_t *blocks, sol_err *why)
{
    sol_study_run run = {0};
    ck_ok(sol_file_write(path, text, n, err));
    sol_status st = sol_calibration_read(path, &run.calibration, why);
    *blocks = run.calibration.n;
    sol_study_run_free(&run);
    return st;
}

/* Zeros, as a crash leaves them in a file, end no calibration early. */
START_TEST(a_damaged_calibration)
{
    static const char good[] = "{\"windows\": 8}\n{\"block\": 0}\n{\"block\": 1}\n{\"blo",
                      bad[] = "{\"block\": 0}\n\0\0\n{\"block\": 1}\n";
    int64_t n;
    ck_ok(read_calibration(good, sizeof good - 1, &n, err));
    ck_assert_int_eq(n, 2);
    ck_fails(read_calibration(bad, sizeof bad - 1, &n, err), SOL_ERR_FORMAT,
             "study.h5:2: is no line of a calibration");
    ck_fails(read_calibration("[1]\n", 4, &n, err), SOL_ERR_FORMAT,
             ":1: is no line of a calibration");
}
END_TEST

SOL_TEST_MAIN("study report", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, means_and_comparable_records);
              tcase_add_test(tc, layers_that_are_alike); tcase_add_test(tc, page_stands_alone);
              tcase_add_test(tc, seeds_are_joined); tcase_add_test(tc, what_is_no_other_seed);
              tcase_add_test(tc, losses_make_one_more_figure); tcase_add_test(tc, one_record);
              tcase_add_test(tc, where_a_run_diverged); tcase_add_test(tc, without_gnuplot);
              tcase_add_test(tc, a_script_that_fails); tcase_add_test(tc, labels);
              tcase_add_test(tc, a_damaged_calibration))
