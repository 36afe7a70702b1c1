/* Text and JSON-lines files as streams of documents: any bytes are an error or documents, and cutting long ones
 * changes no text. The first byte chooses the kind of file. */
#include <string.h>

#include "fuzz.h"
#include "text/docs.h"

/* FNV-1a of all documents with their ends; 0 after an error. */
static uint64_t digest(const char *path, bool cut, bool unix_lines)
{
    sol_docs_options o = {.files = &path,
                          .n_files = 1,
                          .separator = {SOL_DOCS_SEPARATOR, "ab"},
                          .cut = cut,
                          .cut_lines = cut,
                          .unix_lines = unix_lines};
    sol_docs *d;
    sol_batch b = {0};
    sol_err err = {0};
    uint64_t h = 0xcbf29ce484222325u;
    sol_status st = sol_docs_open(&d, &o, &err);
    while (st == SOL_OK && (st = sol_docs_read(d, &b, &err)) == SOL_OK && b.n_pieces > 0) {
        for (size_t i = 0; st == SOL_OK && i < b.n_pieces; i++) {
            const char *text = b.text + b.piece[i].at;
            size_t n = b.piece[i].n;
            for (size_t k = 0; st == SOL_OK && k < n; k++) h = (h ^ (uint8_t)text[k]) * 0x100000001b3u;
            if (b.piece[i].last) h = (h ^ 256) * 0x100000001b3u;
        }
    }
    fuzz_check(st == SOL_OK || err.text[0]);
    sol_batch_free(&b);
    sol_docs_close(&d);
    return st == SOL_OK ? h : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[96];
    if (size == 0) return -1;
    snprintf(path, sizeof path, "%s/%s", fuzz_dir(), data[0] & 1 ? "a.jsonl" : "a.txt");
    fuzz_write(path, data + 1, size - 1);
    bool unix_lines = data[0] & 2;
    fuzz_check(digest(path, false, unix_lines) == digest(path, true, unix_lines));
    return 0;
}
