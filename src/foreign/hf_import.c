/* Reads a Hugging Face folder as a source, which import.c streams into a model file:
 * config.json, model.safetensors or the shards of its index, tokenizer.json. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/textio.h"
#include "foreign/hf.h"
#include "foreign/origin.h"
#include "foreign/safetensors.h"
#include "foreign/source.h"
#include "text/utf8.h"

enum { MAX_SHARDS = 512 };
static const char head_name[] = "lm_head.weight";
#define MAX_JSON (64u << 20)

typedef struct hf_source {
    sol_safetensors *shard; /* [n_shards]; owned */
    int n_shards;
    const sol_st_tensor **tensor; /* [n_params] of the table; owned */
    int *where;                   /* [n_params] its shard; owned */
} hf_source;

static void close_folder(sol_source *s)
{
    hf_source *f = s->impl;
    for (int i = 0; i < f->n_shards; i++) sol_safetensors_close(&f->shard[i]);
    sol_free(f->shard);
    sol_free(f->tensor);
    sol_free(f->where);
    sol_free(f);
}

static sol_status add_shard(hf_source *f, const char *dir, const char *name, sol_err *err)
{
    char path[SOL_PATH_MAX];
    SOL_TRY(sol_path_join(path, dir, name, err));
    SOL_TRY(sol_safetensors_open(&f->shard[f->n_shards], path, err));
    f->n_shards++;
    return SOL_OK;
}

static int find_shard(const hf_source *f, const char *name)
{
    for (int i = 0; i < f->n_shards; i++) {
        const char *slash = strrchr(f->shard[i].path, '/');
        if (strcmp(slash + 1, name) == 0) return i;
    }
    return -1;
}

static sol_status need_file(const char *dir, const char *name, const char *index_path, sol_err *err)
{
    char path[SOL_PATH_MAX];
    SOL_TRY(sol_path_join(path, dir, name, err));
    if (sol_file_exists(path)) return SOL_OK;
    return sol_fail(
        err, SOL_ERR_IO,
        "%s: names %.100s, which is not there: the folder needs every file of the model",
        index_path, name);
}

/* Opens every file that the index names, and checks that each tensor is where it says. */
static sol_status open_index(hf_source *f, const char *dir, const char *index_path, sol_err *err)
{
    json_t *root, *value;
    const char *tensor;
    sol_status st = sol_hf_read_json(index_path, MAX_JSON, &root, err);
    if (st != SOL_OK) return st;
    json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map))
        st = sol_fail(err, SOL_ERR_FORMAT, "%s: has no weight_map", index_path);
    json_object_foreach(map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (st != SOL_OK) break;
        if (!name || !name[0] || name[0] == '.' || strchr(name, '/')) {
            st = sol_fail(err, SOL_ERR_FORMAT, "%s: %.100s: is not in a file of this folder",
                          index_path, tensor);
            break;
        }
        int at = find_shard(f, name);
        if (at < 0 && f->n_shards == MAX_SHARDS)
            st = sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: names more than %d files", index_path,
                          MAX_SHARDS);
        if (at < 0 && st == SOL_OK) st = need_file(dir, name, index_path, err);
        if (at < 0 && st == SOL_OK) {
            at = f->n_shards;
            st = add_shard(f, dir, name, err);
        }
        if (st == SOL_OK && !sol_safetensors_find(&f->shard[at], tensor))
            st = sol_fail(err, SOL_ERR_FORMAT, "%s: %.100s: is not in %.100s", index_path, tensor,
                          name);
    }
    json_decref(root);
    return st;
}

static sol_status open_shards(hf_source *f, const char *dir, sol_err *err)
{
    char single[SOL_PATH_MAX], index[SOL_PATH_MAX];
    SOL_TRY(sol_alloc_array((void **)&f->shard, MAX_SHARDS, sizeof *f->shard, err));
    SOL_TRY(sol_path_join(single, dir, "model.safetensors", err));
    SOL_TRY(sol_path_join(index, dir, "model.safetensors.index.json", err));
    if (!sol_file_exists(index) && !sol_file_exists(single))
        return sol_fail(err, SOL_ERR_IO,
                        "%s: cannot open model.safetensors or model.safetensors.index.json: "
                        "neither is there (other "
                        "formats are not read: save the model as safetensors)",
                        dir);
    if (!sol_file_exists(single)) return open_index(f, dir, index, err);
    return add_shard(f, dir, "model.safetensors", err);
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);
    return n >= k && strcmp(name + n - k, end) == 0;
}

