/* The chat formats: one function writes a message of each; the ranges of answers are noted as they
 * are written. `solera tokenize`, `generate --chat` and `chat` make their texts here. */
#include "text/chat.h"

#include <string.h>
#include <time.h>

#include "base/crc.h"
#include "base/mem.h"

static const char *const format_names[] = {"chatml", "llama3", "qwen3", "mistral", "smollm3"};
enum { N_FORMATS = sizeof format_names / sizeof *format_names, MAX_MARKS = 3 };
/* The tokens that a vocabulary needs for a format; the last one ends an answer. */
static const char *const marks[N_FORMATS][MAX_MARKS] = {
    {"<|im_start|>", "<|im_end|>"}, {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
    {"<|im_start|>", "<|im_end|>"}, {"</s>"},
    {"<|im_start|>", "<|im_end|>"},
};
/* What the published templates of Mistral write, each with blanks of its own. */
typedef enum { SYSTEM_FIRST, SYSTEM_LAST, SYSTEM_TAGGED, SYSTEM_NONE } system_place;
static const struct mistral_form {
    const char *open, *close, *answer,
        *after;          /* around a user's message, around an answer with </s> */
    bool trims;          /* answers */
    system_place system; /* in the first user's message, in the last message if that
                          * is a user's (else it is lost), between marks of its own */
} mistral_forms[] = {
    {" [INST] ", " [/INST]", " ", "", false, SYSTEM_FIRST}, /* Mistral 7B v0.2 */
    {"[INST] ", " [/INST]", "", "", false, SYSTEM_NONE},    /* Mixtral 8x7B v0.1 */
    {"[INST] ", " [/INST]", "", " ", false, SYSTEM_NONE},   /* 7B v0.1 */
    {"[INST] ", "[/INST]", " ", "", true, SYSTEM_LAST},     /* 7B v0.3, Large 2407 */
    {"[INST]", "[/INST]", "", "", false, SYSTEM_LAST},      /* Nemo 2407: tekken */
    {"[INST] ", "[/INST]", " ", "", false, SYSTEM_TAGGED},  /* Large 2411 */
};
enum { N_MISTRAL_FORMS = sizeof mistral_forms / sizeof *mistral_forms };
static const char response_begin[] = "<tool_response>", response_end[] = "</tool_response>";

static void set_today(sol_chat_format *f, const char *form)
{
    time_t now = time(NULL);
    struct tm day;
    strftime(f->today, sizeof f->today, form, localtime_r(&now, &day));
}

sol_status sol_chat_format_named(sol_chat_format *f, const char *name, sol_err *err)
{
    *f = (sol_chat_format){0};
    for (int i = 0; i < N_FORMATS; i++) {
        if (strcmp(format_names[i], name) != 0) continue;
        f->kind = (sol_chat_kind)i;
        f->override = f->kind == SOL_CHAT_SMOLLM3;
        if (f->kind == SOL_CHAT_SMOLLM3) set_today(f, "%d %B %Y");
        return SOL_OK;
    }
    return sol_fail(err, SOL_ERR_USAGE, "chat format '%.40s': expected " SOL_CHAT_FORMATS, name);
}

/* A string of the template, in its quotes at `at`, its \n as line ends, into out [size]; what
 * follows it. NULL: it does not end, or is too long. */
static const char *take_string(const char *at, char *out, size_t size)
{
    size_t n = 0;
    char quote = *at;
    for (at++; *at && *at != quote; at++) {
        bool escaped = *at == '\\' && at[1];
        if (n + 1 >= size) return NULL;
        if (escaped) at++;
        out[n++] = escaped && *at == 'n' ? '\n' : *at;
    }
    out[n] = 0;
    return *at ? at + 1 : NULL;
}

/* chatml: the system message that a template has as a text of its own, which is a string with the
 * head and the end of the message. False: there is one that is not read. */
static bool find_system(sol_chat_format *f, const char *jinja)
{
    static const char head[] = "<|im_start|>system";
    char text[sizeof f->system + 64];
    f->tool_response = strstr(jinja, response_begin);
    for (const char *at = strstr(jinja, head); at; at = strstr(at + 1, head)) {
        bool quoted = at > jinja && (at[-1] == '\'' || at[-1] == '"');
        if (!quoted || !take_string(at - 1, text, sizeof text)) return false;
        const char *from = text + sizeof head, *end = strstr(text, "<|im_end|>");
        if (!end || end <= from || from[-1] != '\n') continue;
        if ((size_t)(end - from) >= sizeof f->system) return false;
        memcpy(f->system, from, (size_t)(end - from));
        return true;
    }
    return true;
}

/* smollm3: what its template has as text of its own stands behind the test of the mode. */
static bool find_personas(sol_chat_format *f, const char *jinja)
{
    char mode[16];
    const char *at = strstr(jinja, "## Custom Instructions");
    at = at ? strstr(at, "elif reasoning_mode") : NULL;
    at = at ? strchr(at, '"') : NULL;
    at = at ? take_string(at, mode, sizeof mode) : NULL;
    for (int i = 0; i < 2; i++) {
        at = at ? strchr(at, '"') : NULL;
        at = at ? take_string(at, f->persona[i], sizeof f->persona[i]) : NULL;
    }
    if (!at || strcmp(mode, "/think") != 0) return false;
    const char *tools = strstr(at, "tools"), *end = strstr(at, "{{- \"<|im_end|>\\n\"");
    f->ends_system = end && (!tools || end < tools);
    f->override = strstr(jinja, "/system_override");
    if (strstr(jinja, "Today Date: ")) set_today(f, "%d %B %Y");
    return true;
}

/* llama3: the date that the template has by default, which may be the day's. */
static bool find_date(sol_chat_format *f, const char *jinja)
{
    static const char old[] = "26 Jul 2024";
    if (strstr(jinja, "strftime_now(\"%d %b %Y\")"))
        set_today(f, "%d %b %Y");
    else if (strstr(jinja, old))
        memcpy(f->today, old, sizeof old);
    return f->today[0];
}

/* Is `text` a whole string of the template, between quotes of one kind? */
static bool has_string(const char *jinja, const char *text)
{
    size_t n = strlen(text);
    for (const char *at = strstr(jinja, text); at; at = strstr(at + 1, text))
        if (at > jinja && (at[-1] == '"' || at[-1] == '\'') && at[n] == at[-1]) return true;
    return false;
}

/* qwen3: how a prompt ends. */
static bool find_opening(sol_chat_format *f, const char *jinja)
{
    f->opens_thought = has_string(jinja, "<|im_start|>assistant\\n<think>\\n");
    return f->opens_thought || strstr(jinja, "enable_thinking");
}

/* The row that says all that the template does; -1: none. */
static int find_mistral_form(const char *jinja)
{
    system_place place = has_string(jinja, "[SYSTEM_PROMPT] ")           ? SYSTEM_TAGGED
                         : strstr(jinja, "[SYSTEM_PROMPT]")              ? -1
                         : strstr(jinja, "loop.last and system_message") ? SYSTEM_LAST
                         : strstr(jinja, "system")                       ? SYSTEM_FIRST
                                                                         : SYSTEM_NONE;
    bool trims = strstr(jinja, "|trim") || strstr(jinja, "| trim"),
         blank = strstr(jinja, "eos_token + ' '");
    for (int i = 0; i < N_MISTRAL_FORMS; i++) {
        const struct mistral_form *f = &mistral_forms[i];
        if (has_string(jinja, f->open) && has_string(jinja, f->close) && f->system == place &&
            f->trims == trims && (f->after[0] == ' ') == blank)
            return i;
    }
    return -1;
}

static bool find_form(sol_chat_format *f, const char *jinja)
{
    f->form = find_mistral_form(jinja);
    return f->form >= 0;
}

/* What the published templates of a format hold, and what holds none of them: signs of a template
 * that writes more, or otherwise. Then what a template says by itself is looked for. */
static const struct signs {
    sol_chat_kind kind;
    const char *has[4], *lacks[10];
    bool (*find)(sol_chat_format *f, const char *jinja);
} signs[] = {
    {SOL_CHAT_QWEN3,
     {"<|im_start|>", "index0 > ns.last_query_index %}", "loop.last or"},
     {"bos_token", "trim", "'<think>\\n\\n' }}"}, /* Qwen 3.5; thoughts begun for the model */
     find_opening},
    {SOL_CHAT_SMOLLM3, {"<|im_start|>", "Knowledge Cutoff Date: June 2025"}, {0}, find_personas},
    {SOL_CHAT_CHATML,
     {"<|im_start|>", "<|im_end|>"},
     {"think", "bos_token", "eos_token", "trim", "strip", "macro", "raise_exception",
      "set system_message", "not loop.last"},
     find_system},
    {SOL_CHAT_LLAMA3,
     {"<|start_header_id|>", "<|eot_id|>", "Cutting Knowledge Date: December 2023", "Today Date: "},
     {"image"},
     find_date},
    {SOL_CHAT_LLAMA3,
     {"<|start_header_id|>", "<|eot_id|>"},
     {"Cutting Knowledge Date", "tool", "function", "raise_exception"},
     NULL},
    {SOL_CHAT_MISTRAL, {"[INST]", "[/INST]"}, {0}, find_form},
};
enum { N_SIGNS = sizeof signs / sizeof *signs };

static bool fits(const struct signs *s, const char *jinja)
{
    bool all = true, any = false;
    for (size_t i = 0; i < sizeof s->has / sizeof *s->has && s->has[i]; i++)
        all = all && strstr(jinja, s->has[i]);
    for (size_t i = 0; i < sizeof s->lacks / sizeof *s->lacks && s->lacks[i]; i++)
        any = any || strstr(jinja, s->lacks[i]);
    return all && !any;
}

sol_status sol_chat_format_of(sol_chat_format *f, const char *jinja, sol_err *err)
{
    for (const struct signs *s = signs; s < signs + N_SIGNS; s++) {
        *f = (sol_chat_format){.kind = s->kind};
        if (fits(s, jinja) && (!s->find || s->find(f, jinja))) return SOL_OK;
    }
    return sol_fail(
        err, SOL_ERR_UNSUPPORTED,
        "the chat template %016llx is none that is built in: --chat-format " SOL_CHAT_FORMATS
        " says which format to use",
        (unsigned long long)sol_fnv1a(SOL_FNV_START, jinja, strlen(jinja)));
}

sol_status sol_chat_format_for(sol_chat_format *f, const sol_tokenizer *t, const char *name,
                               sol_err *err)
{
    const char *jinja = sol_tokenizer_chat_template(t);
    if (!name && !jinja)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "the model has no chat template: --chat-format " SOL_CHAT_FORMATS
                        " says which format to use");
    SOL_TRY(name ? sol_chat_format_named(f, name, err) : sol_chat_format_of(f, jinja, err));
    for (int i = 0; i < MAX_MARKS && marks[f->kind][i]; i++)
        if (sol_tokenizer_find(t, marks[f->kind][i]) < 0)
            return sol_fail(err, SOL_ERR_UNSUPPORTED,
                            "the vocabulary has no token %s, which the chat format %s needs",
                            marks[f->kind][i], format_names[f->kind]);
    return SOL_OK;
}

