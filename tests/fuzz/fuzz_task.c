/* Files of zero-shot tasks: any bytes are an error with a place, or items that can be scored. The
 * first byte chooses the task. */
#include <string.h>

#include "eval/tasks.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sol_task *t = NULL;
    sol_err err = {0};
    if (size == 0) return -1;
    const sol_task_kind *kind = sol_task_at(data[0] % sol_task_count());
    if (sol_task_read(&t, kind, fuzz_file(data + 1, size - 1), data[0] & 128 ? 2 : 0, &err) !=
        SOL_OK) {
        fuzz_check(err.text[0] && !t);
        return 0;
    }
    fuzz_check(t->n > 0 && t->kind == kind);
    for (int64_t i = 0; i < t->n; i++) {
        const sol_task_item *item = &t->item[i];
        fuzz_check(item->n_choices >= 2 && item->gold >= 0 && item->gold < item->n_choices);
        for (int k = 0; k < item->n_choices; k++) {
            const sol_task_choice *c = &item->choice[k];
            fuzz_check(c->context && c->continuation && c->characters > 0 &&
                       strlen(c->continuation) >= 1);
        }
    }
    sol_task_free(&t);
    return 0;
}
