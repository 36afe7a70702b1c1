/* Reads the files of zero-shot tasks into items of choices, in the forms that they are published
 * in. task_run.c scores them. */
#include <ctype.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/textio.h"
#include "eval/tasks.h"
#include "text/blank.h"
#include "text/capitalize.h"
#include "text/docs.h"

enum { MAX_CHOICES = 32, MAX_FILE = 1 << 30 };

static const sol_task_kind kinds[] = {
    {"arc_easy", "arc_easy_test.jsonl", true},
    {"arc_challenge", "arc_challenge_test.jsonl", true},
    {"hellaswag", "hellaswag_val.jsonl", true},
    {"piqa", "piqa_valid.jsonl", true},
    {"winogrande", "winogrande_xl_dev.jsonl", false},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

int sol_task_count(void)
{
    return N_KINDS;
}

const sol_task_kind *sol_task_at(int i)
{
    return &kinds[i];
}

const sol_task_kind *sol_task_find(const char *name)
{
    for (int i = 0; i < N_KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    return NULL;
}

void sol_task_free(sol_task **tp)
{
    sol_task *t = *tp;
    if (!t) return;
    for (int64_t i = 0; i < t->n; i++) {
        for (int c = 0; c < t->item[i].n_choices; c++) {
            sol_free(t->item[i].choice[c].context);
            sol_free(t->item[i].choice[c].continuation);
        }
        sol_free(t->item[i].choice);
    }
    sol_free(t->item);
    sol_free(t);
    *tp = NULL;
}

static int64_t characters(const char *s)
{
    int64_t n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

/* Appends a choice. Its continuation is `text`, which the task gives, behind a blank. */
static sol_status add_choice(sol_task_item *item, const char *context, size_t n_context,
                             const char *text, sol_err *err)
{
    sol_text continuation = {0};
    if (item->n_choices == MAX_CHOICES)
        return sol_fail(err, SOL_ERR_RANGE, "more than %d choices", MAX_CHOICES);
    sol_task_choice *c = &item->choice[item->n_choices];
    sol_status st = sol_copy_string(&c->context, context, n_context, err);
    item->n_choices++;
    if (st == SOL_OK) st = sol_text_add(&continuation, err, " %s", text);
    c->continuation = continuation.data;
    c->characters = text[0] ? characters(text) : 1;
    return st;
}

static const char *text_of(const json_t *line, const char *key, sol_err *err)
{
    const char *s = json_string_value(json_object_get(line, key));
    if (!s) sol_fail(err, SOL_ERR_FORMAT, "no string under \"%s\"", key);
    return s;
}

static const json_t *list_of(const json_t *line, const char *key, sol_err *err)
{
    const json_t *list = json_object_get(line, key);
    if (!json_is_array(list)) list = NULL;
    if (!list) sol_fail(err, SOL_ERR_FORMAT, "no list under \"%s\"", key);
    return list;
}

/* A whole number, also as a string ("2"), as some of the datasets have it. */
static sol_status whole_of(const json_t *line, const char *key, int64_t *value, sol_err *err)
{
    const json_t *j = json_object_get(line, key);
    const char *s = json_string_value(j);
    if (json_is_integer(j))
        *value = json_integer_value(j);
    else if (s && isdigit((unsigned char)s[0]) && s[1] == 0)
        *value = s[0] - '0';
    else
        return sol_fail(err, SOL_ERR_FORMAT, "no whole number under \"%s\"", key);
    return SOL_OK;
}

/* Reads which choice is right; the task counts them from `first` on. */
static sol_status take_gold(const json_t *line, const char *key, int64_t first, sol_task_item *item,
                            sol_err *err)
{
    int64_t value = 0;
    SOL_TRY(whole_of(line, key, &value, err));
    if (value < first || value >= first + item->n_choices)
        return sol_fail(err, SOL_ERR_RANGE, "\"%s\" is %lld: there are %d choices, from %lld on",
                        key, (long long)value, item->n_choices, (long long)first);
    item->gold = (int)(value - first);
    return SOL_OK;
}

/* {ctx, choices, gold} */
static sol_status read_prepared(const json_t *line, sol_task_item *item, sol_err *err)
{
    const char *ctx = text_of(line, "ctx", err);
    const json_t *choices = ctx ? list_of(line, "choices", err) : NULL;
    if (!choices) return SOL_ERR_FORMAT;
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const char *text = json_string_value(json_array_get(choices, i));
        SOL_TRY(text ? add_choice(item, ctx, strlen(ctx), text, err)
                     : sol_fail(err, SOL_ERR_FORMAT, "choice %zu is not a string", i));
    }
    return take_gold(line, "gold", 0, item, err);
}

/* {contexts, continuation, gold} */
static sol_status read_contexts(const json_t *line, sol_task_item *item, sol_err *err)
{
    const char *text = text_of(line, "continuation", err);
    const json_t *contexts = text ? list_of(line, "contexts", err) : NULL;
    if (!contexts) return SOL_ERR_FORMAT;
    for (size_t i = 0; i < json_array_size(contexts); i++) {
        const char *ctx = json_string_value(json_array_get(contexts, i));
        SOL_TRY(ctx ? add_choice(item, ctx, strlen(ctx), text, err)
                    : sol_fail(err, SOL_ERR_FORMAT, "context %zu is not a string", i));
    }
    return take_gold(line, "gold", 0, item, err);
}

/* The choices of an ARC item: a list of {text, label}, or {text: [...], label: [...]}. The one with
 * the label `key` is right. */
static sol_status add_arc_choices(const json_t *choices, const sol_text *ctx, const char *key,
                                  sol_task_item *item, sol_err *err)
{
    const json_t *labels = NULL, *texts = NULL;
    int gold = -1;
    if (json_is_object(choices)) {
        labels = json_object_get(choices, "label");
        texts = json_object_get(choices, "text");
    }
    size_t n = json_array_size(texts ? texts : choices);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(choices, i);
        const json_t *t = texts ? json_array_get(texts, i) : json_object_get(one, "text");
        const json_t *l = texts ? json_array_get(labels, i) : json_object_get(one, "label");
        const char *text = json_string_value(t), *label = json_string_value(l);
        if (!text || !label)
            return sol_fail(err, SOL_ERR_FORMAT, "choice %zu lacks \"text\" or \"label\"", i);
        SOL_TRY(add_choice(item, ctx->data, ctx->n, text, err));
        if (gold < 0 && strcmp(label, key) == 0) gold = (int)i; /* the first, as there */
    }
    if (gold < 0)
        return sol_fail(err, SOL_ERR_RANGE, "\"answerKey\" is '%s': no choice has that label", key);
    item->gold = gold;
    return SOL_OK;
}

/* ARC as AllenAI publishes it, and as Hugging Face's parquet files have it. */
static sol_status read_arc(const json_t *line, sol_task_item *item, sol_err *err)
{
    const json_t *question = json_object_get(line, "question"), *choices;
    const char *stem =
        json_is_object(question) ? text_of(question, "stem", err) : text_of(line, "question", err);
    const char *key = text_of(line, "answerKey", err);
    sol_text ctx = {0};
    if (!stem || !key) return SOL_ERR_FORMAT;
    choices = json_object_get(json_is_object(question) ? question : line, "choices");
    sol_status st = sol_text_add(&ctx, err, "Question: %s\nAnswer:", stem);
    if (st == SOL_OK) st = add_arc_choices(choices, &ctx, key, item, err);
    sol_free(ctx.data);
    return st;
}

/* Bytes of the "[...]" that text[n] begins with, closed in the same line; 0: none. */
static size_t bracket(const char *text, size_t n)
{
    const char *line_end = memchr(text, '\n', n);
    const char *close =
        n > 0 && *text == '[' ? memchr(text, ']', line_end ? (size_t)(line_end - text) : n) : NULL;
    return close ? (size_t)(close - text) + 1 : 0;
}

/* Cleans a text of HellaSwag as the harness does, in its order: it is stripped, " [title]" becomes
 * ". ", what stands in brackets is dropped, double blanks become single ones. *out is owned by the
 * caller. */
static sol_status clean_hellaswag(const char *text, char **out, sol_err *err)
{
    static const char title[] = " [title]";
    size_t n = strlen(text), to = 0;
    sol_blank_strip(&text, &n);
    SOL_TRY(sol_copy_string(out, text, n, err));
    char *s = *out; /* each pass writes behind where it reads */
    for (char *hit = s; (hit = strstr(hit, title)) != NULL; n -= 6) {
        memcpy(hit, ". ", 2);
        memmove(hit + 2, hit + 8, n - (size_t)(hit - s) - 8 + 1);
        hit += 2;
    }
    for (size_t i = 0; i < n;) {
        size_t skip = bracket(s + i, n - i);
        if (!skip) s[to++] = s[i++];
        i += skip;
    }
    n = to;
    to = 0;
    for (size_t i = 0; i < n; i++) {
        s[to++] = s[i];
        if (s[i] == ' ' && i + 1 < n && s[i + 1] == ' ') i++;
    }
    s[to] = 0;
    return SOL_OK;
}

static sol_status add_endings(const json_t *endings, const char *ctx, sol_task_item *item,
                              sol_err *err)
{
    for (size_t i = 0; i < json_array_size(endings); i++) {
        const char *text = json_string_value(json_array_get(endings, i));
        char *clean;
        if (!text) return sol_fail(err, SOL_ERR_FORMAT, "ending %zu is not a string", i);
        SOL_TRY(clean_hellaswag(text, &clean, err));
        sol_status st = add_choice(item, ctx, strlen(ctx), clean, err);
        sol_free(clean);
        if (st != SOL_OK) return st;
    }
    return SOL_OK;
}

static sol_status read_hellaswag(const json_t *line, sol_task_item *item, sol_err *err)
{
    const char *activity = text_of(line, "activity_label", err), *a = text_of(line, "ctx_a", err),
               *b = text_of(line, "ctx_b", err);
    const json_t *endings = activity && a && b ? list_of(line, "endings", err) : NULL;
    sol_text query = {0};
    char *ctx = NULL;
    if (!endings) return SOL_ERR_FORMAT;
    sol_status st = sol_text_add(&query, err, "%s: %s ", activity, a);
    if (st == SOL_OK) st = sol_capitalize(b, strlen(b), &query, err);
    if (st == SOL_OK) st = clean_hellaswag(query.data, &ctx, err);
    sol_free(query.data);
    if (st == SOL_OK) st = add_endings(endings, ctx, item, err);
    sol_free(ctx);
    return st == SOL_OK ? take_gold(line, "label", 0, item, err) : st;
}

static sol_status read_piqa(const json_t *line, sol_task_item *item, sol_err *err)
{
    const char *goal = text_of(line, "goal", err), *one = text_of(line, "sol1", err),
               *two = text_of(line, "sol2", err);
    sol_text ctx = {0};
    if (!goal || !one || !two) return SOL_ERR_FORMAT;
    sol_status st = sol_text_add(&ctx, err, "Question: %s\nAnswer:", goal);
    if (st == SOL_OK) st = add_choice(item, ctx.data, ctx.n, one, err);
    if (st == SOL_OK) st = add_choice(item, ctx.data, ctx.n, two, err);
    sol_free(ctx.data);
    return st == SOL_OK ? take_gold(line, "label", 0, item, err) : st;
}

/* A choice for each option: it fills the gap after the first n_before bytes of the sentence, and
 * `tail`, which follows the gap, is the continuation. */
static sol_status add_options(const json_t *line, const char *sentence, int n_before,
                              const char *tail, sol_task_item *item, sol_err *err)
{
    static const char *const keys[] = {"option1", "option2"};
    for (int i = 0; i < 2; i++) {
        const char *option = text_of(line, keys[i], err);
        sol_text ctx = {0};
        if (!option) return SOL_ERR_FORMAT;
        sol_status st = sol_text_add(&ctx, err, "%.*s%s", n_before, sentence, option);
        if (st == SOL_OK) st = add_choice(item, ctx.data, ctx.n, tail, err);
        sol_free(ctx.data);
        if (st != SOL_OK) return st;
    }
    return SOL_OK;
}

static sol_status read_winogrande(const json_t *line, sol_task_item *item, sol_err *err)
{
    const char *sentence = text_of(line, "sentence", err),
               *gap = sentence ? strchr(sentence, '_') : NULL;
    if (!sentence) return SOL_ERR_FORMAT;
    if (!gap) return sol_fail(err, SOL_ERR_FORMAT, "\"sentence\" has no gap (_)");
    const char *rest = gap + 1;
    size_t n = strlen(rest);
    sol_blank_strip(&rest, &n);
    char *tail;
    SOL_TRY(sol_copy_string(&tail, rest, n, err));
    sol_status st = add_options(line, sentence, (int)(gap - sentence), tail, item, err);
    sol_free(tail);
    return st == SOL_OK ? take_gold(line, "answer", 1, item, err) : st;
}

/* A file of another task would give a score under the wrong name. */
static sol_status read_item(const sol_task_kind *kind, const json_t *line, sol_task_item *item,
                            sol_err *err)
{
    static const struct {
        const char *key;  /* tells the form */
        const char *task; /* whose form it is, or how the names of its tasks begin; NULL: any */
        sol_status (*read)(const json_t *, sol_task_item *, sol_err *);
    } forms[] = {
        {"ctx_a", "hellaswag", read_hellaswag},
        {"ctx", NULL, read_prepared},
        {"contexts", NULL, read_contexts},
        {"question", "arc", read_arc},
        {"goal", "piqa", read_piqa},
        {"sentence", "winogrande", read_winogrande},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const char *task = forms[i].task;
        if (!json_object_get(line, forms[i].key)) continue;
        if (task && strncmp(kind->name, task, strlen(task)) != 0)
            return sol_fail(err, SOL_ERR_FORMAT, "\"%s\" is a field of %s, not of %s", forms[i].key,
                            task, kind->name);
        SOL_TRY(sol_alloc_array((void **)&item->choice, MAX_CHOICES, sizeof *item->choice, err));
        SOL_TRY(forms[i].read(line, item, err));
        if (item->n_choices >= 2) return SOL_OK;
        return sol_fail(err, SOL_ERR_FORMAT, "fewer than two choices");
    }
    return sol_fail(err, SOL_ERR_FORMAT,
                    "neither \"ctx\" nor another field of a known form of the task");
}

static sol_status read_line(sol_task *t, const char *line, size_t n, sol_err *err)
{
    json_error_t where;
    size_t count = (size_t)t->n + 1;
    SOL_TRY(sol_grow_array((void **)&t->item, &t->capacity, count, sizeof *t->item, err));
    json_t *object = sol_json_load(line, n, 0, &where);
    if (!object) return sol_fail(err, SOL_ERR_FORMAT, "not a JSON object: %s", where.text);
    t->item[t->n] = (sol_task_item){0};
    sol_status st = json_is_object(object) ? read_item(t->kind, object, &t->item[t->n++], err)
                                           : sol_fail(err, SOL_ERR_FORMAT, "not a JSON object");
    json_decref(object);
    return st;
}

/* An item a line, up to `limit` of them (0: all); blank lines count in messages alone. */
static sol_status read_lines(sol_task *t, const char *path, const char *data, size_t size,
                             int64_t limit, sol_err *err)
{
    long long number = 1;
    for (size_t at = sol_text_bom(data, size); at < size && (limit == 0 || t->n < limit);) {
        const char *end = memchr(data + at, '\n', size - at);
        size_t n = end ? (size_t)(end - data) - at : size - at;
        bool blank = sol_text_is_blank(data + at, n);
        sol_status st = blank ? SOL_OK : read_line(t, data + at, n, err);
        if (st != SOL_OK) return sol_err_prefix(err, st, "%s:%lld", path, number);
        at += n + 1;
        number++;
    }
    if (t->n > 0) return SOL_OK;
    return sol_fail(err, SOL_ERR_FORMAT, "%s: is empty: JSON objects, one a line, are expected",
                    path);
}

sol_status sol_task_read(sol_task **out, const sol_task_kind *kind, const char *path, int64_t limit,
                         sol_err *err)
{
    char *data;
    size_t size;
    sol_text_kind what;
    bool by_content;
    *out = NULL;
    SOL_TRY(sol_text_read(path, MAX_FILE, NULL, &data, &size, err));
    size_t head = size < SOL_FILE_HEAD ? size : SOL_FILE_HEAD;
    sol_status st = sol_text_kind_of(path, data, head, SOL_READ_JSON, &what, &by_content, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)out, 1, sizeof **out, err);
    if (st == SOL_OK) {
        (*out)->kind = kind;
        st = read_lines(*out, path, data, size, limit, err);
    }
    sol_free(data);
    if (st != SOL_OK) sol_task_free(out);
    return st;
}