static const char prefix[] = "model.";
enum { PREFIX = sizeof prefix - 1 };

/* Also without "model.", as a model that was saved without its head has them. */
static bool is_parameter(const sol_model *table, const char *name)
{
    char full[96 + PREFIX];
    return sol_model_param(table, name) ||
           ((size_t)snprintf(full, sizeof full, "%s%s", prefix, name) < sizeof full &&
            sol_model_param(table, full));
}

/* What stands beside the parameters: tables of RoPE in older files, and the head of a tied model,
 * which was looked at before. */
static bool is_harmless(const char *name, const sol_model_config *c)
{
    return ends_with(name, "rotary_emb.inv_freq") ||
           (c->tie_word_embeddings && strcmp(name, head_name) == 0);
}

static sol_status check_strangers(const sol_source *s, const sol_model *table, sol_err *err)
{
    const hf_source *f = s->impl;
    for (int i = 0; i < f->n_shards; i++) {
        for (size_t k = 0; k < f->shard[i].n; k++) {
            const char *name = f->shard[i].tensor[k].name;
            if (is_harmless(name, &s->config) || is_parameter(table, name)) continue;
            if (ends_with(name, ".bias"))
                return sol_fail(err, SOL_ERR_UNSUPPORTED,
                                "%s: %.100s: a bias, which %s models do not have here",
                                f->shard[i].path, name, sol_family_of(&s->config)->model_type);
            return sol_fail(
                err, SOL_ERR_SHAPE,
                "%s: %.100s: is not a parameter of the model that config.json describes",
                f->shard[i].path, name);
        }
    }
    return SOL_OK;
}

/* Under its name or the one without "model."; NULL: in none of the files. */
static sol_status find_tensor(const hf_source *f, const char *name, const sol_st_tensor **x,
                              int *where, sol_err *err)
{
    int names = strncmp(name, prefix, PREFIX) == 0 ? 2 : 1;
    *x = NULL;
    for (int k = 0; k < names * f->n_shards; k++) {
        int i = k / names;
        const sol_st_tensor *here =
            sol_safetensors_find(&f->shard[i], k % names ? name + PREFIX : name);
        if (here && *x)
            return sol_fail(err, SOL_ERR_FORMAT, "%s: %s: is in %s, too", f->shard[i].path, name,
                            f->shard[*where].path);
        if (!here) continue;
        *x = here;
        *where = i;
    }
    return SOL_OK;
}

static sol_status place_param(const sol_source *s, hf_source *f, const sol_param *p, int index,
                              sol_err *err)
{
    char has[96], want[96];
    sol_shape shape = sol_param_is_vector(p) ? sol_shape1(p->cols) : sol_shape2(p->rows, p->cols);
    const sol_st_tensor *x;
    bool head = p->kind == SOL_PARAM_HEAD;
    SOL_TRY(find_tensor(f, p->name, &x, &f->where[index], err));
    /* Of embedding and head, tied, either may be the one that was stored. */
    if (!x && p->kind == SOL_PARAM_EMBED && s->config.tie_word_embeddings)
        SOL_TRY(find_tensor(f, head_name, &x, &f->where[index], err));
    if (!x)
        return sol_fail(
            err, SOL_ERR_SHAPE, "%s: has no tensor %s%s", s->path, p->name,
            head ? ": where the embedding is the head, config.json says tie_word_embeddings true"
                 : "");
    const char *path = f->shard[f->where[index]].path;
    if (!sol_shape_equal(&x->shape, &shape))
        return sol_fail(err, SOL_ERR_SHAPE, "%s: %s: has shape %s, config.json wants %s", path,
                        x->name, sol_shape_text(&x->shape, has), sol_shape_text(&shape, want));
    if (!x->readable)
        return sol_fail(
            err, SOL_ERR_UNSUPPORTED,
            "%s: %s: has dtype %s, only F32, F16 and BF16 are read: save the model as one of them",
            path, x->name, x->dtype);
    f->tensor[index] = x;
    return SOL_OK;
}

