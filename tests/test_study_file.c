/* study.h5: what is appended is read back, by us and by libhdf5; a crash or a resume costs no
 * counted record. */
#include "suite.h"

#include <hdf5.h>
#include <string.h>

#include "store/study_file.h"

enum { LAYERS = 3, WIDTH = 5, COLUMNS = 3 };

static const sol_study_column columns[COLUMNS] = {
    {"/step", SOL_STUDY_U64, false, 1, "step", "Step"},
    {"/measures/a", SOL_STUDY_F32, true, 1, "1", "A"},
    {"/histograms/h", SOL_STUDY_U32, true, WIDTH, "weights", "H"},
};

static char dir[64], path[96];

static void setup(void)
{
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/study.h5", dir);
}

static void teardown(void)
{
    sol_test_dir_remove(dir);
}

static const sol_study_head head = {.method = "sherry",
                                    .granularity = "per_group",
                                    .block_layout = "contiguous",
                                    .group_size = 32,
                                    .every = 50,
                                    .steps = 500,
                                    .sample_rows = 256};

static sol_study_layer layer(int i)
{
    sol_study_layer l = {.block = i,
                         .rows = 8 + i,
                         .cols = 16 + i,
                         .weight_rows = 7 + i,
                         .token_rows = 4 + i,
                         .w_range = 0.5 + i};
    snprintf(l.name, sizeof l.name, "model.layers.%d.mlp.up_proj.weight", i);
    return l;
}

static void create(sol_study_file **f, int64_t capacity, const sol_study_file *from)
{
    sol_study_layer layers[LAYERS];
    for (int i = 0; i < LAYERS; i++) layers[i] = layer(i);
    ck_ok(sol_study_file_create(f, path, &head, layers, LAYERS, columns, COLUMNS, capacity, from,
                                err));
}

/* Record i holds numbers that say where they belong. */
static void append(sol_study_file *f, int i)
{
    uint64_t step = (uint64_t)i * 50;
    float a[LAYERS];
    uint32_t h[LAYERS * WIDTH];
    for (int l = 0; l < LAYERS; l++) a[l] = (float)(i * 10 + l);
    for (int k = 0; k < LAYERS * WIDTH; k++) h[k] = (uint32_t)(i * 100 + k);
    const void *rows[COLUMNS] = {&step, a, h};
    ck_ok(sol_study_file_append(f, rows, err));
}

static void check_records(const sol_study_file *f, int n)
{
    uint64_t step[16];
    float a[16 * LAYERS];
    uint32_t h[LAYERS * WIDTH];
    ck_assert_int_eq(sol_study_file_records(f), n);
    ck_ok(sol_study_file_read(f, 0, 0, n, step, err));
    ck_ok(sol_study_file_read(f, 1, 0, n, a, err));
    for (int i = 0; i < n; i++) {
        ck_assert_uint_eq(step[i], (uint64_t)i * 50);
        for (int l = 0; l < LAYERS; l++) ck_assert_float_eq(a[i * LAYERS + l], (float)(i * 10 + l));
        ck_ok(sol_study_file_read(f, 2, i, 1, h, err));
        for (int k = 0; k < LAYERS * WIDTH; k++) ck_assert_uint_eq(h[k], (uint32_t)(i * 100 + k));
    }
    ck_fails(sol_study_file_read(f, 0, n, 1, step, err), SOL_ERR_RANGE, "are not among");
}

START_TEST(round_trip)
{
    sol_study_file *f;
    int n;
    create(&f, 4, NULL);
    check_records(f, 0);
    for (int i = 0; i < 4; i++) append(f, i);
    check_records(f, 4);
    const void *rows[COLUMNS] = {NULL};
    ck_fails(sol_study_file_append(f, rows, err), SOL_ERR_RANGE, "is full with 4 records");
    sol_study_file_close(&f);
    ck_ok(sol_study_file_open(&f, path, false, columns, COLUMNS, err));
    check_records(f, 4);
    const sol_study_layer *layers = sol_study_file_layers(f, &n);
    ck_assert_int_eq(n, LAYERS);
    for (int i = 0; i < LAYERS; i++) {
        const sol_study_layer want = layer(i), *has = &layers[i];
        ck_assert_str_eq(has->name, want.name);
        ck_assert_int_eq(has->block, want.block);
        ck_assert_int_eq(has->rows, want.rows);
        ck_assert_int_eq(has->cols, want.cols);
        ck_assert_int_eq(has->weight_rows, want.weight_rows);
        ck_assert_int_eq(has->token_rows, want.token_rows);
        ck_assert_double_eq(has->w_range, want.w_range);
    }
    const sol_study_head *h = sol_study_file_head(f);
    ck_assert_str_eq(h->method, head.method);
    ck_assert_str_eq(h->granularity, head.granularity);
    ck_assert_str_eq(h->block_layout, head.block_layout);
    ck_assert_int_eq(h->group_size, head.group_size);
    ck_assert_int_eq(h->every, head.every);
    ck_assert_int_eq(h->steps, head.steps);
    ck_assert_int_eq(h->sample_rows, head.sample_rows);
    sol_study_file_close(&f);
}
END_TEST

