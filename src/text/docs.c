/* Text files as a stream of documents: reads, decodes JSON, finds separators, cuts long documents
 * into pieces. train/tokenize.c encodes the pieces, bpe_train.c counts their words. */
#include "text/docs.h"

#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/textio.h"
#include "text/jsontext.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

enum { FIRST_STEP = 64 << 10, READ_STEP = 1 << 20, MAX_VALUE = 1 << 30 };

/* Where the reading of an array of JSON stands. */
typedef enum { BEFORE_ARRAY, IN_ARRAY, BEHIND_ARRAY } array_part;

struct sol_docs {
    const sol_docs_opts *o;
    sol_reader *reader; /* of the open file; NULL: the next one is to be opened */
    int file;
    sol_text_kind kind;
    bool eof;
    char *buf;                      /* [from, n) is not handed out yet */
    size_t from, scan, n, capacity; /* plain: lines before `scan` are no separators; JSON: the value
                                       was scanned up to it */
    size_t limit;                   /* bytes of plain text that may wait in buf; 0: any number */
    size_t no_word_cut;             /* so many bytes from `from` on have no place inside a word */
    size_t searched;                /* plain: there is no place to cut in [from, searched) */
    char tail[4]; /* plain: bytes behind buf[n) that may be the beginning of a character */
    size_t n_tail;
    int64_t line, from_line; /* line numbers at `scan` and `from` */
    uint64_t offset;         /* in the decompressed file, of buf[0] */
    bool first;              /* the next piece begins a document */
    bool parted;             /* plain: a separator came before in this file */
    bool decoded;            /* JSON: buf[from, end) is a document; the file goes on at `next` */
    size_t end, next;
    array_part part; /* of an array of JSON */
    int64_t items;   /* that were seen in it */
    int depth;       /* of brackets inside the item at `scan` */
    bool in_string, escaped;
    uint64_t done, total;
    int64_t bad_values; /* left out */
    uint64_t bad_bytes;
    sol_err first_bad;   /* what was wrong with the first of them */
    bool by_content;     /* the open file was taken for JSON for its content alone */
    const char *guessed; /* the first such file; NULL: none */
};

static void forget_file(sol_docs *d)
{
    d->eof = d->parted = d->decoded = d->in_string = d->escaped = false;
    d->from = d->scan = d->searched = d->n = d->n_tail = 0;
    d->line = d->from_line = 1;
    d->offset = 0;
    d->first = true;
    d->part = BEFORE_ARRAY;
    d->items = 0;
    d->depth = 0;
}

/* Reads more of the file behind buf[n); sets eof at its end. */
static sol_status load(sol_docs *d, size_t *got, sol_err *err)
{
    *got = 0;
    if (d->capacity - d->n < FIRST_STEP / 2)
        SOL_TRY(sol_grow_bytes(&d->buf, &d->capacity, d->n + (d->capacity ? READ_STEP : FIRST_STEP),
                               err));
    memcpy(d->buf + d->n, d->tail, d->n_tail);
    d->n += d->n_tail;
    d->n_tail = 0;
    SOL_TRY(sol_reader_read(d->reader, d->buf + d->n, d->capacity - d->n, got, err));
    d->n += *got;
    d->eof = *got == 0;
    return SOL_OK;
}

static sol_status fail_utf8(const sol_docs *d, size_t at, sol_err *err)
{
    long long line = d->line;
    for (size_t i = d->scan; i < at; i++) line += d->buf[i] == '\n';
    return sol_fail(err, SOL_ERR_FORMAT,
                    "%s:%lld: byte %llu of the file (0x%02X) is no UTF-8%s: " SOL_TEXT_RECODE,
                    d->o->files[d->file], line, (unsigned long long)(d->offset + at),
                    (uint8_t)d->buf[at],
                    d->n - at < sizeof d->tail ? ", or the file ends inside a character" : "");
}

/* Checks that plain text from `at` on is UTF-8. The bytes of a character that the buffer ends in go
 * to the tail. */
