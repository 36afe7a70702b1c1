/* A hash map from byte strings to numbers, with open addressing: vocabularies and counts of words
 * are such maps. */
#include "text/bytemap.h"

#include "base/mem.h"

void sol_bytemap_free(sol_bytemap *m)
{
    sol_free(m->bytes);
    sol_free(m->entry);
    sol_free(m->slot);
    *m = (sol_bytemap){0};
}

/* Finds the slot that holds the key, or the empty one where it belongs. */
static size_t find_slot(const sol_bytemap *m, const char *key, size_t n, uint32_t hash)
{
    size_t mask = m->n_slots - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        if (!m->slot[i]) return i;
        const sol_bytemap_entry *e = &m->entry[m->slot[i] - 1];
        if (e->hash == hash && e->n == n && (n == 0 || memcmp(m->bytes + e->at, key, n) == 0))
            return i;
    }
}

sol_bytemap_entry *sol_bytemap_get(const sol_bytemap *m, const char *key, size_t n)
{
    if (!m->n) return NULL;
    size_t i = find_slot(m, key, n, (uint32_t)sol_hash_bytes(key, n));
    return m->slot[i] ? &m->entry[m->slot[i] - 1] : NULL;
}

static sol_status rehash(sol_bytemap *m, sol_err *err)
{
    size_t n_slots = m->n_slots ? m->n_slots * 2 : 64, mask = n_slots - 1;
    uint32_t *slot;
    SOL_TRY(sol_alloc_array((void **)&slot, n_slots, sizeof *slot, err));
    for (size_t e = 0; e < m->n; e++) {
        size_t i = m->entry[e].hash & mask;
        while (slot[i]) i = (i + 1) & mask;
        slot[i] = (uint32_t)e + 1;
    }
    sol_free(m->slot);
    m->slot = slot;
    m->n_slots = n_slots;
    return SOL_OK;
}

sol_status sol_bytemap_put(sol_bytemap *m, const char *key, size_t n, sol_bytemap_entry **entry,
                           int *is_new, sol_err *err)
{
    if (n >= UINT32_MAX || m->n >= UINT32_MAX - 1)
        return sol_fail(err, SOL_ERR_RANGE, "too many or too long strings");
    if ((m->n + 1) * 2 > m->n_slots) SOL_TRY(rehash(m, err));
    uint32_t hash = (uint32_t)sol_hash_bytes(key, n);
    size_t i = find_slot(m, key, n, hash);
    if (is_new) *is_new = !m->slot[i];
    if (!m->slot[i]) {
        SOL_TRY(sol_grow_array((void **)&m->bytes, &m->cap_bytes, m->n_bytes + n, 1, err));
        SOL_TRY(sol_grow_array((void **)&m->entry, &m->cap_entry, m->n + 1, sizeof *m->entry, err));
        if (n) memcpy(m->bytes + m->n_bytes, key, n);
        m->entry[m->n] = (sol_bytemap_entry){.at = m->n_bytes, .n = (uint32_t)n, .hash = hash};
        m->n_bytes += n;
        m->slot[i] = (uint32_t)++m->n;
    }
    *entry = &m->entry[m->slot[i] - 1];
    return SOL_OK;
}