int32_t sol_chat_end(const sol_chat_format *f, const sol_tokenizer *t)
{
    int last = 0;
    while (last + 1 < MAX_MARKS && marks[f->kind][last + 1]) last++;
    return sol_tokenizer_find(t, marks[f->kind][last]);
}

void sol_chat_text_free(sol_chat_text *c)
{
    sol_free(c->text.data);
    sol_free(c->answer);
    *c = (sol_chat_text){0};
}

/* ---- the formats ---- */

typedef struct renderer {
    const sol_chat_format *f;
    const sol_chat_message *messages;
    size_t n, at;      /* the message that is written */
    size_t last_query; /* of the last user's message; without one the last message */
    bool thinks;       /* smollm3 */
    sol_chat_text *out;
} renderer;

static bool is_role(const renderer *r, size_t i, const char *role)
{
    return i < r->n && strcmp(r->messages[i].role, role) == 0;
}

static sol_status add_bytes(sol_chat_text *c, const char *text, size_t n, sol_err *err)
{
    return sol_text_add(&c->text, err, "%.*s", (int)n, text);
}

static sol_status begin_answer(sol_chat_text *c, sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)&c->answer, &c->capacity, c->n_answers + 1, sizeof *c->answer,
                           err));
    c->answer[c->n_answers++].begin = c->text.n;
    return SOL_OK;
}

