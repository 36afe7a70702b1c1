/* Templates as transformers renders them (tests/golden/jinja.jsonl, written by
 * scripts/make_golden_jinja.py), what is refused, and what would not come to an end. */
#include "suite.h"

#include <string.h>

#include "chat/jinja.h"

static sol_status render(const char *jinja, json_t *given, sol_text *out, sol_err *why)
{
    sol_jinja *t;
    sol_status st = sol_jinja_create(&t, jinja, why);
    if (st != SOL_OK) return st;
    st = sol_jinja_render(t, given, NULL, NULL, out, why);
    sol_jinja_free(&t);
    return st;
}

/* A text that Jinja writes may be refused here, but none is written otherwise. */
START_TEST(as_transformers_renders_them)
{
    FILE *file = fopen("tests/golden/jinja.jsonl", "r");
    char *line = NULL;
    size_t capacity = 0;
    json_t *given = NULL;
    int same = 0, refused = 0, failed = 0;
    ck_assert_ptr_nonnull(file);
    while (getline(&line, &capacity, file) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        if (!given) {
            given = row;
            continue;
        }
        const char *jinja = json_string_value(json_object_get(row, "template")),
                   *want = json_string_value(json_object_get(row, "text"));
        sol_text got = {0};
        sol_err why = {0};
        sol_status st = render(jinja, given, &got, &why);
        if (st == SOL_OK && want)
            ck_assert_str_eq(got.data ? got.data : "", want);
        else
            ck_assert_msg(st != SOL_OK && (!want || st == SOL_ERR_UNSUPPORTED), "%s: %s", jinja,
                          why.text);
        same += st == SOL_OK;
        refused += st != SOL_OK && want;
        failed += !want;
        sol_free(got.data);
        json_decref(row);
    }
    ck_assert_int_eq(same, 225);
    ck_assert_int_eq(refused, 4);
    ck_assert_int_eq(failed, 35);
    json_decref(given);
    free(line);
    fclose(file);
}
END_TEST

/* Bytes that are no UTF-8 are characters by themselves. */
START_TEST(bytes_that_are_no_text)
{
    static const char bytes[] = "\xff\xc3\xa9\x80z";
    static const char *const rows[][2] = {
        {"{{ s }}", bytes},
        {"{{ s | length }}", "4"},
        {"{{ s[0] }}{{ s[2] }}", "\xff\x80"},
        {"{{ s[1:] }}", bytes + 1},
        {"{{ s.split('\xc3\xa9')[1] }}", "\x80z"},
        {"{{ (s ~ s) | length }}", "8"},
    };
    json_t *given = json_object();
    json_object_set_new(given, "s", json_stringn_nocheck(bytes, strlen(bytes)));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sol_text out = {0};
        ck_ok(render(rows[i][0], given, &out, err));
        ck_assert_str_eq(out.data, rows[i][1]);
        sol_free(out.data);
    }
    json_decref(given);
}
END_TEST

/* head, `fill` again and again, tail: LONG bytes, so that few rounds of a loop are much work. */
enum { LONG = 60000 };

static void make_long(char text[LONG + 1], const char *head, char fill, const char *tail)
{
    memset(text, fill, LONG);
    text[LONG] = 0;
    memcpy(text, head, strlen(head));
    memcpy(text + LONG - strlen(tail), tail, strlen(tail));
}

