/* What files of text are taken for, read as, and refused as. */
#include "suite.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "base/textio.h"
#include "text/docs.h"
#include "text/jsontext.h"
#include "text/tokenizer.h"

static char dir[64], path[128];

static void put(const char *name, const void *bytes, size_t n)
{
    if (!dir[0]) sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_ok(sol_file_write(path, bytes, n, err));
}

static void clean(void)
{
    sol_test_dir_remove(dir);
    dir[0] = 0;
}

/* One gzip member of text[n], appended to out. */
static size_t gzip(char *out, size_t cap, const char *text, size_t n)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)text,
                  .avail_in = (uInt)n,
                  .next_out = (Bytef *)out,
                  .avail_out = (uInt)cap};
    ck_assert_int_eq(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return z.total_out;
}

typedef struct lines { /* what a log got */
    char text[1024];
    int n;
} lines;

static void keep(void *user, sol_log_level level, const char *text)
{
    lines *l = user;
    (void)level;
    strncat(l->text, text, sizeof l->text - strlen(l->text) - 1);
    l->n++;
}

static lines logged;
static int64_t skipped;
static uint64_t skipped_bytes;

/* All documents of the file put last, each followed by '|'. */
static sol_status read_all(sol_docs_opts o, char *out, size_t cap, sol_err *err)
{
    const char *files[] = {path};
    sol_log log = {.line = keep, .user = &logged};
    sol_docs *d;
    sol_batch b = {0};
    size_t at = 0;
    logged = (lines){0};
    o.files = files;
    o.n_files = 1;
    o.log = &log;
    sol_status st = sol_docs_open(&d, &o, err);
    while (st == SOL_OK && (st = sol_docs_read(d, &b, err)) == SOL_OK && b.n_pieces > 0)
        for (size_t i = 0; i < b.n_pieces; i++) {
            const sol_piece *p = &b.piece[i];
            ck_assert_uint_lt(at + p->n + 1, cap);
            memcpy(out + at, b.text + p->at, p->n);
            at += p->n;
            if (p->last) out[at++] = '|';
        }
    out[at] = 0;
    if (st == SOL_OK) sol_docs_report(d);
    if (st == SOL_OK) sol_docs_skipped(d, &skipped, &skipped_bytes);
    sol_batch_free(&b);
    sol_docs_close(&d);
    return st;
}

#define BYTES(text) text, sizeof text - 1

