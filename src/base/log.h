/* The log sink. The library never prints: it passes lines to this callback, and the program decides
 * what to do with them.
 *
 *     static void print(void *user, sol_log_level level, const char *text)
 *     {
 *         fprintf(user, "%s\n", text);
 *     }
 *
 *     sol_log log = {.line = print, .user = stderr};
 *     sol_log_line(&log, SOL_LOG_INFO, "%d layers", 16); */
#ifndef SOLERA_BASE_LOG_H
#define SOLERA_BASE_LOG_H

typedef enum { SOL_LOG_DEBUG, SOL_LOG_INFO, SOL_LOG_WARN } sol_log_level;

typedef struct sol_log {
    void (*line)(void *user, sol_log_level level, const char *text); /* NULL: lines are dropped */
    void *user;
} sol_log;

/* Formats one line, without a line break, and passes it to the sink. At most 1,023 bytes, the rest
 * is cut off. log may be NULL. */
void sol_log_line(const sol_log *log, sol_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