static void end_answer(sol_chat_text *c)
{
    c->answer[c->n_answers - 1].end = c->text.n;
}

/* text[n] without the characters of `set` at its ends. */
static sol_span strip(const char *text, size_t n, const char *set, bool left, bool right)
{
    while (left && n > 0 && strchr(set, text[0])) text++, n--;
    while (right && n > 0 && strchr(set, text[n - 1])) n--;
    return (sol_span){text, n};
}

static const char *last_of(const char *text, size_t n, const char *what)
{
    size_t k = strlen(what);
    for (size_t i = n; i >= k; i--)
        if (memcmp(text + i - k, what, k) == 0) return text + i - k;
    return NULL;
}

/* The content of an answer in qwen3: what stands before the first </think> are thoughts, what
 * stands behind the last one is said. Thoughts are written for answers behind the last query, and
 * for the last message even where there are none. */
static sol_status add_thinking(const renderer *r, const char *content, sol_err *err)
{
    static const char open[] = "<think>", close[] = "</think>";
    sol_span thought = {"", 0}, said = {content, strlen(content)};
    const char *first = strstr(content, close);
    if (first) {
        const char *last = last_of(content, said.n, close) + sizeof close - 1;
        thought = strip(content, (size_t)(first - content), "\n", false, true);
        const char *from = last_of(thought.at, thought.n, open);
        if (from) {
            thought.n -= (size_t)(from + sizeof open - 1 - thought.at);
            thought.at = from + sizeof open - 1;
        }
        thought = strip(thought.at, thought.n, "\n", true, false);
        said = strip(last, strlen(last), "\n", true, false);
    }
    if (r->at > r->last_query && (r->at == r->n - 1 || thought.n > 0)) {
        thought = strip(thought.at, thought.n, "\n", true, true);
        said = strip(said.at, said.n, "\n", true, false);
        SOL_TRY(sol_text_add(&r->out->text, err, "<think>\n%.*s\n</think>\n\n", (int)thought.n,
                             thought.at));
    }
    return add_bytes(r->out, said.at, said.n, err);
}

