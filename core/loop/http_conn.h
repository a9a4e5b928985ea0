/*
 * http_conn.h - shared by the http_*.c files alone: http_server.c (the server, and time),
 * http_conn.c (connections and requests), http_input.c and http_body.c (bytes to requests),
 * http_output.c, http_headers.c and http_reason.c (responses to bytes), http_taken.c (requests
 * that go on elsewhere), http_log.c (the access log).
 */
#ifndef LOOP_HTTP_CONN_H
#define LOOP_HTTP_CONN_H

#include "loop/buffer.h"
#include "loop/conn.h"
#include "loop/deadline.h"
#include "loop/http_chunk.h"
#include "loop/http_server.h"
#include "loop/http_taken.h"

/* Request bodies wait up to this much for the application to read them. */
#define HTTP_BODY_AHEAD 65536
/* An unread body up to this is swallowed so that the connection can go on. */
#define HTTP_DRAIN_MAX 262144
/*
 * Where nobody reads a body piece by piece, it has this many times body_timeout, but once where
 * somebody waits for it who could serve others; from then on it must have come at so many bytes per
 * second on average: else a client could drip for ever.
 */
#define HTTP_BODY_GRACE 10
#define HTTP_BODY_RATE  500
/* Pipelined requests wait up to this much; then reading pauses. */
#define HTTP_PIPELINE_MAX 16384
#define HTTP_READ_MAX     65536
#define HTTP_LINGER_MS    2000
#define HTTP_FRESH_MS     1000
/* So long after a server was full its connections end with their answers. */
#define HTTP_CROWDED_MS 1000
/* Of what a client has pipelined when the server stops, so many are still answered. */
#define HTTP_LATE_MAX 100

enum http_phase {
	PHASE_IDLE,   /* between requests; nothing of the next one has come */
	PHASE_HEAD,   /* a head is coming */
	PHASE_BODY,   /* with the application, the body still comes */
	PHASE_BUSY,   /* with the application, all of the request is here */
	PHASE_TUNNEL, /* no HTTP any more: all that comes is its taker's */
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

/* Who goes on with a request in place of the application, and for what. */
struct http_taken {
	const struct http_taker *by;
	void *data;
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
	bool more;          /* while it is processed: something has come behind the request */
	uint8_t late;       /* answers since the server stops after which it went on */
	size_t undelivered; /* when the client's end was last looked for in vain */

	/* The request. */
	struct buffer body;
	uint64_t body_left; /* by Content-Length; unknown where chunked */
	uint64_t body_received;
	uint64_t body_since;  /* when it began to count how fast the body comes */
	uint64_t body_before; /* what had come of it then */
	struct http_chunk chunk;
	uint8_t minor;
	bool is_head;
	bool chunked_body;
	bool expects_continue;
	bool whole;
	bool gathered; /* somebody waits until there is enough of it */
	bool hurried;  /* somebody waits for it who could serve others */
	bool too_large;
	bool body_gone;
	bool hung_up;
	bool keep_alive;
	bool in_trailers;
	struct buffer trailers; /* lines as they came, and the empty one */
	bool said_last;         /* by its client: nothing comes behind it, nor has it a body */

	/* The response. */
	struct buffer headers;
	int status;
	uint64_t declared; /* Content-Length set by the application, or HTTP_NO_LIMIT */
	uint64_t body_sent;
	bool has_date;
	bool close_asked; /* Connection: close, set by the application */
	bool head_sent;
	bool chunked;
	bool no_body;
	bool was_gone; /* the client had ended its side before the head was sent */
	uint64_t cut;  /* the request that we ended before its application did: serial * 4 + why */

	/* What somebody else has said instead of us: valid while it is being sent. */
	const char *reason, *tail;
	size_t reason_len, tail_len;