/* n elements of a tensor from element `at` on, in f32; raw holds them as they are. */
static sol_status read_elements(const hf_source *f, int where, const sol_st_tensor *x, int64_t at,
                                int64_t n, void *raw, float *out, sol_err *err)
{
    size_t size = sol_dtype_size(x->type);
    SOL_TRY(sol_in_read(&f->shard[where].in, x->begin + (uint64_t)at * size, raw, (size_t)n * size,
                        err));
    sol_convert(out, SOL_F32, raw, x->type, n);
    return SOL_OK;
}

enum { COMPARE_STEP = 1 << 16 };

/* Whether two tensors of one shape hold the same values; part: COMPARE_STEP elements each of the
 * one, the other and what was read. */
static sol_status compare(const hf_source *f, const sol_st_tensor *const x[2], const int where[2],
                          float *const part[3], bool *same, sol_err *err)
{
    int64_t n = sol_shape_count(&x[0]->shape);
    *same = true;
    for (int64_t at = 0; at < n; at += COMPARE_STEP) {
        int64_t count = sol_min_i64(n - at, COMPARE_STEP);
        for (int i = 0; i < 2; i++)
            SOL_TRY(read_elements(f, where[i], x[i], at, count, part[2], part[i], err));
        *same = memcmp(part[0], part[1], (size_t)count * sizeof(float)) == 0;
        if (!*same) break;
    }
    return SOL_OK;
}

static sol_status same_values(const hf_source *f, const sol_st_tensor *const x[2],
                              const int where[2], bool *same, sol_err *err)
{
    float *memory;
    *same = sol_shape_equal(&x[0]->shape, &x[1]->shape) && x[0]->readable && x[1]->readable;
    if (!*same) return SOL_OK;
    SOL_TRY(sol_alloc_array((void **)&memory, 3 * COMPARE_STEP, sizeof *memory, err));
    float *const part[3] = {memory, memory + COMPARE_STEP, memory + 2 * COMPARE_STEP};
    sol_status st = compare(f, x, where, part, same, err);
    sol_free(memory);
    return st;
}

/* transformers keeps a head that a tied model has stored beside its embedding, where it is another
 * one. So does this. */
static sol_status untie_other_head(sol_source *s, sol_err *err)
{
    const hf_source *f = s->impl;
    const sol_st_tensor *x[2];
    int where[2];
    bool same = true;
    SOL_TRY(find_tensor(f, "model.embed_tokens.weight", &x[0], &where[0], err));
    SOL_TRY(find_tensor(f, head_name, &x[1], &where[1], err));
    if (x[0] && x[1]) SOL_TRY(same_values(f, x, where, &same, err));
    if (same) return SOL_OK;
    s->config.tie_word_embeddings = false;
    sol_source_note(s, "tie_word_embeddings is true, but lm_head.weight holds other values than "
                       "the embedding: both are kept, untied");
    return SOL_OK;
}

static sol_status place_table(sol_source *s, hf_source *f, const sol_model *table, sol_err *err)
{
    size_t n = (size_t)table->n_params;
    SOL_TRY(sol_alloc_array((void **)&f->tensor, n, sizeof *f->tensor, err));
    SOL_TRY(sol_alloc_array((void **)&f->where, n, sizeof *f->where, err));
    SOL_TRY(check_strangers(s, table, err));
    s->dtype = SOL_BF16;
    for (int i = 0; i < table->n_params; i++) {
        SOL_TRY(place_param(s, f, &table->params[i], i, err));
        if (f->tensor[i]->type != SOL_BF16) s->dtype = SOL_F32;
    }
    return SOL_OK;
}

static sol_status place_params(sol_source *s, sol_err *err)
{
    hf_source *f = s->impl;
    sol_model *table;
    size_t tensors = 0;
    if (s->config.tie_word_embeddings) SOL_TRY(untie_other_head(s, err));
    for (int i = 0; i < f->n_shards; i++) tensors += f->shard[i].n;
    if ((size_t)s->config.num_hidden_layers > tensors)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "%s: config.json has %lld layers, the weights only %zu tensors", s->path,
                        (long long)s->config.num_hidden_layers, tensors);
    SOL_TRY(sol_model_describe(&table, &s->config, SOL_F32, err));
    sol_status st = place_table(s, f, table, err);
    sol_model_free(&table);
    return st;
}

