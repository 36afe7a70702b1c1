/* A GGUF model in several files from a stranger: an error, or a model file. The input is the
 * files one after the other, each behind its length in four bytes, and says by its first byte how
 * many are there and how many their names promise. */
#include <string.h>
#include <unistd.h>

#include "foreign/gguf.h"
#include "fuzz.h"

enum { MAX_PARTS = 4 };

static const char *path_of(int part, int parts)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/m-%05d-of-%05d.gguf", fuzz_dir(), part, parts);
    return path;
}

static void write_parts(const uint8_t *data, size_t size, int parts, int named)
{
    for (int part = 1; part <= MAX_PARTS; part++) {
        uint32_t n = 0;
        const char *path = path_of(part, named);
        unlink(path);
        if (part > parts) continue;
        if (size >= sizeof n) {
            memcpy(&n, data, sizeof n);
            data += sizeof n;
            size -= sizeof n;
        }
        if (n > size || part == parts) n = (uint32_t)size;
        fuzz_write(path, data, n);
        data += n;
        size -= n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sol_source s;
    sol_err err = {0};
    if (size == 0) return -1;
    int parts = 1 + (data[0] & 3), named = 1 + (data[0] >> 2 & 3);
    write_parts(data + 1, size - 1, parts, named);
    sol_status st = sol_source_open_gguf(&s, path_of(1, named), true, &err);
    fuzz_check(st == SOL_OK || err.text[0]);
    if (st != SOL_OK) return 0;
    fuzz_import(&s);
    return 0;
}