START_TEST(kinds_that_are_read)
{
    static const struct {
        const char *name, *bytes;
        size_t n;
        const char *want;
        bool warns;
    } c[] = {
        {"a.json", BYTES("{\"text\":\"hello\"}\n{\"text\":\"world\"}\n"), "hello|world|", false},
        {"a.json",
         BYTES("[{\"text\":\"hello\"},\n {\"x\":[1,{\"text\":\"no\"}],\"text\":\"wor\\nld\"}, "
               "\"plain\" ]\n"),
         "hello|wor\nld|plain|", false},
        {"a.jsonl", BYTES("[{\"text\":\"a\"}]"), "a|", false},
        {"a.JSON", BYTES(" \n[ \"a,]\\\"\" , \"b\"]"), "a,]\"|b|", false},
        {"a.json", BYTES("[\n]\n"), "", false},
        {"a.json", BYTES(""), "", false},
        {"a.jsonl", BYTES("\"a\"\n\"b\"\n"), "a|b|", false},
        {"a.ndjson", BYTES("{\"text\":\"a\"}\r\n\r\n{\"text\":\"b\"}\r\n"), "a|b|", false},
        {"a.jsonl", BYTES("\xEF\xBB\xBF{\"text\":\"a\"}"), "a|", false},
        {"a.json", BYTES("\xEF\xBB\xBF[\"a\"]"), "a|", false},
        {"a.txt",
         BYTES("\xEF\xBB\xBF"
               "a\xEF\xBB\xBF"),
         "a\xEF\xBB\xBF|", false},
        {"a.txt", BYTES("\xEF\xBB\xBF<|endoftext|>\na\n"), "a|", false},
        {"a.txt", BYTES("{\"text\":\"a\"}\n"), "a|", true},
        {"a", BYTES("[\"a\", \"b\"]"), "a|b|", true},
        {"a.md", BYTES("[{\"text\": \"a\"}]"), "a|", true},
        {"a.txt", BYTES("[\"Quote\" he said]"), "[\"Quote\" he said]|", false},
        {"a.txt", BYTES("[Music] {\"a\": 1}"), "[Music] {\"a\": 1}|", false},
        {"a.txt", BYTES("{a: 1}\n"), "{a: 1}\n|", false},
        {"a.txt", BYTES("\"Yes,\" she said."), "\"Yes,\" she said.|", false},
        {"a.txt", BYTES("BZh is not bzip2; a,b\n"), "BZh is not bzip2; a,b\n|", false},
        {"parquet.txt", BYTES("text about Parquet"), "text about Parquet|", false},
        {"a.parquet", BYTES("text"), "text|", false},
    };
    char out[256];
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        for (int zip = 0; zip < 2; zip++) {
            char packed[512], name[32];
            snprintf(name, sizeof name, "%s%s", c[i].name, zip ? ".gz" : "");
            size_t n = zip ? gzip(packed, sizeof packed, c[i].bytes, c[i].n) : 0;
            put(name, zip ? packed : c[i].bytes, zip ? n : c[i].n);
            ck_ok(
                read_all((sol_docs_opts){.separator = {SOL_DOCS_SEPARATOR}}, out, sizeof out, err));
            ck_assert_msg(strcmp(out, c[i].want) == 0, "%s: '%s' gave '%s'", name, c[i].bytes, out);
            ck_assert_msg(logged.n == c[i].warns, "%s: '%s' logged '%s'", name, c[i].bytes,
                          logged.text);
        }
    }
    clean();
}
END_TEST

