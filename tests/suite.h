/* What every test program includes: Check, and a main that runs one suite.
 *
 *     START_TEST(name) { ... } END_TEST
 *     SOL_TEST_MAIN("module", tcase_add_test(tc, name); ...)
 */
#ifndef SOLERA_TESTS_SUITE_H
#define SOLERA_TESTS_SUITE_H

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "solera.h"

/* 1 in builds with a sanitizer, where exhaustive tests take samples. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SOL_TEST_SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SOL_TEST_SLOW 1
#endif
#endif
#ifndef SOL_TEST_SLOW
#define SOL_TEST_SLOW 0
#endif

/* `call` must succeed; otherwise the test fails with the error's text. */
#define ck_ok(call) \
    do { \
        sol_err ck_err = {0}; \
        sol_err *err = &ck_err; \
        sol_status ck_status = (call); \
        ck_assert_msg(ck_status == SOL_OK, "%s: %s", #call, ck_err.text); \
        (void)err; \
    } while (0)

/* `call` must fail with `want`, and its text must contain `part`. */
#define ck_fails(call, want, part) \
    do { \
        sol_err ck_err = {0}; \
        sol_err *err = &ck_err; \
        sol_status ck_status = (call); \
        ck_assert_msg(ck_status == (want), "%s: status %d '%s'", #call, ck_status, ck_err.text); \
        ck_assert_msg(strstr(ck_err.text, part) != NULL, "%s: '%s' lacks '%s'", #call, \
                      ck_err.text, part); \
        (void)err; \
    } while (0)

/* The sets of features that kernels can be chosen by on this processor (sol_cpu_next), C first;
 * returns how many. */
enum { SOL_TEST_SETS = 64 };
int sol_test_sets(sol_cpu_features set[SOL_TEST_SETS]);

/* "<root>/name" of the third-party data, or NULL after a line "further: ...", by which tests/run.sh
 * counts what could be compared beside our own golden files. $SOLERA_DATA names the folder;
 * ../shared/data beside the checkout is the default. Static storage, overwritten by the next call.
 */
const char *sol_test_data(const char *name);

/* Writes a checkpoint as a run would that holds what *c does. */
sol_status sol_test_write_checkpoint(const sol_checkpoint *c, const char *path, sol_dtype dtype,
                                     sol_err *err);

/* A model of two blocks, 33 tokens and 20 channels with random weights. */
sol_model *sol_test_tiny_model(sol_dtype dtype, bool tied);

/* The configuration of the model in a file. */
void sol_test_config(sol_model_config *c, const char *path);

/* A tokenizer as SentencePiece makes them: <unk>, <s>, </s>, the 256 bytes, and "ab" with the blank
 * before it and without. */
enum { SOL_TEST_BYTE_VOCAB = 3 + 256 + 2 };
void sol_test_byte_tokenizer(sol_tokenizer **t);

/* A fresh empty directory for one test, removed by sol_test_dir_remove. */
void sol_test_dir_make(char path[64]);
void sol_test_dir_remove(const char *path);

#define SOL_TEST_MAIN(suite_name, ...) \
    int main(void) \
    { \
        Suite *suite = suite_create(suite_name); \
        TCase *tc = tcase_create(suite_name); \
        tcase_set_timeout(tc, 0); /* no test depends on how fast the machine is */ \
        __VA_ARGS__; \
        suite_add_tcase(suite, tc); \
        SRunner *runner = srunner_create(suite); \
        srunner_run_all(runner, CK_NORMAL); \
        int failed = srunner_ntests_failed(runner); \
        srunner_free(runner); \
        return failed != 0; \
    }

#endif
