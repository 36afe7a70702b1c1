/* Renders a conversation as a prompt and prints text as it comes, for generate and chat. */
#include "talk.h"

#include <stdio.h>
#include <string.h>

static sol_status encode(const sol_tokenizer *t, sol_chat_text *text, sol_ids *ids, sol_err *err)
{
    sol_encoder *e;
    SOL_TRY(sol_encoder_create(&e, t, err));
    sol_status st = sol_chat_encode(e, text, ids, err);
    sol_encoder_free(&e);
    return st;
}

sol_status sol_talk_prompt(const sol_tokenizer *t, const sol_chat_format *f,
                           const sol_chat_message *messages, size_t n, sol_ids *ids, sol_err *err)
{
    sol_chat_text text = {0};
    sol_status st = sol_chat_render(f, messages, n, SOL_CHAT_OPEN, &text, err);
    if (st == SOL_OK) st = encode(t, &text, ids, err);
    sol_chat_text_free(&text);
    return st;
}

sol_status sol_talk_check(const sol_program *p, const sol_talk_args *a, sol_err *err)
{
    if (a->temp == 0 && sol_args_given(p, "--seed|--top-k|--top-p|--min-p"))
        return sol_fail(
            err, SOL_ERR_USAGE,
            "--seed, --top-k, --top-p and --min-p have no effect with --temp 0: nothing is drawn");
    return SOL_OK;
}

/* Bytes of the control character that begins at s[0, n), 0 where none does; those that only part
 * lines and columns are none. */
static size_t control_bytes(const char *s, size_t n)
{
    unsigned char c = (unsigned char)s[0];
    if (c == '\n' || c == '\t') return 0;
    if (c < 0x20 || c == 0x7F) return 1;
    return c == 0xC2 && n > 1 && (unsigned char)s[1] < 0xA0 ? 2 : 0; /* U+0080 to U+009F */
}

void sol_talk_keep(void *user, const char *text, size_t n)
{
    for (size_t i = 0, part; i < n; i += part + 1) {
        part = strnlen(text + i, n - i);
        sol_text_add_bytes(user, NULL, text + i, part);
    }
}

/* A terminal gets no control characters: they would move its cursor, or worse. */
void sol_talk_print(void *user, const char *text, size_t n)
{
    sol_printer *to = user;
    if (to->prompt) {
        sol_printer first = {.terminal = to->terminal};
        sol_talk_print(&first, to->prompt, strlen(to->prompt));
        to->ends_line = first.ends_line;
        to->prompt = NULL;
    }
    if (to->copy) sol_talk_keep(to->copy, text, n);
    for (size_t i = 0, left_out; i < n; i += left_out ? left_out : 1) {
        left_out = to->terminal ? control_bytes(text + i, n - i) : 0;
        if (left_out) continue;
        putchar((unsigned char)text[i]);
        to->ends_line = text[i] == '\n';
    }
    fflush(stdout);
}

bool sol_talk_interrupted(void *user)
{
    (void)user;
    return sol_interrupted();
}
