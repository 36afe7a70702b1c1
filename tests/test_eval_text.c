/* Perplexity of text and tasks with choices: each word predicted once, files of every form, scores
 * that sharing does not change. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "suite.h"
#include "text/capitalize.h"

/* A random model with a tokenizer that is trained on the spot. */
typedef struct fixture {
    char dir[64];
    sol_ctx *ctx;
    sol_model *model;
    sol_tokenizer *tokenizer;
    sol_net *net;
} fixture;

enum { V = 300, CONTEXT = 32 };

static fixture make_net(void)
{
    fixture f;
    char text[96], json[96];
    sol_test_dir_make(f.dir);
    snprintf(text, sizeof text, "%s/t.txt", f.dir);
    snprintf(json, sizeof json, "%s/t.json", f.dir);
    static const char words[] = "the cat sees a dog and the dog sees the cat; a bird hears them "
                                "all in the tree of the garden\n";
    const char *files[] = {text};
    ck_ok(sol_file_write(text, words, sizeof words - 1, err));
    ck_ok(
        sol_bpe_train(&(sol_bpe_opts){.files = files, .n_files = 1, .vocab_size = 280}, json, err));
    ck_ok(sol_tokenizer_open(&f.tokenizer, json, err));
    sol_model_config c = {.vocab_size = V,
                          .hidden_size = 16,
                          .intermediate_size = 32,
                          .num_hidden_layers = 2,
                          .num_attention_heads = 2,
                          .num_key_value_heads = 1,
                          .head_dim = 8,
                          .max_position_embeddings = CONTEXT,
                          .rms_norm_eps = 1e-5,
                          .rope_theta = 10000,
                          .tie_word_embeddings = true,
                          .bos_token_id = sol_tokenizer_bos(f.tokenizer),
                          .eos_token_id = sol_tokenizer_eos(f.tokenizer)};
    ck_ok(sol_ctx_create(&f.ctx, 2, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_model_create(&f.model, &c, SOL_F32, err));
    sol_model_init_random(f.ctx, f.model, 9);
    for (int64_t i = 0; i < f.model->n_elements; i++) ((float *)f.model->data)[i] *= 4.0f;
    ck_ok(sol_net_from_model(&f.net, f.ctx, f.model, f.tokenizer, NULL, NULL, err));
    return f;
}

static void free_net(fixture *f)
{
    sol_net_free(&f->net);
    sol_tokenizer_free(&f->tokenizer);
    sol_model_free(&f->model);
    sol_ctx_free(&f->ctx);
    sol_test_dir_remove(f->dir);
}

/* -log p of ids[at] after ids[from, at). */
static double surprise(sol_net *net, const int32_t *ids, int64_t from, int64_t at)
{
    sol_kv *kv;
    sol_row rows[CONTEXT];
    int32_t targets[CONTEXT];
    double logprob[CONTEXT];
    int64_t n = at - from;
    ck_ok(sol_kv_create(&kv, net, n, err));
    for (int64_t i = 0; i < n; i++) {
        rows[i] = (sol_row){.kv = kv, .token = ids[from + i]};
        targets[i] = i + 1 == n ? ids[at] : -1;
    }
    ck_ok(sol_net_logprobs(net, rows, n, targets, logprob, err));
    sol_kv_free(&kv);
    return -logprob[n - 1];
}

static const char text[] =
    "the dog hears a cat and the bird sees them; the garden of the cat, a tree in the dog's "
    "garden. "
    "All the birds sing and nobody sees a dog hearing them there at the end.";

START_TEST(a_window_predicts_what_is_new_in_it)
{
    fixture f = make_net();
    sol_ids ids = {0};
    ck_ok(sol_tokenizer_encode(f.tokenizer, text, sizeof text - 1, SOL_ENCODE_BOS, &ids, err));
    static const int64_t strides[] = {20, 7, 1, 19};
    for (int s = 0; s < 4; s++) {
        enum { WINDOW = 20 };
        int64_t n = (int64_t)ids.n, stride = strides[s], counted = 0, seen = 0;
        double sum = 0;
        sol_text_result r;
        if (stride == WINDOW) n = n / WINDOW * WINDOW;
        for (int64_t from = 0; seen < n; from += stride) {
            int64_t to = from + WINDOW < n ? from + WINDOW : n;
            for (int64_t at = seen > from ? seen : from + 1; at < to; at++, counted++)
                sum += surprise(f.net, ids.id, from, at);
            seen = to;
        }
        sol_text_opts o = {.context = WINDOW, .stride = stride};
        ck_ok(sol_eval_text_windows(f.net, text, sizeof text - 1, &o, &r, err));
        ck_assert_int_eq(r.tokens, counted);
        ck_assert_double_eq_tol(r.loss, sum / (double)counted, 1e-9);
        if (stride != WINDOW) ck_assert_int_eq(r.tokens, n - 1); /* all but the first */
    }
    sol_ids_free(&ids);
    free_net(&f);
}
END_TEST

START_TEST(words_are_predicted_once_and_counted)
{
    fixture f = make_net();
    sol_ids ids = {0};
    sol_text_result r;
    sol_text_opts o = {.context = 11, .stride = 11};
    ck_ok(sol_grow_array((void **)&ids.id, &ids.capacity, 1, sizeof *ids.id, err));
    ids.id[ids.n++] = sol_tokenizer_bos(f.tokenizer);
    ck_ok(sol_tokenizer_encode(f.tokenizer, text, sizeof text - 1, 0, &ids, err));
    double sum = 0;
    for (int64_t done = 1, to; done < (int64_t)ids.n; done = to) {
        to = done + 11 < (int64_t)ids.n ? done + 11 : (int64_t)ids.n;
        for (int64_t at = done; at < to; at++)
            sum += surprise(f.net, ids.id, to - 12 > 0 ? to - 12 : 0, at);
    }
    ck_ok(sol_eval_text_words(f.net, text, sizeof text - 1, &o, &r, err));
    ck_assert_int_eq(r.tokens, (int64_t)ids.n - 1);
    ck_assert_int_eq(r.pages, 1);
    ck_assert_int_eq(r.words, 36);
    ck_assert_int_eq(r.bytes, (int64_t)sizeof text - 1);
    ck_assert_double_eq_tol(log(r.word_ppl) * 36, sum, 1e-6);
    ck_assert_double_eq_tol(r.bits_per_byte, log2(r.byte_ppl), 1e-9);
    ck_assert_double_eq_tol(r.bits_per_byte * log(2) * (double)r.bytes, sum, 1e-6);
    sol_ids_free(&ids);
    free_net(&f);
}
END_TEST

static void check_clean_bytes(const char *page, size_t n, const char *want, size_t n_want)
{
    sol_text out = {0};
    ck_ok(sol_wikitext_clean(page, n, &out, err));
    ck_assert_uint_eq(out.n, n_want);
    ck_assert_mem_eq(out.data, want, n_want + 1);
    sol_free(out.data);
}

static void check_clean(const char *page, const char *want)
{
    check_clean_bytes(page, strlen(page), want, strlen(want));
}

START_TEST(wikitext_is_cleaned)
{
    check_clean(" = Robert Boulter = \n \n Robert is an English film , television and theatre "
                "actor . He had a guest @-@ starring role",
                " = Robert Boulter =\n\nRobert is an English film, television and theatre actor. "
                "He had a guest-starring role");
    check_clean("a role as \" Craig \" in \" Teddy 's Story \" ( 2002 ) , 1 @,@ 000 @.@ 5",
                "a role as \"Craig\" in \"Teddy's Story\" (2002), 1,000.5");
    check_clean(" = = Career = = \n", " == Career ==\n");
    check_clean("at 50 \xC2\xB0 N : the boys ' ship ; so !",
                "at 50\xC2\xB0N: the boys' ship; so !");
    check_clean("[ a ] { b } ( not closed", "[a] {b} ( not closed");
    check_clean("", "");
    /* A byte 0 ends no page, neither where a text is copied nor where it is searched. */
    static const char zero[] = "a @-@ b\0 ( c ) , d", clean[] = "a-b\0 (c), d";
    check_clean_bytes(zero, sizeof zero - 1, clean, sizeof clean - 1);
}
END_TEST

START_TEST(pages_and_words)
{
    static const char two[] = " \n = One = \n text \n = = Part = = \n more \n = Two = \n end \n";
    ck_assert(sol_wikitext_titled(two, sizeof two - 1));
    size_t first = sol_wikitext_page(two, sizeof two - 1);
    ck_assert_str_eq(two + first, " = Two = \n end \n");
    ck_assert_uint_eq(sol_wikitext_page(two + first, sizeof two - 1 - first),
                      sizeof two - 1 - first);
    ck_assert(!sol_wikitext_titled("= = =\n", 6));
    ck_assert_int_eq(sol_count_words("a b", 3), 2);
    /* The empty ones at both ends count, as in Python. */
    ck_assert_int_eq(sol_count_words(" a \n\n b ", 8), 4);
    ck_assert_int_eq(sol_count_words("a\xC2\xA0"
                                     "b\xE2\x80\x83 c",
                                     8),
                     3);
    ck_assert_int_eq(sol_count_words("\xE1\x9A\x80"
                                     "a\xE2\x80\xAF"
                                     "b\xE2\x81\x9F"
                                     "c\xE2\x80\x8B"
                                     "d\x1C"
                                     "e\xC2\x85",
                                     20),
                     6); /* U+200B is none */
    ck_assert_int_eq(sol_count_words("", 0), 1);
}
END_TEST

START_TEST(what_cannot_be_measured)
{
    fixture f = make_net();
    sol_text_result r;
    sol_text_opts o = {.context = CONTEXT + 1, .stride = 5};
    ck_fails(sol_eval_text_windows(f.net, text, 20, &o, &r, err), SOL_ERR_RANGE, "33 tokens");
    o = (sol_text_opts){.context = 8, .stride = 9};
    ck_fails(sol_eval_text_windows(f.net, text, 20, &o, &r, err), SOL_ERR_RANGE, "a stride of 9");
    o.stride = 0;
    ck_fails(sol_eval_text_words(f.net, text, 20, &o, &r, err), SOL_ERR_RANGE, "a stride of 0");
    o.stride = 8;
    ck_fails(sol_eval_text_windows(f.net, "", 0, &o, &r, err), SOL_ERR_SHAPE,
             "the text has 1 tokens");
    ck_fails(sol_eval_text_words(f.net, "", 0, &o, &r, err), SOL_ERR_SHAPE, "empty");
    sol_net *mute;
    ck_ok(sol_net_from_model(&mute, f.ctx, f.model, NULL, NULL, NULL, err));
    ck_fails(sol_eval_text_windows(mute, text, 20, &o, &r, err), SOL_ERR_FORMAT, "no tokenizer");
    sol_net_free(&mute);
    free_net(&f);
}
END_TEST

/* ---- tasks ---- */

static sol_task *read_task(const fixture *f, const char *name, const char *lines)
{
    char path[96];
    sol_task *t;
    snprintf(path, sizeof path, "%s/task.jsonl", f->dir);
    ck_ok(sol_file_write(path, lines, strlen(lines), err));
    ck_ok(sol_task_read(&t, sol_task_find(name), path, 0, err));
    return t;
}

START_TEST(every_form_of_a_task_file)
{
    static const struct {
        const char *task, *line;
        int n, gold;
        const char *context, *continuation;
        int64_t characters;
    } forms[] = {
        {"arc_easy", "{\"ctx\": \"Q\", \"choices\": [\"one\", \"two\", \"drei\"], \"gold\": 2}", 3,
         2, "Q", " drei", 4},
        {"arc_easy", "\xEF\xBB\xBF{\"ctx\": \"Q\", \"choices\": [\"one\", \"two\"], \"gold\": 1}",
         2, 1, "Q", " two", 3},
        {"winogrande", "{\"contexts\": [\"A x\", \"A y\"], \"continuation\": \"is.\", \"gold\": 1}",
         2, 1, "A y", " is.", 3},
        {"arc_challenge",
         "{\"id\": \"M\", \"question\": {\"stem\": \"Why?\", \"choices\": [{\"text\": \"so\", "
         "\"label\": \"A\"}, {\"text\": \"no\", "
         "\"label\": \"B\"}]}, \"answerKey\": \"B\"}",
         2, 1, "Question: Why?\nAnswer:", " no", 2},
        {"arc_easy", /* of two that have the label, the first */
         "{\"question\": \"Why?\", \"choices\": {\"text\": [\"so\", \"no\"], \"label\": [\"1\", "
         "\"1\"]}, \"answerKey\": \"1\"}",
         2, 0, "Question: Why?\nAnswer:", " so", 2},
        {"hellaswag",
         "{\"activity_label\": \"Roof [x] work\", \"ctx_a\": \"A man sits. [title] Then\", "
         "\"ctx_b\": \"he GOES\", \"ctx\": \"unused\", "
         "\"endings\": [\"[step] up  there.\", \" down \\u00e9.\"], \"label\": \"1\"}",
         2, 1, "Roof work: A man sits.. Then He goes", " down \xC3\xA9.", 7},
        {"hellaswag", /* letters beyond ASCII, too: an E with an acute first, an O with dots */
         "{\"activity_label\": \"a\", \"ctx_a\": \"b\", \"ctx_b\": \"\\u00e9T \\u00d6L\", "
         "\"endings\": [\"c\", \"d\"], \"label\": 0}",
         2, 0, "a: b \xC3\x89t \xC3\xB6l", " c", 1},
        {"hellaswag", /* the title goes before the brackets, brackets end with their line, strip()
                         knows U+00A0 and U+2003 */
         "{\"activity_label\": \"\\u2003Roof\", \"ctx_a\": \"[a [title] b] [c\\nd]\", \"ctx_b\": "
         "\"\", "
         "\"endings\": [\"x\", \"\\u00a0[[a]b] [] [title]   up\\u00a0\"], \"label\": 1}",
         2, 1, "Roof: [c\nd]", " b] .  up", 8},
        {"piqa", "{\"goal\": \"How?\", \"sol1\": \"so \", \"sol2\": \"no\", \"label\": 0}", 2, 0,
         "Question: How?\nAnswer:", " so ", 3},
        {"winogrande",
         "{\"sentence\": \"Ann met Eve so _  smiled. \", \"option1\": \"Ann\", \"option2\": "
         "\"Eve\", \"answer\": \"2\"}",
         2, 1, "Ann met Eve so Eve", " smiled.", 7},
        {"winogrande",
         "{\"sentence\": \"Ann met Eve so _\\u3000smiled.\\u0085\", \"option1\": \"Ann\", "
         "\"option2\": \"Eve\", \"answer\": \"1\"}",
         2, 0, "Ann met Eve so Ann", " smiled.", 7},
    };
    fixture f = make_net();
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        sol_task *t = read_task(&f, forms[i].task, forms[i].line);
        ck_assert_int_eq(t->n, 1);
        const sol_task_item *item = &t->item[0];
        ck_assert_int_eq(item->n_choices, forms[i].n);
        ck_assert_int_eq(item->gold, forms[i].gold);
        ck_assert_str_eq(item->choice[item->gold].context, forms[i].context);
        ck_assert_str_eq(item->choice[item->gold].continuation, forms[i].continuation);
        ck_assert_int_eq(item->choice[item->gold].characters, forms[i].characters);
        sol_task_free(&t);
    }
    free_net(&f);
}
END_TEST

