/* solera generate: encodes a prompt, or a user's message by the chat template, and prints the text
 * that follows. */
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "open_net.h"
#include "talk.h"

struct args {
    sol_net_args net;
    const char *prompt, *chat_format, *system;
    int64_t n, top_k, window;
    double min_p, penalty;
    sol_talk_args talk;
    bool no_echo, special, chat;
    sol_words stop;
};

static const sol_opt options[] = {
    {.name = "-p",
     .value = "TEXT",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, prompt),
     .preset = "",
     .help = "the text to go on from; empty: from the beginning of a document"},
    {.name = "-n",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, n),
     .min = 0,
     .max = 1e9,
     .help = "new tokens at most; 0: 256, or what the context has room for"},
    SOL_TALK_OPTIONS(struct args),
    {.name = "--top-k",
     .value = "K",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, top_k),
     .min = 0,
     .max = 1e9,
     .help = "draw from the K most likely tokens; 0: all"},
    {.name = "--min-p",
     .value = "P",
     .kind = SOL_OPT_REAL,
     .offset = offsetof(struct args, min_p),
     .preset = "0",
     .max = 1,
     .help = "draw from tokens with at least P of the most likely one's probability"},
    {.name = "--repeat-penalty",
     .value = "R",
     .kind = SOL_OPT_REAL,
     .offset = offsetof(struct args, penalty),
     .preset = "1",
     .min = 0.01,
     .max = 100,
     .help = "above 1: recent tokens become less likely"},
    {.name = "--repeat-window",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, window),
     .preset = "64",
     .min = 0,
     .max = 1e9,
     .with = "--repeat-penalty",
     .help = "how many tokens count as recent"},
    {.name = "--stop",
     .value = "TOKEN",
     .kind = SOL_OPT_EACH,
     .offset = offsetof(struct args, stop),
     .help = "a token of the vocabulary that ends the text, besides the model's own"},
    {.name = "--special",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, special),
     .with = "-p",
     .help = "-p: read special tokens in the text, such as <|im_start|> of a chat template"},
    {.name = "--no-echo",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, no_echo),
     .with = "-p",
     .help = "print the new text only, without the prompt"},
    {.name = "--chat",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, chat),
     .with = "-p",
     .help = "-p is a user's message, which the model answers: by its chat template, without echo"},
    {.name = "--system",
     .value = "TEXT",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, system),
     .with = "--chat",
     .help = "the system's message before it"},
    {.name = "--chat-format",
     .value = "NAME",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, chat_format),
     .choices = SOL_CHAT_FORMATS,
     .with = "--chat",
     .help = "how to render it, instead of by the model's chat template"},
    SOL_NET_OPTIONS,
    {0},
};

static sol_status encode_prompt(const sol_net *net, const char *text, bool special, sol_ids *ids,
                                sol_err *err)
{
    const sol_model_config *c = sol_net_config(net);
    const sol_tokenizer *t = sol_net_tokenizer(net);
    size_t n = strlen(text);
    SOL_TRY(sol_tokenizer_encode(t, text, n, sol_tokenizer_begin(t, text, n, special), ids, err));
    if (ids->n > 0) return SOL_OK;
    if (c->bos_token_id < 0)
        return sol_fail(err, SOL_ERR_USAGE, "the model has no BOS token: -p needs a text");
    SOL_TRY(sol_grow_array((void **)&ids->id, &ids->capacity, 1, sizeof *ids->id, err));
    ids->id[ids->n++] = (int32_t)c->bos_token_id;
    return SOL_OK;
}

/* The message of the user, and of the system before it. *end: the token that ends the answer. */
static sol_status encode_chat(const struct args *a, const sol_tokenizer *t, sol_ids *ids,
                              int32_t *end, sol_err *err)
{
    sol_chat_format f;
    sol_chat_message messages[] = {{"system", a->system}, {"user", a->prompt}};
    int first = a->system ? 0 : 1;
    SOL_TRY(sol_chat_format_for(&f, t, a->chat_format, err));
    *end = sol_chat_end(&f, t);
    return sol_talk_prompt(t, &f, messages + first, (size_t)(2 - first), ids, err);
}

/* Room for one more is behind them. */
static sol_status find_stops(const sol_tokenizer *t, const sol_words *words, int32_t **stop,
                             sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)stop, (size_t)words->n + 1, sizeof **stop, err));
    for (int i = 0; i < words->n; i++) {
        (*stop)[i] = sol_tokenizer_find(t, words->word[i]);
        if ((*stop)[i] < 0)
            return sol_fail(err, SOL_ERR_USAGE, "--stop '%s': the vocabulary has no such token",
                            words->word[i]);
    }
    return SOL_OK;
}

