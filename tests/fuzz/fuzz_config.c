/* A job file from a stranger: an error of one line, or a job whose resolved form reads back as the
 * same. The line behind the first 0 byte is an assignment as of --set. */
#include <string.h>

#include "fuzz.h"

static void check_error(const sol_err *err)
{
    fuzz_check(err->text[0]);
    for (const char *c = err->text; *c; c++) fuzz_check((unsigned char)*c >= ' ');
}

static void write_and_read(const sol_config *c)
{
    char *yaml, *again, *diff;
    bool fatal;
    sol_config *d;
    sol_err err = {0};
    fuzz_check(sol_config_write(c, &yaml, &err) == SOL_OK);
    sol_status st = sol_config_parse(&d, "again", yaml, strlen(yaml), &err);
    if (st != SOL_OK) fprintf(stderr, "%s\n%s\n", err.text, yaml);
    fuzz_check(st == SOL_OK);
    fuzz_check(sol_config_write(d, &again, &err) == SOL_OK && strcmp(yaml, again) == 0);
    fuzz_check(sol_config_diff(c, d, c->train.steps, &diff, &fatal, &err) == SOL_OK &&
               diff[0] == 0);
    sol_free(diff);
    sol_free(yaml);
    sol_free(again);
    sol_config_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sol_config *c;
    sol_err err = {0};
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t yaml = zero ? (size_t)(zero - data) : size;
    bool own = true; /* not the defaults, whose way there and back takes ten times as long as an
                        error and is always the same */
    if (sol_config_parse(&c, "fuzz.yaml", (const char *)data, yaml, &err) != SOL_OK) {
        check_error(&err);
        fuzz_check(sol_config_create(&c, &err) == SOL_OK);
        own = false;
    }
    if (zero) {
        size_t n = size - yaml - 1;
        char *set = malloc(n + 1);
        memcpy(set, zero + 1, n);
        set[n] = 0;
        if (sol_config_set(c, set, &err) == SOL_OK)
            own = true;
        else
            check_error(&err);
        free(set);
    }
    if (sol_config_finish(c, &err) != SOL_OK) check_error(&err);
    if (own) write_and_read(c);
    sol_config_free(&c);
    return 0;
}
