/* Writes event files of TensorBoard: the messages, their frames, and the cut at a resume. */
#include "events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/file.h"
#include "base/mem.h"

typedef struct buffer {
    uint8_t *data;
    size_t n, capacity;
} buffer;

struct sol_events {
    char path[SOL_PATH_MAX];
    int fd;
    uint64_t size;                       /* of the file */
    buffer value, inner, summary, event; /* inner: a message within a value */
    sol_status status;                   /* of the first append to a buffer that failed */
};

/* ---- the wire format of protobuf ---- */

static void put(sol_events *e, buffer *b, const void *data, size_t n)
{
    if (e->status == SOL_OK)
        e->status = sol_grow_array((void **)&b->data, &b->capacity, b->n + n, 1, NULL);
    if (e->status != SOL_OK || n == 0) return;
    memcpy(b->data + b->n, data, n);
    b->n += n;
}

static void put_varint(sol_events *e, buffer *b, uint64_t x)
{
    uint8_t bytes[10];
    size_t n = 0;
    for (; x >= 0x80; x >>= 7) bytes[n++] = (uint8_t)(x | 0x80);
    bytes[n++] = (uint8_t)x;
    put(e, b, bytes, n);
}

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; /* wire types */

static void put_key(sol_events *e, buffer *b, int field, int wire)
{
    put_varint(e, b, (uint64_t)(field << 3 | wire));
}

/* Hosts are little-endian, as the formats of this program suppose, too. */
static void put_double(sol_events *e, buffer *b, int field, double x)
{
    put_key(e, b, field, FIXED64);
    put(e, b, &x, sizeof x);
}

static void put_bytes(sol_events *e, buffer *b, int field, const void *data, size_t n)
{
    put_key(e, b, field, BYTES);
    put_varint(e, b, n);
    put(e, b, data, n);
}

static void put_string(sol_events *e, buffer *b, int field, const char *text)
{
    put_bytes(e, b, field, text, strlen(text));
}

/* ---- records ---- */

