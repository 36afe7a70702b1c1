/* Conversations through chat templates, and where in the text the answers are. `solera tokenize`,
 * `generate --chat` and `chat` make their texts here. */
#include "chat/chat.h"

#include <string.h>

#include "base/mem.h"
#include "chat/jinja.h"
#include "text/utf8.h"

/* ---- the formats that are built in ---- */

static const char chatml[] =
    "{%- for m in messages %}\n"
    "{{- '<|im_start|>' + m.role + '\\n' }}\n"
    "{%- if m.role == 'assistant' %}\n"
    "{%- generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}\n"
    "{%- else %}{{ m.content + '<|im_end|>' }}{% endif %}\n"
    "{{- '\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}\n";

static const char llama3[] =
    "{{- '<|begin_of_text|>' }}\n"
    "{%- for m in messages %}\n"
    "{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}\n"
    "{%- if m.role == 'assistant' %}\n"
    "{%- generation %}{{ m.content | trim + '<|eot_id|>' }}{% endgeneration %}\n"
    "{%- else %}{{ m.content | trim + '<|eot_id|>' }}{% endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n"
    "{%- endif %}\n";

/* What stands before the first </think> are thoughts, what stands behind the last one is said.
 * Thoughts are written for answers behind the last query, and for the last message even where there
 * are none. Results of tools that follow each other are one message of the user. */
static const char qwen3[] =
    "{%- set ns = namespace(query=messages | length - 1, found=false) %}\n"
    "{%- for m in messages[::-1] %}\n"
    "{%- if not ns.found and m.role == 'user' and not (m.content.startswith('<tool_response>')\n"
    "    and m.content.endswith('</tool_response>')) %}\n"
    "{%- set ns.found = true %}{% set ns.query = messages | length - loop.index %}\n"
    "{%- endif %}\n"
    "{%- endfor %}\n"
    "{%- for m in messages %}\n"
    "{%- if m.role == 'assistant' %}\n"
    "{%- set said = m.content %}{% set thought = '' %}\n"
    "{%- if '</think>' in said %}\n"
    "{%- set thought = said.split('</think>')[0].rstrip('\\n').split('<think>')[-1] %}\n"
    "{%- set thought = thought.lstrip('\\n') %}\n"
    "{%- set said = said.split('</think>')[-1].lstrip('\\n') %}\n"
    "{%- endif %}\n"
    "{{- '<|im_start|>assistant\\n' }}\n"
    "{%- generation %}\n"
    "{%- if loop.index0 > ns.query and (loop.last or thought) %}\n"
    "{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + said.lstrip('\\n') }}\n"
    "{%- else %}{{ said }}{% endif %}\n"
    "{{- '<|im_end|>' }}\n"
    "{%- endgeneration %}{{ '\\n' }}\n"
    "{%- elif m.role == 'tool' %}\n"
    "{%- if loop.first or loop.previtem.role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}\n"
    "{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}\n"
    "{%- if loop.last or loop.nextitem.role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}\n"
    "{%- else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}\n";

static const char mistral[] =
    "{{- '<s>' }}\n"
    "{%- set system = '' %}\n"
    "{%- if messages[0].role == 'system' %}\n"
    "{%- set system = messages[0].content + '\\n\\n' %}{% set messages = messages[1:] %}\n"
    "{%- endif %}\n"
    "{%- for m in messages %}\n"
    "{%- if m.role != ('user' if loop.index0 % 2 == 0 else 'assistant') %}\n"
    "{{- raise_exception('role ' + m.role + ': expected ' +\n"
    "    ('user' if loop.index0 % 2 == 0 else 'assistant') + ' in this format') }}\n"
    "{%- endif %}\n"
    "{%- if m.role == 'user' %}\n"
    "{{- ' [INST] ' + (system if loop.first else '') + m.content + ' [/INST]' }}\n"
    "{%- else %}\n"
    "{%- generation %}{{ ' ' + m.content + '</s>' }}{% endgeneration %}\n"
    "{%- endif %}\n"
    "{%- endfor %}\n";