static void report(sol_program *p, const sol_net *net, const sol_generate_result *r)
{
    int64_t decoded =
        r->tokens > 1 ? r->tokens - 1 : 0; /* the first token comes from the prefill */
    sol_log_line(&p->log, SOL_LOG_INFO,
                 "%s model; prompt %lld tokens in %.2f s; %lld new tokens, %.1f tokens/s",
                 sol_net_kind_name(sol_net_kind_of(net)), (long long)r->prompt_tokens,
                 r->prefill_seconds, (long long)r->tokens,
                 r->decode_seconds > 0 ? (double)decoded / r->decode_seconds : 0.0);
}

static sol_status generate(sol_program *p, const struct args *a, sol_net *net, const sol_ids *ids,
                           const int32_t *stop, int n_stop, sol_err *err)
{
    sol_printer to = {.prompt = a->no_echo || a->chat ? NULL : a->prompt,
                      .terminal = isatty(STDOUT_FILENO) == 1,
                      .ends_line = true};
    int64_t left = sol_net_config(net)->max_position_embeddings - (int64_t)ids->n + 1;
    sol_generate_opts o = {
        .max_tokens = a->n ? a->n : sol_min_i64(left, 256),
        .sampler = {.temperature = (float)a->talk.temp,
                    .top_p = (float)a->talk.top_p,
                    .min_p = (float)a->min_p,
                    .repetition_penalty = (float)a->penalty,
                    .top_k = a->top_k,
                    .seed = (uint64_t)a->talk.seed},
        .repeat_window = a->window,
        .stop = stop,
        .n_stop = n_stop,
        .text = sol_talk_print,
        .interrupted = sol_talk_interrupted,
        .user = &to,
    };
    sol_generate_result r;
    if (left < 1)
        return sol_fail(err, SOL_ERR_RANGE,
                        "context overflow: the prompt has %zu tokens, the model has room for %lld",
                        ids->n, (long long)sol_net_config(net)->max_position_embeddings);
    sol_status st = sol_generate(net, ids->id, (int64_t)ids->n, &o, &r, err);
    if (st == SOL_OK) sol_talk_print(&to, "", 0);
    if (to.terminal && !to.ends_line) putchar('\n');
    if (st == SOL_OK) report(p, net, &r);
    if (st == SOL_OK && r.tokens == 0 && r.ended_by >= 0 && !a->chat &&
        sol_tokenizer_chat_template(sol_net_tokenizer(net)))
        sol_log_line(
            &p->log, SOL_LOG_WARN,
            "the model ended the text at once: it has a chat template, by which --chat asks");
    if (st == SOL_OK || st == SOL_ERR_INTERRUPTED) sol_free(r.ids);
    return st;
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    struct args *a = argsp;
    sol_net *net = NULL;
    sol_ids ids = {0};
    int32_t *stop = NULL, end = -1;
    sol_interrupt_catch(false);
    SOL_TRY(sol_talk_check(p, &a->talk, err));
    sol_status st = sol_program_net(p, &a->net, p->word[0], &net, err);
    if (st != SOL_OK) return st;
    if (!sol_net_tokenizer(net))
        st = sol_fail(err, SOL_ERR_FORMAT,
                      "%s: holds no tokenizer, so that text cannot be read or written", p->word[0]);
    if (st == SOL_OK) st = find_stops(sol_net_tokenizer(net), &a->stop, &stop, err);
    if (st == SOL_OK)
        st = a->chat ? encode_chat(a, sol_net_tokenizer(net), &ids, &end, err)
                     : encode_prompt(net, a->prompt, a->special, &ids, err);
    if (st == SOL_OK) stop[a->stop.n] = end; /* -1 is no token */
    if (st == SOL_OK) st = generate(p, a, net, &ids, stop, a->stop.n + 1, err);
    sol_free(stop);
    sol_ids_free(&ids);
    sol_net_free(&net);
    return st;
}

const sol_verb sol_verb_generate = {
    .name = "generate",
    .words = "MODEL",
    .min_words = 1,
    .max_words = 1,
    .takes_model = true,
    .summary = "continue a text",
    .details = "MODEL is a checkpoint, a model file or a packed model. The text comes as it is "
               "made; it ends at the model's EOS or BOS,\n"
               "at a --stop token or after N tokens. A prompt and N that do not fit the model's "
               "context are an error.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