START_TEST(kinds_that_are_refused)
{
    static const struct {
        const char *name, *bytes;
        size_t n;
        const char *part;
    } c[] = {
        {"a.csv", BYTES("a,b\n1,2\n"), "is a table (CSV)"},
        {"a.TSV", BYTES("a\tb\n"), "is a table (TSV)"},
        {"a.txt", BYTES("PAR1\x15\4"), "is a Parquet file"},
        {"a.txt", BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
         "is a pointer of Git LFS"},
        {"a.csv", BYTES("BZh91AY&SY\1\2"), "is a bzip2 file"},
        {"a.jsonl", BYTES("\x28\xB5\x2F\xFD\4"), "is a Zstandard file"},
        {"a.txt",
         BYTES("\xFD"
               "7zXZ\0\0"),
         "is an xz file"},
        {"a.txt", BYTES("PK\3\4\x14"), "is a zip archive"},
        {"a.txt", BYTES("\x89HDF\r\n\x1A\n\0"), "is an HDF5 file"},
        {"a.json", BYTES("\x80\4\x95\1"), "is a Python pickle"},
        {"a.txt", BYTES("%PDF-1.7\n"), "is a PDF document"},
        {"a.txt", BYTES("ARROW1\0\0"), "is an Arrow file"},
        {"a.txt",
         BYTES("\xFF\xFE"
               "a\0"),
         "is UTF-16 text: convert it with `iconv -f UTF-16 -t UTF-8`"},
        {"a.json", BYTES("\xFE\xFF\0a"), "is UTF-16 text"},
        {"a.txt", BYTES("\xFF\xFE\0\0a\0\0\0"), "is UTF-32 text"},
        {"a.txt", BYTES("h\0e\0l\0l\0o\0\n\0"), "is UTF-16LE text"},
        {"a.txt", BYTES("\0h\0e\0l\0l\0o\0\n"), "is UTF-16BE text"},
        {"a.txt", BYTES("caf\xE9 au lait"),
         "a.txt:1: byte 3 of the file (0xE9) is no UTF-8: if the text is Latin-1 or Windows-1252, "
         "`iconv"},
        {"a.txt", BYTES("a\n\nbc\nd\xE9\n"), "a.txt:4: byte 7 of the file (0xE9)"},
        {"a.txt", BYTES("abc\xC3"),
         "a.txt:1: byte 3 of the file (0xC3) is no UTF-8, or the file ends inside a character"},
        {"a.txt",
         BYTES("a\xED\xA0\x80"
               "b"),
         "a.txt:1: byte 1 of the file (0xED) is no UTF-8"},
        {"a.txt", BYTES("abcd\0b"), "byte 4 is 0: not a text file"},
        {"a.jsonl", BYTES("{\"text\":\"a\0b\"}"), "byte 10 is 0: not a text file"},
        {"a.jsonl", BYTES("{\"text\":\"caf\xE9\"}"),
         "a.jsonl:1:13: not a JSON object: a byte that is no UTF-8: if the text is Latin-1"},
        {"a.json", BYTES("[{\"text\":\"a\"},"), "a.json:1: the array of JSON is not closed"},
        {"a.json", BYTES("[{\"text\":\"a\"}"), "a.json:1: the array of JSON is not closed"},
        {"a.json", BYTES("[{\"text\":\"a\"}]\n{}"),
         "a.json:2: something follows the array of JSON"},
        {"a.json", BYTES("[{\"text\":\"a\"}\n{\"text\":\"b\"}]"),
         "a.json:1:14: not a JSON object: something follows the value"},
        {"a.json", BYTES("[\n\"a\",\n\nnull]"),
         "a.json:4: no string under \"text\": the value is null"},
        {"a.json", BYTES("[\"a\",]"), "a.json:1:1: not a JSON object: it ends early"},
        {"a.json", BYTES("{\n \"text\": \"a\"\n}\n"),
         "a.json:1:2: not a JSON object: it ends early; a value stands on one line, as `jq -c .`"},
        {"a.json", BYTES("hello\n"), "a.json:1:1: not a JSON object"},
        {"a.txt", BYTES("{\"a\": 1}\nThis is JSON.\n"),
         "a.txt:1: no string under \"text\": {\"text\": \"...\"} is expected; `solera tokenize "
         "--format chat` reads"},
    };
    char out[256];
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        for (int zip = 0; zip < 2; zip++) {
            char packed[512], name[32];
            snprintf(name, sizeof name, "%s%s", c[i].name, zip ? ".gz" : "");
            size_t n = zip ? gzip(packed, sizeof packed, c[i].bytes, c[i].n) : 0;
            put(name, zip ? packed : c[i].bytes, zip ? n : c[i].n);
            sol_err e = {0};
            ck_assert_int_eq(read_all((sol_docs_opts){0}, out, sizeof out, &e), SOL_ERR_FORMAT);
            char part[160], *gap; /* the place holds the name with .gz then */
            snprintf(part, sizeof part, "%s", c[i].part);
            if (zip && (gap = strchr(part, ':')) &&
                strncmp(part, c[i].name, (size_t)(gap - part)) == 0)
                snprintf(part, sizeof part, "%s%s", name, c[i].part + (gap - part));
            ck_assert_msg(strstr(e.text, part) != NULL, "row %zu: '%s' lacks '%s'", i, e.text,
                          part);
        }
    }
    char tar[512] = "name.txt";
    memcpy(tar + 257, "ustar", 5);
    put("a.txt", tar, sizeof tar);
    ck_fails(read_all((sol_docs_opts){0}, out, sizeof out, err), SOL_ERR_FORMAT,
             "is a tar archive");
    char twice[512], once[256];
    size_t n = gzip(once, sizeof once, "text", 4);
    put("a.txt.gz", twice, gzip(twice, sizeof twice, once, n));
    ck_fails(read_all((sol_docs_opts){0}, out, sizeof out, err), SOL_ERR_FORMAT,
             "is gzip inside gzip");
    clean();
}
END_TEST

