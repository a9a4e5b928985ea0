/*
 * http_server.h - HTTP/1.1 for one application: connections, requests, responses.
 *
 * A request is named by its connection and a serial. The connection's memory is
 * never given back, so an old name is always safe to ask about: it is simply not
 * alive any more. All of it belongs to the process that opened the server.
 */
#ifndef LOOP_HTTP_SERVER_H
#define LOOP_HTTP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "loop/buffer.h"
#include "loop/conn.h"
#include "loop/http_parse.h"

#define HTTP_NO_LIMIT UINT64_MAX

struct http_server;
struct http_conn;

/* What the application hangs onto a request: opaque numbers, 0 where it has none. */
struct http_refs {
	int body, drain, close;
};

/* Times in milliseconds, 0: never. */
struct http_limits {
	uint64_t max_header, max_body;
	uint64_t header_timeout, body_timeout, write_timeout, idle_timeout, request_timeout;
	/* Connections at a time, 0: any number. Beyond it the one goes that has been idle longest;
	   while none is idle, no more are accepted. */
	uint64_t max_open;
};

struct http_app {
	/* A head has come, and what came with it of the body. The slices are valid during the call.
	 */
	void (*request)(void *data, struct http_conn *c, const struct http_head *head);
	/* More of the body, its end, or the news that it will not come. */
	void (*body)(void *data, struct http_conn *c);
	/* The write queue is empty. */
	void (*drained)(void *data, struct http_conn *c);
	/* The client has ended its side while its request is in progress. */
	void (*closed)(void *data, struct http_conn *c);
	/* The request is over: answered, or the connection is gone. Its serial is dead; refs are
	 * given back. */
	void (*ended)(void *data, struct http_refs refs, bool gone);
	/* After http_server_shutdown or _close: nothing is left, the server has been freed. */
	void (*stopped)(void *data);
};

struct http_counts {
	uint64_t connections, active, requests;
};

int http_server_open(struct http_server **out, uv_loop_t *loop, const struct http_limits *limits,
		     const struct http_app *app, void *data);
/* fd is borrowed and stays open at least until the server has stopped. */
int http_server_listen(struct http_server *s, int fd);
/*
 * Accept no more, let requests finish, close what is idle; then stopped() is called and s is
 * gone. keep_idle: connections stay until the answer to their next request, which tells the
 * client that it is the last one, or until a second call without keep_idle.
 */
void http_server_shutdown(struct http_server *s, bool keep_idle);
/* The same at once: connections are cut. */
void http_server_close(struct http_server *s);
/*
 * From now on no request takes longer than so many milliseconds, those in progress from now: a
 * request_timeout, where there was none or a longer one.
 */
void http_server_limit(struct http_server *s, uint64_t ms);
struct http_counts http_server_counts(const struct http_server *s);
/* When so many more requests have begun in this process, on all servers, call reached(), once. */
void http_request_limit(uint64_t n, void (*reached)(void));
/* In the child of a fork: what was going on ends in the parent alone. */
void http_after_fork(void);
/*
 * There are no descriptors left for c's request: its server accepts no more for a moment, and
 * closes a connection that is idle. Returns whether there was one.
 */
bool http_make_room(struct http_conn *c);

/* ---- a request, as long as it is alive ---- */

uint64_t http_serial(const struct http_conn *c);
bool http_alive(const struct http_conn *c, uint64_t serial);
struct http_refs *http_refs(struct http_conn *c);
bool http_client_gone(const struct http_conn *c);
const struct conn_peer *http_peer(const struct http_conn *c);

enum http_body_state { HTTP_BODY_MORE, HTTP_BODY_END, HTTP_BODY_TOO_LARGE, HTTP_BODY_GONE };

/* What has come of the body; the bytes are valid until anything else is called. */
enum http_body_state http_body_peek(struct http_conn *c, const char **bytes, size_t *len);
/*
 * They are the caller's, in a buffer that it frees or gives back, if the request is still there.
 * Taken, they make room for more.
 */
void http_body_lend(struct http_conn *c, struct buffer *out);
void http_body_return(struct http_conn *c, struct buffer *lent, bool taken);
/*
 * Called before waiting: asks a client that waits for it to go on; whole: collect all of it,
 * up to max_body.
 */
int http_body_want(struct http_conn *c, bool whole);
/*
 * Whether somebody who serves one request at a time need not wait for this one's body any longer:
 * it is whole, will not come, is to be asked for, or has begun and is too long to be waited for.
 * From now on it has to come at a pace.
 */
bool http_body_gather(struct http_conn *c);
bool http_body_too_large(const struct http_conn *c);

/* ---- its response; 0 or -errno. -EPIPE: the client is gone, and so is the request ---- */

/* Why a request ended before it was answered: the name of a timeout, or that the client has gone.
 */
const char *http_cut_by(const struct http_conn *c, uint64_t serial);
bool http_head_sent(const struct http_conn *c);
int http_set_status(struct http_conn *c, int status);
enum http_header_fault {
	HTTP_HEADER_FINE,
	HTTP_HEADER_NAME,   /* not a token */
	HTTP_HEADER_VALUE,  /* would end its line, for some readers at least */
	HTTP_HEADER_LENGTH, /* a Content-Length that is no number */
	HTTP_HEADER_OWN,    /* not the application's to set */
};

/* Whether it may be set, value NULL: removed. The two below take only what is fine. */
enum http_header_fault http_check_header(const char *name, size_t name_len, const char *value,
					 size_t value_len);
/* Replace all lines of this name; NULL value: remove them. */
int http_set_header(struct http_conn *c, const char *name, size_t name_len, const char *value,
		    size_t value_len);
/* One more line of the name. */
int http_add_header(struct http_conn *c, const char *name, size_t name_len, const char *value,
		    size_t value_len);
/* The Content-Length that was set, or HTTP_NO_LIMIT; and how much of the body was given. */
uint64_t http_declared(const struct http_conn *c);
uint64_t http_body_sent(const struct http_conn *c);
/*
 * 1 when so much waits that the writer should wait for drained(). -EMSGSIZE: more than the
 * Content-Length it set, and nothing is sent of it.
 */
int http_write(struct http_conn *c, const char *bytes, size_t len);
/*
 * The request is over afterwards, but where -EMSGSIZE is returned and its head not sent: the
 * body is not as long as its Content-Length says.
 */
int http_finish(struct http_conn *c, const char *bytes, size_t len);
/*
 * Answer with a status and its name instead of what was set so far; the connection is cut
 * where a head was sent.
 */
void http_fail(struct http_conn *c, int status);
/* From a finalizer: the same with 500, but later, from the loop. */
void http_drop(struct http_conn *c);

#endif
