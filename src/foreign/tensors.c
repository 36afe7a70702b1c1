/* Lists the tensors of a file: GGUF and safetensors from their tables, our own from the tree of the
 * container. */
#include "foreign/tensors.h"

#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "foreign/gguf.h"
#include "foreign/safetensors.h"
#include "h5/h5.h"

static sol_status gguf_tensors(const char *path, sol_tensor_fn each, void *user, sol_err *err)
{
    sol_gguf g;
    SOL_TRY(sol_gguf_open(&g, path, err));
    for (size_t i = 0; i < g.n_tensors; i++) {
        const sol_gguf_tensor *t = &g.tensor[i];
        sol_tensor_info info = {.name = t->name.at,
                                .n_name = (int)t->name.n,
                                .type = t->type->name,
                                .n_dims = t->n_dims,
                                .bytes = t->bytes};
        for (int d = 0; d < t->n_dims; d++) info.dim[d] = t->dim[t->n_dims - 1 - d];
        each(user, &info);
    }
    sol_gguf_close(&g);
    return SOL_OK;
}

static sol_status folder_tensors(const char *dir, sol_tensor_fn each, void *user, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_safetensors s;
    SOL_TRY(sol_path_join(path, dir, "model.safetensors", err));
    SOL_TRY(sol_safetensors_open(&s, path, err));
    for (size_t i = 0; i < s.n; i++) {
        const sol_st_tensor *t = &s.tensor[i];
        sol_tensor_info info = {.name = t->name,
                                .n_name = (int)strlen(t->name),
                                .type = t->dtype,
                                .n_dims = t->shape.n_dims,
                                .bytes = t->end - t->begin};
        for (int d = 0; d < t->shape.n_dims; d++) info.dim[d] = t->shape.dim[d];
        each(user, &info);
    }
    sol_safetensors_close(&s);
    return SOL_OK;
}

static int64_t integer_attr(const sol_h5_node *n, const char *name)
{
    const sol_h5_attr *a = sol_h5_node_attr(n, name);
    int64_t v = 0;
    if (a && a->type == SOL_H5_I64) memcpy(&v, a->value, sizeof v);
    return v;
}

/* A matrix that is stored as a group: its bytes and its form are those of the datasets in it. */
static void add_members(const sol_h5_file *f, size_t group, sol_tensor_info *info)
{
    const char *path = f->tree.node[group].path;
    size_t length = strlen(path);
    for (size_t i = group + 1; i < f->tree.n; i++) {
        const sol_h5_node *n = &f->tree.node[i];
        if (strncmp(n->path, path, length) != 0 || n->path[length] != '/') break;
        info->bytes += n->bytes;
        if (strcmp(n->path + length, "/signs") == 0) info->type = "3:4 ternary";
    }
}

/* Object i below /params. Codes, signs and scales are a group with rows and cols; anything else is
 * one dataset. False: it is neither. */
static bool h5_tensor(const sol_h5_file *f, size_t i, sol_tensor_info *info)
{
    const sol_h5_node *n = &f->tree.node[i];
    const char *name = n->path + strlen("/params/");
    int64_t rows = integer_attr(n, "rows"), cols = integer_attr(n, "cols");
    *info = (sol_tensor_info){.name = name, .n_name = (int)strlen(name)};
    if (n->is_dataset) {
        const sol_h5_attr *dtype = sol_h5_node_attr(n, "dtype");
        info->type =
            dtype && dtype->type == SOL_H5_STRING ? dtype->value : sol_h5_type_name(n->type);
        info->n_dims = n->n_dims;
        info->bytes = n->bytes;
        for (int d = 0; d < n->n_dims; d++) info->dim[d] = (int64_t)n->dim[d];
        return true;
    }
    info->type = "blocks";
    info->n_dims = 2;
    info->dim[0] = rows;
    info->dim[1] = cols;
    add_members(f, i, info);
    return rows > 0 && cols > 0;
}

static sol_status h5_tensors(const char *path, sol_tensor_fn each, void *user, sol_err *err)
{
    sol_h5_file f;
    sol_tensor_info info;
    SOL_TRY(sol_h5_open(&f, path, err));
    for (size_t i = 0; i < f.tree.n; i++) {
        const char *p = f.tree.node[i].path;
        if (strncmp(p, "/params/", 8) != 0 || strchr(p + 8, '/')) continue;
        if (h5_tensor(&f, i, &info)) each(user, &info);
    }
    sol_h5_close(&f);
    return SOL_OK;
}

sol_status sol_file_tensors(const char *path, sol_tensor_fn each, void *user, sol_err *err)
{
    struct stat about;
    char first[4];
    if (stat(path, &about) == 0 && S_ISDIR(about.st_mode))
        return folder_tensors(path, each, user, err);
    SOL_TRY(sol_file_head(path, first, sizeof first, err));
    bool gguf = memcmp(first, "GGUF", sizeof first) == 0;
    return gguf ? gguf_tensors(path, each, user, err) : h5_tensors(path, each, user, err);
}

bool sol_gguf_is_ours(const char *path)
{
    sol_gguf g;
    if (sol_gguf_open(&g, path, NULL) != SOL_OK) return false;
    bool ours = sol_gguf_find(&g, "solera.version") != NULL;
    sol_gguf_close(&g);
    return ours;
}
