/* Text and JSON as streams of documents: any bytes are an error or documents, and cutting long ones
 * changes no text. A value of JSON that jansson reads has the same text here. The first byte
 * chooses the kind of file. */
#include <jansson.h>
#include <string.h>

#include "fuzz.h"
#include "text/docs.h"
#include "text/jsontext.h"

/* FNV-1a of all documents with their ends; 0 after an error. */
static uint64_t digest(const char *path, bool cut, bool unix_lines, bool skip_bad)
{
    sol_docs_opts o = {.files = &path,
                       .n_files = 1,
                       .separator = {SOL_DOCS_SEPARATOR, "ab"},
                       .cut = cut,
                       .cut_lines = cut,
                       .unix_lines = unix_lines,
                       .skip_bad = skip_bad};
    sol_docs *d;
    sol_batch b = {0};
    sol_err err = {0};
    uint64_t h = 0xcbf29ce484222325u;
    sol_status st = sol_docs_open(&d, &o, &err);
    while (st == SOL_OK && (st = sol_docs_read(d, &b, &err)) == SOL_OK && b.n_pieces > 0) {
        for (size_t i = 0; st == SOL_OK && i < b.n_pieces; i++) {
            const char *text = b.text + b.piece[i].at;
            size_t n = b.piece[i].n;
            for (size_t k = 0; st == SOL_OK && k < n; k++)
                h = (h ^ (uint8_t)text[k]) * 0x100000001b3u;
            if (b.piece[i].last) h = (h ^ 256) * 0x100000001b3u;
        }
    }
    fuzz_check(st == SOL_OK || err.text[0]);
    sol_batch_free(&b);
    sol_docs_close(&d);
    return st == SOL_OK ? h : 0;
}

/* jansson knows neither NaN nor numbers of any size, and more levels: what it refuses proves
 * nothing. */
static void compare_value(const uint8_t *data, size_t size)
{
    json_t *value = json_loadb((const char *)data, size, JSON_ALLOW_NUL, NULL);
    const json_t *want = json_object_get(value, "text");
    char *copy = malloc(size + 1);
    sol_span text;
    sol_err err = {0};
    memcpy(copy, data, size);
    sol_status st = sol_json_text(copy, size, "value", 1, &text, &err);
    fuzz_check(st == SOL_OK || err.text[0]);
    if (json_is_string(want) && !strstr(err.text, "nested"))
        fuzz_check(st == SOL_OK && text.n == json_string_length(want) &&
                   memcmp(text.at, json_string_value(want), text.n) == 0);
    if (value && !json_is_string(want)) fuzz_check(st != SOL_OK);
    free(copy);
    json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"a.txt", "a.jsonl", "a", "a.json"};
    char path[96];
    if (size == 0) return -1;
    snprintf(path, sizeof path, "%s/%s", fuzz_dir(), names[data[0] & 3]);
    fuzz_write(path, data + 1, size - 1);
    bool unix_lines = data[0] & 4, skip_bad = data[0] & 8;
    fuzz_check(digest(path, false, unix_lines, skip_bad) ==
               digest(path, true, unix_lines, skip_bad));
    compare_value(data + 1, size - 1);
    return 0;
}