/* As the format masks a checksum, so that one of data that holds checksums stays sound. */
static uint32_t masked_crc(const void *data, size_t n)
{
    uint32_t crc = sol_crc32c(0, data, n);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

enum { HEAD = 12, TAIL = 4 };

static sol_status write_frame(const sol_events *e, const buffer *frame, sol_err *err)
{
    if (e->status != SOL_OK) return sol_fail(err, e->status, "%s: out of memory", e->path);
    for (size_t done = 0; done < frame->n;) {
        ssize_t w = write(e->fd, frame->data + done, frame->n - done);
        if (w < 0 && errno != EINTR) return sol_fail_errno(err, e->path, "cannot write");
        if (w > 0) done += (size_t)w;
    }
    return SOL_OK;
}

static sol_status append(sol_events *e, const buffer *event, sol_err *err)
{
    buffer frame = {0};
    uint64_t length = event->n;
    uint32_t crc = masked_crc(&length, sizeof length);
    put(e, &frame, &length, sizeof length);
    put(e, &frame, &crc, sizeof crc);
    put(e, &frame, event->data, event->n);
    crc = masked_crc(event->data, event->n);
    put(e, &frame, &crc, sizeof crc);
    sol_status st = write_frame(e, &frame, err);
    sol_free(frame.data);
    if (st == SOL_OK)
        e->size += frame.n;
    else if (ftruncate(e->fd, (off_t)e->size) != 0)
        return sol_fail_errno(err, e->path, "cannot cut a torn record");
    return st;
}

enum { EVENT_TIME = 1, EVENT_STEP = 2, EVENT_VERSION = 3, EVENT_SUMMARY = 5 };

static void begin_event(sol_events *e, uint64_t step)
{
    e->event.n = 0;
    put_double(e, &e->event, EVENT_TIME, (double)time(NULL));
    put_key(e, &e->event, EVENT_STEP, VARINT);
    put_varint(e, &e->event, step);
}

/* The step of an event of ours, which stands behind the time: its key, then the number. */
static uint64_t step_of(const uint8_t *event, size_t n)
{
    uint64_t step = 0;
    size_t at = 1 + sizeof(double) + 1;
    for (int shift = 0; at < n && shift < 64; shift += 7) {
        step |= (uint64_t)(event[at] & 0x7f) << shift;
        if (event[at++] < 0x80) break;
    }
    return step;
}

/* Bytes of the record at data[0, n); 0: it is torn, or none. */
static size_t whole_record(const uint8_t *data, size_t n)
{
    uint64_t length;
    uint32_t head_crc, data_crc;
    if (n < HEAD + TAIL) return 0;
    memcpy(&length, data, sizeof length);
    memcpy(&head_crc, data + sizeof length, sizeof head_crc);
    if (head_crc != masked_crc(data, sizeof length) || length > n - HEAD - TAIL) return 0;
    memcpy(&data_crc, data + HEAD + length, sizeof data_crc);
    return data_crc == masked_crc(data + HEAD, length) ? HEAD + (size_t)length + TAIL : 0;
}

static sol_status cut(sol_events *e, uint64_t step, sol_err *err)
{
    sol_in in = {.fd = e->fd, .path = e->path};
    sol_map map;
    struct stat s;
    if (fstat(e->fd, &s) != 0) return sol_fail_errno(err, e->path, "cannot read");
    in.size = (uint64_t)s.st_size;
    if (in.size == 0) return SOL_OK;
    SOL_TRY(sol_in_map(&in, &map, err));
    const uint8_t *data = map.data;
    for (size_t n; (n = whole_record(data + e->size, map.size - e->size)); e->size += n)
        if (step_of(data + e->size + HEAD, n - HEAD - TAIL) > step) break;
    sol_map_close(&map);
    if (ftruncate(e->fd, (off_t)e->size) == 0) return SOL_OK;
    return sol_fail_errno(err, e->path, "cannot cut");
}

sol_status sol_events_open(sol_events **out, const char *path, uint64_t step, sol_err *err)
{
    sol_events *e;
    sol_status st = sol_alloc_array((void **)&e, 1, sizeof *e, err);
    *out = e;
    if (st != SOL_OK) return st;
    e->fd = -1;
    snprintf(e->path, sizeof e->path, "%s", path);
    st = sol_own_open(&e->fd, path, path, O_RDWR | O_CREAT | O_APPEND, err);
    if (st == SOL_OK) st = cut(e, step, err);
    if (st == SOL_OK && e->size == 0) {
        begin_event(e, 0);
        put_string(e, &e->event, EVENT_VERSION, "brain.Event:2");
        st = append(e, &e->event, err);
    }
    if (st != SOL_OK) sol_events_close(out);
    return st;
}

void sol_events_close(sol_events **ep)
{
    sol_events *e = *ep;
    if (!e) return;
    if (e->fd >= 0) close(e->fd);
    sol_free(e->value.data);
    sol_free(e->inner.data);
    sol_free(e->summary.data);
    sol_free(e->event.data);
    sol_free(e);
    *ep = NULL;
}

/* ---- what a step shows ---- */

enum { SUMMARY_VALUE = 1 };
enum { VALUE_TAG = 1, VALUE_SIMPLE = 2, VALUE_HISTOGRAM = 5, VALUE_TENSOR = 8, VALUE_METADATA = 9 };

void sol_events_begin(sol_events *e, uint64_t step)
{
    begin_event(e, step);
    e->summary.n = 0;
}

static void begin_value(sol_events *e, const char *tag)
{
    e->value.n = 0;
    put_string(e, &e->value, VALUE_TAG, tag);
}

static void end_value(sol_events *e)
{
    put_bytes(e, &e->summary, SUMMARY_VALUE, e->value.data, e->value.n);
}

void sol_events_scalar(sol_events *e, const char *tag, double x)
{
    float value = (float)x;
    begin_value(e, tag);
    put_key(e, &e->value, VALUE_SIMPLE, FIXED32);
    put(e, &e->value, &value, sizeof value);
    end_value(e);
}

enum { HISTOGRAM_MIN = 1, HISTOGRAM_MAX, HISTOGRAM_NUM, HISTOGRAM_SUM, HISTOGRAM_SQUARES };
enum { HISTOGRAM_LIMIT = 6, HISTOGRAM_BUCKET };

/* The key and length of n doubles that follow. */
static void put_doubles(sol_events *e, buffer *b, int field, int n)
{
    put_key(e, b, field, BYTES);
    put_varint(e, b, (uint64_t)n * sizeof(double));
}

void sol_events_histogram(sol_events *e, const char *tag, double low, double width,
                          const uint32_t *count, int n)
{
    buffer *h = &e->inner;
    double num = 0, sum = 0, squares = 0;
    h->n = 0;
    for (int i = 0; i < n; i++) {
        double middle = low + width * (i + 0.5);
        num += count[i];
        sum += count[i] * middle;
        squares += count[i] * middle * middle;
    }
    put_double(e, h, HISTOGRAM_MIN, low);
    put_double(e, h, HISTOGRAM_MAX, low + width * n);
    put_double(e, h, HISTOGRAM_NUM, num);
    put_double(e, h, HISTOGRAM_SUM, sum);
    put_double(e, h, HISTOGRAM_SQUARES, squares);
    put_doubles(e, h, HISTOGRAM_LIMIT, n);
    for (int i = 0; i < n; i++) put(e, h, &(double){low + width * (i + 1)}, sizeof(double));
    put_doubles(e, h, HISTOGRAM_BUCKET, n);
    for (int i = 0; i < n; i++) put(e, h, &(double){count[i]}, sizeof(double));
    begin_value(e, tag);
    put_bytes(e, &e->value, VALUE_HISTOGRAM, h->data, h->n);
    end_value(e);
}

/* A tensor of one string, for the plugin called text. */
void sol_events_text(sol_events *e, const char *tag, const char *text)
{
    static const uint8_t metadata[] = {1 << 3 | BYTES, 6, 1 << 3 | BYTES, 4, 't', 'e', 'x', 't'};
    static const uint8_t type_and_shape[] = {1 << 3,         7, 2 << 3 | BYTES, 4,
                                             2 << 3 | BYTES, 2, 1 << 3,         1};
    buffer *tensor = &e->inner;
    tensor->n = 0;
    put(e, tensor, type_and_shape, sizeof type_and_shape);
    put_string(e, tensor, 8, text);
    begin_value(e, tag);
    put_bytes(e, &e->value, VALUE_TENSOR, tensor->data, tensor->n);
    put_bytes(e, &e->value, VALUE_METADATA, metadata, sizeof metadata);
    end_value(e);
}

sol_status sol_events_end(sol_events *e, sol_err *err)
{
    put_bytes(e, &e->event, EVENT_SUMMARY, e->summary.data, e->summary.n);
    return append(e, &e->event, err);
}