START_TEST(bad_task_files_are_named_with_their_line)
{
    static const char *const bad[][2] = {
        {"", "is empty"},
        {"\n \r\n", "is empty"},
        {"PAR1\x15", "is a Parquet file"},
        {"\n{\"ctx\": \"a\", \"choices\": [\"x\", \"y\"], \"gold\": 1}\r\n\r\n{}",
         "task.jsonl:4: neither"},
        {"{\"ctx\": \"a\", \"choices\": [\"x\", \"y\"]}",
         "task.jsonl:1: no whole number under \"gold\""},
        {"{\"ctx\": \"a\", \"choices\": [\"x\", \"y\"], \"gold\": 1}\n{\"ctx\": \"a\", "
         "\"choices\": [\"x\", \"y\"], \"gold\": 2}",
         "task.jsonl:2: \"gold\" is 2: there are 2 choices"},
        {"{\"ctx\": \"a\", \"choices\": [\"x\"], \"gold\": 0}", "fewer than two choices"},
        {"{\"ctx\": \"a\", \"choices\": [\"x\", 5], \"gold\": 0}", "choice 1 is not a string"},
        {"{\"ctx\": 7, \"choices\": [\"x\", \"y\"], \"gold\": 0}", "no string under \"ctx\""},
        {"{\"nothing\": 1}", "known form"},
        {"{\"ctx\": ", "task.jsonl:1: not a JSON object"},
        {"{\"ctx\": \"a\\u0000\"}",
         "task.jsonl:1: not a JSON object: a string holds the character 0"},
        {"[1, 2]", "not a JSON object"},
        {"{\"ctx\": \"a\", \"gold\": 0}", "no list under \"choices\""},
        {"{\"ctx\": \"a\", \"choices\": \"x\", \"gold\": 0}", "no list under \"choices\""},
        {"{\"continuation\": \"a\", \"contexts\": 1, \"gold\": 0}", "no list under \"contexts\""},
        {"{\"ctx_a\": \"a\", \"ctx_b\": \"b\", \"activity_label\": \"c\", \"label\": 0}",
         "no list under \"endings\""},
        {"{\"sentence\": \"no gap\", \"option1\": \"a\", \"option2\": \"b\", \"answer\": \"1\"}",
         "no gap"},
        {"{\"sentence\": \"a _\", \"option1\": \"a\", \"option2\": \"b\", \"answer\": \"3\"}",
         "\"answer\" is 3"},
        {"{\"question\": \"a\", \"choices\": {\"text\": [\"a\", \"b\"], \"label\": [\"A\"]}, "
         "\"answerKey\": \"A\"}",
         "choice 1 lacks"},
        {"{\"question\": \"a\", \"choices\": {\"text\": [\"a\", \"b\"], \"label\": [\"A\", "
         "\"B\"]}, \"answerKey\": \"E\"}",
         "'E'"},
    };
    fixture f = make_net();
    char path[96];
    sol_task *t;
    snprintf(path, sizeof path, "%s/task.jsonl", f.dir);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_ok(sol_file_write(path, bad[i][0], strlen(bad[i][0]), err));
        sol_err e = {0};
        const char *name = strstr(bad[i][0], "ctx_a")      ? "hellaswag"
                           : strstr(bad[i][0], "question") ? "arc_easy"
                           : strstr(bad[i][0], "sentence") ? "winogrande"
                                                           : "piqa";
        ck_assert(sol_task_read(&t, sol_task_find(name), path, 0, &e) != SOL_OK);
        ck_assert_ptr_null(t);
        ck_assert_msg(strstr(e.text, bad[i][1]) != NULL, "'%s' lacks '%s'", e.text, bad[i][1]);
    }
    static const char line[] = "{\"goal\": \"a\", \"sol1\": \"b\", \"sol2\": \"c\", \"label\": 0}";
    ck_ok(sol_file_write(path, line, strlen(line), err));
    ck_fails(sol_task_read(&t, sol_task_find("hellaswag"), path, 0, err), SOL_ERR_FORMAT,
             "task.jsonl:1: \"goal\" is a field of piqa, not of hellaswag");
    ck_fails(sol_task_read(&t, sol_task_find("piqa"), "/nonexistent", 0, err), SOL_ERR_IO,
             "/nonexistent");
    free_net(&f);
}
END_TEST

