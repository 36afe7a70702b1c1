/* An event file of TensorBoard, which shows it while it grows: one record a step, with all that the
 * step has to show.
 *
 *     sol_events *e;
 *     st = sol_events_open(&e, "runs/a/events.out.tfevents.solera", 120, err);
 *     sol_events_begin(e, 121);
 *     sol_events_scalar(e, "train/loss", 2.5);
 *     st = sol_events_end(e, err);
 *     sol_events_close(&e);
 *
 * The frame of a record (tensorflow/core/lib/io/record_writer.h): its length in 8 bytes, their
 * masked CRC-32C, the data, their masked CRC-32C, little-endian. The data is an Event
 * (tensorflow/core/util/event.proto) with a Summary (framework/summary.proto). Few fields of these
 * messages are written, in four wire types of protobuf: fewer lines than a library, a compiler of
 * messages and its generated code would take in the build. scripts/compare_tensorboard.py reads
 * the file with TensorBoard's own package. */
#ifndef SOLERA_TRAIN_EVENTS_H
#define SOLERA_TRAIN_EVENTS_H

#include <stdint.h>

#include "base/status.h"

typedef struct sol_events sol_events;

/* Opens or makes the file and cuts it behind the records of steps up to `step`: those of later
 * steps, and a record that a crash left torn, go. *e is owned by the caller. SOL_ERR_IO also for a
 * link. */
sol_status sol_events_open(sol_events **e, const char *path, uint64_t step, sol_err *err);
/* NULL is fine. */
void sol_events_close(sol_events **e);

/* Collects the record of a step. A failure of the memory shows at the end. */
void sol_events_begin(sol_events *e, uint64_t step);
void sol_events_scalar(sol_events *e, const char *tag, double x);
/* n bins of equal width from `low` on. Sum and sum of squares are those of the bins' middles. */
void sol_events_histogram(sol_events *e, const char *tag, double low, double width,
                          const uint32_t *count, int n);
void sol_events_text(sol_events *e, const char *tag, const char *text);
/* Appends the record, whole or not at all. */
sol_status sol_events_end(sol_events *e, sol_err *err);

#endif
