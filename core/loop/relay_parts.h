/*
 * relay_parts.h - shared by the relay_*.c files alone: relay.c (a relay's life),
 * relay_request.c and relay_upload.c (the request), relay_answer.c (its answer), relay_tunnel.c
 * (what is no HTTP any more), relay_fields.c (header lines), relay_link.c (connections, and those
 * that are kept).
 */
#ifndef LOOP_RELAY_PARTS_H
#define LOOP_RELAY_PARTS_H

#include "loop/buffer.h"
#include "loop/conn.h"
#include "loop/connect.h"
#include "loop/deadline.h"
#include "loop/http_answer_head.h"
#include "loop/http_chunk.h"
#include "loop/http_taken.h"
#include "loop/relay.h"
#include "sys/addr.h"

/* Heads of one answer, interim ones and trailers included. */
#define RELAY_HEAD_MAX 65536
#define RELAY_READ_MAX 65536
/* Connections that are kept for so long, so many to an address and in all. */
#define RELAY_IDLE_MS  4000
#define RELAY_IDLE_MAX 128
#define RELAY_IDLE_ALL 512
/* One that rested for longer may be closing: it gets only what can be asked twice. */
#define RELAY_YOUNG_MS 1000
/* A client that has ended its side may have gone: the answer must begin within. */
#define RELAY_HALF_MS 1000
/* Servers that never heard of 100-continue have so long for it. */
#define RELAY_CONTINUE_MS 1000
/* Where no descriptor is left, one is looked for so often. */
#define RELAY_AGAIN_MS 10

enum relay_list { RELAY_PROGRESS, RELAY_IDLE, RELAY_GRACE, RELAY_AGAIN };

/* An address, as long as anybody has a connection to it or wants one. */
struct relay_upstream {
	struct relay_upstream *next;
	struct addr addr;
	struct conn *idle; /* the last used first */
	unsigned idle_count, users;
	uint32_t hash;
	char text[ADDR_TEXT];
};

/* A connection to one. */
struct relay_link {
	struct conn conn;
	struct relay_upstream *up;
	struct relay *relay; /* NULL: it is kept */
	struct deadline limit;
	uint64_t since, idle_ms;
	struct buffer in; /* a part of a head */
	bool used;        /* by others before */
	bool torn;        /* no more can be sent; what has come is still to be read */
	bool paused;
};

enum relay_stage { STAGE_CONNECT, STAGE_HEAD, STAGE_BODY, STAGE_TUNNEL };
enum relay_framing { BODY_NONE, BODY_SIZED, BODY_CHUNKED, BODY_UNTIL_CLOSE };

struct relay {
	struct relay *next; /* while free */
	uint64_t life, serial;
	uv_loop_t *loop;
	struct http_conn *c;
	relay_over_cb over;
	struct relay_refs refs;
	struct relay_upstream *up;
	struct relay_link *link;
	struct connector *connector;
	struct deadline limit, grace;
	uint64_t timeout, connect_timeout;
	enum relay_stage stage;

	/* The request. */
	struct buffer head; /* while it waits for a connection */
	bool keep, is_head, old_client, upgrade;
	bool upload;  /* it has a body */
	bool chunked; /* which is sent in chunks */
	bool asked;   /* all of it was given to the connection */
	bool taken;   /* some of the body was */
	int no_files; /* why there was no socket, when it was tried last */
	bool sent, came;
	bool half; /* its client has ended its side, and may have gone */

	/* The answer. */
	struct buffer trailers;
	enum relay_framing framing;
	struct http_chunk chunk;
	uint64_t left;
	size_t heads;
	unsigned idle_ms; /* what its server says about keeping connections */
	bool began, reusable, in_trailers, has_length;
	bool ended; /* a tunnel's way from the other server */
};

