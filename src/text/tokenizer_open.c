/* Opens a tokenizer in whatever form it comes: by its first bytes it is our serialized form, a
 * tokenizer.json or llama2.c's. */
#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "base/textio.h"
#include "text/tokenizer_impl.h"

enum { MAX_FILE = 512 << 20 };

static sol_status parse(sol_tokenizer **t, const char *name, const void *data, size_t size,
                        sol_more_tokens *more, sol_err *err)
{
    const char *text = data;
    size_t first = 0, magic = sizeof SOL_TOK_MAGIC - 1;
    while (first < size && isspace((unsigned char)text[first])) first++;
    if (size >= magic && memcmp(text, SOL_TOK_MAGIC, magic) == 0)
        return sol_tok_from_serialized(t, name, data, size, err);
    if (first < size && text[first] == '{')
        return sol_tok_from_json(t, name, data, size, more, err);
    return sol_tok_from_llama2c(t, name, data, size, err);
}

static sol_status make(sol_tokenizer **out, const char *name, const void *data, size_t size,
                       sol_more_tokens *more, sol_err *err)
{
    *out = NULL;
    sol_status st = parse(out, name, data, size, more, err);
    if (st == SOL_OK) st = sol_tok_finish(*out, name, err);
    if (st != SOL_OK) sol_tokenizer_free(out);
    return st;
}

sol_status sol_tokenizer_from_memory(sol_tokenizer **out, const char *name, const void *data,
                                     size_t size, sol_err *err)
{
    return make(out, name, data, size, NULL, err);
}

sol_status sol_tokenizer_open_more(sol_tokenizer **t, const char *path, sol_more_tokens *more,
                                   sol_err *err)
{
    char *data;
    size_t size;
    *t = NULL;
    sol_status st = sol_text_read(path, MAX_FILE, NULL, &data, &size, err);
    if (st == SOL_OK) st = make(t, path, data, size, more, err);
    sol_free(data);
    return st;
}

sol_status sol_tokenizer_open(sol_tokenizer **t, const char *path, sol_err *err)
{
    return sol_tokenizer_open_more(t, path, NULL, err);
}
