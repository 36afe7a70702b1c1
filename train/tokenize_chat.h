/* Lines of JSON with conversations into a dataset that knows the assistant's answers. */
#ifndef SOLERA_TRAIN_TOKENIZE_CHAT_H
#define SOLERA_TRAIN_TOKENIZE_CHAT_H

#include "chat/chat.h"
#include "tokenize.h"

/* Each line becomes a document: what opts->docs.files hold is rendered in this format, its special
 * tokens as their ids; nothing else is put in front or behind. Of opts->docs only the files are
 * looked at. SOL_ERR_FORMAT names file and line. */
sol_status sol_tokenize_chats(const sol_tokenize_opts *opts, const sol_chat_format *f,
                              sol_tokenize_result *r, sol_err *err);

#endif