/* What never ends is not read to its end. */
static void expect_limit_of_a_stream(void)
{
    enum { LIMIT = 1 << 20, MUCH = 64 * LIMIT };
    char fifo[160], *text;
    size_t n;
    snprintf(fifo, sizeof fifo, "%s.fifo", path);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    pid_t writer = fork();
    if (writer == 0) {
        static char line[4096];
        memset(line, 'a', sizeof line);
        signal(SIGPIPE, SIG_IGN);
        int fd = open(fifo, O_WRONLY), at = 0;
        while (at < MUCH && write(fd, line, sizeof line) == sizeof line) at += (int)sizeof line;
        _exit(at < MUCH ? 0 : 1);
    }
    ck_fails(sol_docs_plain(fifo, LIMIT, &text, &n, err), SOL_ERR_RANGE, "more than 1048576 bytes");
    int status;
    ck_assert_int_eq(waitpid(writer, &status, 0), writer);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    unlink(fifo);
}

START_TEST(formats_that_are_asked_for)
{
    char out[256];
    put("a.txt", BYTES("{\"text\":\"a\"}"));
    ck_ok(read_all((sol_docs_opts){.as = SOL_READ_TEXT}, out, sizeof out, err));
    ck_assert_str_eq(out, "{\"text\":\"a\"}|");
    ck_assert_int_eq(logged.n, 0);
    ck_ok(read_all((sol_docs_opts){.as = SOL_READ_JSON}, out, sizeof out, err));
    ck_assert_str_eq(out, "a|");
    ck_assert_int_eq(logged.n, 0);
    put("a.csv", BYTES("a,b\n"));
    ck_ok(read_all((sol_docs_opts){.as = SOL_READ_TEXT}, out, sizeof out, err));
    ck_assert_str_eq(out, "a,b\n|");
    char *text;
    size_t n;
    put("a.txt", BYTES("\xEF\xBB\xBFone\n<|endoftext|>\ntwo"));
    ck_ok(sol_docs_plain(path, 100, &text, &n, err));
    ck_assert_uint_eq(n, 21);
    ck_assert_int_eq(memcmp(text, "one\n<|endoftext|>\ntwo", 21), 0);
    sol_free(text);
    ck_fails(sol_docs_plain(path, 20, &text, &n, err), SOL_ERR_RANGE, "more than 20 bytes");
    expect_limit_of_a_stream();
    put("a.json", BYTES("[\"a\"]"));
    ck_fails(sol_docs_plain(path, 100, &text, &n, err), SOL_ERR_FORMAT,
             "is JSON, plain text is expected");
    clean();
}
END_TEST

START_TEST(bad_values_are_skipped_and_counted)
{
    static const struct {
        const char *name, *bytes;
        size_t n;
        const char *want;
        int64_t values;
        uint64_t bytes_out;
        const char *log;
    } c[] = {
        {"a.jsonl",
         BYTES("{\"text\":\"a\"}\n{\"text\":null}\n{\"text\":\"\\ud800\"}\n\nhello\n{\"text\":"
               "\"b\"}"),
         "a|b|", 3, 0, "3 values of JSON were left out, the first: "},
        {"a.json",
         BYTES(
             "[{\"text\":\"a\"},{\"text\":\"x\\ude00\"},3,{},{\"content\":\"z\"},\"\xFF\",\"b\"]"),
         "a|b|", 5, 0, "5 values"},
        {"a.txt", BYTES("caf\xE9 au\xE9\xE8 lait\xC3"), "caf au lait|", 0, 4,
         "4 bytes that are no UTF-8 were left out"},
        {"a.txt", BYTES("fine"), "fine|", 0, 0, ""},
    };
    char out[256];
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        put(c[i].name, c[i].bytes, c[i].n);
        ck_ok(read_all((sol_docs_opts){.skip_bad = true}, out, sizeof out, err));
        ck_assert_str_eq(out, c[i].want);
        ck_assert_int_eq(skipped, c[i].values);
        ck_assert_uint_eq(skipped_bytes, c[i].bytes_out);
        ck_assert_msg(strstr(logged.text, c[i].log) != NULL, "'%s' lacks '%s'", logged.text,
                      c[i].log);
    }
    put("a.json", BYTES("[{\"text\":\"a\"}"));
    ck_fails(read_all((sol_docs_opts){.skip_bad = true}, out, sizeof out, err), SOL_ERR_FORMAT,
             "not closed");
    clean();
}
END_TEST