static sol_status check_utf8(sol_docs *d, size_t at, sol_err *err)
{
    size_t in = at, out = at;
    for (;;) {
        size_t good = sol_utf8_valid_prefix(d->buf + in, d->n - in);
        if (out != in) memmove(d->buf + out, d->buf + in, good);
        out += good;
        in += good;
        if (in == d->n || (!d->eof && d->n - in < sizeof d->tail)) break;
        if (!d->o->skip_bad) return fail_utf8(d, in, err);
        in++;
        d->bad_bytes++;
    }
    d->n_tail = d->n - in;
    memcpy(d->tail, d->buf + in, d->n_tail);
    d->n = out;
    return SOL_OK;
}

/* Checks what was loaded behind buf[at). */
static sol_status check_text(sol_docs *d, size_t at, sol_err *err)
{
    const char *zero = d->n > at ? memchr(d->buf + at, 0, d->n - at) : NULL;
    if (zero)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: byte %llu is 0: not a text file",
                        d->o->files[d->file],
                        (unsigned long long)(d->offset + (uint64_t)(zero - d->buf)));
    return d->kind == SOL_TEXT_PLAIN ? check_utf8(d, at, err) : SOL_OK;
}

/* Opens file number `file` and decides by its head what it is. */
static sol_status open_file(sol_docs *d, sol_err *err)
{
    const char *path = d->o->files[d->file];
    size_t got = 1;
    forget_file(d);
    SOL_TRY(sol_reader_open(&d->reader, path, d->o->waits, err));
    while (d->n < SOL_FILE_HEAD && !d->eof) SOL_TRY(load(d, &got, err));
    size_t head = d->n < SOL_FILE_HEAD ? d->n : SOL_FILE_HEAD;
    SOL_TRY(sol_text_kind_of(path, d->buf, head, d->o->as, &d->kind, &d->by_content, err));
    SOL_TRY(check_text(d, 0, err));
    d->from = d->scan = d->searched = sol_text_bom(d->buf, d->n);
    return SOL_OK;
}

/* Whether a file may be looked at before it is read: what is read from a pipe is gone. */
static bool can_look(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode));
}

/* Adds file number `file` to the total and looks at its head. */
static sol_status look_at_file(sol_docs *d, sol_err *err)
{
    const char *path = d->o->files[d->file];
    uint64_t size;
    SOL_TRY(sol_file_size(path, &size, err));
    if (can_look(path)) SOL_TRY(open_file(d, err));
    sol_reader_close(&d->reader);
    d->total += size;
    return SOL_OK;
}

static sol_status look_at_files(sol_docs *d, sol_err *err)
{
    for (; d->file < d->o->n_files; d->file++) SOL_TRY(look_at_file(d, err));
    d->file = 0;
    d->bad_bytes = 0; /* in the heads: they are read again */
    return SOL_OK;
}

