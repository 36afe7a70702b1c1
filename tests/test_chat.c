/* Conversations as transformers renders them (tests/golden/chat.jsonl, written by
 * scripts/make_golden_chat.py), and what is refused. */
#include "suite.h"

#include <jansson.h>
#include <string.h>
#include <time.h>

#include "../train/talk.h"

enum { MAX_MESSAGES = 32 };

static size_t read_messages(const json_t *list, sol_chat_message out[MAX_MESSAGES])
{
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m)
    {
        ck_assert_uint_lt(i, MAX_MESSAGES);
        out[i].role = json_string_value(json_object_get(m, "role"));
        out[i].content = json_string_value(json_object_get(m, "content"));
        out[i].name = json_string_value(json_object_get(m, "name"));
    }
    return json_array_size(list);
}

/* asked: how an answer begins that the prompt begins already. */
static void check_answers(const sol_chat_text *c, const json_t *answers, const char *asked)
{
    ck_assert_uint_eq(c->n_answers, json_array_size(answers));
    for (size_t i = 0; i < c->n_answers; i++) {
        const char *want = json_string_value(json_array_get(answers, i));
        if (strncmp(want, asked, strlen(asked)) == 0) want += strlen(asked);
        ck_assert_msg(c->answer[i].end - c->answer[i].begin == strlen(want) &&
                          memcmp(c->text.data + c->answer[i].begin, want, strlen(want)) == 0,
                      "'%.*s' instead of '%s'", (int)(c->answer[i].end - c->answer[i].begin),
                      c->text.data + c->answer[i].begin, want);
    }
}

/* text with the date of `now` where the script wrote its own. */
static char *with_date(const char *text, const char *jinja, time_t now)
{
    static const char date[] = "07 March 2026";
    static char out[1 << 16];
    const char *at = strstr(text, date);
    const char *form = strstr(jinja, "strftime_now(\"%d %b %Y\")") ? "%d %b %Y" : "%d %B %Y";
    size_t n = at ? (size_t)(at - text) : strlen(text);
    memcpy(out, text, n);
    out[n] = 0;
    if (!at) return out;
    n += strftime(out + n, 64, form, localtime(&now));
    strcpy(out + n, at + sizeof date - 1);
    return out;
}

/* Compares the conversations of tests/golden/chat.jsonl. marked: answers are those between the tags
 * of the template; else these do nothing, and answers must be found. */
static void check_conversations(bool marked)
{
    FILE *file = fopen("tests/golden/chat.jsonl", "r");
    char *line = NULL;
    size_t capacity = 0;
    int conversations = 0, templates = 0;
    sol_chat_format f = {0};
    sol_chat_text c = {0};
    static char jinja[1 << 14];
    ck_assert_ptr_nonnull(file);
    while (getline(&line, &capacity, file) > 0) {
        json_t *root = json_loads(line, 0, NULL);
        const char *template = json_string_value(json_object_get(root, "template"));
        if (template) {
            strcpy(jinja, template);
            for (char *at; !marked && (at = strstr(jinja, "endgeneration")) != NULL;)
                memcpy(at, "endif        ", 13);
            for (char *at; !marked && (at = strstr(jinja, "generation %}")) != NULL;)
                memcpy(at, "if 1 > 0   %}", 13);
            sol_chat_format_free(&f);
            ck_ok(sol_chat_format_of(&f, jinja, err));
            strcpy(f.end_text, strstr(jinja, "<|im_end|>")   ? "<|im_end|>"
                               : strstr(jinja, "<|eot_id|>") ? "<|eot_id|>"
                                                             : "</s>");
            templates++;
        } else {
            sol_chat_message messages[MAX_MESSAGES];
            size_t n = read_messages(json_object_get(root, "messages"), messages);
            int end = json_is_true(json_object_get(root, "open")) ? SOL_CHAT_OPEN : SOL_CHAT_WHOLE;
            const char *want = json_string_value(json_object_get(root, "text"));
            time_t begun = time(NULL);
            ck_ok(sol_chat_render(&f, messages, n, end, &c, err));
            if (strcmp(c.text.data, with_date(want, jinja, begun)) != 0) /* a day may have ended */
                ck_assert_str_eq(c.text.data, with_date(want, jinja, time(NULL)));
            bool thinks = !marked && strstr(jinja, "'<|im_start|>assistant\\n<think>\\n'");
            check_answers(&c, json_object_get(root, "answers"), thinks ? "<think>\n" : "");
            conversations++;
        }
        json_decref(root);
    }
    ck_assert_int_eq(templates, 16);
    ck_assert_int_eq(conversations, 800);
    sol_chat_format_free(&f);
    sol_chat_text_free(&c);
    free(line);
    fclose(file);
}

START_TEST(as_transformers_renders_them)
{
    check_conversations(true);
}
END_TEST

