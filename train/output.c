#include "output.h"

#include <string.h>
#include <sys/stat.h>

#include "store/gguf.h"

/* Every GGUF export has the key; converters and quantizers of other programs that begin with such a file keep it. */
static bool is_our_gguf(const char *path)
{
    sol_gguf g;
    if (sol_gguf_open(&g, path, NULL) != SOL_OK) return false;
    bool ours = sol_gguf_find(&g, "solera.version") != NULL;
    sol_gguf_close(&g);
    return ours;
}

static bool is_text(const sol_tokenizer *t, int32_t id, const char *want)
{
    size_t n;
    const char *text = sol_tokenizer_text(t, id, &n);
    return text && n == strlen(want) && memcmp(text, want, n) == 0;
}

/* train-tokenizer puts these two last, which no other program is known to do. */
static bool is_our_tokenizer(const char *path)
{
    sol_tokenizer *t;
    if (sol_tokenizer_open(&t, path, NULL) != SOL_OK) return false;
    int32_t n = sol_tokenizer_vocab_size(t);
    bool ours = is_text(t, n - 2, "<|begin_of_text|>") && is_text(t, n - 1, "<|end_of_text|>");
    sol_tokenizer_free(&t);
    return ours;
}

static bool is_ours(const char *path, sol_output_kind want)
{
    sol_file_kind kind;
    if (want == SOL_OUTPUT_TOKENIZER) return is_our_tokenizer(path);
    if (sol_store_kind(path, &kind, NULL) != SOL_OK) return want == SOL_OUTPUT_MODEL && is_our_gguf(path);
    if (want == SOL_OUTPUT_DATASET) return kind == SOL_FILE_DATASET;
    return kind == SOL_FILE_CHECKPOINT || kind == SOL_FILE_MODEL || kind == SOL_FILE_PACKED;
}

/* The weights in it say who made them. */
static bool is_our_folder(const char *path)
{
    static const char head[] = "{\"__metadata__\":{\"format\":\"pt\",\"made_by\":\"solera\"}"; /* behind 8 bytes of length */
    char weights[SOL_PATH_MAX], bytes[sizeof head - 1];
    sol_in in;
    snprintf(weights, sizeof weights, "%s/model.safetensors", path);
    if (sol_in_open(&in, weights, NULL) != SOL_OK) return false;
    bool ours = sol_in_read(&in, 8, bytes, sizeof bytes, NULL) == SOL_OK && memcmp(bytes, head, sizeof bytes) == 0;
    sol_in_close(&in);
    return ours;
}

static sol_status check_folder(const char *path, sol_err *err)
{
    static const char *const names[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"};
    char file[SOL_PATH_MAX];
    if (is_our_folder(path)) return SOL_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((size_t)snprintf(file, sizeof file, "%s/%s", path, names[i]) < sizeof file && sol_file_exists(file))
            return sol_fail(err, SOL_ERR_USAGE, "%s: exists, and solera did not write it: name another folder, or replace it with --force", file);
    }
    return SOL_OK;
}

sol_status sol_output_check(const char *path, sol_output_kind kind, bool force, sol_err *err)
{
    static const char *const names[] = {[SOL_OUTPUT_MODEL] = "model", [SOL_OUTPUT_DATASET] = "dataset", [SOL_OUTPUT_TOKENIZER] = "tokenizer"};
    struct stat s;
    if (force) return SOL_OK;
    if (kind == SOL_OUTPUT_FOLDER) return check_folder(path, err);
    if (stat(path, &s) != 0 || !S_ISREG(s.st_mode) || is_ours(path, kind)) return SOL_OK; /* what is no file is refused by the writer */
    return sol_fail(err, SOL_ERR_USAGE, "%s: exists, and is no %s that solera wrote: name another file, or replace it with --force", path,
                    names[kind]);
}
