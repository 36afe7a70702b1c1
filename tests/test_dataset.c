/* From files of text to windows of tokens: documents and their pieces, the dataset file, the order
 * of windows, mixtures. */
#include "suite.h"

#include <string.h>
#include <zlib.h>

#include "base/textio.h"
#include "text/docs.h"

/* ---- batches ---- */

enum { N = 100, T = 7 };

typedef struct fixture {
    uint16_t id[N];
    uint64_t offsets[6];
    sol_tokens tokens;
} fixture;

/* Token i is i; documents of 3, 4, 0, 50 and 43 tokens. */
static void make(fixture *f)
{
    static const uint64_t offsets[] = {0, 3, 7, 7, 57, N};
    for (int i = 0; i < N; i++) f->id[i] = (uint16_t)i;
    memcpy(f->offsets, offsets, sizeof offsets);
    f->tokens =
        (sol_tokens){.data = f->id, .width = 2, .n = N, .doc_offsets = f->offsets, .n_docs = 5};
}

START_TEST(windows_tile_the_stream)
{
    fixture f;
    sol_batcher b;
    int32_t in[T], target[T], start[T];
    make(&f);
    ck_ok(sol_batcher_init(&b, &f.tokens, T, 1, err));
    ck_assert_int_eq(sol_batcher_windows(&b), (N - 1) / T);
    for (int64_t w = 0; w < sol_batcher_windows(&b); w++) {
        sol_batcher_window(&b, w, in, target, start);
        for (int i = 0; i < T; i++) {
            int64_t at = w * T + i, doc = 0;
            while (f.offsets[doc + 1] <= (uint64_t)at) doc++;
            bool last = f.offsets[doc + 1] == (uint64_t)at + 1;
            int64_t from = (int64_t)f.offsets[doc] - w * T;
            ck_assert_int_eq(in[i], at);
            ck_assert_int_eq(target[i], last ? -1 : at + 1);
            ck_assert_int_eq(start[i], from > 0 ? from : 0);
        }
    }
}
END_TEST

/* Targets are the tokens of answers alone, to the token; the file keeps the ranges. */
START_TEST(loss_on_answers)
{
    static const size_t said[][2] = {{2, 3}, {9, 11}, {13, 14}, {20, 60}, {98, N}};
    enum { N_SAID = sizeof said / sizeof *said };
    int32_t id[N], in[T], target[T], start[T];
    char dir[64], path[96];
    sol_dataset_writer *w;
    sol_dataset d;
    sol_batcher b;
    size_t at = 0;
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/d.h5", dir);
    for (int i = 0; i < N; i++) id[i] = i;
    ck_ok(sol_dataset_writer_open(&w, path, N, 0, err));
    for (int i = 0; i < N_SAID; i++) {
        ck_ok(sol_dataset_writer_append(w, id + at, said[i][0] - at, err));
        ck_ok(sol_dataset_writer_answer(w, said[i][1] - said[i][0], err));
        ck_ok(sol_dataset_writer_append(w, id + said[i][0], said[i][1] - said[i][0], err));
        at = said[i][1];
    }
    ck_ok(sol_dataset_writer_end(w, err));
    ck_ok(sol_dataset_writer_close(&w, err));
    ck_ok(sol_dataset_open(&d, path, err));
    ck_assert_int_eq(d.tokens.n_answers, N_SAID);
    ck_ok(sol_batcher_init(&b, &d.tokens, T, 1, err));
    b.answers_only = true;
    for (int64_t window = 0; window < sol_batcher_windows(&b); window++) {
        sol_batcher_window(&b, window, in, target, start);
        for (int i = 0; i < T; i++) {
            size_t next = (size_t)(window * T + i + 1);
            bool counts = false;
            for (int k = 0; k < N_SAID; k++)
                counts = counts || (next >= said[k][0] && next < said[k][1]);
            ck_assert_int_eq(target[i], counts ? (int32_t)next : -1);
        }
    }
    sol_dataset_close(&d);
    sol_test_dir_remove(dir);
}
END_TEST

