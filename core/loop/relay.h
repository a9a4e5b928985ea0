/*
 * relay.h - a request that is answered by another HTTP server: passed on to it, and its answer
 * passed back, piece by piece, each side at the pace of the other.
 *
 * What goes out is made anew from what the parser took, never copied as it came. Who
 * answers, and what is done after a failure, is the caller's business. All of it belongs to the
 * process that started it.
 */
#ifndef LOOP_RELAY_H
#define LOOP_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "loop/http_server.h"

struct relay;

/* Where to, and how long; times in milliseconds, 0: never. */
struct relay_plan {
	const char *address;
	const char *host; /* in place of the client's Host; NULL: that one */
	uint64_t timeout, connect_timeout;
	bool keep;  /* the connection, for another request; else whoever answers is the request's
		       alone, and its body has to come on */
	bool fresh; /* one of its own, none that was kept */
};

enum relay_fault {
	RELAY_DONE,       /* answered */
	RELAY_CONNECT,    /* nobody could be asked: err says why */
	RELAY_CLOSED,     /* the other server has gone before its answer was complete */
	RELAY_TIMEOUT,    /* it did nothing for too long */
	RELAY_BAD_ANSWER, /* it answers what is no sound HTTP */
	RELAY_TOO_LARGE,  /* the request's body */
	RELAY_GONE,       /* the client has gone, or was answered by somebody else */
};

struct relay_end {
	enum relay_fault fault;
	int err;
	bool sent;  /* a byte of the request, or more */
	bool came;  /* a byte of the answer, or more */
	bool began; /* the answer, for the client: it has been cut */
	bool kept;  /* on a connection that others had used */
	bool whole; /* nothing of the request's body is lost: it could be started again */
	char why[200];
};

/* What the application hangs onto it; opaque. */
struct relay_refs {
	int over, response;
};

/* Called once, unless relay_start fails; end is valid during the call. */
typedef void (*relay_over_cb)(struct relay_refs refs, const struct relay_end *end);

/*
 * Go on with a request, described by head: it is answered, or nothing of an answer was sent, when
 * over() is called. -errno: it did not begin, and end says why.
 */
int relay_start(uv_loop_t *loop, struct http_conn *c, const struct http_head *head,
		const struct relay_plan *plan, relay_over_cb over, struct relay_refs refs,
		struct relay_end *end);
/* Close the connections that are kept. */
void relay_close_kept(void);
/* How many are kept. */
unsigned relay_kept(void);

#endif
