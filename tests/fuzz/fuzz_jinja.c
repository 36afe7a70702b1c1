/* A chat template from a stranger: text within bounds, or an error of one line. */
#include <string.h>

#include "fuzz.h"
#include "chat/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    sol_jinja *t;
    sol_err err = {0};
    sol_text out = {0};
    json_t *given = json_pack("{s:[{s:s,s:s},{s:s,s:s}], s:b, s:s, s:n}", "messages", "role",
                              "user", "content", " a ", "role", "assistant", "content", "b<c>d",
                              "add_generation_prompt", 1, "bos_token", "<s>", "tools");
    memcpy(text, data, size);
    text[size] = 0;
    sol_status st = sol_jinja_create(&t, text, &err);
    if (st == SOL_OK) {
        st = sol_jinja_render(t, given, NULL, NULL, &out, &err);
        sol_jinja_free(&t);
    }
    fuzz_check(st == SOL_OK || err.text[0]);
    for (const char *c = err.text; st != SOL_OK && *c; c++) fuzz_check((unsigned char)*c >= ' ');
    sol_free(out.data);
    json_decref(given);
    free(text);
    return 0;
}