/* Results of tools that follow each other are one message of the user. */
static sol_status add_response(const renderer *r, const char *content, sol_err *err)
{
    bool first = r->at == 0 || !is_role(r, r->at - 1, "tool");
    bool last = !is_role(r, r->at + 1, "tool");
    return sol_text_add(&r->out->text, err, "%s\n%s\n%s\n%s%s", first ? "<|im_start|>user" : "",
                        response_begin, content, response_end, last ? "<|im_end|>\n" : "");
}

static sol_status add_chatml(const renderer *r, const sol_chat_message *m, sol_err *err)
{
    bool answer = is_role(r, r->at, "assistant");
    if (is_role(r, r->at, "tool") && (r->f->kind == SOL_CHAT_QWEN3 || r->f->tool_response))
        return add_response(r, m->content, err);
    SOL_TRY(sol_text_add(&r->out->text, err, "<|im_start|>%s\n", m->role));
    if (answer) SOL_TRY(begin_answer(r->out, err));
    SOL_TRY(answer && r->f->kind == SOL_CHAT_QWEN3
                ? add_thinking(r, m->content, err)
                : sol_text_add(&r->out->text, err, "%s", m->content));
    SOL_TRY(sol_text_add(&r->out->text, err, "<|im_end|>"));
    if (answer) end_answer(r->out);
    return sol_text_add(&r->out->text, err, "\n");
}

static sol_status add_llama3(const renderer *r, const sol_chat_message *m, sol_err *err)
{
    bool answer = is_role(r, r->at, "assistant");
    sol_span said = strip(m->content, strlen(m->content), " \t\n\v\f\r", true, true);
    if (r->f->today[0] && is_role(r, r->at, "tool"))
        return sol_fail(err, SOL_ERR_FORMAT,
                        "message %zu: role tool: is not written in this format", r->at + 1);
    bool headed = r->f->today[0] && r->at == 0 && is_role(r, 0, "system"); /* by add_head */
    if (!headed)
        SOL_TRY(sol_text_add(&r->out->text, err, "<|start_header_id|>%s<|end_header_id|>\n\n",
                             m->role));
    if (answer) SOL_TRY(begin_answer(r->out, err));
    SOL_TRY(add_bytes(r->out, said.at, said.n, err));
    SOL_TRY(sol_text_add(&r->out->text, err, "<|eot_id|>"));
    if (answer) end_answer(r->out);
    return SOL_OK;
}