static const char smollm3[] =
    "{%- set first = messages[0].content if messages[0].role == 'system' else '' %}\n"
    "{%- set mode = '/no_think' if '/no_think' in first else '/think' %}\n"
    "{%- set said = first.replace('/no_think', '').replace('/think', '').rstrip() %}\n"
    "{%- set head = '' if mode == '/think' else '<think>\\n\\n</think>\\n' %}\n"
    "{{- '<|im_start|>system\\n' }}\n"
    "{%- if '/system_override' in first %}\n"
    "{{- said.replace('/system_override', '').rstrip() + '<|im_end|>\\n' }}\n"
    "{%- else %}\n"
    "{{- '## Metadata\\n\\nKnowledge Cutoff Date: June 2025\\nToday Date: ' }}\n"
    "{{- strftime_now('%d %B %Y') + '\\nReasoning Mode: ' + mode }}\n"
    "{{- '\\n\\n## Custom Instructions\\n\\n' + (said + '\\n\\n' if said else '') }}\n"
    "{%- endif %}\n"
    "{%- for m in messages %}\n"
    "{%- if m.role == 'user' or m.role == 'tool' %}\n"
    "{{- '<|im_start|>user\\n' + m.content + '<|im_end|>\\n' }}\n"
    "{%- elif m.role == 'assistant' %}\n"
    "{{- '<|im_start|>assistant\\n' + head }}\n"
    "{%- generation %}{{ m.content.lstrip('\\n') + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}\n"
    "{%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' + head }}{% endif %}\n";

