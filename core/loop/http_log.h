/*
 * http_log.h - what the HTTP server tells the access log, and how the application has a say.
 */
#ifndef LOOP_HTTP_LOG_H
#define LOOP_HTTP_LOG_H

#include <stdint.h>

#include "loop/access_log.h"
#include "loop/http_server.h"

/*
 * A request is over. request is what http_log_hold was given, and comes back; 0: the head was
 * refused, and `refused` is the first line of what came. wanted: the log still is.
 */
typedef void (*http_log_cb)(struct http_conn *c, int request, const struct http_head *refused,
			    int status, uint64_t bytes, double seconds, bool wanted);

/* Log each request in this format, or, where cb is given, as it says. */
void http_log_setup(enum access_format format, http_log_cb cb);
void http_log_stop(void);

/* While http_app.request runs: whether the application's own name of the request is wanted, */
bool http_log_wants_request(void);
/* and what it is. */
void http_log_hold(struct http_conn *c, int request);

#endif