static sol_dtype given_type(const sol_source *s, int param)
{
    const hf_source *f = s->impl;
    return f->tensor[param]->type == SOL_BF16 ? SOL_BF16 : SOL_F32;
}

static sol_status read_rows(const sol_source *s, int param, const sol_param *p, int64_t row,
                            int64_t n, sol_source_scratch *scratch, void *out, sol_err *err)
{
    const hf_source *f = s->impl;
    const sol_st_tensor *x = f->tensor[param];
    const sol_in *in = &f->shard[f->where[param]].in;
    size_t size = sol_dtype_size(x->type), bytes = (size_t)(n * p->cols) * size;
    uint64_t at = x->begin + (uint64_t)(row * p->cols) * size;
    if (x->type != SOL_F16) return sol_in_read(in, at, out, bytes, err);
    SOL_TRY(sol_grow_array(&scratch->data, &scratch->capacity, bytes, 1, err));
    SOL_TRY(sol_in_read(in, at, scratch->data, bytes, err));
    sol_convert(out, SOL_F32, scratch->data, SOL_F16, n * p->cols);
    return SOL_OK;
}

/* The ids of config.json or generation_config.json, with a note about one that is left out. */
static sol_status read_token_ids(sol_source *s, const char *path, const json_t *root, sol_err *err)
{
    int64_t beyond;
    char note[160];
    SOL_TRY(sol_hf_token_ids(path, root, &s->config, &beyond, err));
    if (beyond < 0) return SOL_OK;
    snprintf(note, sizeof note,
             "BOS or EOS has the id %lld, which the vocabulary of %lld lacks: it is left out",
             (long long)beyond, (long long)s->config.vocab_size);
    sol_source_note(s, note);
    return SOL_OK;
}

/* generation_config.json knows better than config.json which tokens end a text: `generate` of
 * transformers asks it first. Where it names none, those of config.json stay, which transformers
 * then leaves to the caller. */
static sol_status read_generation(sol_source *s, sol_err *err)
{
    char path[SOL_PATH_MAX];
    json_t *root;
    sol_status st = sol_path_join(path, s->path, "generation_config.json", err);
    if (st != SOL_OK || !sol_file_exists(path)) return st;
    st = sol_hf_read_json(path, MAX_JSON, &root, err);
    if (st != SOL_OK) return st;
    st = read_token_ids(s, path, root, err);
    char *text = json_dumps(root, JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    if (st == SOL_OK && text) st = sol_copy_string(&s->generation, text, strlen(text), err);
    free(text);
    json_decref(root);
    return st;
}

/* "chat_template" of tokenizer_config.json: a text, or several that have names, of which that
 * called default counts. */
static sol_status take_template(sol_source *s, const json_t *value, sol_err *err)
{
    size_t i;
    json_t *entry;
    if (json_is_object(value)) value = json_object_get(value, "default");
    json_array_foreach(value, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name && strcmp(name, "default") == 0)
            return take_template(s, json_object_get(entry, "template"), err);
    }
    const char *text = json_string_value(value);
    return text ? sol_copy_string(&s->chat_template, text, strlen(text), err) : SOL_OK;
}

static sol_status take_templates(sol_source *s, const json_t *value, sol_err *err)
{
    SOL_TRY(take_template(s, value, err));
    if (value && !json_is_null(value) && !s->chat_template)
        sol_source_note(s, "chat_template of tokenizer_config.json is neither a text nor has one "
                           "called default: the model gets none");
    return SOL_OK;
}

static sol_status read_jinja(sol_source *s, const char *path, sol_err *err)
{
    size_t n;
    SOL_TRY(sol_text_read(path, MAX_JSON, NULL, &s->chat_template, &n, err));
    if (strlen(s->chat_template) == n && sol_utf8_valid_prefix(s->chat_template, n) == n)
        return SOL_OK;
    return sol_fail(err, SOL_ERR_FORMAT, "%s: is no text in UTF-8", path);
}

/* A token of tokenizer_config.json: a string, an object with one, or null. */
static sol_status take_token(const json_t *value, char **text, sol_err *err)
{
    const char *token =
        json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    if (!token && !json_is_null(value)) return SOL_OK;
    return sol_copy_string(text, token ? token : "", token ? strlen(token) : 0, err);
}