/* The values are those of Python's json.loads. */
START_TEST(json_strings)
{
    static const struct {
        const char *json, *want;
        size_t n;
    } good[] = {
        {"{\"text\":\"a\"}", BYTES("a")},
        {" {\"a\":{\"text\":\"x\"},\"text\" : \"b\" , \"c\":[[],{}]} ", BYTES("b")},
        {"{\"\\u0074ext\":\"escaped key\"}", BYTES("escaped key")},
        {"{\"text\":\"first\",\"text\":\"last\"}", BYTES("last")},
        {"{\"text\":null,\"text\":\"last\"}", BYTES("last")},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", BYTES("\"\\/\b\f\n\r\t")},
        {"\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"", BYTES("A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80")},
        {"\"a\\u0000b\"", BYTES("a\0b")},
        {"\"\xC3\xA9\"", BYTES("\xC3\xA9")},
        {"\"\"", BYTES("")},
        {"{\"n\":[0,-1.5e+10,1E400,123456789012345678901234567890,NaN,-Infinity,true,false,null],"
         "\"text\":\"\"}",
         BYTES("")},
        {"{\"meta\":\"\\ud800 \xFF\",\"text\":\"other fields need not be Unicode\"}",
         BYTES("other fields need not be Unicode")},
    };
    static const struct {
        const char *json, *part;
    } bad[] = {
        {"", "n:7:1: not a JSON object"},
        {"{\"text\":\"a\"", "n:7:12: not a JSON object: it ends early"},
        {"{\"text\":\"a", "it ends early"},
        {"{\"text\" \"a\"}", ":9: not a JSON object: ':' is expected"},
        {"{\"text\":\"a\",}", "a string is expected"},
        {"{text:\"a\"}", "a string is expected"},
        {"{'text':'a'}", "a string is expected"},
        {"\"a\tb\"", "a control character in a string"},
        {"\"\\x41\"", "not an escape of JSON"},
        {"\"\\u12g4\"", "not an escape of JSON"},
        {"\"\\ud800\"", "half of a surrogate pair"},
        {"\"\\ud800\\u0041\"", "half of a surrogate pair"},
        {"\"\\udc00\\ud800\"", "half of a surrogate pair"},
        {"\"\xC0\x80\"", "no UTF-8"},
        {"\"a\" \"b\"", "something follows the value"},
        {"{\"text\":\"a\"}}", "something follows the value"},
        {"{\"a\":01,\"text\":\"a\"}", "a value is expected"},
        {"{\"a\":.5,\"text\":\"a\"}", "a value is expected"},
        {"{\"a\":[1,],\"text\":\"a\"}", "a value is expected"},
        {"{\"a\":1.,\"text\":\"a\"}", "a digit is expected"},
        {"{\"a\":[1}", "',' or ']' is expected"},
        {"{}", "n:7: no string under \"text\": {\"text\": \"...\"} is expected"},
        {"{\"text\":null}", "n:7: no string under \"text\": it is null"},
        {"{\"text\":[\"a\"]}", "it is an array"},
        {"{\"text\":\"a\",\"text\":1}", "it is a number"},
        {"[\"a\"]", "the value is an array"},
        {"17", "the value is a number"},
        {"{\"content\":\"a\",\"id\":1,\"title\":\"b\"}",
         "strings are under \"content\", \"title\"; rename one, as `jq -c '{text: .NAME}'` does"},
    };
    char json[512];
    sol_span text;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t n = (size_t)snprintf(json, sizeof json, "%s", good[i].json);
        ck_ok(sol_json_text(json, n, "n", 7, &text, err));
        ck_assert_uint_eq(text.n, good[i].n);
        ck_assert_msg(memcmp(text.at, good[i].want, text.n) == 0, "'%s'", good[i].json);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t n = (size_t)snprintf(json, sizeof json, "%s", bad[i].json);
        ck_fails(sol_json_text(json, n, "n", 7, &text, err), SOL_ERR_FORMAT, bad[i].part);
    }
    char deep[2600] = "{\"a\":"; /* the depth is limited, not the stack */
    memset(deep + 5, '[', 2500);
    ck_fails(sol_json_text(deep, 2505, "n", 7, &text, err), SOL_ERR_FORMAT, "nested too deeply");
}
END_TEST

