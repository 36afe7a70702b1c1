/* The tokens that the files beside tokenizer.json name: transformers adds to it, or changes in it,
 * what tokenizer_config.json says under "added_tokens_decoder", or special_tokens_map.json and
 * added_tokens.json where it does not, and every token with a part, as pad_token. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "foreign/hf.h"

enum { MAX_FILE = 64 << 20 };

typedef struct beside {
    json_t *config, *map, *added; /* the three files; NULL: there is none; owned */
    json_t *list;                 /* owned */
} beside;

static sol_status read_file(const char *dir, const char *name, json_t **root, sol_err *err)
{
    char path[SOL_PATH_MAX];
    SOL_TRY(sol_path_join(path, dir, name, err));
    return sol_file_exists(path) ? sol_hf_read_json(path, MAX_FILE, root, err) : SOL_OK;
}

/* Appends a token: a string, or an object with "content"; what it does not say is as AddedToken has
 * it. special: it is one whatever it says. */
static void add(json_t *list, const json_t *value, bool special)
{
    static const char *const flags[] = {"single_word", "lstrip", "rstrip"};
    const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
    const json_t *normalized = json_object_get(value, "normalized");
    if (!json_is_string(content) || json_string_length(content) == 0) return;
    bool is_special = special || json_is_true(json_object_get(value, "special"));
    json_t *token = json_object();
    json_object_set(token, "content", (json_t *)content);
    for (int i = 0; i < 3; i++)
        json_object_set_new(token, flags[i],
                            json_boolean(json_is_true(json_object_get(value, flags[i]))));
    json_object_set_new(token, "normalized",
                        json_boolean(normalized ? json_is_true(normalized) : !is_special));
    json_object_set_new(token, "special", json_boolean(is_special));
    json_array_append_new(list, token);
}

/* A name that tokenizer.json may have already, which then only becomes a special token. */
static void add_named(json_t *list, const json_t *value)
{
    size_t n = json_array_size(list);
    add(list, value, true);
    if (json_array_size(list) > n)
        json_object_set_new(json_array_get(list, n), "named", json_true());
}

static const char *const parts[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};
enum { PARTS = sizeof parts / sizeof *parts };

/* Whether a key names a token of a part that this class of model alone has, as image_token. */
static bool is_other_part(const char *key)
{
    size_t n = strlen(key);
    for (int i = 0; i < PARTS; i++)
        if (strcmp(key, parts[i]) == 0) return false;
    return n > 6 && strcmp(key + n - 6, "_token") == 0;
}

/* The tokens with a part, in the order of transformers; special_tokens_map.json wins. */
static void add_parts(const beside *b, json_t *list)
{
    static const char *const lists[] = {"extra_special_tokens", "additional_special_tokens"};
    const json_t *const files[] = {b->map, b->config};
    const char *key;
    json_t *token;
    size_t k;
    for (int i = 0; i < PARTS; i++) {
        const json_t *said = json_object_get(b->map, parts[i]);
        add_named(list, said ? said : json_object_get(b->config, parts[i]));
    }
    for (int i = 0; i < 2; i++) json_object_foreach((json_t *)files[i], key, token)
        {
            if (is_other_part(key)) add_named(list, token);
        }
    for (int i = 0; i < 4; i++) {
        json_t *tokens = json_object_get(files[i & 1], lists[i >> 1]);
        json_array_foreach(tokens, k, token)
        {
            add_named(list, token);
        }
        json_object_foreach(tokens, key, token)
        {
            add_named(list, token);
        }
    }
}

/* The texts of a list, as the keys of an object. */
static json_t *texts_of(const json_t *list)
{
    json_t *texts = json_object(), *one;
    size_t i;
    json_array_foreach(list, i, one)
    {
        json_object_set_new(texts, json_string_value(json_object_get(one, "content")), json_true());
    }
    return texts;
}

typedef struct numbered {
    json_int_t id;
    const char *text; /* of added_tokens.json; NULL: `token` says it */
    const json_t *token;
} numbered;

static int by_id(const void *a, const void *b)
{
    const numbered *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Tokens come in the order of their ids, which are not used otherwise. named: the texts of
 * those with a part. */
static sol_status add_numbered(const beside *b, const json_t *decoder, const json_t *named,
                               sol_err *err)
{
    const json_t *from = decoder ? decoder : b->added;
    numbered *entry;
    size_t n = 0;
    const char *key;
    json_t *value;
    SOL_TRY(sol_alloc_array((void **)&entry, json_object_size(from), sizeof *entry, err));
    json_object_foreach((json_t *)from, key, value)
    {
        entry[n++] = decoder ? (numbered){strtoll(key, NULL, 10), NULL, value}
                             : (numbered){json_integer_value(value), key, NULL};
    }
    if (n) qsort(entry, n, sizeof *entry, by_id);
    for (size_t i = 0; i < n; i++) {
        const char *text = entry[i].text;
        json_t *plain = text ? json_string(text) : NULL;
        add(b->list, plain ? plain : entry[i].token, text && json_object_get(named, text));
        json_decref(plain);
    }
    sol_free(entry);
    return SOL_OK;
}

static sol_status collect(const char *dir, beside *b, char **json, sol_err *err)
{
    SOL_TRY(read_file(dir, "tokenizer_config.json", &b->config, err));
    const json_t *decoder = json_object_get(b->config, "added_tokens_decoder");
    if (!json_is_object(decoder)) {
        decoder = NULL;
        SOL_TRY(read_file(dir, "special_tokens_map.json", &b->map, err));
        SOL_TRY(read_file(dir, "added_tokens.json", &b->added, err));
    }
    b->list = json_array();
    json_t *named = json_array();
    add_parts(b, named);
    json_t *texts = texts_of(named);
    sol_status st = add_numbered(b, decoder, texts, err);
    json_array_extend(b->list, named);
    json_decref(named);
    json_decref(texts);
    SOL_TRY(st);
    if (json_array_size(b->list) == 0) return SOL_OK;
    char *text = json_dumps(b->list, JSON_COMPACT);
    if (!text) return sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory for its tokens", dir);
    st = sol_copy_string(json, text, strlen(text), err);
    free(text);
    return st;
}

sol_status sol_hf_tokens(const char *dir, char **json, sol_err *err)
{
    beside b = {0};
    sol_status st = collect(dir, &b, json, err);
    json_decref(b.config);
    json_decref(b.map);
    json_decref(b.added);
    json_decref(b.list);
    return st;
}
