/*
 * http_conn.h - shared by the http_*.c files alone: http_server.c (the server, and time),
 * http_conn.c (connections and requests), http_input.c and http_body.c (bytes to requests),
 * http_output.c and http_headers.c (responses to bytes).
 */
#ifndef LOOP_HTTP_CONN_H
#define LOOP_HTTP_CONN_H

#include "loop/buffer.h"
#include "loop/conn.h"
#include "loop/deadline.h"
#include "loop/http_server.h"

/* Request bodies wait up to this much for the application to read them. */
#define HTTP_BODY_AHEAD 65536
/* An unread body up to this is swallowed so that the connection can go on. */
#define HTTP_DRAIN_MAX 262144
/* Pipelined requests wait up to this much; then reading pauses. */
#define HTTP_PIPELINE_MAX 16384
#define HTTP_READ_MAX     65536
#define HTTP_LINGER_MS    2000
#define HTTP_FRESH_MS     1000

enum http_phase {
	PHASE_IDLE,   /* between requests; nothing of the next one has come */
	PHASE_HEAD,   /* a head is coming */
	PHASE_BODY,   /* with the application, the body still comes */
	PHASE_BUSY,   /* with the application, all of the request is here */
	PHASE_DRAIN,  /* answered; the rest of the body is swallowed */
	PHASE_FLUSH,  /* closes when the queue has been sent */
	PHASE_LINGER, /* our side is shut; what still comes is swallowed, so that the answer is not
			 lost to a reset */
	PHASE_DEAD,
};

enum http_list {
	LIST_HEADER,
	LIST_IDLE,
	LIST_BODY,
	LIST_WRITE,
	LIST_REQUEST,
	LIST_LINGER,
	LIST_RESUME, /* at once: pipelined input waits, and we were not called from the loop */
	LIST_DROPPED,
};

struct http_conn {
	struct conn conn;
	struct http_server *server;
	llhttp_t parser;
	enum http_phase phase;
	struct deadline phase_limit, write_limit, request_limit;
	uint64_t serial;
	struct http_refs refs;
	/* Read but not used yet; the first `parsed` bytes llhttp has seen. */
	struct buffer in;
	size_t parsed;
	bool processing;
	bool linger;
	bool fresh;

	/* The request. */
	struct buffer body;
	uint64_t body_left; /* by Content-Length; unknown where chunked */
	uint64_t body_received;
	size_t overhead; /* bytes of chunk framing since the last of the body */
	uint8_t minor;
	bool is_head;
	bool chunked_body;
	bool expects_continue;
	bool whole;
	bool too_large;
	bool body_gone;
	bool hung_up;
	bool keep_alive;

	/* The response. */
	struct buffer headers;
	int status;
	uint64_t declared; /* Content-Length set by the application, or HTTP_NO_LIMIT */
	uint64_t body_sent;
	bool has_date;
	bool head_sent;
	bool chunked;
	bool no_body;
};

struct http_server {
	uv_loop_t *loop;
	struct http_limits limits;
	const struct http_app *app;
	void *data;
	struct acceptor *acceptor;
	struct deadlines deadlines;
	struct conn *conns;
	struct http_counts counts;
	bool stopping;
	bool closing;
};

/* http_input.c */
extern const llhttp_settings_t http_settings;
int http_input_reserve(uint64_t max_header);
void http_input_read(struct http_conn *c);
/* Go on with what is buffered, after the application or the socket has made room. */
void http_input_resume(struct http_conn *c);
/* Watch for what the phase needs, and time it. May close c. */
void http_settle(struct http_conn *c);

/* http_output.c */
void http_response_reset(struct http_conn *c);
/* A complete answer of the server's own, then close: for heads that are refused. */
void http_refuse(struct http_conn *c, int status);
int http_send_continue(struct http_conn *c);
const char *http_reason(int status);

/* http_conn.c */
void http_accepted(void *server, int fd, const struct sockaddr *peer, socklen_t len);
/* So much of the queue has gone that a waiting writer may go on. */
void http_wake_writer(struct http_conn *c);
void http_request_begin(struct http_conn *c, const struct http_head *head);
/* The response is complete: what becomes of the connection? */
void http_request_end(struct http_conn *c);
void http_close(struct http_conn *c, bool reset);
/* All that is to be sent was sent. */
void http_flushed(struct http_conn *c);

/* http_server.c */
void http_expired(struct deadline *d, int list, void *data);
/* A stopping server goes with its last connection. */
void http_check_stopped(struct http_server *s);

static inline bool http_request_open(const struct http_conn *c)
{
	return c->serial != 0;
}

#endif
