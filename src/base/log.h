/* The log sink: the library hands lines to it and never prints itself. The program decides what becomes of them. */
#ifndef SOLERA_BASE_LOG_H
#define SOLERA_BASE_LOG_H

typedef enum { SOL_LOG_DEBUG, SOL_LOG_INFO, SOL_LOG_WARN } sol_log_level;

typedef struct sol_log {
    void (*line)(void *user, sol_log_level level, const char *text); /* NULL: dropped */
    void *user;
} sol_log;

/* Formats one line (without line break) and hands it to the sink; log may be NULL. */
void sol_log_line(const sol_log *log, sol_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
