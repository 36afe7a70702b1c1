/* What the ranks of a training compare before step 1, called by trainer_open.c: data and teacher
 * must be the same, and the threads of a machine should have a processor each. */
#include "ranks.h"
#include "trainer.h"

sol_status sol_trainer_compare_files(const sol_trainer *t, sol_err *err)
{
    uint64_t eval = t->eval.open ? t->eval.file.digest : 0;
    SOL_TRY(sol_ranks_compare(t->dist, "another tokenizer", sol_tokenizer_hash(t->tokenizer), err));
    SOL_TRY(sol_ranks_compare(t->dist, "other training data", t->train.digest, err));
    SOL_TRY(sol_ranks_compare(t->dist, "other evaluation data", eval, err));
    return sol_ranks_compare(t->dist, "another teacher", t->teacher.digest, err);
}

sol_status sol_trainer_compare_threads(const sol_trainer *t, sol_err *err)
{
    return sol_ranks_compare_threads(t->program, sol_pool_threads(t->ctx->pool), err);
}
