/* The container: what our writer makes, our reader and libhdf5 both read; what is damaged is
 * refused. */
#include "suite.h"

#include <hdf5.h>
#include <string.h>

#include "base/crc.h"
#include "h5/h5.h"

static char dir[64], path[96];

static void setup(void)
{
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a.h5", dir);
}

static void teardown(void)
{
    sol_test_dir_remove(dir);
}

/* A root, `groups` groups of `sets` datasets each: dataset j of group i holds j floats i + k. */
static void write_sample(int groups, int sets)
{
    sol_h5_writer *w;
    int id, first = 0;
    float data[64];
    ck_ok(sol_h5_create(&w, path, "solera-test", err));
    ck_ok(sol_h5_set_text(w, 0, "empty", "", err));
    ck_ok(sol_h5_set_text(w, 0, "config", "a: 1\nb: \"\xc3\xa9\"\n", err));
    for (int i = 0; i < groups; i++) {
        char name[64];
        snprintf(name, sizeof name, "/group-%d", i);
        ck_ok(sol_h5_group(w, name, &id, err));
        ck_ok(sol_h5_set_f64(w, id, "third", 1.0 / 3, err));
        ck_ok(sol_h5_set_i64(w, id, "minus", -5, err));
        for (int j = 0; j < sets; j++) {
            int64_t n = j;
            snprintf(name, sizeof name, "/group-%d/model.layers.%d.weight", i, j);
            ck_ok(sol_h5_dataset(w, name, SOL_H5_F32, 1, &n, &id, err));
            if (!first) first = id;
            ck_ok(sol_h5_set_u64(w, id, "index", (uint64_t)j, err));
        }
    }
    ck_ok(sol_h5_begin(w, err));
    for (int i = 0; i < groups; i++)
        for (int j = 0; j < sets; j++) {
            for (int k = 0; k < j; k++) data[k] = (float)(i + k);
            ck_ok(sol_h5_append(w, first + i * (sets + 1) + j, data, (size_t)j * 4, err));
        }
    ck_ok(sol_h5_commit(&w, err));
    ck_assert_ptr_null(w);
}

START_TEST(crc_known_answers)
{
    uint8_t zeros[32] = {0}, *long_one;
    ck_assert_uint_eq(sol_crc32c(0, "123456789", 9), 0xe3069283);
    ck_assert_uint_eq(sol_crc32c(0, zeros, 32), 0x8a9136aa);
    ck_ok(sol_alloc_array((void **)&long_one, 10007, 1, err));
    for (int i = 0; i < 10007; i++) long_one[i] = (uint8_t)(i * 37);
    uint32_t whole = sol_crc32c(0, long_one, 10007), parts = 0;
    for (int at = 0; at < 10007; at += 91)
        parts = sol_crc32c(parts, long_one + at, at + 91 > 10007 ? 10007 - (size_t)at : 91);
    ck_assert_uint_eq(whole, parts);
    sol_free(long_one);
}
END_TEST

START_TEST(our_reader_reads)
{
    sol_h5_file f;
    const char *text;
    int64_t i64;
    double f64;
    write_sample(3, 40);
    ck_ok(sol_h5_open(&f, path, err));
    ck_assert(f.sealed);
    ck_assert_uint_eq(f.tree.n, 1 + 3 + 3 * 40);
    ck_ok(sol_h5_get_text(&f, &f.tree.node[0], "config", &text, err));
    ck_assert_str_eq(text, "a: 1\nb: \"\xc3\xa9\"\n");
    ck_ok(sol_h5_get_text(&f, &f.tree.node[0], "empty", &text, err));
    ck_assert_str_eq(text, "");
    const sol_h5_node *n;
    ck_ok(sol_h5_need_group(&f, "/group-2", &n, err));
    ck_ok(sol_h5_get_f64(&f, n, "third", &f64, err));
    ck_assert(f64 == 1.0 / 3);
    ck_ok(sol_h5_get_i64(&f, n, "minus", -10, 0, &i64, err));
    ck_assert_int_eq(i64, -5);
    ck_fails(sol_h5_get_i64(&f, n, "minus", 0, 9, &i64, err), SOL_ERR_RANGE,
             "minus is -5, expected 0 to 9");
    ck_fails(sol_h5_get_i64(&f, n, "third", 0, 9, &i64, err), SOL_ERR_FORMAT,
             "third has type float64");
    ck_fails(sol_h5_get_text(&f, n, "none", &text, err), SOL_ERR_FORMAT,
             "/group-2: has no attribute none");
    int64_t shape = 17;
    float data[17];
    ck_ok(
        sol_h5_need_dataset(&f, "/group-1/model.layers.17.weight", SOL_H5_F32, 1, &shape, &n, err));
    ck_ok(sol_h5_read(&f, n, data, err));
    for (int k = 0; k < 17; k++) ck_assert(data[k] == (float)(1 + k));
    ck_assert_uint_eq(n->offset % 64, 0);
    shape = 18;
    ck_fails(
        sol_h5_need_dataset(&f, "/group-1/model.layers.17.weight", SOL_H5_F32, 1, &shape, &n, err),
        SOL_ERR_SHAPE, "has shape [17], expected [18]");
    ck_fails(sol_h5_need_dataset(&f, "/x", SOL_H5_F32, 1, &shape, &n, err), SOL_ERR_FORMAT,
             "has no /x");
    ck_fails(sol_h5_need_dataset(&f, "/group-1", SOL_H5_F32, 1, &shape, &n, err), SOL_ERR_FORMAT,
             "is a group");
    sol_h5_close(&f);
}
END_TEST