/* Score of one choice, all its tokens computed for itself; *rows: counts them. */
static double score_alone(const fixture *f, const sol_task_choice *c, bool bos, int64_t *rows)
{
    sol_ids context = {0}, whole = {0};
    char both[512];
    int flags = SOL_ENCODE_SPECIAL | (bos ? SOL_ENCODE_BOS : 0);
    snprintf(both, sizeof both, "%s%s", c->context, c->continuation);
    size_t n = strlen(c->context), prefix = 0;
    while (n > 0 && (c->context[n - 1] == ' ' || c->context[n - 1] == '\xA0'))
        n -= c->context[n - 1] == ' ' ? 1 : 2; /* U+00A0 */
    if (n > 0) {
        ck_ok(sol_tokenizer_encode(f->tokenizer, both, n, flags, &context, err));
    } else {
        ck_ok(sol_grow_array((void **)&whole.id, &whole.capacity, 1, sizeof *whole.id, err));
        whole.id[whole.n++] = sol_tokenizer_bos(f->tokenizer);
        flags = SOL_ENCODE_SPECIAL;
        prefix = 1;
    }
    ck_ok(sol_tokenizer_encode(f->tokenizer, both, strlen(both), flags, &whole, err));
    double sum = 0;
    size_t cut = whole.n > CONTEXT + 1 ? whole.n - CONTEXT - 1 : 0;
    for (size_t at = context.n + prefix > cut + 1 ? context.n + prefix : cut + 1; at < whole.n;
         at++)
        sum -= surprise(f->net, whole.id, (int64_t)cut, (int64_t)at);
    *rows += (int64_t)(whole.n - cut) - 1;
    sol_ids_free(&context);
    sol_ids_free(&whole);
    return sum;
}

