/* solera generate: encodes a prompt, or a user's message by the chat template, and prints the text
 * that follows; of a file of prompts the texts as lines of JSON. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "open_net.h"
#include "talk.h"
#include "text/filekind.h"

struct args {
    sol_net_args net;
    const char *prompt, *prompts, *chat_format, *system;
    int64_t n, top_k, window, batch;
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
    {.name = "--prompts",
     .value = "FILE",
     .kind = SOL_OPT_TEXT,
     .reads = true,
     .offset = offsetof(struct args, prompts),
     .without = "-p",
     .help = "many texts: a prompt a line; each becomes a line of JSON, in the same order, with "
             "what -p writes for the seeds S, S + 1, ..."},
    {.name = "--batch",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, batch),
     .preset = "32",
     .min = 1,
     .max = 4096,
     .with = "--prompts",
     .help = "--prompts: texts side by side; changes speed and memory alone"},
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
     .with = "-p|--prompts",
     .help = "read special tokens in a prompt, such as <|im_start|> of a chat template"},
    {.name = "--no-echo",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, no_echo),
     .with = "-p",
     .help = "print the new text only, without the prompt"},
    {.name = "--chat",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, chat),
     .with = "-p|--prompts",
     .help = "a prompt is a user's message, which the model answers: by its chat template, without "
             "echo"},
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
static sol_status encode_chat(const struct args *a, const sol_tokenizer *t, const char *text,
                              sol_ids *ids, int32_t *end, sol_err *err)
{
    sol_chat_format f;
    sol_chat_message messages[] = {{"system", a->system, NULL}, {"user", text, NULL}};
    int first = a->system ? 0 : 1;
    SOL_TRY(sol_chat_format_for(&f, t, a->chat_format, err));
    *end = f.end;
    sol_status st = sol_talk_prompt(t, &f, messages + first, (size_t)(2 - first), ids, err);
    sol_chat_format_free(&f);
    return st;
}

/* A prompt as ids. *end: the token that ends an answer; left alone where it is no chat. */
static sol_status encode(const struct args *a, const sol_net *net, const char *text, sol_ids *ids,
                         int32_t *end, sol_err *err)
{
    return a->chat ? encode_chat(a, sol_net_tokenizer(net), text, ids, end, err)
                   : encode_prompt(net, text, a->special, ids, err);
}

/* *n: how many new tokens may follow the prompt. The last one is not fed. */
static sol_status find_length(const struct args *a, const sol_net *net, const sol_ids *ids,
                              int64_t *n, sol_err *err)
{
    int64_t context = sol_net_config(net)->max_position_embeddings,
            left = context - (int64_t)ids->n + 1;
    *n = a->n ? a->n : sol_min_i64(left, 256);
    if (left >= 1) return SOL_OK;
    return sol_fail(err, SOL_ERR_RANGE,
                    "context overflow: the prompt has %zu tokens, the model has room for %lld",
                    ids->n, (long long)context);
}

static sol_generate_opts options_of(const struct args *a, const int32_t *stop)
{
    return (sol_generate_opts){
        .sampler = {.temperature = (float)a->talk.temp,
                    .top_p = (float)a->talk.top_p,
                    .min_p = (float)a->min_p,
                    .repetition_penalty = (float)a->penalty,
                    .top_k = a->top_k,
                    .seed = (uint64_t)a->talk.seed},
        .repeat_window = a->window,
        .stop = stop,
        .n_stop = a->stop.n + 1,
        .interrupted = sol_talk_interrupted,
    };
}

