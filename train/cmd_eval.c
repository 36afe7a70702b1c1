#include <string.h>

#include "open_net.h"

struct args {
    sol_net_args net;
    const char *data, *documents;
    int64_t seq, max_windows;
    bool json;
};

static const sol_opt options[] = {
    {.name = "--data", .value = "D.h5", .kind = SOL_OPT_TEXT, .offset = offsetof(struct args, data), .required = true,
     .help = "the dataset, made by `solera tokenize` with the model's tokenizer"},
    {.name = "--seq", .value = "N", .kind = SOL_OPT_INT, .offset = offsetof(struct args, seq), .min = 0, .max = 1e9,
     .help = "tokens a window; 0: the model's context, at most 2048"},
    {.name = "--windows", .value = "N", .kind = SOL_OPT_INT, .offset = offsetof(struct args, max_windows), .min = 0,
     .max = 1e15, .help = "the first N windows only; 0: all"},
    {.name = "--documents", .value = "HOW", .kind = SOL_OPT_TEXT, .offset = offsetof(struct args, documents),
     .preset = "joined", .choices = "joined|apart",
     .help = "joined: windows of the whole stream; apart: attention restarts at each document, as in training"},
    {.name = "--json", .kind = SOL_OPT_FLAG, .offset = offsetof(struct args, json), .help = "print one JSON object"},
    SOL_NET_OPTIONS,
    {0},
};

static bool show(void *user, int64_t done, int64_t total)
{
    sol_live_show(user, false, "eval %lld of %lld tokens", (long long)done, (long long)total);
    return !sol_interrupted();
}

static void print(const struct args *a, const sol_net *net, int64_t seq, const sol_eval_result *r)
{
    const char *kind = sol_net_kind_name(sol_net_kind_of(net));
    double rate = r->seconds > 0 ? (double)r->tokens / r->seconds : 0, bits = sol_net_bits_per_weight(net);
    if (a->json)
        printf("{\"loss\": %.12g, \"ppl\": %.12g, \"tokens\": %lld, \"model_kind\": \"%s\", \"bits_per_weight\": %.6g, "
               "\"seq\": %lld, \"documents\": \"%s\", \"seconds\": %.3f, \"tok_s\": %.1f}\n",
               r->loss, r->ppl, (long long)r->tokens, kind, bits, (long long)seq, a->documents, r->seconds, rate);
    else
        printf("loss             %.4f nats a token\nperplexity       %.4f\ntokens           %lld in windows of %lld, documents %s\n"
               "model            %s, %.4g bits a weight\nspeed            %.0f tokens/s\n",
               r->loss, r->ppl, (long long)r->tokens, (long long)seq, a->documents, kind, bits, rate);
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    struct args *a = argsp;
    sol_net *net = NULL;
    sol_dataset data = {0};
    sol_eval_result r;
    sol_interrupt_catch();
    sol_status st = sol_dataset_open(&data, a->data, err);
    if (st != SOL_OK) return st;
    st = sol_program_net(p, &a->net, p->word[0], &net, err);
    if (st == SOL_OK) {
        int64_t context = sol_net_config(net)->max_position_embeddings;
        sol_eval_opts o = {.seq = a->seq ? a->seq : context < 2048 ? context : 2048, .max_windows = a->max_windows,
                           .apart = strcmp(a->documents, "apart") == 0, .watch = {.fn = show, .user = p}};
        st = sol_eval_windows(net, &data.tokens, &o, &r, err);
        sol_live_clear(p);
        if (st == SOL_OK)
            print(a, net, o.seq, &r);
        else if (st != SOL_ERR_INTERRUPTED)
            st = sol_err_prefix(err, st, "%s on %s", p->word[0], a->data);
    }
    sol_net_free(&net);
    sol_dataset_close(&data);
    return st;
}

const sol_verb sol_verb_eval = {
    .name = "eval",
    .words = "MODEL",
    .min_words = 1,
    .max_words = 1,
    .summary = "loss and perplexity of a model on a dataset",
    .details = "MODEL is a checkpoint or model file (full precision, or Q(W) where it has a quantizer) or a packed model.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