sol_status sol_docs_open(sol_docs **out, const sol_docs_opts *o, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    (*out)->o = o;
    sol_status st = look_at_files(*out, err);
    if (st != SOL_OK) sol_docs_close(out);
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

void sol_docs_skipped(const sol_docs *d, int64_t *values, uint64_t *bytes)
{
    *values = d->bad_values;
    *bytes = d->bad_bytes;
}

void sol_docs_report(const sol_docs *d)
{
    if (d->guessed)
        sol_log_line(d->o->log, SOL_LOG_WARN,
                     "%s: begins as JSON and was read as such; --format text reads it as plain "
                     "text, --format json or the "
                     "name .jsonl ends this warning",
                     d->guessed);
    if (d->bad_values)
        sol_log_line(d->o->log, SOL_LOG_WARN, "%lld values of JSON were left out, the first: %s",
                     (long long)d->bad_values, d->first_bad.text);
    if (d->bad_bytes)
        sol_log_line(d->o->log, SOL_LOG_WARN, "%llu bytes that are no UTF-8 were left out",
                     (unsigned long long)d->bad_bytes);
}

static sol_status too_long(const char *path, size_t limit, sol_err *err)
{
    return sol_fail(err, SOL_ERR_RANGE, "%s: has more than %zu bytes", path, limit);
}

/* Appends more of the file to buf; sets eof at its end. */
static sol_status fill(sol_docs *d, sol_err *err)
{
    size_t got;
    if (d->from > 0) {
        memmove(d->buf, d->buf + d->from, d->n - d->from);
        d->offset += d->from;
        d->scan -= d->from;
        d->searched -= d->searched < d->from ? d->searched : d->from;
        d->n -= d->from;
        d->from = 0;
    }
    if (d->kind != SOL_TEXT_PLAIN && d->n > MAX_VALUE)
        return sol_fail(err, SOL_ERR_RANGE, "%s:%lld: a value of more than %d bytes",
                        d->o->files[d->file], (long long)d->from_line, MAX_VALUE);
    if (d->limit && d->n > d->limit) return too_long(d->o->files[d->file], d->limit, err);
    size_t at = d->n;
    SOL_TRY(load(d, &got, err));
    return check_text(d, at, err);
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

/* Hands out a long piece with the buffer that it is in; what the file has behind `next` moves to
 * the batch's old buffer. */
static sol_status swap_buffers(sol_docs *d, sol_batch *b, size_t next, sol_err *err)
{
    size_t rest = d->n - next, capacity = d->capacity;
    char *buf = d->buf;
    SOL_TRY(sol_grow_bytes(&b->text, &b->cap_text, rest + FIRST_STEP, err));
    memcpy(b->text, buf + next, rest);
    d->buf = b->text;
    d->capacity = b->cap_text;
    b->text = buf;
    b->cap_text = capacity;
    d->offset += next;
    d->n = rest;
    d->scan -= d->scan < next ? d->scan : next;
    d->searched = 0;
    if (d->decoded) {
        d->end -= next;
        d->next -= next;
    }
    return SOL_OK;
}

/* Hands out buf[from, to) and goes on at `next`. A document of blanks alone is dropped, as far as
 * it fits one piece. */
static sol_status emit(sol_docs *d, sol_batch *b, size_t to, size_t next, bool last, sol_err *err)
{
    size_t n = to - d->from, at = b->n_text;
    bool drop = d->first && last && sol_text_is_blank(d->buf + d->from, n);
    if (!drop) {
        bool swap = n > READ_STEP && b->n_text == 0;
        SOL_TRY(sol_grow_array((void **)&b->piece, &b->cap_pieces, b->n_pieces + 1,
                               sizeof *b->piece, err));
        if (!swap) SOL_TRY(sol_grow_bytes(&b->text, &b->cap_text, b->n_text + n, err));
        const char *text = d->buf + d->from;
        if (swap) {
            at = d->from;
            SOL_TRY(swap_buffers(d, b, next, err));
            text = b->text + at;
            next = 0;
        }
        if (d->o->unix_lines)
            n = copy_unix_lines(b->text + at, text, n);
        else if (n && !swap)
            memcpy(b->text + at, text, n);
        b->n_text = at + n;
        b->piece[b->n_pieces++] = (sol_piece){.at = at,
                                              .n = n,
                                              .line = d->from_line,
                                              .file = d->file,
                                              .first = d->first,
                                              .last = last};
    }
    d->first = last;
    d->no_word_cut = 0;
    d->from = next;
    if (d->scan < next) d->scan = next;
    if (d->kind == SOL_TEXT_PLAIN) d->from_line = d->line;
    return SOL_OK;
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

/* Whether text[0, n) begins with a character that is no white space. All white space of Unicode
 * begins with the bytes left out here. */
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
        if (lines && i > 1 && text[i - 1] == '\n' && begins_solid(text + i, n - i) &&
            ends_solid(text, i - 1))
            return i;
    }
    return 0;
}

/* Where the n bytes from `from` on, which have no better place, may be cut inside a word; 0:
 * nowhere, or they are too few. A search that failed is not repeated before there are twice as
 * many. */
static size_t cut_in_word(sol_docs *d, size_t n)
{
    size_t part = 2 * SOL_DOCS_PIECE, cut = 0;
    if (!d->o->cut_words || n < 2 * d->no_word_cut) return 0;
    for (; cut == 0 && part <= n; part *= 2)
        cut = sol_tokenizer_cut_word(d->o->cut_words, d->buf + d->from, part, !d->first);
    d->no_word_cut = cut || part == 2 * SOL_DOCS_PIECE ? 0 : n;
    return cut;
}

/* Where the document may be cut before `to`; 0: nowhere, or it is not long enough yet. */
static size_t cut_before(sol_docs *d, size_t to)
{
    if (to - d->from < SOL_DOCS_PIECE) return 0;
    size_t start =
        d->searched > d->from + 8 ? d->searched - 8 : d->from; /* a character may lie across */
    size_t cut = d->o->cut ? sol_text_last_cut(d->buf + start, to - start, d->o->cut_lines) : 0;
    /* Where the last line begins a separator may begin: the line break before it would be a part of
     * that. */
    if (cut && start + cut == d->scan && d->buf[d->scan - 1] == '\n') cut = 0;
    if (cut) return start + cut;
    d->searched = to;
    cut = cut_in_word(d, to - d->from);
    if (cut && d->buf[d->from + cut - 1] != '\n') return d->from + cut;
    if (cut) d->no_word_cut = to - d->from;
    return 0;
}

/* The line break behind `scan`; NULL: not in the buffer. */
static const char *line_end(const sol_docs *d)
{
    return d->n > d->scan ? memchr(d->buf + d->scan, '\n', d->n - d->scan) : NULL;
}

/* Decodes the value of JSON in buf[from, to): its text becomes the document that is handed out
 * next. */
static sol_status decode(sol_docs *d, size_t to, size_t next, sol_err *err)
{
    sol_span text;
    sol_err why = {0};
    sol_status st = sol_json_text(d->buf + d->from, to - d->from, d->o->files[d->file],
                                  d->from_line, &text, &why);
    if (st != SOL_OK && !d->o->skip_bad)
        return sol_fail(err, st, "%s%s", why.text,
                        d->by_content ? "; --format text reads the file as plain text" : "");
    if (st != SOL_OK) {
        if (d->bad_values++ == 0) d->first_bad = why;
        d->from = next;
        d->from_line = d->line;
        return SOL_OK;
    }
    d->decoded = true;
    d->from = (size_t)(text.at - d->buf);
    d->end = d->from + text.n;
    d->next = next;
    return SOL_OK;
}

/* Hands out a piece of the decoded document. */
static sol_status step_decoded(sol_docs *d, sol_batch *b, sol_err *err)
{
    size_t cut = 0;
    for (size_t n = SOL_DOCS_PIECE; cut == 0 && n < d->end - d->from; n *= 2) {
        if (d->o->cut) cut = sol_text_last_cut(d->buf + d->from, n, d->o->cut_lines);
        if (!cut) cut = cut_in_word(d, n);
    }
    if (cut) return emit(d, b, d->from + cut, d->from + cut, false, err);
    SOL_TRY(emit(d, b, d->end, d->next, true, err));
    d->decoded = false;
    d->from_line = d->line;
    return SOL_OK;
}

/* Takes one line of JSON or the end of the file. `scan` runs ahead, so that a long line is searched
 * once. */
static sol_status step_line(sol_docs *d, sol_err *err)
{
    const char *end = line_end(d);
    if (!end && !d->eof) {
        d->scan = d->n;
        return fill(d, err);
    }
    size_t to = end ? (size_t)(end - d->buf) : d->n, next = to + (end != NULL);
    d->from_line = d->line++;
    d->scan = next;
    if (!sol_text_is_blank(d->buf + d->from, to - d->from)) return decode(d, to, next, err);
    d->from = next;
    return SOL_OK;
}

static sol_status fail_array(const sol_docs *d, const char *why, sol_err *err)
{
    return sol_fail(err, SOL_ERR_FORMAT, "%s:%lld: %s", d->o->files[d->file], (long long)d->line,
                    why);
}

/* Takes the character at `scan`, inside an item: whether the item goes on behind it. */
static bool in_item(sol_docs *d, char c)
{
    if (d->in_string) {
        if (c == '"' && !d->escaped) d->in_string = false;
        d->escaped = c == '\\' && !d->escaped;
        return true;
    }
    if (d->depth == 0 && (c == ',' || c == ']')) return false;
    d->in_string = c == '"';
    d->depth += (c == '{' || c == '[') - ((c == '}' || c == ']') && d->depth > 0);
    return true;
}

/* Takes one item of an array of JSON, or the end of the file. */
static sol_status step_array(sol_docs *d, sol_err *err)
{
    for (; d->scan < d->n; d->scan++) {
        char c = d->buf[d->scan];
        d->line += c == '\n';
        if (d->part == IN_ARRAY) {
            if (d->scan == d->from && is_blank(c)) d->from++, d->from_line = d->line;
            if (d->scan < d->from || in_item(d, c)) continue;
            size_t to = d->scan++;
            if (c == ']') d->part = BEHIND_ARRAY;
            if (c == ']' && d->items == 0 && to == d->from) return SOL_OK;
            d->items++;
            return decode(d, to, d->scan, err);
        }
        if (is_blank(c)) continue;
        if (d->part == BEHIND_ARRAY)
            return fail_array(d, "something follows the array of JSON", err);
        if (c != '[') return fail_array(d, "an array of JSON is expected", err);
        d->part = IN_ARRAY;
        d->from = d->scan + 1;
        d->from_line = d->line;
    }
    if (d->part != IN_ARRAY) d->from = d->n;
    if (!d->eof) return fill(d, err);
    if (d->part == IN_ARRAY) return fail_array(d, "the array of JSON is not closed", err);
    return SOL_OK;
}

/* Takes a line, a piece of a long document, or the end of the file. Blanks and line breaks on both
 * sides of a separator belong to it. */
static sol_status step_text(sol_docs *d, sol_batch *b, sol_err *err)
{
    const char *end = line_end(d);
    if (!end && !d->eof) {
        size_t cut = cut_before(d, d->n);
        if (cut > d->scan)
            d->scan = cut; /* that much of the line is no separator: it is longer than one */
        return cut ? emit(d, b, cut, cut, false, err) : fill(d, err);
    }
    size_t line = d->scan, to = end ? (size_t)(end - d->buf) : d->n, next = to + (end != NULL);
    d->line += end != NULL;
    if (is_separator(d, d->buf + line, to - line) &&
        (line == d->from || d->buf[line - 1] == '\n')) {
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

static bool inside_array(const sol_docs *d)
{
    return d->kind == SOL_TEXT_JSON_ARRAY && d->part == IN_ARRAY;
}

/* One step forward in the files: opens one, hands out a piece, reads on, or closes one. */
static sol_status step(sol_docs *d, sol_batch *b, sol_err *err)
{
    if (!d->reader) {
        sol_status st = open_file(d, err);
        if (d->by_content && !d->guessed) d->guessed = d->o->files[d->file];
        return st;
    }
    if (d->decoded) return step_decoded(d, b, err);
    if (d->eof && d->from == d->n && d->first && !inside_array(d)) {
        d->done += sol_reader_position(d->reader);
        sol_reader_close(&d->reader);
        d->file++;
        return SOL_OK;
    }
    switch (d->kind) {
    case SOL_TEXT_PLAIN: return step_text(d, b, err);
    case SOL_TEXT_JSON_LINES: return step_line(d, err);
    default: return step_array(d, err);
    }
}

sol_status sol_docs_read(sol_docs *d, sol_batch *b, sol_err *err)
{
    b->n_text = b->n_pieces = 0;
    while (b->n_text < SOL_DOCS_BATCH && d->file < d->o->n_files) SOL_TRY(step(d, b, err));
    return SOL_OK;
}

static sol_status read_plain(sol_docs *d, sol_batch *b, sol_err *err)
{
    const char *path = d->o->files[0];
    SOL_TRY(sol_docs_read(d, b, err));
    if (d->kind != SOL_TEXT_PLAIN)
        return sol_fail(
            err, SOL_ERR_FORMAT,
            "%s: is JSON, plain text is expected: `solera tokenize` makes a dataset of it", path);
    return b->n_text > d->limit ? too_long(path, d->limit, err) : SOL_OK;
}

sol_status sol_docs_plain(const char *path, size_t limit, char **text, size_t *n, sol_err *err)
{
    sol_docs_opts o = {.files = &path, .n_files = 1};
    sol_docs *d;
    sol_batch b = {0};
    *text = NULL;
    *n = 0;
    SOL_TRY(sol_docs_open(&d, &o, err));
    d->limit = limit; /* no piece ends before the file does: a longer one would lie here whole */
    sol_status st = read_plain(d, &b, err);
    if (st == SOL_OK && b.n_pieces > 0) {
        *n = b.piece[0].n;
        memmove(b.text, b.text + b.piece[0].at, *n);
        *text = b.text;
        b.text = NULL;
    }
    sol_batch_free(&b);
    sol_docs_close(&d);
    return st;
}