START_TEST(answers_without_marks)
{
    check_conversations(false);
}
END_TEST

START_TEST(names_of_speakers)
{
    static const char jinja[] = "{% for m in messages %}{{ m.name if m.name is defined else m.role "
                                "}}: {{ m.content }};{% endfor %}";
    const sol_chat_message messages[] = {{"user", "a", "bob"}, {"user", "b", NULL}};
    sol_chat_format f;
    sol_chat_text c = {0};
    ck_ok(sol_chat_format_of(&f, jinja, err));
    ck_ok(sol_chat_render(&f, messages, 2, SOL_CHAT_WHOLE, &c, err));
    ck_assert_str_eq(c.text.data, "bob: a;user: b;");
    sol_chat_format_free(&f);
    sol_chat_text_free(&c);
}
END_TEST

START_TEST(what_is_refused)
{
    sol_chat_format f = {0};
    sol_chat_text c = {0};
    sol_chat_message stranger = {"narrator", "once", NULL}, answer = {"assistant", "no", NULL};
    ck_fails(sol_chat_format_named(&f, "alpaca", err), SOL_ERR_USAGE,
             "chatml|llama3|qwen3|mistral|smollm3");
    ck_fails(sol_chat_format_of(&f, "{{ messages", err), SOL_ERR_FORMAT,
             "the chat template: line 1: a tag does not end");
    ck_ok(sol_chat_format_named(&f, "mistral", err));
    ck_fails(sol_chat_render(&f, NULL, 0, SOL_CHAT_WHOLE, &c, err), SOL_ERR_FORMAT, "no message");
    ck_fails(sol_chat_render(&f, &stranger, 1, SOL_CHAT_WHOLE, &c, err), SOL_ERR_FORMAT,
             "message 1: role 'narrator'");
    ck_fails(sol_chat_render(&f, &answer, 1, SOL_CHAT_WHOLE, &c, err), SOL_ERR_FORMAT,
             "the chat format mistral: line 8: role assistant: expected user");
    sol_chat_format_free(&f);
    ck_ok(sol_chat_format_of(&f, "{{ messages | batch(2) }}", err));
    ck_fails(sol_chat_render(&f, &answer, 1, SOL_CHAT_WHOLE, &c, err), SOL_ERR_UNSUPPORTED,
             "the chat template: line 1: the filter 'batch'");
    sol_chat_format_free(&f);
    sol_chat_text_free(&c);
}
END_TEST

#define OPEN "{% if add_generation_prompt %}assistant: {% endif %}"

/* Where the answers of templates stand that do not mark them. */
START_TEST(odd_answers)
{
    static const struct {
        const char *jinja, *content, *want;
    } rows[] = {
        {"{% for m in messages %}{{ m.role }}: {{ m.content | trim }}</s>{% endfor %}" OPEN,
         "  no \n", "no</s>"},
        {"{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}" OPEN, "", "</s>"},
        {"{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}" OPEN,
         "\xEE\x80\x80\xEE\x80\x81", "\xEE\x80\x80\xEE\x80\x81</s>"},
        {"{% for m in messages %}{{ m.role }}: {{ m.content }}!{% endfor %}" OPEN, "\xE2\x80\x80",
         "\xE2\x80\x80"},
        {"{% for m in messages %}{{ m.content.split('</think>')[-1] }}</s>{% endfor %}",
         "ab</think>cd", "cd</s>"},
    };
    const sol_chat_message user = {"user", "hi", NULL};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sol_chat_format f;
        sol_chat_text c = {0};
        sol_chat_message messages[] = {user, {"assistant", rows[i].content, NULL}, user};
        ck_ok(sol_chat_format_of(&f, rows[i].jinja, err));
        strcpy(f.end_text, "</s>");
        ck_ok(sol_chat_render(&f, messages, 3, SOL_CHAT_WHOLE, &c, err));
        ck_assert_uint_eq(c.n_answers, 1);
        ck_assert_uint_eq(c.answer[0].end - c.answer[0].begin, strlen(rows[i].want));
        ck_assert_mem_eq(c.text.data + c.answer[0].begin, rows[i].want, strlen(rows[i].want));
        sol_chat_format_free(&f);
        sol_chat_text_free(&c);
    }
}
END_TEST

/* A token never holds bytes of both sides of an answer's border, though the vocabulary has one that
 * could: "ab". */
