#include "suite.h"

#include <string.h>
#include <unistd.h>

/* What the programs of SINGLE (Makefile) are linked to in place of pthread_create. */
int __wrap_pthread_create(void);
int __wrap_pthread_create(void)
{
    fprintf(stderr,
            "a program of SINGLE starts a thread: take it from that list in the Makefile\n");
    abort();
}

const char *sol_test_data(const char *name)
{
    static char path[1024];
    const char *root = getenv("SOLERA_DATA");
    snprintf(path, sizeof path, "%s/%s", root ? root : "../shared/data", name);
    if (sol_file_exists(path)) return path;
    printf("further: needs %s\n", name);
    fflush(stdout);
    return NULL;
}

void sol_test_dir_make(char path[64])
{
    const char *tmp = getenv("TMPDIR");
    snprintf(path, 64, "%.40s/solera-XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(path));
}

void sol_test_dir_remove(const char *path)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    ck_assert_int_eq(system(command), 0);
}

int sol_test_sets(sol_cpu_features set[SOL_TEST_SETS])
{
    sol_cpu cpu;
    int n = 0;
    set[0] = 0;
    sol_cpu_detect(&cpu);
    do ck_assert_int_lt(++n, SOL_TEST_SETS);
    while ((set[n] = sol_cpu_next(&cpu, set[n - 1])) != 0);
    return n;
}

sol_status sol_test_write_checkpoint(const sol_checkpoint *c, const char *path, sol_dtype dtype,
                                     sol_err *err)
{
    sol_checkpoint_view v = {.model = c->file.model,
                             .tokenizer = c->file.tokenizer,
                             .config_yaml = c->file.config_yaml,
                             .quant = c->file.quant,
                             .windows = c->file.windows,
                             .optim = c->optim,
                             .state = c->state,
                             .study = c->study,
                             .study_bytes = c->study_bytes};
    return sol_checkpoint_write(&v, path, dtype, err);
}
