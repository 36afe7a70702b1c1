/* Decides whether an output may be replaced: only what solera wrote itself, unless --force is
 * given. Every verb that writes a file asks here first. */
#include "output.h"

#include <string.h>
#include <sys/stat.h>

#include "foreign/export.h"
#include "foreign/tensors.h"

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

static bool has_marker(const char *path, const char *marker)
{
    char bytes[1024];
    return sol_file_head(path, bytes, sizeof bytes, NULL) == SOL_OK &&
           memmem(bytes, sizeof bytes, marker, strlen(marker));
}

static bool is_ours(const char *path, sol_output_kind want)
{
    sol_file_kind kind;
    if (want == SOL_OUTPUT_TOKENIZER) return is_our_tokenizer(path);
    if (want == SOL_OUTPUT_SAMPLES) return has_marker(path, ", \"item\": 0, \"gold\": ");
    if (sol_store_kind(path, &kind, NULL) != SOL_OK)
        return want == SOL_OUTPUT_MODEL && sol_gguf_is_ours(path);
    if (want == SOL_OUTPUT_DATASET) return kind == SOL_FILE_DATASET;
    return kind <= SOL_FILE_PACKED;
}

/* What is written into a folder; the first of these files that is there tells by words near its
 * beginning who made them all. */
static const struct {
    const char *name, *marker; /* NULL: it cannot tell */
} folders[][6] = {
    [SOL_OUTPUT_FOLDER] = {{"model.safetensors",
                            "{\"__metadata__\":{\"format\":\"pt\",\"made_by\":\"solera\"}"},
                           {"config.json", NULL},
                           {"generation_config.json", NULL},
                           {"tokenizer.json", NULL},
                           {"tokenizer_config.json", NULL}},
    [SOL_OUTPUT_REPORT] = {{"index.html", "<title>Weight trapping: "},
                           {"measures.csv", "run,step,lambda,loss,"},
                           {"measures-key.csv", "column,unit,title,formula"}},
    [SOL_OUTPUT_TABLES] = {{"table.md", "| seeds "},
                           {"table.csv", "seeds,"},
                           {"index.html", "<title>Sweep: "}},
};

static sol_status check_strays(const char *path, sol_err *err)
{
    char file[SOL_PATH_MAX];
    for (int i = 0; sol_hf_strays[i]; i++) {
        SOL_TRY(sol_path_join(file, path, sol_hf_strays[i], err));
        if (sol_file_exists(file))
            return sol_fail(err, SOL_ERR_USAGE,
                            "%s: exists, and would change what the model beside it is: name "
                            "another folder, or have it removed with --force",
                            file);
    }
    return SOL_OK;
}

static sol_status check_folder(const char *path, sol_output_kind kind, sol_err *err)
{
    char file[SOL_PATH_MAX];
    if (kind == SOL_OUTPUT_FOLDER) SOL_TRY(check_strays(path, err));
    for (int i = 0; i < 6 && folders[kind][i].name; i++) {
        const char *marker = folders[kind][i].marker;
        SOL_TRY(sol_path_join(file, path, folders[kind][i].name, err));
        if (!sol_file_exists(file)) continue;
        if (marker && has_marker(file, marker)) return SOL_OK;
        return sol_fail(err, SOL_ERR_USAGE,
                        "%s: exists, and solera did not write it: name another folder, or replace "
                        "it with --force",
                        file);
    }
    return SOL_OK;
}

sol_status sol_output_check(const char *path, sol_output_kind kind, bool force, sol_err *err)
{
    static const char *const names[] = {[SOL_OUTPUT_MODEL] = "model",
                                        [SOL_OUTPUT_DATASET] = "dataset",
                                        [SOL_OUTPUT_TOKENIZER] = "tokenizer",
                                        [SOL_OUTPUT_SAMPLES] = "file of samples"};
    struct stat s;
    bool file = kind < SOL_OUTPUT_FOLDER, there = stat(path, &s) == 0;
    /* As the writer refuses it, but before the work. */
    if (file && there && !S_ISREG(s.st_mode))
        return sol_fail(err, SOL_ERR_IO, "%s: exists and is not a regular file", path);
    if (force) return SOL_OK;
    if (!file) return check_folder(path, kind, err);
    if (!there || is_ours(path, kind)) return SOL_OK;
    return sol_fail(
        err, SOL_ERR_USAGE,
        "%s: exists, and is no %s that solera wrote: name another file, or replace it with --force",
        path, names[kind]);
}
