/* Tells by its first bytes and its name what a file of text holds, and refuses what is no text.
 * docs.c asks for every file that it opens. */
#include "text/filekind.h"

#include <string.h>
#include <strings.h>

#include "base/file.h"

typedef struct magic {
    size_t at, n;
    const char *bytes, *what, *help;
} magic;

#define UNPACK "decompress it first, or compress it with gzip"
#define EXTRACT "unpack it and name the text files in it"
#define TABLE \
    "`scripts/table_to_jsonl.sh TABLE [COLUMN] > OUT.jsonl` makes lines of JSON of it, COLUMN as " \
    "\"text\""
#define ROWS "write its column of text as lines of JSON, {\"text\": \"...\"}"
#define RECODE(from) "convert it with `iconv -f " from " -t UTF-8`"
#define NO_TEXT "text in UTF-8 or JSON is expected"

/* The first row that fits names the format. */
static const magic magics[] = {
    {0, 4, "\xFF\xFE\0\0", "UTF-32 text", RECODE("UTF-32")},
    {0, 4, "\0\0\xFE\xFF", "UTF-32 text", RECODE("UTF-32")},
    {0, 2, "\xFF\xFE", "UTF-16 text", RECODE("UTF-16")},
    {0, 2, "\xFE\xFF", "UTF-16 text", RECODE("UTF-16")},
    {0, 2, "\x1F\x8B", "gzip inside gzip", "decompress it once"},
    {4, 6, "1AY&SY", "a bzip2 file", UNPACK},
    {4, 6, "\x17\x72\x45\x38\x50\x90", "a bzip2 file", UNPACK},
    {0, 6,
     "\xFD"
     "7zXZ\0",
     "an xz file", UNPACK},
    {0, 4, "\x28\xB5\x2F\xFD", "a Zstandard file", UNPACK},
    {1, 3, "\x2A\x4D\x18", "a Zstandard file", UNPACK}, /* a skippable frame */
    {0, 4, "\x04\x22\x4D\x18", "an LZ4 file", UNPACK},
    {0, 5, "LZIP\1", "an lzip file", UNPACK},
    {0, 2, "\x1F\x9D", "a compress (.Z) file", UNPACK},
    {0, 3, "\x5D\0\0", "an LZMA file", UNPACK},
    {0, 4, "PK\3\4", "a zip archive (or Office document, or PyTorch file)", EXTRACT},
    {0, 4, "PK\5\6", "a zip archive without files", EXTRACT},
    {0, 6, "7z\xBC\xAF\x27\x1C", "a 7-Zip archive", EXTRACT},
    {0, 6, "Rar!\x1A\7", "a RAR archive", EXTRACT},
    {257, 5, "ustar", "a tar archive", EXTRACT},
    {0, 4, "PAR1", "a Parquet file", TABLE},
    {0, 6, "ARROW1", "an Arrow file", TABLE},
    {0, 4, "\xFF\xFF\xFF\xFF", "an Arrow stream", ROWS},
    {0, 4, "FEA1", "a Feather file", ROWS},
    {0, 4, "Obj\1", "an Avro file", ROWS},
    {0, 16, "SQLite format 3", "an SQLite database", ROWS},
    {0, 8, "\x89HDF\r\n\x1A\n", "an HDF5 file",
     "a dataset of `solera tokenize` needs no tokenizing; " NO_TEXT},
    {0, 6, "\x93NUMPY", "a NumPy array", TABLE},
    {0, 2, "\x80\2", "a Python pickle", TABLE},
    {0, 2, "\x80\3", "a Python pickle", TABLE},
    {0, 2, "\x80\4", "a Python pickle", TABLE},
    {0, 2, "\x80\5", "a Python pickle", TABLE},
    {0, 7, "GGUF\1\0\0", "a GGUF model", NO_TEXT},
    {0, 7, "GGUF\2\0\0", "a GGUF model", NO_TEXT},
    {0, 7, "GGUF\3\0\0", "a GGUF model", NO_TEXT},
    {4, 6, "\0\0\0\0{\"", "a safetensors file", NO_TEXT},
    {0, 5, "%PDF-", "a PDF document", "extract its text with pdftotext"},
    {0, 5, "{\\rtf", "an RTF document", "save it as plain text"},
    {0, 8, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "an old Office document", "save it as plain text"},
    {0, 4,
     "\x7F"
     "ELF",
     "a program", NO_TEXT},
    {0, 8, "\x89PNG\r\n\x1A\n", "a PNG image", NO_TEXT},
    {0, 3, "\xFF\xD8\xFF", "a JPEG image", NO_TEXT},
    {0, 4, "GIF8", "a GIF image", NO_TEXT},
};

