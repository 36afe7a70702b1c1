/* Conversations into a dataset, a line at a time: read, rendered (chat/chat.h), encoded, written
 * with the ranges of answers. */
#include "tokenize_chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/textio.h"
#include "text/filekind.h"

typedef struct chats {
    const sol_tokenize_opts *opts;
    const sol_chat_format *format;
    sol_encoder *encoder;
    sol_dataset_writer *writer;
    sol_chat_message *messages; /* of the line at hand, in its tree of JSON; owned */
    size_t n_messages, capacity;
    sol_chat_text text;
    sol_ids ids;
    sol_tokenize_result *result;
} chats;

/* about: what else the message says; NULL: nothing. */
static sol_status add_message(chats *c, const char *role, const json_t *content,
                              const json_t *about, sol_err *err)
{
    const char *text = json_string_value(content);
    if (!role || !text)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "message %zu: expected an object with the strings role and content",
                        c->n_messages + 1);
    SOL_TRY(sol_grow_array((void **)&c->messages, &c->capacity, c->n_messages + 1,
                           sizeof *c->messages, err));
    c->messages[c->n_messages++] =
        (sol_chat_message){role, text, json_string_value(json_object_get(about, "name"))};
    return SOL_OK;
}

/* What templates write besides, and what leaves an answer out of the loss: neither is done here. */
static sol_status refuse_fields(const json_t *o, sol_err *err)
{
    static const char *const fields[] = {
        "tools",    "functions", "tool_calls", "function_call",       "reasoning_content",
        "thinking", "reasoning", "documents",  "chat_template_kwargs"};
    static const char *const masks[] = {"weight", "train", "training", "loss"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *v = json_object_get(o, fields[i]);
        if (json_array_size(v) > 0 || json_object_size(v) > 0 || json_string_length(v) > 0)
            return sol_fail(err, SOL_ERR_FORMAT,
                            "%s is not rendered here: put it into a content, as the model has it",
                            fields[i]);
    }
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        const json_t *v = json_object_get(o, masks[i]);
        if (json_is_false(v) || (json_is_number(v) && json_number_value(v) != 1))
            return sol_fail(
                err, SOL_ERR_FORMAT,
                "%s weighs this answer, which is not done here: all answers count alike", masks[i]);
    }
    return SOL_OK;
}

static sol_status add_list(chats *c, const json_t *list, sol_err *err)
{
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m)
    {
        const char *role = json_string_value(json_object_get(m, "role"));
        sol_status st = refuse_fields(m, err);
        if (st != SOL_OK) return sol_err_prefix(err, st, "message %zu", c->n_messages + 1);
        SOL_TRY(add_message(c, role, json_object_get(m, "content"), m, err));
    }
    return SOL_OK;
}

/* ShareGPT: {"from": "human", "value": ...}. */
static sol_status add_sharegpt(chats *c, const json_t *list, sol_err *err)
{
    static const char *const names[][2] = {{"human", "user"}, {"gpt", "assistant"}};
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m)
    {
        const char *role = json_string_value(json_object_get(m, "from"));
        if (role)
            for (size_t k = 0; k < 2; k++)
                if (strcmp(role, names[k][0]) == 0) role = names[k][1];
        if (!role)
            return sol_fail(err, SOL_ERR_FORMAT, "conversations[%zu]: has no string under from", i);
        sol_status st = refuse_fields(m, err);
        if (st != SOL_OK) return sol_err_prefix(err, st, "conversations[%zu]", i);
        SOL_TRY(add_message(c, role, json_object_get(m, "value"), m, err));
    }
    return SOL_OK;
}

/* A user's message and the answer; of a pair of lists, both one after the other. */
static sol_status add_pair(chats *c, const json_t *prompt, const json_t *answer, sol_err *err)
{
    SOL_TRY(json_is_array(prompt) ? add_list(c, prompt, err)
                                  : add_message(c, "user", prompt, NULL, err));
    return json_is_array(answer) ? add_list(c, answer, err)
                                 : add_message(c, "assistant", answer, NULL, err);
}

