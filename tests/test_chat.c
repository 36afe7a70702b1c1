/* Conversations as transformers renders them (tests/golden/chat.jsonl, written by
 * scripts/make_golden_chat.py), and what is refused. */
#include "suite.h"

#include <jansson.h>
#include <string.h>

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
    }
    return json_array_size(list);
}

static void check_answers(const sol_chat_text *c, const json_t *answers)
{
    ck_assert_uint_eq(c->n_answers, json_array_size(answers));
    for (size_t i = 0; i < c->n_answers; i++) {
        const char *want = json_string_value(json_array_get(answers, i));
        ck_assert_uint_eq(c->answer[i].end - c->answer[i].begin, strlen(want));
        ck_assert_mem_eq(c->text.data + c->answer[i].begin, want, strlen(want));
    }
}

START_TEST(as_transformers_renders_them)
{
    FILE *file = fopen("tests/golden/chat.jsonl", "r");
    char *line = NULL;
    size_t capacity = 0;
    int conversations = 0, templates = 0;
    sol_chat_format f = {0};
    sol_chat_text c = {0};
    ck_assert_ptr_nonnull(file);
    while (getline(&line, &capacity, file) > 0) {
        json_t *root = json_loads(line, 0, NULL);
        const char *jinja = json_string_value(json_object_get(root, "template"));
        if (jinja) {
            ck_ok(sol_chat_format_of(&f, jinja, err));
            if (strstr(jinja, "strftime_now")) { /* then as the script has it */
                ck_assert_uint_gt(strlen(f.today), 10);
                snprintf(f.today, sizeof f.today, "07 March 2026");
            }
            templates++;
        } else {
            sol_chat_message messages[MAX_MESSAGES];
            size_t n = read_messages(json_object_get(root, "messages"), messages);
            int end = json_is_true(json_object_get(root, "open")) ? SOL_CHAT_OPEN : SOL_CHAT_WHOLE;
            ck_ok(sol_chat_render(&f, messages, n, end, &c, err));
            ck_assert_str_eq(c.text.data, json_string_value(json_object_get(root, "text")));
            check_answers(&c, json_object_get(root, "answers"));
            conversations++;
        }
        json_decref(root);
    }
    ck_assert_int_eq(templates, 16);
    ck_assert_int_eq(conversations, 800);
    sol_chat_text_free(&c);
    free(line);
    fclose(file);
}
END_TEST

START_TEST(what_is_refused)
{
    sol_chat_format f;
    sol_chat_text c = {0};
    sol_chat_message stranger = {"narrator", "once"}, answer = {"assistant", "no"};
    ck_fails(sol_chat_format_named(&f, "alpaca", err), SOL_ERR_USAGE,
             "chatml|llama3|qwen3|mistral|smollm3");
    ck_fails(sol_chat_format_of(&f, "{{ messages }}", err), SOL_ERR_UNSUPPORTED, "--chat-format");
    ck_ok(sol_chat_format_named(&f, "mistral", err));
    ck_fails(sol_chat_render(&f, NULL, 0, SOL_CHAT_WHOLE, &c, err), SOL_ERR_FORMAT, "no message");
    ck_fails(sol_chat_render(&f, &stranger, 1, SOL_CHAT_WHOLE, &c, err), SOL_ERR_FORMAT,
             "message 1: role 'narrator'");
    ck_fails(sol_chat_render(&f, &answer, 1, SOL_CHAT_WHOLE, &c, err), SOL_ERR_FORMAT,
             "expected user");
    ck_fails(sol_chat_format_of(&f, "'[SYSTEM_PROMPT]' '[INST]' '[/INST]'", err),
             SOL_ERR_UNSUPPORTED, "--chat-format");
    ck_ok(sol_chat_format_of(&f, "'[INST] ' ' [/INST]'", err));
    sol_chat_message system = {"system", "be kind"};
    ck_fails(sol_chat_render(&f, &system, 1, SOL_CHAT_WHOLE, &c, err), SOL_ERR_FORMAT,
             "role system: expected user");
    sol_chat_text_free(&c);
}
END_TEST

SOL_TEST_MAIN("chat", tcase_add_test(tc, as_transformers_renders_them);
              tcase_add_test(tc, what_is_refused))
