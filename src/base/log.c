/* Formats log lines and passes them to the sink that the program sets; the library itself never
 * prints. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void sol_log_line(const sol_log *log, sol_log_level level, const char *fmt, ...)
{
    if (!log || !log->line) return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log->line(log->user, level, text);
}