enum { MAX_MARKS = 4 };
static const struct {
    const char *name, *jinja, *marks[MAX_MARKS]; /* the tokens that a vocabulary needs for it */
} formats[] = {
    {"chatml", chatml, {"<|im_start|>", "<|im_end|>"}},
    {"llama3",
     llama3,
     {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|begin_of_text|>"}},
    {"qwen3", qwen3, {"<|im_start|>", "<|im_end|>"}},
    {"mistral", mistral, {"</s>", "<s>"}},
    {"smollm3", smollm3, {"<|im_start|>", "<|im_end|>"}},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

/* ---- rendering ---- */

void sol_chat_text_free(sol_chat_text *c)
{
    sol_free(c->text.data);
    sol_free(c->answer);
    *c = (sol_chat_text){0};
}

static sol_status add_answer(void *user, size_t begin, size_t end, sol_err *err)
{
    sol_chat_text *c = user;
    SOL_TRY(sol_grow_array((void **)&c->answer, &c->capacity, c->n_answers + 1, sizeof *c->answer,
                           err));
    c->answer[c->n_answers++] = (sol_chat_range){begin, end};
    return SOL_OK;
}

/* The variables of a template. NULL: out of memory. */
static json_t *variables(const sol_chat_format *f, const sol_chat_message *messages, size_t n,
                         bool open)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const sol_chat_message *m = &messages[i];
        json_t *one = json_pack("{s:o, s:o}", "role", json_string_nocheck(m->role), "content",
                                json_string_nocheck(m->content));
        if (one && m->name) json_object_set_new_nocheck(one, "name", json_string_nocheck(m->name));
        json_array_append_new(list, one);
    }
    json_t *all = json_pack("{s:o, s:b, s:n, s:n}", "messages", list, "add_generation_prompt",
                            (int)open, "tools", "documents");
    if (all && f->bos) json_object_set_new_nocheck(all, "bos_token", json_string_nocheck(f->bos));
    if (all && f->eos) json_object_set_new_nocheck(all, "eos_token", json_string_nocheck(f->eos));
    return all;
}

/* The text, and the ranges that the template marks. */
static sol_status run(const sol_chat_format *f, const sol_chat_message *messages, size_t n,
                      bool open, sol_chat_text *c, sol_err *err)
{
    c->text.n = c->n_answers = 0;
    json_t *given = variables(f, messages, n, open);
    if (!given) return sol_fail(err, SOL_ERR_NOMEM, "out of memory for a conversation");
    sol_status st = sol_text_add(&c->text, err, "%s", ""); /* not NULL, if nothing is written */
    if (st == SOL_OK) st = sol_jinja_render(f->template, given, add_answer, c, &c->text, err);
    json_decref(given);
    if (st == SOL_OK || st == SOL_ERR_NOMEM) return st;
    return f->name ? sol_err_prefix(err, st, "the chat format %s", f->name)
                   : sol_err_prefix(err, st, "the chat template");
}

/* ---- the answers of a template that does not mark them ---- */

typedef struct search {
    const sol_chat_format *f;
    sol_chat_message *messages; /* [n], a copy */
    size_t n;
    bool open;
    sol_chat_text other; /* of these messages otherwise */
} search;

static size_t common_prefix(const sol_text *a, const sol_text *b)
{
    size_t n = 0;
    while (n < a->n && n < b->n && a->data[n] == b->data[n]) n++;
    return n;
}

static bool is_inside(const sol_text *t, size_t at)
{
    return at < t->n && ((unsigned char)t->data[at] & 0xC0) == 0x80;
}

/* Where the content of message i stands in the text, for which another one is put in its place.
 * Nowhere: [0, 0). */
static sol_status find_content(search *s, size_t i, const sol_text *text, sol_chat_range *at,
                               sol_err *err)
{
    const char *content = s->messages[i].content;
    char mark[5] = "";
    uint32_t code = 0xE000; /* for private use */
    do mark[sol_utf8_put(code++, mark)] = 0;
    while (strstr(content, mark));
    s->messages[i].content = mark;
    sol_status st = run(s->f, s->messages, s->n, s->open, &s->other, err);
    s->messages[i].content = content;
    SOL_TRY(st);
    const sol_text *o = &s->other.text;
    size_t begin = common_prefix(text, o), end = text->n, behind = o->n;
    while (is_inside(text, begin)) begin--;
    *at = (sol_chat_range){0};
    if (begin == text->n && begin == o->n) return SOL_OK;
    while (end > begin && behind > begin && text->data[end - 1] == o->data[behind - 1])
        end--, behind--;
    while (is_inside(text, end)) end++;
    *at = (sol_chat_range){begin, end};
    return SOL_OK;
}

/* Bytes that text[0, at) and the prompt end with, at most 64. */
static size_t common_end(const sol_text *text, size_t at, const sol_text *prompt)
{
    size_t n = 0;
    while (n < 64 && n < at && n < prompt->n &&
           text->data[at - 1 - n] == prompt->data[prompt->n - 1 - n])
        n++;
    return n;
}

/* Where the prompt ends in text[from, to]: its whole length, where the text begins with it; else
 * behind what is most like its end, as templates may write earlier messages otherwise. `to`: it is
 * not there. */
static size_t end_of_prompt(const sol_text *text, size_t from, size_t to, const sol_text *prompt)
{
    enum { MIN_COMMON = 4 };
    size_t best = MIN_COMMON - 1, at = to;
    if (common_prefix(text, prompt) == prompt->n && prompt->n >= from) return prompt->n;
    for (size_t i = from; i <= to; i++) {
        size_t n = common_end(text, i, prompt);
        if (n <= best) continue;
        best = n;
        at = i;
    }
    return at;
}

/* An answer begins behind the prompt that asks for it. */
static sol_status find_answer(search *s, size_t i, sol_chat_text *c, sol_err *err)
{
    sol_err why;
    sol_chat_range at;
    size_t n_end = strlen(s->f->end_text),
           from = c->n_answers > 0 ? c->answer[c->n_answers - 1].end : 0;
    SOL_TRY(find_content(s, i, &c->text, &at, err));
    if (at.begin == 0 && at.end == 0) return SOL_OK;
    if (at.begin < from)
        return sol_fail(
            err, SOL_ERR_UNSUPPORTED,
            "message %zu: where the answer begins cannot be told from the chat template", i + 1);
    if (i > 0 && run(s->f, s->messages, i, true, &s->other, &why) == SOL_OK)
        at.begin = end_of_prompt(&c->text, from, at.begin, &s->other.text);
    if (at.end < at.begin) at.end = at.begin;
    if (n_end && strncmp(c->text.data + at.end, s->f->end_text, n_end) == 0) at.end += n_end;
    return add_answer(c, at.begin, at.end, err);
}

static sol_status find_each(search *s, sol_chat_text *c, sol_err *err)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->messages[i].role, "assistant") == 0) SOL_TRY(find_answer(s, i, c, err));
    return SOL_OK;
}

