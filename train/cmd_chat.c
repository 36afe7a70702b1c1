/* solera chat: a conversation on the terminal. Every turn renders all messages by the chat template
 * and lets the model answer; what the last turn computed of it is kept. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "open_net.h"
#include "talk.h"

struct args {
    sol_net_args net;
    const char *system, *chat_format;
    int64_t n;
    sol_talk_args talk;
};

static const sol_opt options[] = {
    {.name = "--system",
     .value = "TEXT",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, system),
     .help = "the system's message, before all others"},
    {.name = "--chat-format",
     .value = "NAME",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, chat_format),
     .choices = SOL_CHAT_FORMATS,
     .help = "how to render messages, instead of by the model's chat template"},
    {.name = "-n",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, n),
     .min = 0,
     .max = 1e9,
     .help = "tokens of an answer at most; 0: what the context has room for"},
    SOL_TALK_OPTIONS(struct args),
    SOL_NET_OPTIONS,
    {0},
};

typedef struct chat {
    sol_program *program;
    const struct args *args;
    sol_net *net;
    sol_chat_format format;
    sol_chat_message *messages; /* the contents are owned */
    size_t n_messages, capacity;
    size_t n_kept; /* messages that stay when the conversation begins anew: the system's */
    sol_ids ids;
    sol_session session;
    int64_t turn;
} chat;

static sol_status add_message(chat *c, const char *role, const char *text, size_t n, sol_err *err)
{
    char *content;
    SOL_TRY(sol_grow_array((void **)&c->messages, &c->capacity, c->n_messages + 1,
                           sizeof *c->messages, err));
    SOL_TRY(sol_copy_string(&content, text, n, err));
    c->messages[c->n_messages++] = (sol_chat_message){role, content, NULL};
    return SOL_OK;
}

static void free_message(chat *c, size_t i)
{
    sol_free((void *)c->messages[i].content);
}

/* Drops what was said before the last message. */
static void begin_anew(chat *c)
{
    for (size_t i = c->n_kept; i + 1 < c->n_messages; i++) free_message(c, i);
    c->messages[c->n_kept] = c->messages[c->n_messages - 1];
    c->n_messages = c->n_kept + 1;
}

/* c->ids: the prompt. *left: tokens that the context has for an answer; below 1 there is none. */
static sol_status encode(chat *c, int64_t *left, sol_err *err)
{
    c->ids.n = 0;
    SOL_TRY(sol_talk_prompt(sol_net_tokenizer(c->net), &c->format, c->messages, c->n_messages,
                            &c->ids, err));
    *left = sol_net_config(c->net)->max_position_embeddings - (int64_t)c->ids.n + 1;
    return SOL_OK;
}

/* A conversation that outgrew the context begins anew with its last message. */
static sol_status make_it_fit(chat *c, int64_t *left, sol_err *err)
{
    long long context = sol_net_config(c->net)->max_position_embeddings;
    SOL_TRY(encode(c, left, err));
    if (*left < 1 && c->n_messages > c->n_kept + 1) {
        sol_log_line(&c->program->log, SOL_LOG_WARN,
                     "context overflow: the conversation has %zu tokens, the model has room for "
                     "%lld: it begins anew with your last message",
                     c->ids.n, context);
        begin_anew(c);
        SOL_TRY(encode(c, left, err));
    }
    if (*left < 1)
        return sol_fail(err, SOL_ERR_RANGE,
                        "context overflow: the message has %zu tokens, the model has room for %lld",
                        c->ids.n, context);
    return SOL_OK;
}

