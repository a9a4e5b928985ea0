/*
 * access_log.h - the access log of this process: lines gathered, and written once per turn of
 * the loop.
 *
 * There is at most one. It never fails its caller and never blocks it: what finds no room is
 * dropped, counted and complained about. A child of a fork has none of it.
 */
#ifndef LOOP_ACCESS_LOG_H
#define LOOP_ACCESS_LOG_H

#include <stdbool.h>

#include <uv.h>

#include "loop/access_text.h"

/*
 * From here on, to fd, in the place of what there was. fd is borrowed and must stay open
 * until the next open or close.
 */
int access_log_open(uv_loop_t *loop, int fd);
/* Writes what is left. Closing none is legal. */
void access_log_close(void);
bool access_log_is_open(void);

void access_log_entry(enum access_format format, const struct access_entry *entry);
/* A line that the application made. */
void access_log_line(const char *text, size_t len);

/* Before the process ends: a reader that is slow gets a moment, and no more. */
void access_log_finish(void);

#endif