START_TEST(an_epoch_sees_every_window_once)
{
    fixture f;
    sol_batcher b, c;
    int32_t in[2 * T], target[2 * T], start[2 * T], order[3][14];
    make(&f);
    ck_ok(sol_batcher_init(&b, &f.tokens, T, 5, err));
    ck_assert_int_eq(sol_batcher_windows(&b), 14);
    for (int epoch = 0; epoch < 3; epoch++) {
        bool seen[14] = {0};
        for (int i = 0; i < 14; i += 2) {
            sol_batcher_next(&b, 2, in, target, start);
            for (int row = 0; row < 2; row++) {
                int w = in[row * T] / T;
                ck_assert(!seen[w]);
                seen[w] = true;
                order[epoch][i + row] = w;
            }
        }
    }
    ck_assert(memcmp(order[0], order[1], sizeof order[0]) != 0);
    ck_assert(memcmp(order[1], order[2], sizeof order[0]) != 0);
    ck_assert_uint_eq(b.drawn, 42);
    /* `drawn` is the whole state. */
    ck_ok(sol_batcher_init(&c, &f.tokens, T, 5, err));
    c.drawn = 14 + 3;
    sol_batcher_next(&c, 2, in, target, start);
    ck_assert_int_eq(in[0] / T, order[1][3]);
    ck_assert_int_eq(in[T] / T, order[1][4]);
}
END_TEST

/* Every round has each stream as often as its weight says, every epoch of a stream each of its
 * windows once, and a draw depends on its number alone. */
START_TEST(a_mixture_keeps_its_shares)
{
    enum { ROUND = 10, LONG = 14, SHORT = 4 };
    fixture f;
    sol_batcher b;
    int seen[LONG + SHORT] = {0}, of_short = 0;
    make(&f);
    sol_tokens small = f.tokens;
    uint64_t offsets[] = {0, 4 * T + 1};
    small.n = 4 * T + 1;
    small.doc_offsets = offsets;
    small.n_docs = 1;
    sol_mixture m = {.n = 2, .stream = {{&f.tokens, 0.7}, {&small, 0.3}}};
    ck_ok(sol_batcher_init_mixed(&b, &m, T, 5, err));
    ck_assert_int_eq(b.round, ROUND);
    ck_assert_int_eq(sol_batcher_windows(&b), LONG + SHORT);
    ck_assert_int_eq(sol_batcher_stream_windows(&b, 1), SHORT);
    ck_assert_int_eq(sol_batcher_stream_epoch(&b, 0), 20);
    for (uint64_t i = 0; i < 4 * ROUND; i++) {
        int64_t w = sol_batcher_index(&b, i);
        seen[w]++;
        of_short += sol_batcher_stream(&b, w);
        if (i % ROUND == ROUND - 1) ck_assert_int_eq(of_short, 3 * (int)(i / ROUND + 1));
    }
    for (int w = 0; w < LONG + SHORT; w++) ck_assert_int_eq(seen[w], w < LONG ? 2 : 3);
    int32_t in[2 * T], target[2 * T], start[2 * T];
    sol_batcher_window(&b, LONG + 1, in, target, start);
    ck_assert_int_eq(in[0], T);
    b.drawn = 17;
    sol_batcher_next(&b, 1, in, target, start);
    int64_t w = sol_batcher_index(&b, 17);
    ck_assert_int_eq(in[0], T * (w < LONG ? w : w - LONG));
    ck_assert_int_eq(sol_batcher_short_stream(&b, 10), -1);
    ck_assert_int_eq(sol_batcher_short_stream(&b, 20), 1);
    m.stream[1].weight = 0.1234567;
    ck_ok(sol_batcher_init_mixed(&b, &m, T, 5, err));
    ck_assert_int_eq(b.round, 65536);
    ck_assert_int_eq(b.stream[0].share + b.stream[1].share, 65536);
    m.stream[1].weight = 1e-6;
    ck_fails(sol_batcher_init_mixed(&b, &m, T, 5, err), SOL_ERR_RANGE, "is less than 1/65536");
    ck_assert_int_eq(b.n, 1);
    m.stream[0].weight = 0;
    ck_fails(sol_batcher_init_mixed(&b, &m, T, 5, err), SOL_ERR_RANGE, "above 0");
    small.n = T;
    ck_fails(sol_batcher_init_mixed(&b, &m, T, 5, err), SOL_ERR_SHAPE, "needs 8");
    ck_assert_int_eq(b.n, 1);
}
END_TEST

