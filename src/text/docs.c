#include "text/docs.h"

#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/textio.h"
#include "text/pretokenize.h"

enum { FIRST_STEP = 64 << 10, READ_STEP = 1 << 20, MAX_LINE = 1 << 30 };

struct sol_docs {
    const sol_docs_options *o;
    sol_reader *reader; /* of the open file; NULL: the next one is to be opened */
    int file;
    bool json, eof;
    char *buf;                      /* [from, n) is not handed out yet */
    size_t from, scan, n, capacity; /* lines before `scan` are known to be no separators */
    size_t searched;                /* there is no place to cut in [from, searched) */
    int64_t line, from_line;        /* line numbers at `scan` and `from` */
    uint64_t offset;                /* in the decompressed file, of buf[0] */
    bool first;                     /* the next piece begins a document */
    bool parted;                    /* a separator came before in this file */
    uint64_t done, total;
};

static bool ends_with(const char *name, size_t n, const char *end)
{
    size_t k = strlen(end);
    return n >= k && strncasecmp(name + n - k, end, k) == 0;
}

static bool is_json_name(const char *name)
{
    size_t n = strlen(name);
    if (ends_with(name, n, ".gz")) n -= 3;
    return ends_with(name, n, ".jsonl") || ends_with(name, n, ".ndjson");
}

sol_status sol_docs_open(sol_docs **out, const sol_docs_options *o, sol_err *err)
{
    sol_docs *d;
    *out = NULL;
    sol_status st = sol_alloc_array((void **)&d, 1, sizeof *d, err);
    if (st != SOL_OK) return st;
    d->o = o;
    for (int i = 0; st == SOL_OK && i < o->n_files; i++) {
        uint64_t size;
        st = sol_file_size(o->files[i], &size, err);
        /* Only what holds bytes: opening a pipe to look at it would disturb its writer. */
        if (st == SOL_OK && size > 0) st = sol_reader_open(&d->reader, o->files[i], err);
        sol_reader_close(&d->reader);
        if (st == SOL_OK) d->total += size;
    }
    if (st != SOL_OK) sol_docs_close(&d);
    *out = d;
    return st;
}

void sol_docs_close(sol_docs **dp)
{
    sol_docs *d = *dp;
    if (!d) return;
    sol_reader_close(&d->reader);
    sol_free(d->buf);
    sol_free(d);
    *dp = NULL;
}

void sol_batch_free(sol_batch *b)
{
    sol_free(b->text);
    sol_free(b->piece);
    *b = (sol_batch){0};
}

void sol_docs_progress(const sol_docs *d, uint64_t *done, uint64_t *total)
{
    *done = d->done + (d->reader ? sol_reader_position(d->reader) : 0);
    *total = d->total;
}

static sol_status open_next(sol_docs *d, sol_err *err)
{
    const char *path = d->o->files[d->file];
    d->json = is_json_name(path);
    d->eof = false;
    d->from = d->scan = d->searched = d->n = 0;
    d->line = d->from_line = 1;
    d->offset = 0;
    d->first = true;
    d->parted = false;
    return sol_reader_open(&d->reader, path, err);
}

/* Appends more of the file to buf; sets eof at its end. */
static sol_status fill(sol_docs *d, sol_err *err)
{
    const char *path = d->o->files[d->file];
    size_t got;
    if (d->from > 0) {
        memmove(d->buf, d->buf + d->from, d->n - d->from);
        d->offset += d->from;
        d->scan -= d->from;
        d->searched -= d->searched < d->from ? d->searched : d->from;
        d->n -= d->from;
        d->from = 0;
    }
    if (d->json && d->n > MAX_LINE)
        return sol_fail(err, SOL_ERR_RANGE, "%s:%lld: a line of more than %d bytes", path, (long long)d->line,
                        MAX_LINE);
    sol_status st = SOL_OK;
    if (d->capacity - d->n < FIRST_STEP / 2)
        st = sol_grow_array((void **)&d->buf, &d->capacity, d->n + (d->capacity ? READ_STEP : FIRST_STEP), 1, err);
    if (st == SOL_OK) st = sol_reader_read(d->reader, d->buf + d->n, d->capacity - d->n, &got, err);
    if (st != SOL_OK) return st;
    const char *zero = got ? memchr(d->buf + d->n, 0, got) : NULL;
    if (zero)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: byte %llu is 0: not a text file", path,
                        (unsigned long long)(d->offset + (uint64_t)(zero - d->buf)));
    d->n += got;
    d->eof = got == 0;
    return SOL_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool sol_text_is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_blank(s[i])) return false;
    return true;
}