static sol_status find_answers(const sol_chat_format *f, const sol_chat_message *messages, size_t n,
                               bool open, sol_chat_text *c, sol_err *err)
{
    search s = {.f = f, .n = n, .open = open};
    SOL_TRY(sol_alloc_array((void **)&s.messages, n, sizeof *s.messages, err));
    memcpy(s.messages, messages, n * sizeof *messages);
    sol_status st = find_each(&s, c, err);
    sol_free(s.messages);
    sol_chat_text_free(&s.other);
    return st;
}

static sol_status check_role(const sol_chat_message *m, size_t i, sol_err *err)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
        if (strcmp(m->role, roles[k]) == 0) return SOL_OK;
    return sol_fail(err, SOL_ERR_FORMAT,
                    "message %zu: role '%.40s': expected system, user, assistant or tool", i + 1,
                    m->role);
}

sol_status sol_chat_render(const sol_chat_format *f, const sol_chat_message *messages, size_t n,
                           int end, sol_chat_text *c, sol_err *err)
{
    bool open = end == SOL_CHAT_OPEN;
    if (n == 0) return sol_fail(err, SOL_ERR_FORMAT, "the conversation has no message");
    for (size_t i = 0; i < n; i++) SOL_TRY(check_role(&messages[i], i, err));
    SOL_TRY(run(f, messages, n, open, c, err));
    return sol_jinja_has_blocks(f->template) ? SOL_OK : find_answers(f, messages, n, open, c, err);
}

/* ---- which format ---- */

void sol_chat_format_free(sol_chat_format *f)
{
    sol_jinja_free(&f->template);
    sol_free(f->bos);
    sol_free(f->eos);
    *f = (sol_chat_format){.end = -1};
}

sol_status sol_chat_format_of(sol_chat_format *f, const char *jinja, sol_err *err)
{
    *f = (sol_chat_format){.end = -1};
    sol_status st = sol_jinja_create(&f->template, jinja, err);
    return st == SOL_OK ? st : sol_err_prefix(err, st, "the chat template");
}

sol_status sol_chat_format_named(sol_chat_format *f, const char *name, sol_err *err)
{
    *f = (sol_chat_format){.end = -1};
    for (int i = 0; i < N_FORMATS; i++) {
        if (strcmp(formats[i].name, name) != 0) continue;
        SOL_TRY(sol_chat_format_of(f, formats[i].jinja, err));
        f->name = formats[i].name;
        return SOL_OK;
    }
    return sol_fail(err, SOL_ERR_USAGE, "chat format '%.40s': expected " SOL_CHAT_FORMATS, name);
}

static sol_status check_marks(const char *name, const sol_tokenizer *t, sol_err *err)
{
    for (int i = 0; i < N_FORMATS; i++)
        for (int k = 0; k < MAX_MARKS && strcmp(formats[i].name, name) == 0; k++)
            if (formats[i].marks[k] && sol_tokenizer_find(t, formats[i].marks[k]) < 0)
                return sol_fail(err, SOL_ERR_UNSUPPORTED,
                                "the vocabulary has no token %s, which the chat format %s needs",
                                formats[i].marks[k], name);
    return SOL_OK;
}

