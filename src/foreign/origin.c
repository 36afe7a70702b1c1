/* Reads where a foreign model comes from, for the importers; exports and cards say it again. None
 * of it changes the model: what is too long, or is no text, is left out. */
#include "foreign/origin.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/textio.h"
#include "text/filekind.h"

enum { MAX_README = 1 << 22 };

#define TAKE(field, text, n) sol_origin_take(field, sizeof(field), text, n)

/* ORG/NAME, as the hub names a model: two words with one slash between them. */
static bool is_repo(const char *s)
{
    const char *slash = strchr(s, '/');
    return slash && slash > s && slash[1] && !strchr(slash + 1, '/') && s[0] != '.' &&
           !strchr(s, ' ') && !strchr(s, '\\');
}

static void name_by_path(sol_origin *o, const char *path)
{
    size_t n;
    const char *last = sol_path_last(path, &n);
    if (n > 2 || last[0] != '.') TAKE(o->name, last, n);
}

void sol_origin_set(sol_origin *o, const char *license, const char *base)
{
    if (license) {
        memset(o->license_name, 0, sizeof o->license_name);
        memset(o->license_link, 0, sizeof o->license_link);
        TAKE(o->license, license, strlen(license));
    }
    if (!base) return;
    memset(o->repo, 0, sizeof o->repo);
    if (strchr(base, '/')) TAKE(o->repo, base, strlen(base));
    name_by_path(o, base);
}

void sol_origin_of_path(sol_source *s, const char *path)
{
    size_t n;
    const char *last = sol_path_last(path, &n);
    const char *dot = memrchr(last, '.', n);
    TAKE(s->config.origin.name, last, dot && dot > last ? (size_t)(dot - last) : n);
}

/* ---- README.md ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* A value of one line: what stands between quotation marks, or without blanks at its ends and the
 * comment behind it. n 0: there is none, or not on this line. */
static sol_span plain_value(const char *at, size_t n)
{
    while (n && is_blank(*at)) at++, n--;
    const char *close = n && (*at == '"' || *at == '\'') ? memchr(at + 1, *at, n - 1) : NULL;
    if (close) return (sol_span){at + 1, (size_t)(close - at) - 1};
    if (n && strchr(">|&*!#", *at)) return (sol_span){at, 0};
    for (size_t i = 1; i < n; i++)
        if (at[i] == '#' && is_blank(at[i - 1])) n = i;
    while (n && is_blank(at[n - 1])) n--;
    return (sol_span){at, n};
}

/* The value of `key` at the left edge of the front matter (YAML between lines of ---), the first
 * one where it is a list; n 0: there is none. */
static sol_span front_value(const char *text, const char *key)
{
    size_t n_key = strlen(key), size;
    bool in_key = false;
    if (strncmp(text, "---", 3) != 0) return (sol_span){text, 0};
    for (const char *line = strchr(text, '\n'); line; line = line[size] ? line + size : NULL) {
        line++;
        size = strcspn(line, "\n");
        if (strncmp(line, "---", 3) == 0) break;
        size_t blanks = strspn(line, " ");
        if (in_key && line[blanks] == '-') return plain_value(line + blanks + 1, size - blanks - 1);
        in_key = false;
        if (strncmp(line, key, n_key) != 0 || line[n_key] != ':') continue;
        sol_span value = plain_value(line + n_key + 1, size - n_key - 1);
        if (value.n > 0 && value.at[0] != '[') return value;
        if (value.n > 1) {
            size_t first = strcspn(value.at + 1, ",]\n");
            return plain_value(value.at + 1, first);
        }
        in_key = true;
    }
    return (sol_span){text, 0};
}

static void take_front(sol_origin *o, const char *text)
{
    const struct {
        const char *key;
        char *field;
        size_t size;
    } rows[] = {{"license", o->license, sizeof o->license},
                {"license_name", o->license_name, sizeof o->license_name},
                {"license_link", o->license_link, sizeof o->license_link}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sol_span v = front_value(text, rows[i].key);
        sol_origin_take(rows[i].field, rows[i].size, v.at, v.n);
    }
    sol_span name = front_value(text, "base_model_name"), base = front_value(text, "base_model");
    if (name.n == 0) return; /* not ours: base_model is what this model was made from */
    TAKE(o->name, name.at, name.n);
    TAKE(o->repo, base.at, base.n);
}

/* models--ORG--NAME in the path, as the hub's own cache has it. */
static void take_cache_path(sol_origin *o, const char *path)
{
    static const char mark[] = "models--";
    const char *at = strstr(path, mark);
    char repo[sizeof o->repo];
    size_t n = at ? strcspn(at + strlen(mark), "/") : 0;
    if (n == 0 || n >= sizeof repo) return;
    memcpy(repo, at + strlen(mark), n);
    repo[n] = 0;
    char *cut = strstr(repo, "--");
    if (!cut) return;
    *cut = '/';
    memmove(cut + 1, cut + 2, strlen(cut + 2) + 1);
    if (is_repo(repo)) TAKE(o->repo, repo, strlen(repo));
}

sol_status sol_origin_of_folder(sol_source *s, const json_t *config, sol_err *err)
{
    sol_origin *o = &s->config.origin;
    char path[SOL_PATH_MAX], *text = NULL;
    size_t n;
    const char *named = json_string_value(json_object_get(config, "_name_or_path"));
    if (sol_path_join(path, s->path, "README.md", NULL) == SOL_OK && sol_file_exists(path) &&
        sol_text_read(path, MAX_README, NULL, &text, &n, NULL) == SOL_OK)
        take_front(o, text + sol_text_bom(text, n));
    sol_free(text);
    if (o->name[0]) return SOL_OK;
    if (named && is_repo(named)) TAKE(o->repo, named, strlen(named));
    char *real = realpath(s->path, NULL);
    if (!real) return sol_fail_errno(err, s->path, "cannot resolve the path");
    if (!o->repo[0]) take_cache_path(o, real);
    name_by_path(o, o->repo[0] ? o->repo : real);
    free(real);
    return SOL_OK;
}

/* ---- GGUF ---- */

void sol_origin_of_gguf(sol_source *s, const sol_gguf *g)
{
    sol_origin *o = &s->config.origin;
    bool ours = sol_gguf_find(g, "solera.version") != NULL;
    const struct {
        const char *key;
        char *field;
        size_t size;
    } rows[] = {{"general.license", o->license, sizeof o->license},
                {"general.license.name", o->license_name, sizeof o->license_name},
                {"general.license.link", o->license_link, sizeof o->license_link},
                {ours ? "general.base_model.0.name" : "general.name", o->name, sizeof o->name},
                {ours ? "general.base_model.0.repo_url" : "general.source.repo_url", o->repo,
                 sizeof o->repo}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const sol_gguf_value *v = sol_gguf_find(g, rows[i].key);
        sol_span text;
        if (v && sol_gguf_text(v, &text))
            sol_origin_take(rows[i].field, rows[i].size, text.at, text.n);
    }
    static const char hub[] = "https://huggingface.co/";
    const char *short_form = o->repo + strlen(hub);
    if (strncmp(o->repo, hub, strlen(hub)) == 0 && is_repo(short_form))
        memmove(o->repo, short_form, strlen(short_form) + 1);
    if (!o->name[0] && !ours) sol_origin_of_path(s, s->path);
}