static herr_t count_object(hid_t object, const char *name, const H5O_info_t *info, void *count)
{
    (void)object, (void)name, (void)info;
    ++*(int *)count;
    return 0;
}

START_TEST(libhdf5_reads)
{
    int count = 0;
    float data[33];
    uint32_t crc;
    char config[16] = {0};
    write_sample(2, 40);
    hid_t f = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    ck_assert(f >= 0);
    ck_assert(H5Ovisit2(f, H5_INDEX_NAME, H5_ITER_NATIVE, count_object, &count, H5O_INFO_BASIC) >=
              0);
    ck_assert_int_eq(count, 1 + 2 + 80);
    hid_t d = H5Dopen2(f, "/group-1/model.layers.33.weight", H5P_DEFAULT),
          a = H5Aopen(d, "crc32c", H5P_DEFAULT);
    ck_assert(H5Dread(d, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    ck_assert(H5Aread(a, H5T_NATIVE_UINT32, &crc) >= 0);
    for (int k = 0; k < 33; k++) ck_assert(data[k] == (float)(1 + k));
    ck_assert_uint_eq(crc, sol_crc32c(0, data, sizeof data));
    H5Aclose(a);
    H5Dclose(d);
    a = H5Aopen(f, "config", H5P_DEFAULT);
    hid_t t = H5Aget_type(a);
    ck_assert_uint_le(H5Tget_size(t), sizeof config);
    ck_assert(H5Aread(a, t, config) >= 0);
    ck_assert_str_eq(config, "a: 1\nb: \"\xc3\xa9\"\n");
    H5Tclose(t);
    H5Aclose(a);
    ck_assert(H5Fclose(f) >= 0);
}
END_TEST

START_TEST(growing_dataset)
{
    uint16_t piece[1000];
    for (int pieces = 0; pieces < 4; pieces++) {
        sol_h5_writer *w;
        sol_h5_file f;
        const sol_h5_node *n;
        int id, tail;
        int64_t two = 2, any = -1;
        uint64_t ends[2] = {0, (uint64_t)pieces * 1000}, back[2];
        ck_ok(sol_h5_create(&w, path, "solera-test", err));
        ck_ok(sol_h5_growing(w, "/tokens", SOL_H5_U16, &id, err));
        ck_ok(sol_h5_begin(w, err));
        for (int p = 0; p < pieces; p++) {
            for (int i = 0; i < 1000; i++) piece[i] = (uint16_t)(p * 1000 + i);
            ck_ok(sol_h5_append(w, id, piece, sizeof piece, err));
        }
        ck_ok(sol_h5_dataset(w, "/ends", SOL_H5_U64, 1, &two, &tail, err));
        ck_ok(sol_h5_begin(w, err));
        ck_ok(sol_h5_append(w, tail, ends, sizeof ends, err));
        ck_ok(sol_h5_commit(&w, err));
        ck_ok(sol_h5_open(&f, path, err));
        ck_ok(sol_h5_need_dataset(&f, "/tokens", SOL_H5_U16, 1, &any, &n, err));
        ck_assert_uint_eq(n->dim[0], (uint64_t)pieces * 1000);
        ck_ok(sol_h5_verify(&f, n, err));
        if (pieces == 3)
            ck_assert_uint_eq(((const uint16_t *)(f.map.data + n->offset))[2345], 2345);
        ck_ok(sol_h5_need_dataset(&f, "/ends", SOL_H5_U64, 1, &two, &n, err));
        ck_ok(sol_h5_read(&f, n, back, err));
        ck_assert_uint_eq(back[1], ends[1]);
        sol_h5_close(&f);
    }
}
END_TEST

/* What a live dataset has before the commit, as records of a study that goes on, stays. */
START_TEST(live_dataset)
{
    sol_h5_writer *w;
    sol_h5_file f;
    char name[8], out[3];
    int id[2];
    int64_t n = 3;
    ck_ok(sol_h5_create(&w, path, "solera-test", err));
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "/%c", 'a' + i);
        ck_ok(sol_h5_live(w, name, SOL_H5_U8, 1, &n, &id[i], err));
    }
    ck_ok(sol_h5_begin(w, err));
    for (int i = 0; i < 2; i++) ck_ok(sol_h5_append(w, id[i], "xyz", 3, err));
    ck_ok(sol_h5_commit(&w, err));
    ck_ok(sol_h5_open(&f, path, err));
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "/%c", 'a' + i);
        ck_ok(sol_h5_read(&f, sol_h5_find(&f, name), out, err));
        ck_assert_mem_eq(out, "xyz", 3);
    }
    sol_h5_close(&f);
}
END_TEST

