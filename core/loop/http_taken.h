/*
 * http_taken.h - a request that goes on in another room of the core: what it is told of, and
 * what it may do that applications may not. All of http_server.h's functions are there for it too.
 */
#ifndef LOOP_HTTP_TAKEN_H
#define LOOP_HTTP_TAKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/buffer.h"

struct http_conn;

/* Told before the application is. Whoever calls out in them finds the request over afterwards. */
struct http_taker {
	/* More of the body, its end, or the news that it will not come. */
	void (*body)(void *data);
	/* Little waits to be sent. */
	void (*drained)(void *data);
	/* The client has ended its side; http_input_ended tells whether all of it was read. */
	void (*closed)(void *data);
	/* The request is over, by others; it is not the taker's any more. gone: with its
	 * connection. */
	void (*ended)(void *data, bool gone);
	/* In a tunnel: what the client sends, all of which is taken; and whether more may come. */
	void (*came)(void *data, const char *bytes, size_t len);
	bool (*has_room)(void *data);
};

void http_take(struct http_conn *c, const struct http_taker *taker, void *data);
/* The taker could serve others, were the body not still to come: it has less time from now on. */
void http_body_hurry(struct http_conn *c);
/* Nothing more is told. */
void http_give_back(struct http_conn *c);

/* ---- the request ---- */

bool http_input_ended(const struct http_conn *c);
bool http_body_is_chunked(const struct http_conn *c);
/* Whether nothing of it has been handed to anybody. */
bool http_body_is_untouched(const struct http_conn *c);
/* Whether the client has ended its side in the midst of it. */
bool http_body_is_gone(const struct http_conn *c);
/* By Content-Length. */
uint64_t http_body_length(const struct http_conn *c);
/* Checked lines, as they came, and an empty one; len 0 where there were none. */
const char *http_body_trailers(const struct http_conn *c, size_t *len);
/* Whether the client waits for us to ask for the body; and to ask for it: 0 or -EPIPE. */
bool http_awaits_continue(const struct http_conn *c);
int http_continue(struct http_conn *c);

/* ---- its answer ---- */

/* Where the lines of the head lie, for checked ones to be appended before it is sent. */
struct buffer *http_lines(struct http_conn *c);
/* A head that somebody else made: reason is valid until it is sent. length: HTTP_NO_LIMIT where
 * its lines tell none. */
struct http_passed {
	int status;
	const char *reason;
	size_t reason_len;
	uint64_t length;
	bool has_date;
};
void http_pass_head(struct http_conn *c, const struct http_passed *head);
/* http_finish with trailers: whole lines, sent where the client can tell them from the body. */
int http_finish_trailers(struct http_conn *c, const char *bytes, size_t len, const char *lines,
			 size_t lines_len);

/*
 * Answer 101 with what was appended to http_lines; from now on bytes are passed both ways, until
 * the taker ends the request. 0, or -errno where the connection is gone.
 */
int http_tunnel(struct http_conn *c);
/* As http_write. */
int http_tunnel_write(struct http_conn *c, const char *bytes, size_t len);
/* The end of our side, behind what still waits. */
void http_tunnel_end(struct http_conn *c);
/* There is room again. May call out. */
void http_tunnel_resume(struct http_conn *c);
/* Both sides have ended: so does the request. */
void http_tunnel_finish(struct http_conn *c);

#endif
