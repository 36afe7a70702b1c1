/* solera generate: encodes a prompt and prints the text that follows. */
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "open_net.h"

struct args {
    sol_net_args net;
    const char *prompt;
    int64_t n, seed, top_k, window;
    double temp, top_p, min_p, penalty;
    bool no_echo, special;
    sol_words stop;
};

static const sol_opt options[] = {
    {.name = "-p", .value = "TEXT", .kind = SOL_OPT_TEXT, .offset = offsetof(struct args, prompt), .preset = "",
     .help = "the text to go on from; empty: from the beginning of a document"},
    {.name = "-n", .value = "N", .kind = SOL_OPT_INT, .offset = offsetof(struct args, n), .min = 0, .max = 1e9,
     .help = "new tokens at most; 0: 256, or what the context has room for"},
    {.name = "--temp", .value = "T", .kind = SOL_OPT_REAL, .offset = offsetof(struct args, temp), .preset = "0.8", .min = 0,
     .max = 100, .help = "temperature; 0: always the most likely token"},
    {.name = "--seed", .value = "S", .kind = SOL_OPT_INT, .offset = offsetof(struct args, seed), .preset = "1",
     .help = "the same seed gives the same text"},
    {.name = "--top-k", .value = "K", .kind = SOL_OPT_INT, .offset = offsetof(struct args, top_k), .min = 0, .max = 1e9,
     .help = "draw from the K most likely tokens; 0: all"},
    {.name = "--top-p", .value = "P", .kind = SOL_OPT_REAL, .offset = offsetof(struct args, top_p), .preset = "1", .max = 1,
     .help = "draw from the fewest tokens that hold P of the probability"},
    {.name = "--min-p", .value = "P", .kind = SOL_OPT_REAL, .offset = offsetof(struct args, min_p), .preset = "0", .max = 1,
     .help = "draw from tokens with at least P of the most likely one's probability"},
    {.name = "--repeat-penalty", .value = "R", .kind = SOL_OPT_REAL, .offset = offsetof(struct args, penalty), .preset = "1",
     .min = 0.01, .max = 100, .help = "above 1: recent tokens become less likely"},
    {.name = "--repeat-window", .value = "N", .kind = SOL_OPT_INT, .offset = offsetof(struct args, window), .preset = "64",
     .min = 0, .max = 1e9, .with = "--repeat-penalty", .help = "how many tokens count as recent"},
    {.name = "--stop", .value = "TOKEN", .kind = SOL_OPT_EACH, .offset = offsetof(struct args, stop),
     .help = "a token of the vocabulary that ends the text, besides the model's own"},
    {.name = "--special", .kind = SOL_OPT_FLAG, .offset = offsetof(struct args, special),
     .with = "-p", .help = "-p: read special tokens in the text, such as <|im_start|> of a chat template"},
    {.name = "--no-echo", .kind = SOL_OPT_FLAG, .offset = offsetof(struct args, no_echo),
     .with = "-p", .help = "print the new text only, without the prompt"},
    SOL_NET_OPTIONS,
    {0},
};

typedef struct printer {
    const char *prompt; /* printed before the first new text: not when the work fails before */
    bool terminal, ends_line;
} printer;

/* On a terminal control characters of the model stay out of it. */
static void print_text(void *user, const char *text, size_t n)
{
    printer *to = user;
    if (to->prompt) {
        const char *prompt = to->prompt;
        to->prompt = NULL;
        print_text(to, prompt, strlen(prompt));
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (to->terminal && (c < 0x20 || c == 0x7F) && c != '\n' && c != '\t') continue;
        putchar(c);
        to->ends_line = c == '\n';
    }
    fflush(stdout);
}

static bool interrupted(void *user)
{
    (void)user;
    return sol_interrupted();
}

static sol_status encode_prompt(const sol_net *net, const char *text, bool special, sol_ids *ids, sol_err *err)
{
    const sol_model_config *c = sol_net_config(net);
    sol_status st = sol_tokenizer_encode(sol_net_tokenizer(net), text, strlen(text), SOL_ENCODE_BOS | (special ? SOL_ENCODE_SPECIAL : 0), ids, err);
    if (st != SOL_OK || ids->n > 0) return st;
    if (c->bos_token_id < 0) return sol_fail(err, SOL_ERR_USAGE, "the model has no BOS token: -p needs a text");
    st = sol_grow_array((void **)&ids->id, &ids->capacity, 1, sizeof *ids->id, err);
    if (st == SOL_OK) ids->id[ids->n++] = (int32_t)c->bos_token_id;
    return st;
}

