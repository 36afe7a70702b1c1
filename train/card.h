/* The card of an exported model: OUT.md and OUT.json beside the file OUT, README.md and solera.json
 * in a folder. What it is made of comes from the exported file (tensors, types, bits), and from the
 * file it was made of (job, steps, losses).
 *
 *     sol_card c = {.source = "run/ckpt/best.h5",
 *                   .out = "m.gguf",
 *                   .format = SOL_CARD_GGUF,
 *                   .quantized = true};
 *     st = sol_card_write(&c, kept, err); */
#ifndef SOLERA_TRAIN_CARD_H
#define SOLERA_TRAIN_CARD_H

#include <jansson.h>
#include <stdbool.h>

#include "base/file.h"
#include "base/status.h"
#include "base/text.h"
#include "quant/quant.h"

#define SOL_CARD_FORMATS(ROW) \
    ROW(SOL_CARD_PACKED, "packed") \
    ROW(SOL_CARD_GGUF, "gguf") \
    ROW(SOL_CARD_MODEL, "model") \
    ROW(SOL_CARD_FOLDER, "safetensors")
typedef enum { SOL_CARD_FORMATS(SOL_ENUM_CONSTANT) } sol_card_format;

typedef struct sol_card {
    const char *source, *out;
    sol_card_format format;
    const sol_quant_spec *
        rounded_with; /* quantizer of --method, which no training went with; NULL: the file's own */
    const char *gguf_type; /* packed, model: what it can become for llama.cpp; NULL: nothing */
    bool quantized;        /* linear layers are Q(W), not latent or full precision */
} sol_card;

/* A line of the page, by which a card is told from a file of somebody else. */
#define SOL_CARD_MARK "<!-- model card of solera -->"

/* The page about the facts in `card`, which is what the JSON file holds. */
sol_status sol_card_page(const sol_card *c, const json_t *card, sol_text *t, sol_err *err);

/* kept: a file under the name of the card that is none and stays as it is; "": there is no such. */
sol_status sol_card_write(const sol_card *c, char kept[SOL_PATH_MAX], sol_err *err);

#endif