START_TEST(writer_is_atomic_and_strict)
{
    sol_h5_writer *w;
    int id;
    int64_t n = 4;
    char temp[128];
    float x[5] = {0};
    write_sample(1, 3);
    char *before, *after;
    size_t n_before, n_after;
    ck_ok(sol_file_read(path, &before, &n_before, err));
    for (int half = 0; half < 2; half++) {
        ck_ok(sol_h5_create(&w, path, "solera-test", err));
        ck_ok(sol_h5_dataset(w, "/x", SOL_H5_F32, 1, &n, &id, err));
        ck_ok(sol_h5_begin(w, err));
        if (half) {
            ck_fails(sol_h5_append(w, id, x, 20, err), SOL_ERR_SHAPE, "/x: more data");
            sol_h5_abort(&w);
        } else {
            ck_ok(sol_h5_append(w, id, x, 8, err));
            ck_fails(sol_h5_commit(&w, err), SOL_ERR_SHAPE, "/x: 8 of 16 bytes");
        }
        ck_assert_ptr_null(w);
    }
    snprintf(temp, sizeof temp, "%s.tmp", path);
    ck_assert(!sol_file_exists(temp));
    ck_ok(sol_file_read(path, &after, &n_after, err));
    ck_assert(n_after == n_before && memcmp(before, after, n_after) == 0);
    sol_free(before);
    sol_free(after);
    ck_ok(sol_h5_create(&w, path, "solera-test", err));
    n = (int64_t)1 << 50;
    ck_ok(sol_h5_dataset(w, "/x", SOL_H5_F32, 1, &n, &id, err));
    ck_fails(sol_h5_begin(w, err), SOL_ERR_NOSPACE, "free on its file system");
    ck_assert(!sol_file_exists(temp));
    sol_h5_abort(&w);
}
END_TEST

/* What other programs write: with libhdf5's defaults it is read without a seal; what solera does
 * not use is refused. */
typedef enum {
    DEFAULTS,
    NEW_FORM,
    CHUNKS,
    DEFLATE,
    FLETCHER,
    COMPACT,
    EXTERNAL_FILE,
    SOFT_LINK,
    EXTERNAL_LINK,
    LOOP,
    HUGE_SHAPE,
    LONG_ELEMENTS,
    NAMED_TYPE,
    VIRTUAL,
    USER_BLOCK,
    N_FOREIGN
} foreign_kind;