/* Room for the end of an answer is behind them: -1, which is no token, until there is one. */
static sol_status find_stops(const sol_tokenizer *t, const sol_words *words, int32_t **stop,
                             sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)stop, (size_t)words->n + 1, sizeof **stop, err));
    (*stop)[words->n] = -1;
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
                           const int32_t *stop, sol_err *err)
{
    sol_printer to = {.prompt = a->no_echo || a->chat ? NULL : a->prompt,
                      .terminal = isatty(STDOUT_FILENO) == 1,
                      .ends_line = true};
    sol_generate_opts o = options_of(a, stop);
    sol_generate_result r;
    SOL_TRY(find_length(a, net, ids, &o.max_tokens, err));
    o.text = sol_talk_print;
    o.user = &to;
    sol_interrupt_catch(false);
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

static sol_status generate_one(sol_program *p, const struct args *a, sol_net *net, int32_t *stop,
                               sol_err *err)
{
    sol_ids ids = {0};
    sol_status st = encode(a, net, a->prompt, &ids, &stop[a->stop.n], err);
    if (st == SOL_OK) st = generate(p, a, net, &ids, stop, err);
    sol_ids_free(&ids);
    return st;
}

/* ---- many prompts ---- */

typedef struct lines {
    const sol_net *net;
    json_t **text;                 /* [n]; owned */
    sol_ids *ids;                  /* [n]; owned */
    sol_generate_request *request; /* [n] */
    size_t n, cap_text, cap_ids, cap_request;
    int64_t tokens; /* in all texts that are printed */
} lines;

static void free_lines(lines *l)
{
    for (size_t i = 0; i < l->n; i++) {
        json_decref(l->text[i]);
        sol_ids_free(&l->ids[i]);
    }
    sol_free(l->text);
    sol_free(l->ids);
    sol_free(l->request);
}

static sol_status add_line(lines *l, const struct args *a, const char *line, size_t n, int32_t *end,
                           sol_err *err)
{
    size_t i = l->n;
    SOL_TRY(sol_grow_array((void **)&l->text, &l->cap_text, i + 1, sizeof *l->text, err));
    SOL_TRY(sol_grow_array((void **)&l->ids, &l->cap_ids, i + 1, sizeof *l->ids, err));
    SOL_TRY(sol_grow_array((void **)&l->request, &l->cap_request, i + 1, sizeof *l->request, err));
    l->ids[i] = (sol_ids){0};
    l->text[i] = memchr(line, 0, n) ? NULL : json_stringn(line, n);
    if (!l->text[i])
        return sol_fail(err, SOL_ERR_FORMAT, "is not UTF-8 text: a prompt is expected");
    l->n++;
    SOL_TRY(encode(a, l->net, json_string_value(l->text[i]), &l->ids[i], end, err));
    l->request[i] = (sol_generate_request){.prompt = l->ids[i].id,
                                           .n_prompt = (int64_t)l->ids[i].n,
                                           .seed = (uint64_t)a->talk.seed + i};
    return find_length(a, l->net, &l->ids[i], &l->request[i].max_tokens, err);
}

static sol_status read_lines(lines *l, const struct args *a, FILE *from, int32_t *end, sol_err *err)
{
    char *line = NULL;
    size_t capacity = 0;
    sol_status st = SOL_OK;
    for (ssize_t n; (n = getline(&line, &capacity, from)) >= 0;) {
        size_t number = l->n + 1, bom = number == 1 ? sol_text_bom(line, (size_t)n) : 0;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
        st = add_line(l, a, line + bom, (size_t)n - bom, end, err);
        if (st == SOL_OK) continue;
        st = sol_err_prefix(err, st, "%s:%zu", a->prompts, number);
        break;
    }
    if (st == SOL_OK && ferror(from)) st = sol_fail_errno(err, a->prompts, "cannot read");
    if (st == SOL_OK && l->n == 0)
        st = sol_fail(err, SOL_ERR_FORMAT, "%s: is empty: prompts are expected", a->prompts);
    free(line);
    return st;
}

static void add_text(void *user, const char *text, size_t n)
{
    sol_text_add_bytes(user, NULL, text, n); /* a token may be a 0 */
}

/* The text of r behind a prompt that ends with `previous`. */
static void join_pieces(const sol_tokenizer *t, int32_t previous, const sol_generate_result *r,
                        sol_text *to)
{
    sol_utf8_joiner joiner = {0};
    for (int64_t i = 0; i < r->tokens; i++) {
        size_t n;
        const char *piece = sol_tokenizer_piece(t, i ? r->ids[i - 1] : previous, r->ids[i], &n);
        sol_utf8_join(&joiner, piece, n, add_text, to);
    }
    sol_utf8_finish(&joiner, add_text, to);
}

static sol_status print_line(void *user, int64_t i, const sol_generate_result *r, sol_err *err)
{
    lines *l = user;
    sol_text text = {0};
    const sol_generate_request *request = &l->request[i];
    json_t *line = NULL;
    join_pieces(sol_net_tokenizer(l->net), request->prompt[request->n_prompt - 1], r, &text);
    if (text.status == SOL_OK)
        line = json_pack("{s:O, s:s%, s:I, s:b}", "prompt", l->text[i], "text",
                         text.data ? text.data : "", text.n, "tokens", (json_int_t)r->tokens,
                         "ended", r->ended_by >= 0);
    sol_free(text.data);
    if (!line) return sol_fail(err, SOL_ERR_NOMEM, "out of memory for text %lld", (long long)i + 1);
    json_dumpf(line, stdout, JSON_PRESERVE_ORDER);
    json_decref(line);
    putchar('\n');
    fflush(stdout);
    l->tokens += r->tokens;
    return SOL_OK;
}

static sol_status generate_lines(sol_program *p, const struct args *a, sol_net *net, int32_t *stop,
                                 sol_err *err)
{
    lines l = {.net = net};
    FILE *from = fopen(a->prompts, "r");
    if (!from) return sol_fail_errno(err, a->prompts, "cannot open");
    sol_status st = read_lines(&l, a, from, &stop[a->stop.n], err);
    fclose(from);
    sol_generate_opts o = options_of(a, stop);
    sol_interrupt_catch(false); /* not before: prompts may be long in coming */
    double start = sol_clock();
    if (st == SOL_OK)
        st = sol_generate_many(net, l.request, (int64_t)l.n, a->batch, &o, print_line, &l, err);
    if (st == SOL_OK)
        sol_log_line(&p->log, SOL_LOG_INFO,
                     "%s model; %zu texts, %lld new tokens, %.1f tokens/s with their prompts",
                     sol_net_kind_name(sol_net_kind_of(net)), l.n, (long long)l.tokens,
                     (double)l.tokens / (sol_clock() - start + 1e-9));
    free_lines(&l);
    return st;
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    struct args *a = argsp;
    sol_net *net = NULL;
    int32_t *stop = NULL;
    SOL_TRY(sol_talk_check(p, &a->talk, err));
    sol_status st = sol_program_net(p, &a->net, p->word[0], &net, err);
    if (st != SOL_OK) return st;
    if (!sol_net_tokenizer(net))
        st = sol_fail(err, SOL_ERR_FORMAT,
                      "%s: holds no tokenizer, so that text cannot be read or written", p->word[0]);
    if (st == SOL_OK) st = find_stops(sol_net_tokenizer(net), &a->stop, &stop, err);
    if (st == SOL_OK)
        st = a->prompts ? generate_lines(p, a, net, stop, err) : generate_one(p, a, net, stop, err);
    sol_free(stop);
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
