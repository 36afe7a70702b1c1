/* solera tokenize: text files into a dataset (tokenize.c; conversations: tokenize_chat.c), or lines
 * of JSON into lines of ids. */
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "text/jsontext.h"
#include "tokenize_chat.h"

enum { FORMAT_CHAT = SOL_READ_JSON + 1 };

struct args {
    const char *tokenizer, *out, *chat_format;
    int format; /* a sol_read_as, or FORMAT_CHAT */
    sol_special_mode special;
    sol_words input;
    bool ids, unix_lines, json, skip_bad, force;
};

static const sol_opt options[] = {
    {.name = "--tokenizer",
     .value = "T",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, tokenizer),
     .required = true,
     .help = "tokenizer.json, llama2.c tokenizer.bin, or a solera file that holds one"},
    {.name = "--input",
     .value = "FILE",
     .kind = SOL_OPT_LIST,
     .reads = true,
     .offset = offsetof(struct args, input),
     .help = SOL_INPUT_HELP},
    {.name = "--format",
     .value = "FORMAT",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, format),
     .preset = "auto",
     .names =
         (const sol_enumerator[]){SOL_READ_FORMS(SOL_ENUM_ROW){"chat", FORMAT_CHAT}, {NULL, 0}},
     .without = "--ids",
     .help = SOL_FORMAT_HELP "; chat: conversations, a line of JSON each"},
    {.name = "--chat-format",
     .value = "NAME",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, chat_format),
     .choices = SOL_CHAT_FORMATS,
     .without = "--ids",
     .help = "how to render conversations, instead of by the chat template of T"},
    {.name = "-o",
     .value = "OUT.h5",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, out),
     .without = "--ids",
     .help = "dataset to write"},
    SOL_OPT_FORCE(struct args, "--ids"),
    {.name = "--ids",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, ids),
     .help = "instead of --input: a JSON object with \"text\" a line on stdin, a JSON array of ids "
             "a line on stdout"},
    {.name = "--special",
     .value = "WHEN",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, special),
     .preset = "auto",
     .names = SOL_ENUM_TABLE(SOL_SPECIAL_MODES),
     .help = "recognize special tokens in the text; auto: with --ids"},
    {.name = "--skip-bad",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, skip_bad),
     .without = "--ids",
     .help = SOL_SKIP_BAD_HELP},
    {.name = "--unix-lines",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, unix_lines),
     .without = "--ids",
     .help = "read CR LF line ends as LF"},
    {.name = "--json",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, json),
     .without = "--ids",
     .help = "print documents, tokens, text_bytes, skipped and seconds as JSON"},
    {0},
};

static sol_status ids_of_line(sol_encoder *e, char *line, size_t n, int64_t number, int flags,
                              sol_ids *ids, sol_err *err)
{
    sol_span text;
    size_t bom = number == 1 ? sol_text_bom(line, n) : 0;
    ids->n = 0;
    SOL_TRY(sol_json_text(line + bom, n - bom, "stdin", number, &text, err));
    return sol_encoder_run(e, text.at, text.n, flags, ids, err);
}

static sol_status encode_line(sol_encoder *e, char *line, size_t n, int64_t number, int flags,
                              sol_ids *ids, sol_err *err)
{
    SOL_TRY(ids_of_line(e, line, n, number, flags, ids, err));
    for (size_t i = 0; i < ids->n; i++) printf("%s%d", i ? "," : "[", ids->id[i]);
    fputs(ids->n ? "]\n" : "[]\n", stdout);
    fflush(stdout); /* a program at the other end of a pipe may wait for it */
    return SOL_OK;
}

static sol_status encode_stdin(const sol_tokenizer *t, int flags, sol_err *err)
{
    sol_encoder *e;
    sol_ids ids = {0};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    int64_t number = 0;
    sol_status st = sol_encoder_create(&e, t, err);
    while (st == SOL_OK && (n = getline(&line, &capacity, stdin)) >= 0)
        st = encode_line(e, line, (size_t)n, ++number, flags, &ids, err);
    if (st == SOL_OK && ferror(stdin)) st = sol_fail_errno(err, "stdin", "cannot read");
    free(line);
    sol_ids_free(&ids);
    sol_encoder_free(&e);
    return st;
}

