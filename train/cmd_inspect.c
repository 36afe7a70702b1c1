/* solera inspect: groups, datasets and attributes of a solera file. */
#include "program.h"

#include <inttypes.h>
#include <string.h>

#include "as_json.h"

struct args {
    bool json, verify, all;
};

static const sol_opt options[] = {
    {.name = "--json",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, json),
     .help = "one JSON object on stdout"},
    {.name = "--verify",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, verify),
     .help = "compare every checksum"},
    {.name = "--all",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, all),
     .help = "list every dataset"},
    {0},
};

static json_t *attrs_json(const sol_h5_node *n)
{
    json_t *o = json_object();
    for (size_t i = 0; i < n->n_attrs; i++)
        json_object_set_new(o, n->attr[i].name, sol_json_attr(&n->attr[i]));
    return o;
}

static json_t *dataset_json(const sol_h5_node *n)
{
    json_t *shape = json_array();
    char crc[16];
    for (int i = 0; i < n->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)n->dim[i]));
    snprintf(crc, sizeof crc, "%08x", (unsigned)n->crc);
    const sol_h5_attr *dtype = sol_h5_node_attr(n, "dtype");
    const char *type =
        dtype && dtype->type == SOL_H5_STRING ? dtype->value : sol_h5_type_name(n->type);
    return json_pack("{s:s, s:s, s:o, s:I, s:s}", "path", n->path, "type", type, "shape", shape,
                     "bytes", (json_int_t)n->bytes, "crc32c", n->has_crc ? crc : "");
}

static const char *const kind_names[] = {"checkpoint", "model", "packed",
                                         "dataset",    "study", "teacher cache"};

/* Elements of the datasets below /params whose type holds one weight an element. */
static json_int_t count_weights(const sol_h5_file *f)
{
    uint64_t n = 0;
    for (size_t i = 0; i < f->tree.n; i++) {
        const sol_h5_node *d = &f->tree.node[i];
        const sol_h5_attr *rows = sol_h5_node_attr(d, "rows"), *cols = sol_h5_node_attr(d, "cols");
        if (strncmp(d->path, "/params/", 8) != 0) continue;
        if (d->is_dataset && !strchr(d->path + 8, '/')) {
            n += d->bytes / sol_h5_type_size(d->type);
        } else if (rows && cols && rows->type == SOL_H5_I64 && cols->type == SOL_H5_I64) {
            uint64_t r, c;
            memcpy(&r, rows->value, 8);
            memcpy(&c, cols->value, 8);
            n += r * c;
        }
    }
    return (json_int_t)n;
}

/* Several EOS are one list under the name that they have in config.json. */
static void show_eos_list(json_t *model)
{
    json_t *list = json_loads(json_string_value(json_object_get(model, "eos_token_ids")), 0, NULL);
    if (!list) return;
    json_object_set_new(model, "eos_token_id", list);
    json_object_del(model, "eos_token_ids");
}

static json_t *describe(const sol_h5_file *f, sol_file_kind kind)
{
    static const char *const groups[] = {"model", "origin", "quant",    "evaluation",
                                         "optim", "state",  "tokenizer"};
    json_t *o = json_object(), *sets = json_array();
    json_object_set_new(o, "file", sol_json_bytes(f->path, strlen(f->path)));
    json_object_set_new(o, "kind", json_string(kind_names[kind]));
    json_object_set_new(o, "bytes", json_integer((json_int_t)f->map.size));
    json_object_set_new(o, "sealed", json_boolean(f->sealed));
    json_object_set_new(o, "attributes", attrs_json(&f->tree.node[0]));
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        char path[32];
        snprintf(path, sizeof path, "/%s", groups[i]);
        const sol_h5_node *n = sol_h5_find(f, path);
        if (n) json_object_set_new(o, groups[i], attrs_json(n));
    }
    show_eos_list(json_object_get(o, "model"));
    const sol_h5_node *rope = sol_h5_find(f, "/model/rope_scaling");
    if (rope) json_object_set_new(json_object_get(o, "model"), "rope_scaling", attrs_json(rope));
    if (kind <= SOL_FILE_PACKED) json_object_set_new(o, "weights", json_integer(count_weights(f)));
    for (size_t i = 0; i < f->tree.n; i++)
        if (f->tree.node[i].is_dataset) json_array_append_new(sets, dataset_json(&f->tree.node[i]));
    json_object_set_new(o, "datasets", sets);
    return o;
}

/* "name value  name value ..." of one group. */
static void print_group(const json_t *all, const char *name)
{
    const char *key;
    json_t *value;
    json_t *group = json_object_get(all, name);
    if (!group) return;
    printf("%-10s", name);
    json_object_foreach(group, key, value)
    {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
        if (strcmp(key, "config") != 0) printf("  %s %s", key, text ? text : "?");
        free(text);
    }
    printf("\n");
}

static void print_datasets(const json_t *all)
{
    size_t i;
    json_t *d;
    json_array_foreach(json_object_get(all, "datasets"), i, d)
    {
        char *shape = json_dumps(json_object_get(d, "shape"), 0);
        printf("  %-56s %-8s %s\n", json_string_value(json_object_get(d, "path")),
               json_string_value(json_object_get(d, "type")), shape ? shape : "?");
        free(shape);
    }
}

static void print_text(const json_t *all, const struct args *a)
{
    static const char *const groups[] = {"attributes", "model", "origin", "quant",
                                         "evaluation", "optim", "state",  "tokenizer"};
    char bytes[32], count[32];
    printf("%s: %s, %s, %zu datasets", json_string_value(json_object_get(all, "file")),
           json_string_value(json_object_get(all, "kind")),
           sol_bytes_text((double)json_integer_value(json_object_get(all, "bytes")), bytes),
           json_array_size(json_object_get(all, "datasets")));
    if (json_object_get(all, "weights"))
        printf(", %s weights",
               sol_count_text((double)json_integer_value(json_object_get(all, "weights")), count));
    printf("%s\n", json_is_true(json_object_get(all, "sealed")) ? "" : ", without checksums");
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) print_group(all, groups[i]);
    if (a->all || json_array_size(json_object_get(all, "datasets")) <= 4) print_datasets(all);
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    const struct args *a = argsp;
    sol_h5_file f = {.in.fd = -1};
    sol_file_kind kind;
    int64_t objects = 0;
    uint64_t bytes = 0;
    json_t *all = NULL;
    SOL_TRY(sol_store_kind(p->word[0], &kind, err));
    if (a->verify) SOL_TRY(sol_store_verify(p->word[0], &objects, &bytes, err));
    SOL_TRY(sol_h5_open(&f, p->word[0], err));
    all = describe(&f, kind);
    if (a->verify) json_object_set_new(all, "verified_objects", json_integer(objects));
    if (a->json) {
        char *text = json_dumps(all, JSON_COMPACT);
        puts(text ? text : "{}");
        free(text);
    } else {
        print_text(all, a);
        if (a->verify)
            printf("verified   %" PRId64 " objects, %" PRIu64 " bytes of data: undamaged%s\n",
                   objects, bytes, kind == SOL_FILE_STUDY ? "; its records have no checksums" : "");
    }
    json_decref(all);
    sol_h5_close(&f);
    return SOL_OK;
}

const sol_verb sol_verb_inspect = {
    .name = "inspect",
    .words = "FILE",
    .min_words = 1,
    .max_words = 1,
    .takes_model = true,
    .summary = "show what is in a checkpoint, model, packed model, dataset, study or teacher cache",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