START_TEST(cut_and_grow)
{
    sol_study_file *f, *g;
    create(&f, 3, NULL);
    for (int i = 0; i < 3; i++) append(f, i);
    ck_ok(sol_study_file_cut(f, 2, err));
    ck_ok(sol_study_file_cut(f, 7, err)); /* more than there are: nothing to do */
    check_records(f, 2);
    create(&g, 6, f);
    sol_study_file_close(&f);
    check_records(g, 2);
    for (int i = 2; i < 6; i++) append(g, i);
    sol_study_file_close(&g);
    ck_ok(sol_study_file_open(&g, path, true, columns, COLUMNS, err));
    ck_assert_int_eq(sol_study_file_capacity(g), 6);
    check_records(g, 6);
    sol_study_file_close(&g);
}
END_TEST

/* A process that dies inside a record has written some of its rows, but not counted it: what it
 * left is written over. */
START_TEST(half_a_record)
{
    sol_study_file *f;
    create(&f, 4, NULL);
    append(f, 0);
    append(f, 1);
    append(f, 7);
    ck_ok(sol_study_file_cut(f, 2, err)); /* rows of record 2 are there, the count is not */
    sol_study_file_close(&f);
    ck_ok(sol_study_file_open(&f, path, true, columns, COLUMNS, err));
    check_records(f, 2);
    append(f, 2);
    check_records(f, 3);
    sol_study_file_close(&f);
}
END_TEST

START_TEST(libhdf5_reads)
{
    sol_study_file *f;
    float a[4 * LAYERS];
    hsize_t dims[2];
    create(&f, 4, NULL);
    append(f, 0);
    append(f, 1);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT),
          set = H5Dopen2(file, "/measures/a", H5P_DEFAULT);
    ck_assert(file >= 0 && set >= 0);
    hid_t space = H5Dget_space(set);
    ck_assert_int_eq(H5Sget_simple_extent_dims(space, dims, NULL), 2);
    ck_assert(dims[0] == 4 && dims[1] == LAYERS);
    ck_assert(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, a) >= 0);
    ck_assert_float_eq(a[LAYERS + 2], 12);
    ck_assert_float_eq(a[2 * LAYERS], 0);
    H5Sclose(space);
    H5Dclose(set);
    H5Fclose(file);
    sol_study_file_close(&f);
}
END_TEST

START_TEST(bad_files)
{
    static const sol_study_column other[] = {{"/nothing", SOL_STUDY_F32, false, 1, "", ""}};
    static const sol_study_column wide[] = {
        {"/histograms/h", SOL_STUDY_U32, true, WIDTH + 1, "", ""}};
    sol_study_file *f;
    char *data;
    size_t size;
    ck_fails(sol_study_file_open(&f, path, false, columns, COLUMNS, err), SOL_ERR_IO,
             "study.h5: cannot open");
    create(&f, 4, NULL);
    append(f, 0);
    sol_study_file_close(&f);
    ck_assert_ptr_null(f);
    ck_fails(sol_study_file_open(&f, path, false, other, 1, err), SOL_ERR_FORMAT,
             "has no /nothing");
    ck_fails(sol_study_file_open(&f, path, false, wide, 1, err), SOL_ERR_SHAPE,
             "expected [any, 3, 6]");
    ck_ok(sol_file_read(path, &data, &size, err));
    for (size_t n = 0; n < size;
         n += size / 64 + 1) { /* cut short anywhere: an error, never a crash */
        ck_ok(sol_file_write(path, data, n, err));
        sol_err e = {0};
        ck_assert_msg(sol_study_file_open(&f, path, false, columns, COLUMNS, &e) != SOL_OK,
                      "%zu of %zu bytes", n, size);
        ck_assert_ptr_null(f);
        ck_assert_ptr_nonnull(strstr(e.text, "study.h5"));
    }
    sol_free(data);
}
END_TEST

SOL_TEST_MAIN("study file", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, round_trip); tcase_add_test(tc, cut_and_grow);
              tcase_add_test(tc, half_a_record); tcase_add_test(tc, libhdf5_reads);
              tcase_add_test(tc, bad_files))