	bool ends; /* a tunnel's way to the client, when all is sent */
	const struct http_taker *taker;
	void *taken;
	/* For the access log, of a request that is not answered at once; else NULL. */
	struct http_note *note;
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
	uint64_t request_limit; /* shorter than request_timeout, since some moment; 0: none */
	bool keeps_idle;        /* while it stops: until they have had one more answer */
	bool closing;
	bool cut;  /* what there is, is not waited for */
	bool full; /* it accepts no more for now */
	uint64_t crowded_until;
	uint64_t stopped_at;
};

/* http_input.c */
extern const llhttp_settings_t http_settings;
int http_input_reserve(uint64_t max_header);
void http_input_read(struct http_conn *c);
/* Input is being worked on, further down the stack: nothing more may be read for now. */
bool http_input_is_busy(void);
void http_input_after_fork(void);
/* Go on with what is buffered, after the application or the socket has made room. */
void http_input_resume(struct http_conn *c);
/* Watch for what the phase needs, and time it. May close c. */
void http_settle(struct http_conn *c);

/* http_body.c */
ssize_t http_body_parse(struct http_conn *c, const char *p, size_t len);
ssize_t http_body_step(struct http_conn *c, const char *p, size_t len);
bool http_body_has_room(const struct http_conn *c);
void http_body_set_too_large(struct http_conn *c);
void http_body_time(struct http_conn *c);

/* http_output.c */
void http_response_reset(struct http_conn *c);
/* A complete answer of the server's own, then close: for heads that are refused. */
void http_refuse(struct http_conn *c, int status);
/* The same for a head that is no request, with what came of it. */
void http_refuse_head(struct http_conn *c, int status, const char *input, size_t len);
int http_send_continue(struct http_conn *c);
/* Bytes as they are. 1 when so much waits that the writer should too. */
int http_send_raw(struct http_conn *c, const char *bytes, size_t len);

/* http_taken.c */
/* There is more of the body, or it is known that it will not come. */
void http_tell_body(struct http_conn *c);
/* The client has ended its side. */
void http_tell_closed(struct http_conn *c);
/* It is nobody's any more; returns whose it was. */
struct http_taken http_untake(struct http_conn *c);
/* Returns the bytes used, or -1 when the connection is over. */
ssize_t http_tunnel_step(struct http_conn *c, const char *p, size_t len);
bool http_tunnel_has_room(const struct http_conn *c);

/* http_reason.c */
const char *http_reason(int status);

/* http_conn.c */
void http_accepted(void *server, int fd, const struct sockaddr *peer, socklen_t len);
/* So much of the queue has gone that a waiting writer may go on. */
void http_wake_writer(struct http_conn *c);
void http_request_begin(struct http_conn *c, const struct http_head *head);
/* The response is complete: what becomes of the connection? */
void http_request_end(struct http_conn *c);
void http_close(struct http_conn *c, bool reset);
/* While its request is in progress, the client has ended its side, or more. */
void http_hung_up(struct http_conn *c);
/* All that is to be sent was sent: close so that it arrives. */
void http_end(struct http_conn *c);
/* Nothing more came for a while from one that is closed like that. */
void http_lingered(struct http_conn *c);
/* A request has begun: arm what limits it. */
void http_limit_request(struct http_conn *c);

/* http_log.c; a request that is being handed to the application, for as long as that takes */
struct http_log_now {
	struct http_conn *c;
	const struct http_head *head;
	struct http_log_now *outer;
	uint64_t started;
	int request;
};
void http_log_enter(struct http_log_now *now, struct http_conn *c, const struct http_head *head);
void http_log_leave(struct http_log_now *now);
void http_log_after_fork(void);
/* It is over: all of its answer has been given to the connection. May call out. */
void http_log_answered(struct http_conn *c, int status, uint64_t bytes);
/* Some of the queue has gone. */
void http_log_sent(struct http_conn *c);
/* The connection goes, with what still waits. */
void http_log_closed(struct http_conn *c);
/* A head that is answered with a body of so many bytes without having been a request. */
void http_log_refused(struct http_conn *c, int status, uint64_t bytes, const char *input,
		      size_t len);

/* http_server.c */
/* A stopping server goes with its last connection. */
void http_check_stopped(struct http_server *s);
/* One connection more: whether there may be others. */
void http_limit_conns(struct http_server *s);
/* It was full, and there is one less, or one that could be closed. */
void http_conns_fewer(struct http_server *s);

/* Idle connections are to go. */
static inline bool http_drops_idle(const struct http_server *s)
{
	return s->stopping && !s->keeps_idle;
}

static inline bool http_request_open(const struct http_conn *c)
{
	return c->serial != 0;
}

#endif