/* Users and the assistant take turns after a system message, unless that has marks of its own. */
static sol_status check_turn(const renderer *r, system_place system, sol_err *err)
{
    bool answer = (r->at - (system != SYSTEM_NONE && is_role(r, 0, "system"))) % 2;
    const char *role = r->messages[r->at].role;
    if (system == SYSTEM_TAGGED && !is_role(r, r->at, "tool")) return SOL_OK;
    if (system != SYSTEM_NONE && r->at == 0 && is_role(r, 0, "system")) return SOL_OK;
    if (is_role(r, r->at, answer ? "assistant" : "user")) return SOL_OK;
    return sol_fail(err, SOL_ERR_FORMAT, "message %zu: role %s: expected %s in this format",
                    r->at + 1, role, answer ? "assistant" : "user");
}

static sol_status add_mistral(const renderer *r, const sol_chat_message *m, sol_err *err)
{
    const struct mistral_form *f = &mistral_forms[r->f->form];
    sol_span said = strip(m->content, strlen(m->content), " \t\n\v\f\r", f->trims, f->trims);
    SOL_TRY(check_turn(r, f->system, err));
    if (is_role(r, r->at, "system"))
        return f->system == SYSTEM_TAGGED
                   ? sol_text_add(&r->out->text, err, "[SYSTEM_PROMPT] %s[/SYSTEM_PROMPT]",
                                  m->content)
                   : SOL_OK;
    bool system = is_role(r, 0, "system") && ((f->system == SYSTEM_FIRST && r->at == 1) ||
                                              (f->system == SYSTEM_LAST && r->at == r->n - 1));
    if (is_role(r, r->at, "user"))
        return sol_text_add(&r->out->text, err, "%s%s%s%s%s", f->open,
                            system ? r->messages[0].content : "", system ? "\n\n" : "", m->content,
                            f->close);
    SOL_TRY(begin_answer(r->out, err));
    SOL_TRY(sol_text_add(&r->out->text, err, "%s%.*s</s>", f->answer, (int)said.n, said.at));
    end_answer(r->out);
    return sol_text_add(&r->out->text, err, "%s", f->after);
}

/* ---- smollm3 ---- */

static const char no_thought[] = "<think>\n\n</think>\n";

static sol_status add_smollm3(const renderer *r, const sol_chat_message *m, sol_err *err)
{
    sol_span said = strip(m->content, strlen(m->content), "\n", true, false);
    if (is_role(r, r->at, "system")) return SOL_OK; /* in the head, or lost */
    if (!is_role(r, r->at, "assistant"))
        return sol_text_add(&r->out->text, err, "<|im_start|>user\n%s<|im_end|>\n", m->content);
    SOL_TRY(
        sol_text_add(&r->out->text, err, "<|im_start|>assistant\n%s", r->thinks ? "" : no_thought));
    SOL_TRY(begin_answer(r->out, err));
    SOL_TRY(sol_text_add(&r->out->text, err, "%.*s<|im_end|>", (int)said.n, said.at));
    end_answer(r->out);
    return sol_text_add(&r->out->text, err, "\n");
}

/* Adds text[n] without the flags that choose the mode, and without white space at its end. */
static sol_status add_instructions(sol_text *out, const char *text, bool override, sol_err *err)
{
    static const char *const flags[] = {"/no_think", "/think", "/system_override"};
    size_t from = out->n;
    SOL_TRY(sol_text_add(out, err, "%s", text));
    for (int i = 0; i < (override ? 3 : 2); i++)
        for (char *at; (at = strstr(out->data + from, flags[i]));) {
            size_t n = strlen(flags[i]);
            memmove(at, at + n, strlen(at + n) + 1);
            out->n -= n;
        }
    out->n = from + strip(out->data + from, out->n - from, " \t\n\v\f\r", false, true).n;
    out->data[out->n] = 0;
    return SOL_OK;
}

/* A message that overrides all of the head is ended, others where the template says so. */
static sol_status add_smollm3_head(renderer *r, sol_err *err)
{
    const char *system = is_role(r, 0, "system") ? r->messages[0].content : "";
    sol_text *out = &r->out->text;
    r->thinks = !strstr(system, "/no_think");
    SOL_TRY(sol_text_add(out, err, "<|im_start|>system\n"));
    if (r->f->override && strstr(system, "/system_override")) {
        SOL_TRY(add_instructions(out, system, true, err));
        return sol_text_add(out, err, "<|im_end|>\n");
    }
    SOL_TRY(sol_text_add(out, err, "## Metadata\n\nKnowledge Cutoff Date: June 2025\n"));
    if (r->f->today[0]) SOL_TRY(sol_text_add(out, err, "Today Date: %s\n", r->f->today));
    SOL_TRY(sol_text_add(out, err, "Reasoning Mode: %s\n\n## Custom Instructions\n\n",
                         r->thinks ? "/think" : "/no_think"));
    size_t from = out->n;
    SOL_TRY(add_instructions(out, system, false, err));
    return sol_text_add(out, err, "%s%s", out->n > from ? "\n\n" : r->f->persona[!r->thinks],
                        r->f->ends_system ? "<|im_end|>\n" : "");
}