/* gzip(1) and Python read all members and the zeros behind them; both complain of anything else. */
START_TEST(what_follows_a_gzip_member)
{
    static const char one[] = "one two three ", two[] = "four five six";
    char whole[4096], out[256];
    size_t first = gzip(whole, sizeof whole, one, sizeof one - 1);
    size_t both = first + gzip(whole + first, sizeof whole - first, two, sizeof two - 1);
    put("a.gz", whole, both);
    ck_ok(read_all((sol_docs_opts){0}, out, sizeof out, err));
    ck_assert_str_eq(out, "one two three four five six|");
    memset(whole + both, 0, 1000);
    put("a.gz", whole, both + 1000);
    ck_ok(read_all((sol_docs_opts){0}, out, sizeof out, err));
    ck_assert_str_eq(out, "one two three four five six|");
    char part[96];
    snprintf(part, sizeof part,
             "%d bytes that are no gzip follow the compressed data, which end at byte %zu", 300000,
             both);
    char *large = malloc(both + 300000); /* more than any buffer */
    memcpy(large, whole, both);
    memset(large + both, 'x', 300000);
    put("a.gz", large, both + 300000);
    ck_fails(read_all((sol_docs_opts){0}, out, sizeof out, err), SOL_ERR_FORMAT, part);
    free(large);
    whole[both + 1000] = 'x';
    put("a.gz", whole, both + 1001);
    ck_fails(read_all((sol_docs_opts){0}, out, sizeof out, err), SOL_ERR_FORMAT,
             "1 bytes that are no gzip follow");
    for (size_t n = first + 2; n < both;
         n++) { /* cut inside the second member, or before its magic number is whole */
        put("a.gz", whole, n);
        ck_fails(read_all((sol_docs_opts){0}, out, sizeof out, err), SOL_ERR_FORMAT,
                 "it ends early");
    }
    put("a.gz", whole, first + 1);
    ck_fails(read_all((sol_docs_opts){0}, out, sizeof out, err), SOL_ERR_FORMAT,
             "1 bytes that are no gzip follow");
    whole[first + 30] ^= 0x55;
    put("a.gz", whole, both);
    ck_fails(read_all((sol_docs_opts){0}, out, sizeof out, err), SOL_ERR_FORMAT,
             "damaged gzip file at byte");
    clean();
}
END_TEST

/* Documents longer than any buffer, with and without places to cut, give the same text as JSON and
 * as text. */
