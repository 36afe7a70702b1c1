/* Added tokens of a tokenizer.json that other files name, put into its tree before it is read. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "text/tokenizer_impl.h"

static const char *text_of(const json_t *token)
{
    const char *text = json_string_value(json_object_get(token, "content"));
    return text ? text : "";
}

/* Indexes the added tokens by their text and returns the id that `tokenizers` gives to the next one
 * that the vocabulary lacks. */
static json_int_t index_added(const json_t *vocab, const json_t *added, json_t *by_text)
{
    json_int_t next = (json_int_t)json_object_size(vocab);
    json_t *one;
    size_t i;
    json_array_foreach(added, i, one)
    {
        const char *text = text_of(one);
        next += !json_object_get(vocab, text) && !json_object_get(by_text, text);
        json_object_set(by_text, text, one);
    }
    return next;
}

/* What `token` says of one that is there already. */
static void change(json_t *known, json_t *token)
{
    const char *key;
    json_t *value;
    bool named = json_object_get(token, "named");
    json_object_foreach(token, key, value)
    {
        if (!named || strcmp(key, "special") == 0) json_object_set(known, key, value);
    }
}

sol_status sol_tok_add_more(json_t *root, sol_more_tokens *more, sol_err *err)
{
    json_t *added = json_object_get(root, "added_tokens"), *list, *token;
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    size_t i;
    if (!more || !more->json || !json_is_array(added) || !json_is_object(vocab)) return SOL_OK;
    list = json_loads(more->json, 0, NULL);
    if (!list) return sol_fail(err, SOL_ERR_NOMEM, "out of memory for added tokens");
    json_t *by_text = json_object();
    json_int_t next = index_added(vocab, added, by_text);
    json_array_foreach(list, i, token)
    {
        const char *text = text_of(token);
        json_t *known = json_object_get(by_text, text);
        const json_t *id = json_object_get(vocab, text);
        if (known) {
            change(known, token);
        } else if (id || next < more->limit) {
            json_object_set_new(token, "id", json_integer(id ? json_integer_value(id) : next++));
            json_object_del(token, "named");
            json_array_append(added, token);
            json_object_set(by_text, text, token);
        } else {
            json_object_set(by_text, text, token); /* it counts once */
            if (more->left_out++ == 0) snprintf(more->first, sizeof more->first, "%s", text);
        }
    }
    json_decref(by_text);
    json_decref(list);
    return SOL_OK;
}