typedef struct seen {
    const fixture *f;
    bool bos;
    int64_t items, right, right_norm, rows;
} seen;

static sol_status look(void *user, const sol_task *t, int64_t i, const double *score, int picked,
                       int picked_norm, sol_err *err)
{
    seen *s = user;
    const sol_task_item *item = &t->item[i];
    int best = 0, norm = 0;
    (void)err;
    ck_assert_int_eq(i, s->items++);
    for (int c = 0; c < item->n_choices; c++) {
        ck_assert_double_eq(score[c], score_alone(s->f, &item->choice[c], s->bos, &s->rows));
        if (score[c] > score[best]) best = c;
        if (score[c] / (double)item->choice[c].characters >
            score[norm] / (double)item->choice[norm].characters)
            norm = c;
    }
    ck_assert_int_eq(picked, best);
    ck_assert_int_eq(picked_norm, norm);
    s->right += best == item->gold;
    s->right_norm += norm == item->gold;
    return SOL_OK;
}

START_TEST(shared_beginnings_change_no_score)
{
    static const char lines[] =
        "{\"ctx\": \"the cat sees\", \"choices\": [\"a dog\", \"a dog in the tree\", \"them\", \"a "
        "dog\"], \"gold\": 0}\n"
        "{\"ctx\": \"a bird \", \"choices\": [\"hears\", \"x\"], \"gold\": 1}\n"
        "{\"ctx\": \"a bird\\u00a0 \", \"choices\": [\"hears\", \"x\"], \"gold\": 1}\n"
        "{\"contexts\": [\"the dog sees the cat\", \"a dog\"], \"continuation\": \"and all\", "
        "\"gold\": 0}\n"
        "{\"ctx\": \"\", \"choices\": [\"the tree\", \"the garden\"], \"gold\": 1}\n"
        "{\"ctx\": \"the cat sees a dog and the dog sees the cat; a bird hears them all in the "
        "tree of the garden; the cat sees a dog "
        "and the dog sees the cat; a bird hears\", \"choices\": [\"them\", \"the dog in the garden "
        "and a cat\"], \"gold\": 0}\n";
    fixture f = make_net();
    sol_task *t = read_task(&f, "piqa", lines);
    for (int bos = 0; bos < 2; bos++) {
        seen s = {.f = &f, .bos = bos};
        sol_task_result r;
        sol_task_opts o = {.no_bos = !bos, .sample = look, .sample_user = &s};
        ck_ok(sol_task_run(f.net, t, &o, &r, err));
        ck_assert_int_eq(s.items, 6);
        ck_assert_int_eq(r.n, 6);
        ck_assert_msg(r.tokens < s.rows, "%ld tokens were computed, %ld without sharing",
                      (long)r.tokens, (long)s.rows);
        ck_assert_double_eq_tol(r.acc, (double)s.right / 6, 1e-12);
        ck_assert_double_eq_tol(r.acc_norm, (double)s.right_norm / 6, 1e-12);
        ck_assert_double_eq_tol(r.acc_stderr, sqrt(r.acc * (1 - r.acc) / 5), 1e-12);
        ck_assert_double_eq_tol(r.acc_norm_stderr, sqrt(r.acc_norm * (1 - r.acc_norm) / 5), 1e-12);
    }
    sol_task_free(&t);
    ck_assert_ptr_null(t);
    free_net(&f);
}
END_TEST