/* What stands in front of all messages. */
static sol_status add_head(renderer *r, sol_err *err)
{
    const sol_chat_format *f = r->f;
    sol_text *out = &r->out->text;
    if (f->kind == SOL_CHAT_CHATML && f->system[0] && !is_role(r, 0, "system"))
        return sol_text_add(out, err, "<|im_start|>system\n%s<|im_end|>\n", f->system);
    if (f->kind == SOL_CHAT_MISTRAL) return sol_text_add(out, err, "<s>");
    if (f->kind == SOL_CHAT_SMOLLM3) return add_smollm3_head(r, err);
    if (f->kind != SOL_CHAT_LLAMA3) return SOL_OK;
    SOL_TRY(sol_text_add(out, err, "<|begin_of_text|>"));
    if (!f->today[0]) return SOL_OK;
    return sol_text_add(out, err,
                        "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
                        "December 2023\nToday Date: %s\n\n%s",
                        f->today, is_role(r, 0, "system") ? "" : "<|eot_id|>");
}

static sol_status add_message(const renderer *r, sol_err *err)
{
    const sol_chat_message *m = &r->messages[r->at];
    if (r->f->kind == SOL_CHAT_MISTRAL) return add_mistral(r, m, err);
    if (r->f->kind == SOL_CHAT_LLAMA3) return add_llama3(r, m, err);
    if (r->f->kind == SOL_CHAT_SMOLLM3) return add_smollm3(r, m, err);
    return add_chatml(r, m, err);
}

static sol_status add_open(const renderer *r, sol_err *err)
{
    if (r->f->kind == SOL_CHAT_MISTRAL) return SOL_OK;
    if (r->f->kind == SOL_CHAT_LLAMA3)
        return sol_text_add(&r->out->text, err,
                            "<|start_header_id|>assistant<|end_header_id|>\n\n");
    bool empty_thought = r->f->kind == SOL_CHAT_SMOLLM3 && !r->thinks;
    return sol_text_add(&r->out->text, err, "<|im_start|>assistant\n%s",
                        empty_thought         ? no_thought
                        : r->f->opens_thought ? "<think>\n"
                                              : "");
}

static sol_status check_role(const renderer *r, size_t i, sol_err *err)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
        if (is_role(r, i, roles[k])) return SOL_OK;
    return sol_fail(err, SOL_ERR_FORMAT,
                    "message %zu: role '%.40s': expected system, user, assistant or tool", i + 1,
                    r->messages[i].role);
}

/* A user's message, unless it is the result of a tool in the user's name. */
static bool is_query(const renderer *r, size_t i)
{
    const char *text = r->messages[i].content;
    size_t n = strlen(text), k = sizeof response_end - 1;
    bool response = strncmp(text, response_begin, sizeof response_begin - 1) == 0 && n >= k &&
                    strcmp(text + n - k, response_end) == 0;
    return is_role(r, i, "user") && !response;
}

sol_status sol_chat_render(const sol_chat_format *f, const sol_chat_message *messages, size_t n,
                           int end, sol_chat_text *c, sol_err *err)
{
    renderer r = {.f = f, .messages = messages, .n = n, .last_query = n - 1, .out = c};
    c->text.n = c->n_answers = 0;
    if (n == 0) return sol_fail(err, SOL_ERR_FORMAT, "the conversation has no message");
    for (size_t i = 0; i < n; i++) {
        SOL_TRY(check_role(&r, i, err));
        if (is_query(&r, i)) r.last_query = i;
    }
    SOL_TRY(add_head(&r, err));
    for (r.at = 0; r.at < n; r.at++) SOL_TRY(add_message(&r, err));
    return end == SOL_CHAT_OPEN ? add_open(&r, err) : SOL_OK;
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