/* Copies text with CR LF as LF; out may be text itself. Returns the length. */
static size_t copy_unix_lines(char *out, const char *text, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        if (text[i] != '\r' || i + 1 == n || text[i + 1] != '\n') out[at++] = text[i];
    return at;
}

/* Hands out buf[from, to) and goes on at `next`. A document of blanks alone is dropped, as far as it fits one
 * piece. */
static sol_status emit(sol_docs *d, sol_batch *b, size_t to, size_t next, bool last, sol_err *err)
{
    size_t n = to - d->from;
    bool drop = d->first && last && sol_text_is_blank(d->buf + d->from, n);
    sol_status st = SOL_OK;
    if (!drop) {
        st = sol_grow_array((void **)&b->text, &b->cap_text, b->n_text + n, 1, err);
        if (st == SOL_OK)
            st = sol_grow_array((void **)&b->piece, &b->cap_pieces, b->n_pieces + 1, sizeof *b->piece, err);
        if (st != SOL_OK) return st;
        if (d->o->unix_lines && !d->json)
            n = copy_unix_lines(b->text + b->n_text, d->buf + d->from, n);
        else if (n)
            memcpy(b->text + b->n_text, d->buf + d->from, n);
        b->piece[b->n_pieces++] = (sol_piece){.at = b->n_text,
                                              .n = n,
                                              .line = d->from_line,
                                              .file = d->file,
                                              .json = d->json,
                                              .first = d->first,
                                              .last = last};
        b->n_text += n;
    }
    d->first = last;
    d->from = next;
    if (d->scan < next) d->scan = next;
    d->from_line = d->line;
    return st;
}

static bool is_separator(const sol_docs *d, const char *line, size_t n)
{
    if (n && line[n - 1] == '\r') n--;
    for (int i = 0; i < 2; i++) {
        const char *s = d->o->separator[i];
        if (s && strlen(s) == n && memcmp(s, line, n) == 0) return true;
    }
    return false;
}

/* Whether text[0, n) begins with a character that is no white space. All white space of Unicode begins with the bytes left out here. */
static bool begins_solid(const char *text, size_t n)
{
    uint8_t c = (uint8_t)text[0];
    if (c < 0x80) return c > ' ' && c < 0x7F;
    if (c <= 0xC2 || c == 0xE1 || c == 0xE2 || sol_utf8_char(text, n) == 0) return false;
    return n < 3 || memcmp(text, "\xE3\x80\x80", 3) != 0;
}

/* Whether text[0, n) ends with such a character. */
static bool ends_solid(const char *text, size_t n)
{
    size_t at = n - 1;
    while (at > 0 && n - at < 4 && ((uint8_t)text[at] & 0xC0) == 0x80) at--;
    return begins_solid(text + at, n - at) && sol_utf8_char(text + at, n - at) == n - at;
}

size_t sol_text_last_cut(const char *text, size_t n, bool lines)
{
    for (size_t i = n; i-- > 1;) {
        if (text[i] == ' ' && ends_solid(text, i)) return i;
        if (lines && i > 1 && text[i - 1] == '\n' && begins_solid(text + i, n - i) && ends_solid(text, i - 1)) return i;
    }
    return 0;
}

/* Where the document may be cut before `to`; 0: nowhere, or it is not long enough yet. */
static size_t cut_before(sol_docs *d, size_t to)
{
    if (!d->o->cut || to - d->from < SOL_DOCS_PIECE) return 0;
    size_t start = d->searched > d->from + 8 ? d->searched - 8 : d->from; /* a character may lie across */
    size_t cut = sol_text_last_cut(d->buf + start, to - start, d->o->cut_lines);
    /* Where the last line begins a separator may begin: the line break before it would be a part of that. */
    if (cut && start + cut == d->scan && d->buf[d->scan - 1] == '\n') cut = 0;
    if (!cut) d->searched = to;
    return cut ? start + cut : 0;
}

/* The line break behind `scan`; NULL: not in the buffer. */
static const char *line_end(const sol_docs *d)
{
    return d->n > d->scan ? memchr(d->buf + d->scan, '\n', d->n - d->scan) : NULL;
}