static sol_status encode_files(sol_program *p, const struct args *a, const sol_tokenizer *t,
                               sol_err *err)
{
    sol_tokenize_result r;
    char size[32], count[32];
    bool chat = a->format == FORMAT_CHAT;
    sol_tokenize_opts opts = {.tokenizer = t,
                              .docs = {.files = a->input.word,
                                       .n_files = a->input.n,
                                       .unix_lines = a->unix_lines,
                                       .as = chat ? SOL_READ_AUTO : (sol_read_as)a->format,
                                       .skip_bad = a->skip_bad},
                              .special = a->special,
                              .special_yes = "--special yes",
                              .out = a->out};
    sol_chat_format chat_format = {0};
    sol_interrupt_catch(true);
    if (a->chat_format && !chat)
        return sol_fail(err, SOL_ERR_USAGE, "--chat-format has no effect without --format chat");
    if (chat) SOL_TRY(sol_chat_format_for(&chat_format, t, a->chat_format, err));
    sol_status st = chat ? sol_tokenize_chats(&opts, &chat_format, &r, err)
                         : sol_tokenize_files(p, &opts, &r, err);
    sol_chat_format_free(&chat_format);
    if (st != SOL_OK) return st;
    sol_log_line(&p->log, SOL_LOG_INFO, "%s: %lld documents, %s tokens of %s text, %.1f MB/s",
                 a->out, (long long)r.documents, sol_count_text((double)r.tokens, count),
                 sol_bytes_text((double)r.text_bytes, size),
                 r.seconds > 0 ? (double)r.text_bytes / 1e6 / r.seconds : 0.0);
    if (a->json)
        printf("{\"documents\": %lld, \"tokens\": %lld, \"text_bytes\": %llu, \"skipped\": %lld, "
               "\"seconds\": %.3f}\n",
               (long long)r.documents, (long long)r.tokens, (unsigned long long)r.text_bytes,
               (long long)r.skipped, r.seconds);
    return SOL_OK;
}

static sol_status check_output(const struct args *a, sol_err *err)
{
    SOL_TRY(sol_file_differs(a->tokenizer, a->out, err));
    for (int i = 0; i < a->input.n; i++) SOL_TRY(sol_file_differs(a->input.word[i], a->out, err));
    return sol_output_check(a->out, SOL_OUTPUT_DATASET, a->force, err);
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    struct args *a = argsp;
    sol_tokenizer *t;
    if (a->ids == (a->input.n > 0))
        return sol_fail(err, SOL_ERR_USAGE, "wants either --input FILE... -o OUT.h5 or --ids");
    if (!a->ids && !a->out)
        return sol_fail(err, SOL_ERR_USAGE, "wants -o OUT.h5 (dataset to write)");
    if (!a->ids) SOL_TRY(check_output(a, err));
    SOL_TRY(sol_store_tokenizer(&t, a->tokenizer, err));
    int flags =
        SOL_ENCODE_BOS | SOL_ENCODE_TAIL | (a->special == SOL_SPECIAL_NO ? 0 : SOL_ENCODE_SPECIAL);
    sol_status st = a->ids ? encode_stdin(t, flags, err) : encode_files(p, a, t, err);
    sol_tokenizer_free(&t);
    return st;
}

const sol_verb sol_verb_tokenize = {
    .name = "tokenize",
    .summary = "turn text into a token dataset, or lines of JSON into lines of ids",
    .details = "Plain text is one document, unless lines that hold nothing but <|endoftext|> (or "
               "the tokenizer's own\n"
               "end-of-text token) separate several; blanks beside such a line belong to it. JSON "
               "holds a document a\n"
               "line, or an item of one array: strings, or objects with a string under \"text\". "
               "Tables and binary files\n"
               "are refused. Each document becomes BOS as the tokenizer's template says, its ids, "
               "and EOS\n"
               "when the tokenizer has one.\n"
               "--format chat reads lines of JSON with \"messages\" (role, content), "
               "\"conversations\" (from, value), or\n"
               "\"prompt\" and \"completion\". They are rendered by the chat template of T, "
               "nothing else is put around them,\n"
               "and the dataset knows which tokens the assistant says (data.loss_on: answers).",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