/* The fixture's tokenizer with the last token of its vocabulary, 277, moved up behind the special
 * ones: the ids between are holes. */
static void make_holes(fixture *f, int32_t last)
{
    char path[96], *json, *at, id[16];
    size_t n;
    snprintf(path, sizeof path, "%s/t.json", f->dir);
    ck_ok(sol_file_read(path, &json, &n, err));
    at = strstr(json, "\":277");
    ck_assert_ptr_nonnull(at);
    snprintf(id, sizeof id, "%d", last);
    memcpy(at + 2, id, 3);
    ck_ok(sol_file_write(path, json, n, err));
    sol_free(json);
    sol_net_free(&f->net);
    sol_tokenizer_free(&f->tokenizer);
    ck_ok(sol_tokenizer_open(&f->tokenizer, path, err));
    ck_ok(sol_net_from_model(&f->net, f->ctx, f->model, f->tokenizer, NULL, NULL, err));
}

/* Rows of the head that pad the vocabulary, and holes in it, stand for no token: none is drawn,
 * however likely the model makes it. */
START_TEST(ids_without_a_token_are_never_drawn)
{
    enum { LAST = 290 };
    fixture f = make_net();
    sol_self_data d;
    ck_assert_int_eq(sol_tokenizer_vocab_size(f.tokenizer), 280);
    for (int holes = 0; holes < 2; holes++) {
        bool all[V] = {0};
        if (holes) make_holes(&f, LAST);
        sol_self_opts own = {.n_tokens = 3000, .max_len = CONTEXT, .temperature = 1.5f, .seed = 4};
        ck_ok(sol_self_data_sample(f.net, &own, &d, err));
        for (int64_t i = 0; i < d.tokens.n; i++) all[sol_tokens_at(&d.tokens, i)] = true;
        sol_self_data_free(&d);
        for (int seed = 0; seed < 20; seed++) {
            int32_t prompt = 5;
            sol_generate_opts o = {.max_tokens = CONTEXT,
                                   .sampler = {.temperature = seed ? 2.0f : 0.0f,
                                               .top_p = 1,
                                               .repetition_penalty = 1,
                                               .seed = (uint64_t)seed}};
            sol_generate_result r;
            ck_ok(sol_generate(f.net, &prompt, 1, &o, &r, err));
            for (int64_t i = 0; i < r.tokens; i++) all[r.ids[i]] = true;
            sol_free(r.ids);
        }
        for (int id = 0; id < V; id++) {
            bool token = id < 277 || id == 278 || id == 279 || id == (holes ? LAST : 277);
            ck_assert_msg(token || !all[id], "id %d was drawn", id);
        }
        ck_assert_int_eq(sol_tokenizer_has(f.tokenizer, 277), !holes);
        ck_assert_int_eq(sol_tokenizer_has(f.tokenizer, LAST), holes);
    }
    f.model->config.bos_token_id = V - 1;
    sol_net_free(&f.net);
    ck_ok(sol_net_from_model(&f.net, f.ctx, f.model, f.tokenizer, NULL, NULL, err));
    sol_self_opts own = {.n_tokens = 10, .max_len = 10, .temperature = 1, .seed = 4};
    ck_fails(sol_self_data_sample(f.net, &own, &d, err), SOL_ERR_UNSUPPORTED,
             "begins with id 299, which its tokenizer of 291 tokens lacks");
    free_net(&f);
}
END_TEST