/* Lets the model answer, prints what it says, and keeps it. A signal ends the answer. */
static sol_status answer(chat *c, sol_err *err)
{
    const struct args *a = c->args;
    sol_text said = {0};
    sol_printer to = {.copy = &said, .terminal = isatty(STDOUT_FILENO) == 1, .ends_line = true};
    sol_generate_opts o = {
        .sampler = {.temperature = (float)a->talk.temp,
                    .top_p = (float)a->talk.top_p,
                    .repetition_penalty = 1,
                    .seed = (uint64_t)(a->talk.seed + c->turn++)},
        .stop = &c->format.end,
        .n_stop = 1,
        .text = sol_talk_print,
        .interrupted = sol_talk_interrupted,
        .user = &to,
        .session = &c->session,
    };
    sol_generate_result r = {0};
    int64_t left;
    SOL_TRY(make_it_fit(c, &left, err));
    o.max_tokens = a->n ? sol_min_i64(a->n, left) : left;
    sol_interrupt_forget();
    sol_status st = sol_generate(c->net, c->ids.id, (int64_t)c->ids.n, &o, &r, err);
    bool stopped = st == SOL_ERR_INTERRUPTED;
    if (stopped) sol_interrupt_forget();
    if (st == SOL_OK || stopped) {
        putchar('\n');
        fflush(stdout);
        sol_free(r.ids);
        st = said.status == SOL_OK
                 ? add_message(c, "assistant", said.data ? said.data : "", said.n, err)
                 : sol_fail(err, said.status, "the answer does not fit in memory");
    }
    if (st == SOL_OK && r.ended_by < 0 && !stopped && o.max_tokens == left)
        sol_log_line(
            &c->program->log, SOL_LOG_WARN,
            "context overflow: the answer ends where the model's context of %lld tokens does",
            (long long)sol_net_config(c->net)->max_position_embeddings);
    sol_free(said.data);
    return st;
}

/* Reads messages, a line each, to the end of stdin. */
static sol_status converse(chat *c, sol_err *err)
{
    bool terminal = isatty(STDIN_FILENO) == 1;
    char *line = NULL;
    size_t capacity = 0;
    sol_status st = SOL_OK;
    while (st == SOL_OK) {
        if (terminal) fputs("> ", stderr);
        ssize_t n = getline(&line, &capacity, stdin);
        if (n < 0) break;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
        if (n == 0) continue;
        st = memchr(line, 0, (size_t)n)
                 ? sol_fail(err, SOL_ERR_FORMAT, "the message holds a byte 0: text is expected")
                 : add_message(c, "user", line, (size_t)n, err);
        if (st == SOL_OK) st = answer(c, err);
        if (st == SOL_ERR_RANGE && terminal) { /* too long a message: the next one may be shorter */
            sol_log_line(&c->program->log, SOL_LOG_WARN, "%s", err->text);
            free_message(c, --c->n_messages);
            st = SOL_OK;
        }
    }
    if (st == SOL_OK && ferror(stdin)) st = sol_fail_errno(err, "stdin", "cannot read");
    free(line);
    return st;
}

static sol_status begin(chat *c, sol_err *err)
{
    const struct args *a = c->args;
    const sol_tokenizer *t = sol_net_tokenizer(c->net);
    if (!t)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: holds no tokenizer, so that text cannot be read or written",
                        c->program->word[0]);
    SOL_TRY(sol_chat_format_for(&c->format, t, a->chat_format, err));
    if (!a->system) return SOL_OK;
    c->n_kept = 1;
    return add_message(c, "system", a->system, strlen(a->system), err);
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    chat c = {.program = p, .args = argsp};
    SOL_TRY(sol_talk_check(p, &c.args->talk, err));
    SOL_TRY(sol_program_net(p, &c.args->net, p->word[0], &c.net, err));
    sol_interrupt_catch(false);
    signal(SIGTERM, SIG_DFL); /* ends the program, also while it waits for a message */
    sol_status st = begin(&c, err);
    if (st == SOL_OK) st = converse(&c, err);
    for (size_t i = 0; i < c.n_messages; i++) free_message(&c, i);
    sol_free(c.messages);
    sol_ids_free(&c.ids);
    sol_chat_format_free(&c.format);
    sol_session_free(&c.session);
    sol_net_free(&c.net);
    return st;
}

const sol_verb sol_verb_chat = {
    .name = "chat",
    .words = "MODEL",
    .min_words = 1,
    .max_words = 1,
    .takes_model = true,
    .summary = "talk to a model",
    .details =
        "MODEL is a checkpoint, a model file or a packed model. Each line of stdin is a message, "
        "which the\n"
        "model answers by its chat template; what was said before belongs to the conversation. "
        "Ctrl-C ends an\n"
        "answer, Ctrl-D the program. A conversation that outgrows the model's context begins anew.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