static int64_t common_divisor(int64_t a, int64_t b)
{
    return b ? common_divisor(b, a % b) : a;
}

/* Weights in the proportion of whole numbers have these as shares, in their lowest terms, whatever
 * their unit; any others are as near as 65536 draws allow. */
START_TEST(shares_of_a_mixture)
{
    static const double unit[] = {1, 0.1, 1e-3, 7, 1e9, 1.0 / 3};
    sol_rng rng = sol_rng_make(6, SOL_STREAM_TEST);
    for (int turn = 0; turn < 400; turn++) {
        int64_t whole[SOL_MIX_MAX], share[SOL_MIX_MAX], sum = 0, divisor = 0, round;
        int at;
        sol_mixture m = {.n = 1 + (int)sol_rng_below(&rng, SOL_MIX_MAX)};
        for (int i = 0; i < m.n; i++) {
            whole[i] = 1 + (int64_t)sol_rng_below(&rng, turn % 2 ? 5 : 400);
            sum += whole[i];
            divisor = common_divisor(divisor, whole[i]);
            m.stream[i].weight = (double)whole[i] * unit[turn % 6];
        }
        ck_ok(sol_mixture_shares(&m, share, &round, &at, err));
        ck_assert_int_eq(round, sum / divisor);
        for (int i = 0; i < m.n; i++) ck_assert_int_eq(share[i], whole[i] / divisor);
        double all = 0;
        for (int i = 0; i < m.n; i++)
            all += m.stream[i].weight = 0.01 + (double)sol_rng_uniform(&rng);
        ck_ok(sol_mixture_shares(&m, share, &round, &at, err));
        int64_t given = 0;
        for (int i = 0; i < m.n; i++) {
            ck_assert_double_eq_tol((double)share[i], m.stream[i].weight / all * (double)round, 1);
            given += share[i];
        }
        ck_assert_int_eq(given, round);
    }
}
END_TEST

START_TEST(wide_tokens)
{
    uint32_t id[] = {70000, 1, 128255};
    uint64_t offsets[] = {0, 3};
    sol_tokens t = {.data = id, .width = 4, .n = 3, .doc_offsets = offsets, .n_docs = 1};
    sol_batcher b;
    int32_t in[2], target[2], start[2];
    ck_ok(sol_batcher_init(&b, &t, 2, 1, err));
    sol_batcher_next(&b, 1, in, target, start);
    ck_assert_int_eq(in[0], 70000);
    ck_assert_int_eq(target[1], 128255);
    ck_assert_int_eq(sol_tokens_at(&t, 2), 128255);
}
END_TEST

START_TEST(bad_tokens)
{
    fixture f;
    sol_batcher b;
    make(&f);
    ck_fails(sol_batcher_init(&b, &f.tokens, N, 1, err), SOL_ERR_SHAPE,
             "the data holds 100 tokens: a window of 100 needs 101");
    ck_fails(sol_batcher_init(&b, &f.tokens, 0, 1, err), SOL_ERR_RANGE, "at least 1");
    ck_ok(sol_batcher_init(&b, &f.tokens, N - 1, 1, err));
    f.offsets[2] = 60;
    ck_fails(sol_batcher_init(&b, &f.tokens, T, 1, err), SOL_ERR_FORMAT,
             "document 2 ends before it begins");
    f.offsets[5] = 99;
    ck_fails(sol_batcher_init(&b, &f.tokens, T, 1, err), SOL_ERR_FORMAT,
             "do not run from 0 to the 100 tokens");
    f.tokens.width = 3;
    ck_fails(sol_batcher_init(&b, &f.tokens, T, 1, err), SOL_ERR_FORMAT, "tokens of 3 bytes");
}
END_TEST