static bool ends_with(const char *name, size_t n, const char *end)
{
    size_t k = strlen(end);
    return n >= k && strncasecmp(name + n - k, end, k) == 0;
}

/* Whether the name, without .gz, has one of the endings. */
static bool is_named(const char *path, const char *const *ends)
{
    size_t n = strlen(path);
    if (ends_with(path, n, ".gz")) n -= 3;
    for (; *ends; ends++)
        if (ends_with(path, n, *ends)) return true;
    return false;
}

/* Whether it is UTF-16 of Latin letters without a byte order mark: at least every other byte of one
 * kind is 0, and hardly any of the other. */
static const char *zeros_of_utf16(const char *head, size_t n)
{
    size_t zeros[2] = {0, 0};
    for (size_t i = 0; i < n; i++) zeros[i & 1] += head[i] == 0;
    if (n < 4) return NULL;
    if (zeros[1] * 4 > n && zeros[0] * 16 < n) return "UTF-16LE";
    return zeros[0] * 4 > n && zeros[1] * 16 < n ? "UTF-16BE" : NULL;
}

static const char *skip_blanks(const char *s, const char *end)
{
    while (s < end && (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\r')) s++;
    return s;
}

/* What follows the string at s and the blanks behind it; 0: no string that ends in sight. */
static char behind_string(const char *s, const char *end)
{
    if (s == end || *s != '"') return 0;
    for (s++; s < end && *s != '"'; s++) s += *s == '\\';
    if (s >= end) return 0;
    s = skip_blanks(s + 1, end);
    return s < end ? *s : 0;
}

/* {"key": ... */
static bool begins_object(const char *s, const char *end)
{
    return s < end && *s == '{' && behind_string(skip_blanks(s + 1, end), end) == ':';
}

/* [{"key": ...   ["text", ...   ["text"] */
static bool begins_array(const char *s, const char *end)
{
    if (s == end || *s != '[') return false;
    s = skip_blanks(s + 1, end);
    char next = behind_string(s, end);
    return begins_object(s, end) || next == ',' || next == ']';
}

size_t sol_text_bom(const char *text, size_t n)
{
    return n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}

sol_status sol_text_kind_of(const char *path, const char *head, size_t n, sol_read_as as,
                            sol_text_kind *kind, bool *by_content, sol_err *err)
{
    static const char *const json[] = {".json", ".jsonl", ".ndjson", NULL},
                             *const csv[] = {".csv", NULL}, *const tsv[] = {".tsv", ".tab", NULL};
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        const magic *m = &magics[i];
        if (n >= m->at + m->n && memcmp(head + m->at, m->bytes, m->n) == 0)
            return sol_fail(err, SOL_ERR_FORMAT, "%s: is %s: %s", path, m->what, m->help);
    }
    SOL_TRY(sol_file_refuse_pointer(path, head, n, err));
    const char *utf16 = zeros_of_utf16(head, n);
    if (utf16)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: is %s text: convert it with `iconv -f %s -t UTF-8`", path, utf16,
                        utf16);
    if (as == SOL_READ_AUTO && (is_named(path, csv) || is_named(path, tsv)))
        return sol_fail(err, SOL_ERR_FORMAT, "%s: is a table (%s): " TABLE, path,
                        is_named(path, csv) ? "CSV" : "TSV");
    bool named = as == SOL_READ_JSON || is_named(path, json);
    const char *end = head + n, *s = skip_blanks(head + sol_text_bom(head, n), end);
    bool array = named ? s < end && *s == '[' : begins_array(s, end),
         object = !array && begins_object(s, end);
    *kind = SOL_TEXT_PLAIN;
    *by_content = false;
    if (as == SOL_READ_TEXT || !(named || array || object)) return SOL_OK;
    *kind = array ? SOL_TEXT_JSON_ARRAY : SOL_TEXT_JSON_LINES;
    *by_content = !named;
    return SOL_OK;
}