static void foreign_layout(foreign_kind what, hid_t how)
{
    hsize_t n = 8;
    hid_t space = H5Screate_simple(1, &n, NULL);
    if (what >= CHUNKS && what <= FLETCHER) H5Pset_chunk(how, 1, &n);
    if (what == DEFLATE) H5Pset_deflate(how, 6);
    if (what == FLETCHER) H5Pset_fletcher32(how);
    if (what == COMPACT) H5Pset_layout(how, H5D_COMPACT);
    if (what == EXTERNAL_FILE) H5Pset_external(how, "/etc/hostname", 0, 32);
    if (what == VIRTUAL) H5Pset_virtual(how, space, "other.h5", "/x", space);
    H5Sclose(space);
}

static void foreign(foreign_kind what)
{
    hsize_t n = what == HUGE_SHAPE ? (hsize_t)1 << 44 : 8;
    int32_t data[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), fcpl = H5Pcreate(H5P_FILE_CREATE),
          how = H5Pcreate(H5P_DATASET_CREATE);
    hid_t type = what == LONG_ELEMENTS ? H5Tvlen_create(H5T_STD_I32LE) : H5Tcopy(H5T_STD_I32LE);
    if (what == NEW_FORM) H5Pset_libver_bounds(fapl, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
    if (what == USER_BLOCK) H5Pset_userblock(fcpl, 512);
    foreign_layout(what, how);
    hid_t f = H5Fcreate(path, H5F_ACC_TRUNC, fcpl, fapl), s = H5Screate_simple(1, &n, NULL);
    if (what == NAMED_TYPE)
        ck_assert(H5Tcommit2(f, "/type", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    hid_t d = H5Dcreate2(f, "/x", type, s, H5P_DEFAULT, how, H5P_DEFAULT);
    bool plain =
        what != HUGE_SHAPE && what != LONG_ELEMENTS && what != EXTERNAL_FILE && what != VIRTUAL;
    if (plain) ck_assert(H5Dwrite(d, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    if (what == SOFT_LINK) H5Lcreate_soft("/x", f, "/y", H5P_DEFAULT, H5P_DEFAULT);
    if (what == EXTERNAL_LINK)
        H5Lcreate_external("other.h5", "/x", f, "/y", H5P_DEFAULT, H5P_DEFAULT);
    if (what == LOOP) H5Lcreate_hard(f, "/", f, "/loop", H5P_DEFAULT, H5P_DEFAULT);
    ck_assert(d >= 0 && H5Dclose(d) >= 0);
    H5Sclose(s);
    H5Tclose(type);
    H5Pclose(how);
    H5Pclose(fcpl);
    H5Pclose(fapl);
    ck_assert(H5Fclose(f) >= 0);
}

START_TEST(foreign_files)
{
    static const char *const why[N_FOREIGN] = {[NEW_FORM] = "superblock: version",
                                               [CHUNKS] = "/x: is stored chunked",
                                               [DEFLATE] = "/x: is stored through a filter",
                                               [FLETCHER] = "/x: is stored through a filter",
                                               [COMPACT] = "/x: is stored compact",
                                               [EXTERNAL_FILE] = "/x: lies in an external file",
                                               [SOFT_LINK] = "/: holds a soft link",
                                               [EXTERNAL_LINK] = "newer form of HDF5",
                                               [LOOP] = "nested deeper",
                                               [HUGE_SHAPE] = "/x: its data lie outside the file",
                                               [LONG_ELEMENTS] = "/x: has an element type",
                                               [NAMED_TYPE] = "/type: is neither",
                                               [VIRTUAL] = "/x: is stored virtual",
                                               [USER_BLOCK] = "is not an HDF5 file"};
    for (foreign_kind what = DEFAULTS; what < N_FOREIGN; what++) {
        sol_h5_file f;
        foreign(what);
        if (what > DEFAULTS) {
            ck_fails(sol_h5_open(&f, path, err), SOL_ERR_FORMAT, why[what]);
            continue;
        }
        ck_ok(sol_h5_open(&f, path, err));
        ck_assert(!f.sealed);
        int32_t data[8];
        ck_ok(sol_h5_read(&f, sol_h5_find(&f, "/x"), data, err));
        ck_assert_int_eq(data[7], 7);
        sol_h5_close(&f);
    }
}
END_TEST

static void set_text(hid_t object, const char *name, const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    hid_t a = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert(H5Awrite(a, type, &text) >= 0);
    H5Aclose(a);
    H5Sclose(space);
    H5Tclose(type);
}

/* Attributes as h5py makes them: strings of variable length, many and long ones, and an enumeration
 * for a bool. */
static void write_as_h5py(void)
{
    char name[24], text[300] = {0};
    int8_t yes = 1;
    hid_t f = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
          type = H5Tenum_create(H5T_STD_I8LE), space = H5Screate(H5S_SCALAR);
    H5Tenum_insert(type, "FALSE", (int8_t[]){0});
    H5Tenum_insert(type, "TRUE", &yes);
    hid_t a = H5Acreate2(f, "tied", type, space, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert(H5Awrite(a, type, &yes) >= 0);
    H5Aclose(a);
    H5Sclose(space);
    H5Tclose(type);
    set_text(f, "format", "solera-test");
    set_text(f, "empty", "");
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "text-%d", i);
        memset(text, 'a' + i % 26, (size_t)i * 5);
        set_text(f, name, text);
    }
    ck_assert(H5Fclose(f) >= 0);
}

START_TEST(strings_of_variable_length)
{
    sol_h5_file f;
    const char *text;
    int64_t tied;
    write_as_h5py();
    ck_ok(sol_h5_open(&f, path, err));
    const sol_h5_node *root = &f.tree.node[0];
    ck_ok(sol_h5_get_text(&f, root, "format", &text, err));
    ck_assert_str_eq(text, "solera-test");
    ck_ok(sol_h5_get_text(&f, root, "empty", &text, err));
    ck_assert_str_eq(text, "");
    ck_ok(sol_h5_get_text(&f, root, "text-59", &text, err));
    ck_assert_uint_eq(strlen(text), 59 * 5);
    ck_assert_int_eq(text[0], 'a' + 59 % 26);
    ck_ok(sol_h5_get_i64(&f, root, "tied", 0, 1, &tied, err));
    ck_assert_int_eq(tied, 1);
    sol_h5_close(&f);
}
END_TEST

/* As many attributes as a header holds would take time that grows with their square. */
START_TEST(too_many_attributes)
{
    sol_h5_writer *w;
    sol_h5_file f;
    char name[16];
    for (int n = 256; n <= 257; n++) {
        ck_ok(sol_h5_create(&w, path, "solera-test", err));
        for (int i = 3; i < n; i++) { /* beside format, version and digest */
            snprintf(name, sizeof name, "a%d", i);
            ck_ok(sol_h5_set_i64(w, 0, name, i, err));
        }
        ck_ok(sol_h5_begin(w, err));
        ck_ok(sol_h5_commit(&w, err));
        if (n == 256)
            ck_ok(sol_h5_open(&f, path, err));
        else
            ck_fails(sol_h5_open(&f, path, err), SOL_ERR_FORMAT, "/: has more than 256 attributes");
        sol_h5_close(&f);
    }
}
END_TEST

/* No byte of the file, wrong in any bit of one place at a time, may lead the parser out of it (run
 * under ASan). What still parses is another text. */
START_TEST(damaged_heaps)
{
    char *bytes;
    size_t n, refused = 0;
    write_as_h5py();
    ck_ok(sol_file_read(path, &bytes, &n, err));
    char *heap = memmem(bytes, n, "GCOL", 4);
    ck_assert_ptr_nonnull(heap);
    for (size_t i = 0; i < 4096 && heap + i < bytes + n; i += i < 256 ? 1 : 13) {
        sol_h5_tree t = {0};
        sol_err err = {0};
        char was = heap[i];
        heap[i] = (char)(was ^ (i % 3 ? 0xff : 0x81));
        refused += sol_h5_parse(&t, (const uint8_t *)bytes, n, &err) != SOL_OK;
        heap[i] = was;
        sol_h5_tree_free(&t);
    }
    ck_assert_uint_gt(refused, 16);
    sol_free(bytes);
}
END_TEST

SOL_TEST_MAIN("store_h5", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, crc_known_answers); tcase_add_test(tc, our_reader_reads);
              tcase_add_test(tc, libhdf5_reads); tcase_add_test(tc, growing_dataset);
              tcase_add_test(tc, live_dataset); tcase_add_test(tc, writer_is_atomic_and_strict);
              tcase_add_test(tc, foreign_files); tcase_add_test(tc, strings_of_variable_length);
              tcase_add_test(tc, too_many_attributes); tcase_add_test(tc, damaged_heaps))