/* str.capitalize() of Python, as scripts/make_golden_capitalize.py writes it. */
START_TEST(capitals)
{
    FILE *file = fopen("tests/golden/capitalize.jsonl", "r");
    char *line = NULL;
    size_t capacity = 0;
    int n = 0;
    ck_assert_ptr_nonnull(file);
    for (; getline(&line, &capacity, file) > 0; n++) {
        json_t *pair = json_loads(line, 0, NULL);
        const json_t *one = json_array_get(pair, 0);
        sol_text got = {0};
        ck_ok(sol_capitalize(json_string_value(one), json_string_length(one), &got, err));
        ck_assert_str_eq(got.data ? got.data : "", json_string_value(json_array_get(pair, 1)));
        sol_free(got.data);
        json_decref(pair);
    }
    ck_assert_int_eq(n, 321);
    free(line);
    fclose(file);
}
END_TEST

SOL_TEST_MAIN("eval_text", tcase_add_test(tc, ids_without_a_token_are_never_drawn);
              tcase_add_test(tc, a_window_predicts_what_is_new_in_it);
              tcase_add_test(tc, words_are_predicted_once_and_counted);
              tcase_add_test(tc, wikitext_is_cleaned); tcase_add_test(tc, pages_and_words);
              tcase_add_test(tc, what_cannot_be_measured);
              tcase_add_test(tc, every_form_of_a_task_file); tcase_add_test(tc, capitals);
              tcase_add_test(tc, bad_task_files_are_named_with_their_line);
              tcase_add_test(tc, shared_beginnings_change_no_score))