START_TEST(what_is_refused)
{
    static char long_expression[LONG + 1], long_text[LONG + 1];
    make_long(long_expression, "{% for i in range(99) %}{% for k in range(99) %}{{ '' if false",
              ' ', "}}{% endfor %}{% endfor %}");
    make_long(long_text, "{% for i in range(300) %}", 'x', "{% endfor %}");
    static const struct {
        const char *jinja;
        sol_status st;
        const char *says;
    } rows[] = {
        {"a\n{{ 1 | batch(2) }}", SOL_ERR_UNSUPPORTED, "line 2: the filter 'batch'"},
        {"{{ 'a'.center(3) }}", SOL_ERR_UNSUPPORTED, "line 1: the method 'center'"},
        {"{{ 1 is divisibleby 3 }}", SOL_ERR_UNSUPPORTED, "line 1: the test 'divisibleby'"},
        {"{{ cycler(1) }}", SOL_ERR_UNSUPPORTED, "line 1: the function 'cycler'"},
        {"{% include 'x' %}", SOL_ERR_UNSUPPORTED, "line 1: the statement 'include'"},
        {"{{ 'É' | lower }}", SOL_ERR_UNSUPPORTED, "line 1: 'lower' of letters beyond ASCII"},
        {"{{ raise_exception('so\nit is') }}", SOL_ERR_FORMAT, "line 1: so it is"},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", SOL_ERR_RANGE, "macros without end"},
        {"{% set ns = namespace(x='aaaaaaaa') %}{% for a in range(99) %}"
         "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
         SOL_ERR_RANGE, "more than 16 MB"},
        {"{% set ns = namespace(x='ab') %}{% for a in range(99) %}"
         "{% set ns.x = ns.x.replace('b', ns.x) %}{% endfor %}",
         SOL_ERR_RANGE, "more than 16 MB"},
        {"{% set ns = namespace(x=[1, 2]) %}{% for a in range(99) %}"
         "{% set ns.x = ns.x + ns.x %}{% endfor %}",
         SOL_ERR_RANGE, "does not come to an end"},
        {long_text, SOL_ERR_RANGE, "more than 16 MB"},
        {"{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}"
         "{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}"
         "{{ ns.a == ns.b }}",
         SOL_ERR_RANGE, "does not come to an end"},
        {"{% set ns = namespace(a=1, b=1) %}{% for i in range(200) %}"
         "{% set ns.a = [ns.a] %}{% set ns.b = [ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
         SOL_ERR_RANGE, "values nested too deeply are compared"},
        {"{% set ns = namespace(a=1) %}{% for i in range(200) %}{% set ns.a = [ns.a] %}"
         "{% endfor %}{{ ns.a | tojson }}",
         SOL_ERR_RANGE, "tojson of values nested too deeply"},
        {long_expression, SOL_ERR_RANGE, "does not come to an end"},
        {"{% for i in range(2000) %}{% set a = namespace() %}{% endfor %}", SOL_ERR_RANGE,
         "more than 1000 namespaces"},
        {"{% for m in messages %}{% set m.role = 'other' %}{% endfor %}", SOL_ERR_FORMAT,
         "'m' is no namespace"},
    };
    json_t *given = json_pack("{s:[{s:s}]}", "messages", "role", "user");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sol_text got = {0};
        ck_fails(render(rows[i].jinja, given, &got, err), rows[i].st, rows[i].says);
        sol_free(got.data);
    }
    char deep[4096] = "{{ ";
    memset(deep + 3, '(', 1000);
    deep[1003] = '1';
    memset(deep + 1004, ')', 1000);
    strcpy(deep + 2004, " }}");
    sol_text got = {0};
    ck_fails(render(deep, given, &got, err), SOL_ERR_RANGE, "nested too deeply");
    sol_free(got.data);
    json_decref(given);
}
END_TEST

/* jansson frees a value by recursion, and never what holds itself. */
START_TEST(values_in_values_without_end)
{
    static const char *const rows[] = {
        "{% set ns = namespace(a=1) %}{% for i in range(10000) %}"
        "{% set ns.a = [[[[[[[[[[[[[[[[ns.a]]]]]]]]]]]]]]]] %}{% endfor %}ok",
        "{% set a = namespace() %}{% set b = namespace(x=a) %}{% set a.x = b %}ok",
    };
    json_t *given = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sol_text got = {0};
        ck_ok(render(rows[i], given, &got, err));
        ck_assert_str_eq(got.data, "ok");
        sol_free(got.data);
    }
    json_decref(given);
}
END_TEST

SOL_TEST_MAIN("jinja", tcase_add_test(tc, as_transformers_renders_them);
              tcase_add_test(tc, bytes_that_are_no_text); tcase_add_test(tc, what_is_refused);
              tcase_add_test(tc, values_in_values_without_end))
