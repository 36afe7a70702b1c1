/* Perplexity of plain text, in the two ways it is published.
 *
 * Windowed (quantization papers): the text is encoded once; a window of `context` tokens moves by
 * `stride`; each window predicts the tokens that no window before it did, never its own first one.
 * With stride = context (the papers) a last window that is not whole is left out if there is a
 * whole one; with a smaller stride every token but the first is predicted.
 *
 * Word-level (lm-evaluation-harness, task wikitext): the text is split into its pages (lines " =
 * Title = "), each cleaned by the wikitext detokenizer and predicted whole, beginning after BOS, in
 * windows of the context's length that predict every token once; the sum is divided by the words,
 * or bytes, of the page as it stands in the file. Text without such lines is one page, taken as it
 * is.
 *
 *     sol_text_opts o = {.context = 512, .stride = 512};
 *     sol_text_result r;
 *     st = sol_eval_text_windows(net, text, n, &o, &r, err);
 *     if (st == SOL_OK) printf("perplexity %.3f\n", r.ppl); */
#ifndef SOLERA_EVAL_PLAIN_TEXT_H
#define SOLERA_EVAL_PLAIN_TEXT_H

#include "base/text.h"
#include "eval/eval.h"

typedef struct sol_text_opts {
    int64_t context, stride;
    bool special; /* text that spells special tokens means them; BOS is then not doubled */
    sol_eval_watch watch;
    sol_dist *dist; /* as in sol_eval_opts */
} sol_text_opts;

typedef struct sol_text_result {
    double loss, ppl;            /* nats a token predicted, exp of that */
    int64_t tokens;              /* predicted */
    int64_t words, bytes, pages; /* word-level only */
    double word_ppl, byte_ppl, bits_per_byte;
    double seconds;
} sol_text_result;

/* Windowed, or word-level, perplexity of text[n] with the net's tokenizer; windowed begins with BOS
 * where its template says so. SOL_ERR_SHAPE: nothing to predict (windowed: fewer than 2 tokens);
 * SOL_ERR_RANGE: context outside 1 to the model's, or stride outside 1 to context; SOL_ERR_FORMAT:
 * no tokenizer; SOL_ERR_NONFINITE: the loss is not a number. */
sol_status sol_eval_text_windows(sol_net *net, const char *text, size_t n, const sol_text_opts *o,
                                 sol_text_result *r, sol_err *err);
sol_status sol_eval_text_words(sol_net *net, const char *text, size_t n, const sol_text_opts *o,
                               sol_text_result *r, sol_err *err);

/* Appends page[n], cleaned as lm-evaluation-harness' wikitext detokenizer does, to *out. */
sol_status sol_wikitext_clean(const char *page, size_t n, sol_text *out, sol_err *err);
/* Bytes of the first page of text[n], up to the next title line or the end. */
size_t sol_wikitext_page(const char *text, size_t n);
/* Whether text[n] has a title line. */
bool sol_wikitext_titled(const char *text, size_t n);
/* The number of words of text[n], as Python's len(re.split(r"\s+", text)). */
int64_t sol_count_words(const char *text, size_t n);

#endif