/* ---- documents ---- */

typedef struct text_file {
    char dir[64], path[96];
} text_file;

static void write_text(text_file *f, const char *name, const char *text, size_t n)
{
    if (!f->dir[0]) sol_test_dir_make(f->dir);
    snprintf(f->path, sizeof f->path, "%s/%s", f->dir, name);
    if (!strstr(name, ".gz")) {
        ck_ok(sol_file_write(f->path, text, n, err));
        return;
    }
    gzFile gz = gzopen(f->path, "wb");
    ck_assert_int_eq(gzwrite(gz, text, (unsigned)n), (int)n);
    ck_assert_int_eq(gzclose(gz), Z_OK);
}

static size_t longest_piece; /* that read_docs met */

/* All documents of one file, each followed by '|'; returns the first error. */
static sol_status read_docs(const text_file *f, bool unix_lines, bool cut, char *out, sol_err *err)
{
    const char *files[] = {f->path};
    sol_docs_opts o = {.files = files,
                       .n_files = 1,
                       .separator = {SOL_DOCS_SEPARATOR, "<eos>"},
                       .unix_lines = unix_lines,
                       .cut = cut,
                       .cut_lines = cut};
    sol_docs *d;
    sol_batch b = {0};
    size_t at = 0;
    bool first = true;
    longest_piece = 0;
    sol_status st = sol_docs_open(&d, &o, err);
    while (st == SOL_OK) {
        st = sol_docs_read(d, &b, err);
        if (st != SOL_OK || b.n_pieces == 0) break;
        for (size_t i = 0; st == SOL_OK && i < b.n_pieces; i++) {
            const char *text = b.text + b.piece[i].at;
            size_t n = b.piece[i].n;
            ck_assert(b.piece[i].first == first);
            if (n > longest_piece) longest_piece = n;
            first = b.piece[i].last;
            memcpy(out + at, text, n);
            at += n;
            if (first) out[at++] = '|';
        }
    }
    out[at] = 0;
    sol_batch_free(&b);
    sol_docs_close(&d);
    return st;
}

START_TEST(text_documents)
{
    static const struct {
        const char *text, *want;
    } c[] = {
        {"one\ntwo\n", "one\ntwo\n|"},
        {"one", "one|"},
        {"", ""},
        {" \n\n", ""},
        {"a\n<|endoftext|>\nb\n", "a|b|"},
        {" \n a \n\n<|endoftext|>\n\n b\n c \n \n",
         " \n a|b\n c|"}, /* blanks beside a separator belong to it */
        {"a\n<|endoftext|>", "a|"},
        {"<|endoftext|>\n\n<|endoftext|>\na\n<eos>\nb", "a|b|"},
        {"a\r\n<|endoftext|>\r\nb\r\n", "a|b|"},
        {"a <|endoftext|>\n <|endoftext|>\n",
         "a <|endoftext|>\n <|endoftext|>\n|"}, /* only a line of its own separates */
    };
    char out[256];
    text_file f = {0};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        for (int gz = 0; gz < 2; gz++) {
            write_text(&f, gz ? "a.txt.gz" : "a.txt", c[i].text, strlen(c[i].text));
            ck_ok(read_docs(&f, false, false, out, err));
            ck_assert_str_eq(out, c[i].want);
        }
    }
    write_text(&f, "a.txt", "a\r\nb\rc\r\n", 8);
    ck_ok(read_docs(&f, true, false, out, err));
    ck_assert_str_eq(out, "a\nb\rc\n|");
    write_text(&f, "a.txt", "a\0b", 3);
    ck_fails(read_docs(&f, true, false, out, err), SOL_ERR_FORMAT, "byte 1 is 0: not a text file");
    sol_test_dir_remove(f.dir);
}
END_TEST