START_TEST(ids_of_answers)
{
    static const char jinja[] = "{% for m in messages %}{% if m.role == 'assistant' %}"
                                "{% generation %}{{ m.content }}{% endgeneration %}"
                                "{% else %}{{ m.content }}{% endif %}{% endfor %}";
    static const sol_chat_message messages[] = {{"user", "xa", NULL},
                                                {"assistant", "b", NULL},
                                                {"user", "ab", NULL},
                                                {"assistant", "aab", NULL}};
    static const char *const parts[] = {"xa", "b", "ab", "aab"};
    sol_tokenizer *t;
    sol_encoder *e;
    sol_chat_format f;
    sol_chat_text c = {0};
    sol_ids ids = {0}, want = {0};
    size_t end[4];
    sol_test_byte_tokenizer(&t);
    ck_ok(sol_encoder_create(&e, t, err));
    ck_ok(sol_chat_format_of(&f, jinja, err));
    ck_ok(sol_chat_render(&f, messages, 4, SOL_CHAT_WHOLE, &c, err));
    ck_assert_str_eq(c.text.data, "xababaab");
    ck_ok(sol_chat_encode(e, &c, &ids, err));
    for (int i = 0; i < 4; i++) {
        ck_ok(sol_tokenizer_encode(t, parts[i], strlen(parts[i]), i ? SOL_ENCODE_CONTINUE : 0,
                                   &want, err));
        end[i] = want.n;
    }
    ck_assert_uint_eq(ids.n, want.n);
    ck_assert_mem_eq(ids.id, want.id, want.n * sizeof *want.id);
    ck_assert_uint_eq(c.n_answers, 2);
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(c.answer[i].begin, end[2 * i]);
        ck_assert_uint_eq(c.answer[i].end, end[2 * i + 1]);
    }
    sol_ids_free(&ids);
    sol_ids_free(&want);
    sol_chat_text_free(&c);
    sol_chat_format_free(&f);
    sol_encoder_free(&e);
    sol_tokenizer_free(&t);
}
END_TEST

/* The format of a tokenizer: its template with its tokens, or one that is named. After a failure
 * there is nothing to free, and freeing it does no harm. */
START_TEST(format_of_a_tokenizer)
{
    static const char jinja[] = "{% for m in messages %}{{ bos_token }}{{ m.content }}"
                                "{{ eos_token }}{% endfor %}";
    const sol_chat_message hello = {.role = "user", .content = "ab"};
    sol_tokenizer *t;
    sol_chat_format f;
    sol_chat_text c = {0};
    sol_test_byte_tokenizer(&t);
    memset(&f, 0x5a, sizeof f);
    ck_fails(sol_chat_format_for(&f, t, NULL, err), SOL_ERR_UNSUPPORTED, "has no chat template");
    sol_chat_format_free(&f);
    memset(&f, 0x5a, sizeof f);
    ck_fails(sol_chat_format_for(&f, t, "alpaca", err), SOL_ERR_USAGE, "chatml|llama3");
    sol_chat_format_free(&f);
    ck_fails(sol_chat_format_for(&f, t, "chatml", err), SOL_ERR_UNSUPPORTED,
             "has no token <|im_start|>, which the chat format chatml needs");
    sol_chat_format_free(&f);
    ck_ok(sol_tokenizer_set_chat_template(t, "{% for", 6, err));
    ck_fails(sol_chat_format_for(&f, t, NULL, err), SOL_ERR_UNSUPPORTED, "the chat template: ");
    sol_chat_format_free(&f);
    ck_ok(sol_tokenizer_set_chat_template(t, jinja, strlen(jinja), err));
    ck_ok(sol_chat_format_for(&f, t, NULL, err));
    ck_assert_int_eq(f.end, sol_tokenizer_eos(t));
    ck_assert_str_eq(f.end_text, "</s>");
    ck_assert_ptr_null(f.name);
    ck_ok(sol_chat_render(&f, &hello, 1, SOL_CHAT_WHOLE, &c, err));
    ck_assert_str_eq(c.text.data, "<s>ab</s>");
    sol_chat_text_free(&c);
    sol_chat_format_free(&f);
    ck_ok(sol_chat_format_for(&f, t, "mistral", err));
    ck_assert_str_eq(f.name, "mistral");
    ck_assert_int_eq(f.end, sol_tokenizer_eos(t));
    sol_chat_format_free(&f);
    sol_tokenizer_free(&t);
}
END_TEST

/* What a token has behind a byte 0 belongs to the answer that the next turn begins with. */
START_TEST(an_answer_is_kept_whole)
{
    sol_text text = {0};
    sol_talk_keep(&text, "a\0bc", 4);
    sol_talk_keep(&text, "\0\0", 2);
    sol_talk_keep(&text, "d\0", 2);
    ck_assert_str_eq(text.data, "abcd");
    ck_assert_uint_eq(text.n, 4);
    sol_free(text.data);
}
END_TEST

SOL_TEST_MAIN("chat", tcase_add_test(tc, as_transformers_renders_them);
              tcase_add_test(tc, an_answer_is_kept_whole);
              tcase_add_test(tc, answers_without_marks); tcase_add_test(tc, odd_answers);
              tcase_add_test(tc, ids_of_answers); tcase_add_test(tc, names_of_speakers);
              tcase_add_test(tc, format_of_a_tokenizer); tcase_add_test(tc, what_is_refused))