static sol_status read_messages(chats *c, const json_t *root, sol_err *err)
{
    const json_t *messages = json_object_get(root, "messages"),
                 *shared = json_object_get(root, "conversations"),
                 *prompt = json_object_get(root, "prompt");
    c->n_messages = 0;
    SOL_TRY(refuse_fields(root, err));
    if (json_string_length(json_object_get(root, "system")) > 0)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "system stands beside the messages: make it the first of them");
    if (json_is_array(messages)) return add_list(c, messages, err);
    if (json_is_array(shared)) return add_sharegpt(c, shared, err);
    if (prompt) return add_pair(c, prompt, json_object_get(root, "completion"), err);
    if (json_object_get(root, "instruction"))
        return sol_fail(err, SOL_ERR_FORMAT,
                        "has the fields of Alpaca: jq -c '{prompt: (.instruction + (if (.input // "
                        "\"\") == \"\" then \"\" else \"\\n\\n\" + .input end)), completion: "
                        ".output}' makes lines that are read");
    return sol_fail(err, SOL_ERR_FORMAT,
                    "expected an object with messages, or with prompt and completion");
}

/* A line as a document. */
static sol_status write_chat(chats *c, const json_t *root, sol_err *err)
{
    size_t at = 0;
    c->ids.n = 0;
    SOL_TRY(read_messages(c, root, err));
    SOL_TRY(sol_chat_render(c->format, c->messages, c->n_messages, SOL_CHAT_WHOLE, &c->text, err));
    c->result->text_bytes += c->text.text.n;
    SOL_TRY(sol_chat_encode(c->encoder, &c->text, &c->ids, err));
    for (size_t i = 0; i < c->text.n_answers; i++) {
        sol_chat_range a = c->text.answer[i];
        SOL_TRY(sol_dataset_writer_append(c->writer, c->ids.id + at, a.begin - at, err));
        SOL_TRY(sol_dataset_writer_answer(c->writer, a.end - a.begin, err));
        SOL_TRY(sol_dataset_writer_append(c->writer, c->ids.id + a.begin, a.end - a.begin, err));
        at = a.end;
    }
    SOL_TRY(sol_dataset_writer_append(c->writer, c->ids.id + at, c->ids.n - at, err));
    c->result->tokens += (int64_t)c->ids.n;
    c->result->documents++;
    return sol_dataset_writer_end(c->writer, err);
}

static sol_status write_line(chats *c, const char *line, size_t n, sol_err *err)
{
    json_error_t why;
    if (strspn(line, " \t\r") == n) return SOL_OK;
    json_t *root = sol_json_load(line, n, 0, &why);
    if (!root) return sol_fail(err, SOL_ERR_FORMAT, "column %d: %s", why.column, why.text);
    sol_status st = write_chat(c, root, err);
    json_decref(root);
    return st;
}

static sol_status write_text(chats *c, const char *path, char *text, size_t n, sol_err *err)
{
    int64_t number = 1;
    char *end = text + n;
    sol_text_kind kind;
    bool by_content;
    SOL_TRY(sol_text_kind_of(path, text, n < SOL_FILE_HEAD ? n : SOL_FILE_HEAD, SOL_READ_AUTO,
                             &kind, &by_content, err)); /* a table, or no text at all */
    for (char *line = text + sol_text_bom(text, n); line < end; number++) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        *stop = 0;
        sol_status st = write_line(c, line, (size_t)(stop - line), err);
        if (st != SOL_OK) return sol_err_prefix(err, st, "%s:%lld", path, (long long)number);
        if (sol_interrupted())
            return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted: nothing was written");
        line = stop + 1;
    }
    return SOL_OK;
}

static sol_status write_files(chats *c, sol_err *err)
{
    const sol_tokenize_opts *opts = c->opts;
    const sol_tokenizer *t = opts->tokenizer;
    SOL_TRY(sol_encoder_create(&c->encoder, t, err));
    SOL_TRY(sol_dataset_writer_open(&c->writer, opts->out, sol_tokenizer_vocab_size(t),
                                    sol_tokenizer_hash(t), err));
    for (int i = 0; i < opts->docs.n_files; i++) {
        char *text = NULL;
        size_t n;
        SOL_TRY(sol_text_read(opts->docs.files[i], SIZE_MAX / 2, &sol_until_interrupted, &text, &n,
                              err));
        sol_status st = write_text(c, opts->docs.files[i], text, n, err);
        sol_free(text);
        SOL_TRY(st);
    }
    return sol_dataset_writer_close(&c->writer, err);
}

sol_status sol_tokenize_chats(const sol_tokenize_opts *opts, const sol_chat_format *f,
                              sol_tokenize_result *r, sol_err *err)
{
    chats c = {.opts = opts, .format = f, .result = r};
    double from = sol_clock();
    *r = (sol_tokenize_result){0};
    sol_status st = write_files(&c, err);
    r->seconds = sol_clock() - from;
    sol_dataset_writer_abort(&c.writer);
    sol_encoder_free(&c.encoder);
    sol_chat_text_free(&c.text);
    sol_ids_free(&c.ids);
    sol_free(c.messages);
    return st;
}