START_TEST(json_documents)
{
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"{\"text\":\"a\"}\n{\"text\":\"a\"", ":2:"},
        {"\n\n[1]\n", ":3: no string under \"text\""},
        {"{\"text\":NaN}\n", ":1: no string under \"text\""},
        {"{\"text\":7}\n", ":1: no string under \"text\""},
        {"{\"content\":\"a\"}\n", ":1: no string under"},
        {"hello\n", ":1:1: not a JSON object"},
        {"{\"text\":\"\xFF\"}\n", ":1:"},
    };
    char out[256];
    text_file f = {0};
    static const char good[] =
        "{\"text\":\"a\\nb\",\"x\":[1,1e400,NaN,123456789012345678901234567890]}\r\n\n{\"text\":"
        "\"\"}\n{\"text\":\"c\\r\\n\\u0000\"}";
    write_text(&f, "a.jsonl.gz", good, strlen(good));
    ck_ok(read_docs(&f, true, false, out, err));
    /* Neither a blank line nor an empty text is a document. */
    ck_assert_int_eq(memcmp(out, "a\nb|c\n\0|", 8), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text(&f, "a.jsonl", bad[i].text, strlen(bad[i].text));
        ck_fails(read_docs(&f, false, false, out, err), SOL_ERR_FORMAT, bad[i].part);
    }
    sol_test_dir_remove(f.dir);
}
END_TEST

/* Long documents come in pieces that put together are the text, whatever the lines look like. */
START_TEST(long_documents)
{
    size_t n = 1 << 20;
    char *text = malloc(n + 1), *out = malloc(n + 64);
    text_file f = {0};
    uint32_t random = 1;
    for (int kind = 0; kind < 4;
         kind++) { /* words and lines, one line, no blanks, a separator in between */
        for (size_t i = 0; i < n; i++) {
            uint32_t k = (random = random * 1664525u + 1013904223u) >> 16 & 31;
            text[i] = k == 0 && kind != 1 ? '\n' : k < 6 && kind != 2 ? ' ' : (char)('a' + k % 26);
        }
        if (kind == 3) memcpy(text + n / 2 - 2, "z\n\n<|endoftext|>\n\nz", 19), text[n - 1] = 'z';
        text[n] = 0;
        write_text(&f, kind % 2 ? "a.txt.gz" : "a.txt", text, n);
        ck_ok(read_docs(&f, false, true, out, err));
        if (kind < 3) {
            ck_assert_uint_eq(strlen(out), n + 1);
            ck_assert_int_eq(memcmp(out, text, n), 0);
        } else {
            ck_assert_uint_eq(strlen(out), n - 17 + 2);
            ck_assert_int_eq(memcmp(out, text, n / 2 - 1), 0);
            ck_assert_int_eq(memcmp(out + n / 2, text + n / 2 + 16, n - n / 2 - 16), 0);
        }
        /* A line is cut when the buffer ends in it: what is read at once may lie in a piece. */
        ck_assert_uint_lt(longest_piece, kind == 1 ? n / 2 : 2 * SOL_DOCS_PIECE);
    }
    /* A script without blanks, in lines that end with its full stop; a separator behind every
     * 40000th. */
    size_t at = 0;
    for (int line = 0; at + 32 < n; line++)
        at += (size_t)sprintf(text + at,
                              line % 40000 == 39999 ? "<|endoftext|>\n" : "%s\xE3\x80\x82\n",
                              line % 3 ? "\xE6\x97\xA5" : "\xE3\x81\x82");
    write_text(&f, "a.txt", text, at);
    ck_ok(read_docs(&f, false, true, out, err));
    ck_assert(longest_piece < 2 * SOL_DOCS_PIECE);
    ck_ok(read_docs(&f, false, false, text, err));
    ck_assert_str_eq(out, text);
    free(text);
    free(out);
    sol_test_dir_remove(f.dir);
}
END_TEST