/* One line of JSON or the end of the file. `scan` runs ahead so that a long line is searched once. */
static sol_status step_json(sol_docs *d, sol_batch *b, sol_err *err)
{
    const char *end = line_end(d);
    if (!end && !d->eof) {
        d->scan = d->n;
        return fill(d, err);
    }
    size_t to = end ? (size_t)(end - d->buf) : d->n;
    sol_status st = emit(d, b, to, to + (end != NULL), true, err);
    d->from_line = ++d->line;
    return st;
}

/* A line, a piece of a long document, or the end of the file. Blanks and line breaks on both sides of a
 * separator belong to it. */
static sol_status step_text(sol_docs *d, sol_batch *b, sol_err *err)
{
    const char *end = line_end(d);
    if (!end && !d->eof) {
        size_t cut = cut_before(d, d->n);
        if (cut > d->scan) d->scan = cut; /* that much of the line is no separator: it is longer than one */
        return cut ? emit(d, b, cut, cut, false, err) : fill(d, err);
    }
    size_t line = d->scan, to = end ? (size_t)(end - d->buf) : d->n, next = to + (end != NULL);
    d->line += end != NULL;
    if (is_separator(d, d->buf + line, to - line) && (line == d->from || d->buf[line - 1] == '\n')) {
        size_t stop = line;
        while (stop > d->from && is_blank(d->buf[stop - 1])) stop--;
        d->scan = next;
        d->parted = true;
        return emit(d, b, stop, next, true, err);
    }
    d->scan = next;
    if (d->parted && d->first && line == d->from) {
        while (d->from < next && is_blank(d->buf[d->from])) d->from++;
        if (d->from == next) d->from_line = d->line;
    }
    if (!end) {
        size_t stop = d->n;
        while (d->parted && stop > d->from && is_blank(d->buf[stop - 1])) stop--;
        return emit(d, b, stop, d->n, true, err);
    }
    size_t cut = cut_before(d, d->scan);
    return cut ? emit(d, b, cut, cut, false, err) : SOL_OK;
}

sol_status sol_docs_read(sol_docs *d, sol_batch *b, sol_err *err)
{
    sol_status st = SOL_OK;
    b->n_text = b->n_pieces = 0;
    while (st == SOL_OK && b->n_text < SOL_DOCS_BATCH && d->file < d->o->n_files) {
        if (!d->reader) {
            st = open_next(d, err);
        } else if (d->eof && d->from == d->n && d->first) {
            uint64_t size = sol_reader_position(d->reader);
            sol_reader_close(&d->reader);
            d->done += size;
            d->file++;
        } else {
            st = d->json ? step_json(d, b, err) : step_text(d, b, err);
        }
    }
    return st;
}

sol_status sol_piece_text(const sol_docs *d, const sol_batch *b, const sol_piece *p, const char **text,
                          size_t *n, void **owner, sol_err *err)
{
    json_error_t where;
    const char *path = d->o->files[p->file];
    *owner = NULL;
    *text = b->text + p->at;
    *n = p->n;
    if (!p->json) return SOL_OK;
    if (p->line == 1 && *n >= 3 && memcmp(*text, "\xEF\xBB\xBF", 3) == 0) { /* a byte order mark is no part of JSON */
        *text += 3;
        *n -= 3;
    }
    json_t *line = sol_json_load(*text, *n, JSON_ALLOW_NUL, &where);
    const json_t *value = json_object_get(line, "text");
    sol_status st = SOL_OK;
    if (!line)
        st = sol_fail(err, SOL_ERR_FORMAT, "%s:%lld:%d: not a JSON object: %s", path, (long long)p->line,
                      where.column, where.text);
    else if (!json_is_string(value))
        st = sol_fail(err, SOL_ERR_FORMAT, "%s:%lld: no string under \"text\"", path, (long long)p->line);
    else
        st = sol_copy_string((char **)owner, json_string_value(value), json_string_length(value), err);
    if (st == SOL_OK) {
        *text = *owner;
        *n = d->o->unix_lines ? copy_unix_lines(*owner, *owner, json_string_length(value))
                              : json_string_length(value);
    }
    json_decref(line);
    return st;
}

void sol_piece_release(void *owner)
{
    sol_free(owner);
}