/* The chat template: chat_template.jinja goes before tokenizer_config.json, as in transformers. */
static sol_status read_template(sol_source *s, sol_err *err)
{
    char path[SOL_PATH_MAX], own[SOL_PATH_MAX];
    json_t *root;
    SOL_TRY(sol_path_join(own, s->path, "chat_template.jinja", err));
    bool has_own = sol_file_exists(own);
    if (has_own) SOL_TRY(read_jinja(s, own, err));
    SOL_TRY(sol_path_join(path, s->path, "tokenizer_config.json", err));
    if (!sol_file_exists(path)) return SOL_OK;
    SOL_TRY(sol_hf_read_json(path, MAX_JSON, &root, err));
    sol_status st =
        has_own ? SOL_OK : take_templates(s, json_object_get(root, "chat_template"), err);
    if (st == SOL_OK) st = take_token(json_object_get(root, "bos_token"), &s->bos_token, err);
    if (st == SOL_OK) st = take_token(json_object_get(root, "eos_token"), &s->eos_token, err);
    json_decref(root);
    return st;
}

/* Says what a folder without tokenizer.json has in its place. */
static sol_status note_other_tokenizer(sol_source *s, sol_err *err)
{
    static const char *const names[] = {"tokenizer.model", "vocab.json", "tekken.json"};
    char path[SOL_PATH_MAX], note[256];
    for (int i = 0; i < 3; i++) {
        SOL_TRY(sol_path_join(path, s->path, names[i], err));
        if (!sol_file_exists(path)) continue;
        snprintf(note, sizeof note,
                 "the tokenizer is in %s, which is not read: AutoTokenizer.from_pretrained and "
                 "save_pretrained of transformers make the tokenizer.json that is; --tokenizer "
                 "takes one, too",
                 names[i]);
        sol_source_note(s, note);
        break;
    }
    return SOL_OK;
}

static sol_status find_tokenizer(sol_source *s, sol_err *err)
{
    char path[SOL_PATH_MAX];
    SOL_TRY(sol_path_join(path, s->path, "tokenizer.json", err));
    if (!sol_file_exists(path)) return note_other_tokenizer(s, err);
    SOL_TRY(sol_hf_tokens(s->path, &s->more_tokens, err));
    return sol_source_set_tokenizer(s, path, true, err);
}

static sol_status read_config(sol_source *s, sol_err *err)
{
    char path[SOL_PATH_MAX];
    json_t *root;
    const char *note;
    SOL_TRY(sol_path_join(path, s->path, "adapter_config.json", err));
    if (sol_file_exists(path))
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: the folder holds an adapter: merge it into its model "
                        "(merge_and_unload), and import that",
                        path);
    SOL_TRY(sol_path_join(path, s->path, "config.json", err));
    SOL_TRY(sol_hf_read_json(path, MAX_JSON, &root, err));
    sol_status st = sol_hf_config(path, root, &s->config, &note, err);
    if (st == SOL_OK) st = read_token_ids(s, path, root, err);
    if (st == SOL_OK) st = sol_origin_of_folder(s, root, err);
    bool has_code =
        json_object_get(json_object_get(root, "auto_map"), "AutoModelForCausalLM") != NULL;
    json_decref(root);
    if (st != SOL_OK) return st;
    if (note) sol_source_note(s, note);
    if (has_code)
        sol_source_note(s, "auto_map of config.json names a program of the model's own, which is "
                           "not run: the model is computed as its model_type says");
    SOL_TRY(read_generation(s, err));
    SOL_TRY(read_template(s, err));
    sol_source_drop_long_texts(s);
    return SOL_OK;
}

sol_status sol_source_open_hf(sol_source *s, const char *dir, bool with_tokenizer, sol_err *err)
{
    hf_source *f;
    *s = (sol_source){0};
    sol_status st = sol_alloc_array((void **)&f, 1, sizeof *f, err);
    if (st != SOL_OK) return st;
    s->impl = f;
    s->type = given_type;
    s->read = read_rows;
    s->close = close_folder;
    st = sol_copy_string(&s->path, dir, strlen(dir), err);
    if (st == SOL_OK) st = read_config(s, err);
    if (st == SOL_OK) st = open_shards(f, dir, err);
    if (st == SOL_OK) st = place_params(s, err);
    if (st == SOL_OK && with_tokenizer) st = find_tokenizer(s, err);
    if (st != SOL_OK) sol_source_close(s);
    return st;
}