/* Places to cut by their definition, in texts of what could be taken for something else. */
START_TEST(places_to_cut)
{
    static const struct {
        const char *text;
        bool solid;
    } piece[] = {{"a", true},
                 {"z", true},
                 {" ", false},
                 {" ", false},
                 {"\n", false},
                 {"\n", false},
                 {"\t", false},
                 {"\x01", false},
                 {"\x7F", false},
                 {"\xC2\xA0", false},
                 {"\xC2\xBF", false},
                 {"\xC3\xA9", true},
                 {"\xE0\xA4\x85", true},
                 {"\xE1\x9A\x80", false},
                 {"\xE2\x80\xA8", false},
                 {"\xE3\x80\x80", false},
                 {"\xE3\x80\x82", true},
                 {"\xE6\x97\xA5", true},
                 {"\xF0\x9F\x99\x82", true},

                 {"\xE6\x97", false},
                 {"\xFF", false}};
    enum { PIECES = sizeof piece / sizeof *piece, LONGEST = 12 };
    sol_rng rng = sol_rng_make(8, SOL_STREAM_TEST);
    int found = 0;
    for (int turn = 0; turn < 30000; turn++) {
        char text[4 * LONGEST + 1] = "";
        int n = 1 + (int)sol_rng_below(&rng, LONGEST), kind[LONGEST];
        size_t at[LONGEST + 1] = {0}, want[2] = {0, 0};
        for (int i = 0; i < n; i++) {
            kind[i] = (int)sol_rng_below(&rng, PIECES);
            strcat(text, piece[kind[i]].text);
            at[i + 1] = strlen(text);
        }
        for (int i = 1; i < n; i++) {
            bool before = piece[kind[i - 1]].solid,
                 line = i > 1 && *piece[kind[i - 1]].text == '\n';
            if (*piece[kind[i]].text == ' ' && before) want[0] = want[1] = at[i];
            if (line && piece[kind[i - 2]].solid && piece[kind[i]].solid) want[1] = at[i];
        }
        for (int lines = 0; lines < 2; lines++) {
            size_t cut = sol_text_last_cut(text, at[n], lines);
            ck_assert_msg(cut == want[lines], "'%s': %zu, not %zu", text, cut, want[lines]);
            found += cut > 0;
        }
    }
    ck_assert_int_gt(found, 3000);
}
END_TEST

START_TEST(damaged_gzip)
{
    text_file f = {0};
    char text[5000], out[6000], *gz;
    size_t n;
    sol_rng r = sol_rng_make(4, SOL_STREAM_TEST);
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + sol_rng_below(&r, 26));
    write_text(&f, "a.txt.gz", text, sizeof text);
    ck_ok(sol_file_read(f.path, &gz, &n, err));
    ck_ok(sol_file_write(f.path, gz, n / 2, err));
    ck_fails(read_docs(&f, false, false, out, err), SOL_ERR_FORMAT, "damaged gzip file");
    gz[n - 6] ^= 1; /* the checksum */
    ck_ok(sol_file_write(f.path, gz, n, err));
    ck_fails(read_docs(&f, false, false, out, err), SOL_ERR_FORMAT, "damaged gzip file");
    sol_free(gz);
    char *data;
    write_text(&f, "b.txt.gz", text, sizeof text);
    ck_ok(sol_text_read(f.path, sizeof text, NULL, &data, &n, err));
    ck_assert_uint_eq(n, sizeof text);
    ck_assert_int_eq(memcmp(data, text, n), 0);
    ck_assert_int_eq(data[n], 0);
    sol_free(data);
    ck_fails(sol_text_read(f.path, sizeof text - 1, NULL, &data, &n, err), SOL_ERR_RANGE,
             "more than 4999 bytes");
    sol_test_dir_remove(f.dir);
}
END_TEST

