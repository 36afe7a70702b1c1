/* Tokenizers by what their bytes are. */
#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "base/textio.h"
#include "text/tokenizer_impl.h"

enum { MAX_FILE = 512 << 20 };

sol_status sol_tokenizer_from_memory(sol_tokenizer **out, const char *name, const void *data, size_t size,
                                     sol_err *err)
{
    const char *text = data;
    size_t first = 0, magic = sizeof SOL_TOK_MAGIC - 1;
    sol_tokenizer *t = NULL;
    sol_status st;
    *out = NULL;
    while (first < size && isspace((unsigned char)text[first])) first++;
    if (size >= magic && memcmp(text, SOL_TOK_MAGIC, magic) == 0)
        st = sol_tok_from_serialized(&t, name, data, size, err);
    else if (first < size && text[first] == '{')
        st = sol_tok_from_json(&t, name, data, size, err);
    else
        st = sol_tok_from_llama2c(&t, name, data, size, err);
    if (st == SOL_OK) st = sol_tok_finish(t, name, err);
    if (st != SOL_OK) sol_tokenizer_free(&t);
    *out = t;
    return st;
}

sol_status sol_tokenizer_open(sol_tokenizer **t, const char *path, sol_err *err)
{
    char *data;
    size_t size;
    *t = NULL;
    sol_status st = sol_text_read(path, MAX_FILE, &data, &size, err);
    if (st == SOL_OK) st = sol_tokenizer_from_memory(t, path, data, size, err);
    sol_free(data);
    return st;
}