/* relay.c; all of these end it: nothing of r may be used afterwards */
void relay_fail(struct relay *r, enum relay_fault fault, int err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* The answer has been given to the client: what is left of it, and its end. */
void relay_finish(struct relay *r, const char *bytes, size_t len);
void relay_tunnel_over(struct relay *r);

/* The other server has moved, or it need not: time it accordingly. */
void relay_pace(struct relay *r, bool moved);
/* Everything is asked: a client that has ended its side may have gone. */
void relay_watch_client(struct relay *r);
static inline bool relay_alive(const struct relay *r, uint64_t life)
{
	return r->life == life;
}
struct deadlines *relay_deadlines(uv_loop_t *loop);

/* relay_request.c: into out, which is emptied first. 0 or -ENOMEM. */
int relay_build_request(struct relay *r, const struct http_head *head,
			const struct relay_plan *plan, struct buffer *out);
/* What may be asked twice, should the connection turn out to be closing. */
bool relay_is_repeatable(const struct relay *r, const struct http_head *head);

/* relay_upload.c */
/*
 * The head, if it is still to be sent, and what is there of the body. Returns 0 or -errno; sets
 * asked when nothing is left to send. May end r.
 */
int relay_send(struct relay *r, const struct buffer *head);
/* Send what has come of the request's body, as far as there is room. May end r. */
void relay_pump(struct relay *r);

/* relay_answer.c: what came; may end r */
void relay_answer_came(struct relay *r, char *bytes, size_t len);
/* The other server has ended its side; err: or the connection has failed. Ends r, or its
 * tunnel's one way. */
void relay_answer_ended(struct relay *r, int err);

/* relay_tunnel.c */
void relay_tunnel_begin(struct relay *r, const char *bytes, size_t len);
void relay_tunnel_came(struct relay *r, const char *bytes, size_t len);
void relay_tunnel_ended(struct relay *r);
void relay_tunnel_closed(struct relay *r);
void relay_tunnel_taken(struct relay *r, const char *bytes, size_t len);
void relay_tunnel_drained(struct relay *r);
bool relay_tunnel_has_room(const struct relay *r);

/* relay_fields.c */
enum relay_field {
	FIELD_OTHER,
	FIELD_CONNECTION,
	FIELD_HOP, /* between two neighbours only */
	FIELD_KEEP_ALIVE,
	FIELD_LENGTH,
	FIELD_CODING,
	FIELD_UPGRADE,
	FIELD_EXPECT,
	FIELD_TE,
	FIELD_TRAILER,
	FIELD_HOST,
	FIELD_DATE,
	FIELD_FORWARDED_FOR,
	FIELD_FORWARDED, /* -Host and -Proto */
};
struct relay_wishes {
	bool close, keep_alive, upgrade;
	bool others; /* names lines that are not to be passed on */
};
enum relay_field relay_field(const char *name, size_t len);
/* Adds what a Connection line says. */
void relay_read_wishes(struct relay_wishes *wishes, const char *value, size_t len);
/* Whether one of the Connection lines names this. */
bool relay_is_named(const char *base, const struct http_field *fields, size_t count,
		    const char *name, size_t len);
/* No control characters. */
bool relay_is_clean(const char *value, size_t len);
/* Append those lines of a body's end that may stand there. */
int relay_pass_trailers(struct buffer *out, const char *lines, size_t len);

/* relay_link.c */
/* One user more; NULL with *err, -errno of addr_parse or -ENOMEM. */
struct relay_upstream *relay_upstream_get(const char *address, int *err);
void relay_upstream_leave(struct relay_upstream *up);
/* One that is kept; young: and rested for a short time only. Or NULL. */
struct relay_link *relay_link_take(struct relay *r, bool young);
/* A connected socket becomes r's. */
int relay_link_open(struct relay *r, int fd, const struct sockaddr *peer);
/* It waits for another request. */
void relay_link_keep(struct relay_link *l);
void relay_link_close(struct relay_link *l, bool reset);
/* Read on or not; on: what has come already is read at once where no event would tell of it. May
 * end the relay. */
void relay_link_pause(struct relay_link *l);
void relay_link_resume(struct relay_link *l);
/* It takes no more. May end the relay. */
void relay_link_tear(struct relay_link *l);

#endif