START_TEST(long_documents_by_every_road)
{
    enum { N = 9 << 20 };
    char *file = malloc(N + 64), *out = malloc(N + 64);
    for (int kind = 0; kind < 2; kind++) { /* one word; words */
        for (size_t i = 0; i < N; i++)
            file[i + 10] = kind && i % 7 == 6 ? ' ' : (char)('a' + i * 7 % 26);
        for (int form = 0; form < 3; form++) {
            size_t from = form == 0 ? 10 : form == 1 ? 0 : 8, n = N + 10 - from;
            if (form == 1)
                memcpy(file, "{\"text\": \"", 10), memcpy(file + 10 + N, "\"}\n\"b\"", 6), n += 6;
            if (form == 2)
                memcpy(file + 8, "[\"", 2), memcpy(file + 10 + N, "\", \"b\"]", 7), n += 7;
            put(form ? "a.json" : "a.txt", file + from, n);
            ck_ok(read_all((sol_docs_opts){.cut = true, .cut_lines = true}, out, N + 64, err));
            ck_assert_int_eq(memcmp(out, file + 10, N), 0);
            ck_assert_str_eq(out + N, form ? "|b|" : "|");
        }
    }
    free(file);
    free(out);
    clean();
}
END_TEST

/* The Makefile links every call of sol_tokenizer_cut_word to this one, which counts the bytes that
 * it looks at: a search that is repeated line by line ends here instead of in an hour. */
size_t __real_sol_tokenizer_cut_word(const sol_tokenizer *t, const char *text, size_t n,
                                     bool continues);
size_t __wrap_sol_tokenizer_cut_word(const sol_tokenizer *t, const char *text, size_t n,
                                     bool continues);

enum { LINES_SIZE = 1 << 20 };
static size_t looked_at;

size_t __wrap_sol_tokenizer_cut_word(const sol_tokenizer *t, const char *text, size_t n,
                                     bool continues)
{
    looked_at += n;
    ck_assert_uint_lt(looked_at, 8 * LINES_SIZE);
    return __real_sol_tokenizer_cut_word(t, text, n, continues);
}

/* A tokenizer of tests/golden/tokenizers.json. */
static void open_golden(sol_tokenizer **t, const char *name)
{
    json_t *kinds = json_load_file("tests/golden/tokenizers.json", JSON_ALLOW_NUL, NULL), *kind;
    size_t i;
    *t = NULL;
    json_array_foreach(kinds, i, kind)
    {
        if (strcmp(json_string_value(json_object_get(kind, "name")), name) != 0) continue;
        char *file = json_dumps(json_object_get(kind, "tokenizer"), 0);
        ck_ok(sol_tokenizer_from_memory(t, name, file, strlen(file), err));
        free(file);
    }
    json_decref(kinds);
    ck_assert_ptr_nonnull(*t);
}

/* Each search for a cut inside a word reads all that is there: short lines, of which each could
 * begin a separator, must not start one each. */
START_TEST(short_lines_are_searched_a_few_times)
{
    static char text[LINES_SIZE], out[LINES_SIZE + 64];
    sol_tokenizer *t;
    open_golden(&t, "gpt2 prefix space");
    /* The places that are tried lie behind a line. */
    for (size_t i = 0; i < LINES_SIZE; i++) text[i] = "abcdefg\n"[i % 8];
    put("lines.txt", text, LINES_SIZE);
    looked_at = 0;
    sol_docs_opts o = {.cut = sol_tokenizer_can_cut(t),
                       .cut_lines = sol_tokenizer_can_cut_lines(t),
                       .cut_words = t};
    ck_ok(read_all(o, out, sizeof out, err));
    ck_assert_int_eq(memcmp(out, text, LINES_SIZE), 0);
    ck_assert_uint_gt(looked_at, 0);
    sol_tokenizer_free(&t);
    clean();
}
END_TEST

SOL_TEST_MAIN("docs", tcase_add_test(tc, kinds_that_are_read);
              tcase_add_test(tc, kinds_that_are_refused);
              tcase_add_test(tc, formats_that_are_asked_for);
              tcase_add_test(tc, bad_values_are_skipped_and_counted);
              tcase_add_test(tc, json_strings); tcase_add_test(tc, what_follows_a_gzip_member);
              tcase_add_test(tc, long_documents_by_every_road);
              tcase_add_test(tc, short_lines_are_searched_a_few_times))