static sol_status copy_token(const sol_tokenizer *t, int32_t id, char **text, sol_err *err)
{
    size_t n;
    const char *at = sol_tokenizer_text(t, id, &n);
    return at ? sol_copy_string(text, at, n, err) : SOL_OK;
}

/* The first special token behind an answer. A template that refuses the conversation that is tried
 * has none that is known. */
static sol_status find_end(sol_chat_format *f, const sol_tokenizer *t, sol_err *err)
{
    static const char answer[] = "\xEE\x80\x80";
    const sol_chat_message messages[] = {{"user", "a", NULL}, {"assistant", answer, NULL}};
    sol_chat_text c = {0};
    size_t n = 0;
    sol_status st = run(f, messages, 2, false, &c, err);
    const char *tail = st == SOL_OK ? strstr(c.text.data, answer) : NULL;
    if (tail) {
        tail += strlen(answer);
        sol_tokenizer_count_special(t, tail, strlen(tail), &f->end);
        const char *token = f->end >= 0 ? sol_tokenizer_text(t, f->end, &n) : NULL;
        const char *at = token ? memmem(tail, strlen(tail), token, n) : NULL;
        size_t length = at ? (size_t)(at - tail) + n : 0;
        if (length < sizeof f->end_text) memcpy(f->end_text, tail, length);
    }
    sol_chat_text_free(&c);
    return st == SOL_ERR_FORMAT ? SOL_OK : st;
}

sol_status sol_chat_format_for(sol_chat_format *f, const sol_tokenizer *t, const char *name,
                               sol_err *err)
{
    static const char way_out[] = ": --chat-format " SOL_CHAT_FORMATS " says which format to use";
    const char *jinja = sol_tokenizer_chat_template(t);
    *f = (sol_chat_format){.end = -1};
    if (!name && !jinja)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "the model has no chat template%s", way_out);
    SOL_TRY(name ? sol_chat_format_named(f, name, err) : SOL_OK);
    sol_status st = name ? check_marks(name, t, err) : sol_chat_format_of(f, jinja, err);
    if (st == SOL_OK) st = copy_token(t, sol_tokenizer_bos(t), &f->bos, err);
    if (st == SOL_OK) st = copy_token(t, sol_tokenizer_eos(t), &f->eos, err);
    if (st == SOL_OK) st = find_end(f, t, err);
    if (st == SOL_OK) return SOL_OK;
    if (!name && st != SOL_ERR_NOMEM) {
        sol_err why = {0};
        if (err) why = *err;
        st = sol_fail(err, SOL_ERR_UNSUPPORTED, "%s%s", why.text, way_out);
    }
    sol_chat_format_free(f);
    return st;
}

sol_status sol_chat_encode(sol_encoder *e, sol_chat_text *c, sol_ids *ids, sol_err *err)
{
    size_t at = 0;
    for (size_t i = 0; i <= c->n_answers; i++) {
        size_t begin = i < c->n_answers ? c->answer[i].begin : c->text.n;
        int flags = SOL_ENCODE_SPECIAL | (at > 0 ? SOL_ENCODE_CONTINUE : 0);
        SOL_TRY(sol_encoder_run(e, c->text.data + at, begin - at, flags, ids, err));
        if (i == c->n_answers) break;
        sol_chat_range *a = &c->answer[i];
        at = a->end;
        a->begin = ids->n;
        SOL_TRY(sol_encoder_run(e, c->text.data + begin, at - begin,
                                SOL_ENCODE_SPECIAL | SOL_ENCODE_CONTINUE, ids, err));
        a->end = ids->n;
    }
    return SOL_OK;
}