/* ---- BPE training ---- */

static sol_tokenizer *train(text_file *f, const char *text, int32_t vocab, sol_status want,
                            const char *part)
{
    char out[128];
    const char *files[] = {f->path};
    sol_tokenizer *t = NULL;
    write_text(f, "t.txt", text, strlen(text));
    snprintf(out, sizeof out, "%s/t.json", f->dir);
    sol_bpe_opts o = {.files = files, .n_files = 1, .vocab_size = vocab};
    if (want != SOL_OK) {
        ck_fails(sol_bpe_train(&o, out, err), want, part);
        ck_assert(!sol_file_exists(out));
    } else {
        ck_ok(sol_bpe_train(&o, out, err));
        ck_ok(sol_tokenizer_open(&t, out, err));
        remove(out);
    }
    return t;
}

START_TEST(bpe_merges_by_frequency)
{
    text_file f = {0};
    /* The words: "low" once, " low" 3 times, " lower" once, " new" twice. Among equals the lower
     * ids go first: e < l < n < o < w < blank. */
    sol_tokenizer *t = train(&f, "low low low low lower new new", 263, SOL_OK, NULL);
    static const char *const want[] = {"lo", "low", " low", "ew", "new"};
    for (int i = 0; i < 5; i++) {
        size_t n;
        const char *text = sol_tokenizer_text(t, 256 + i, &n);
        ck_assert_msg(n == strlen(want[i]) && memcmp(text, want[i], n) == 0, "merge %d gave '%.*s'",
                      i, (int)n, text);
    }
    ck_assert_int_eq(sol_tokenizer_vocab_size(t), 263);
    ck_assert_int_eq(sol_tokenizer_find(t, "<|begin_of_text|>"), 261);
    ck_assert_int_eq(sol_tokenizer_bos(t), 261);
    ck_assert_int_eq(sol_tokenizer_eos(t), 262);
    sol_ids ids = {0};
    ck_ok(sol_tokenizer_encode(t, "low", 3, SOL_ENCODE_BOS, &ids, err));
    ck_assert(ids.n == 2 && ids.id[0] == 261);
    sol_ids_free(&ids);
    /* The bytes in the order of the printable alphabet. */
    ck_assert_int_eq(sol_tokenizer_find(t, "!"), 0);
    sol_tokenizer_free(&t);
    train(&f, "low low", 300, SOL_ERR_RANGE,
          "yields 261 tokens only: too little for a vocabulary of 300");
    train(&f, "low low", 257, SOL_ERR_USAGE, "a vocabulary of 257: from 258");
    train(&f, " \n", 258, SOL_ERR_FORMAT, "no text in it");
    t = train(&f, "low low", 258, SOL_OK, NULL);
    ck_assert_int_eq(sol_tokenizer_vocab_size(t), 258);
    sol_tokenizer_free(&t);
    sol_test_dir_remove(f.dir);
}
END_TEST

SOL_TEST_MAIN("dataset", tcase_add_test(tc, windows_tile_the_stream);
              tcase_add_test(tc, loss_on_answers);
              tcase_add_test(tc, an_epoch_sees_every_window_once);
              tcase_add_test(tc, a_mixture_keeps_its_shares);
              tcase_add_test(tc, shares_of_a_mixture); tcase_add_test(tc, wide_tokens);
              tcase_add_test(tc, bad_tokens); tcase_add_test(tc, text_documents);
              tcase_add_test(tc, json_documents); tcase_add_test(tc, long_documents);
              tcase_add_test(tc, places_to_cut); tcase_add_test(tc, damaged_gzip);
              tcase_add_test(tc, bpe_merges_by_frequency))