static sol_status find_stops(const sol_tokenizer *t, const sol_words *words, int32_t **stop, sol_err *err)
{
    sol_status st = sol_alloc_array((void **)stop, (size_t)words->n, sizeof **stop, err);
    for (int i = 0; st == SOL_OK && i < words->n; i++) {
        (*stop)[i] = sol_tokenizer_find(t, words->word[i]);
        if ((*stop)[i] < 0) st = sol_fail(err, SOL_ERR_USAGE, "--stop '%s': the vocabulary has no such token", words->word[i]);
    }
    return st;
}

static void report(sol_program *p, const sol_net *net, const sol_generate_result *r)
{
    int64_t decoded = r->tokens > 1 ? r->tokens - 1 : 0; /* the first token comes from the prefill */
    sol_log_line(&p->log, SOL_LOG_INFO, "%s model; prompt %lld tokens in %.2f s; %lld new tokens, %.1f tokens/s",
                 sol_net_kind_name(sol_net_kind_of(net)), (long long)r->prompt_tokens, r->prefill_seconds, (long long)r->tokens,
                 r->decode_seconds > 0 ? (double)decoded / r->decode_seconds : 0.0);
}

static sol_status generate(sol_program *p, const struct args *a, sol_net *net, const sol_ids *ids, const int32_t *stop,
                           sol_err *err)
{
    printer to = {.prompt = a->no_echo ? NULL : a->prompt, .terminal = isatty(STDOUT_FILENO) == 1, .ends_line = true};
    int64_t room = sol_net_config(net)->max_position_embeddings - (int64_t)ids->n + 1;
    sol_generate_opts o = {
        .max_tokens = a->n ? a->n : sol_min_i64(room, 256),
        .sampler = {.temperature = (float)a->temp, .top_p = (float)a->top_p, .min_p = (float)a->min_p,
                    .repetition_penalty = (float)a->penalty, .top_k = a->top_k, .seed = (uint64_t)a->seed},
        .repeat_window = a->window, .stop = stop, .n_stop = a->stop.n, .text = print_text, .interrupted = interrupted, .user = &to,
    };
    sol_generate_result r;
    if (room < 1)
        return sol_fail(err, SOL_ERR_RANGE, "context overflow: the prompt has %zu tokens, the model has room for %lld", ids->n,
                        (long long)sol_net_config(net)->max_position_embeddings);
    sol_status st = sol_generate(net, ids->id, (int64_t)ids->n, &o, &r, err);
    if (st == SOL_OK) print_text(&to, "", 0);
    if (to.terminal && !to.ends_line) putchar('\n');
    if (st == SOL_OK) report(p, net, &r);
    if (st == SOL_OK || st == SOL_ERR_INTERRUPTED) sol_free(r.ids);
    return st;
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    struct args *a = argsp;
    sol_net *net = NULL;
    sol_ids ids = {0};
    int32_t *stop = NULL;
    sol_interrupt_catch(false);
    if (a->temp == 0 && sol_args_given(p, "--seed|--top-k|--top-p|--min-p"))
        return sol_fail(err, SOL_ERR_USAGE, "--seed, --top-k, --top-p and --min-p have no effect with --temp 0: nothing is drawn");
    sol_status st = sol_program_net(p, &a->net, p->word[0], &net, err);
    if (st != SOL_OK) return st;
    if (!sol_net_tokenizer(net))
        st = sol_fail(err, SOL_ERR_FORMAT, "%s: holds no tokenizer, so that text cannot be read or written", p->word[0]);
    if (st == SOL_OK) st = find_stops(sol_net_tokenizer(net), &a->stop, &stop, err);
    if (st == SOL_OK) st = encode_prompt(net, a->prompt, a->special, &ids, err);
    if (st == SOL_OK) st = generate(p, a, net, &ids, stop, err);
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
    .details = "MODEL is a checkpoint, a model file or a packed model. The text comes as it is made; it ends at the model's EOS or BOS,\n"
               "at a --stop token or after N tokens. A prompt and N that do not fit the model's context are an error.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
