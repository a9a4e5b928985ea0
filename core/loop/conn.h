/*
 * conn.h - one stream socket on the loop: reading when asked, a write queue, closing.
 *
 * Its memory is type-stable (slab.h), and `life` names this use of it: 0 once
 * closed, never the same twice. Code that calls out compares life afterwards.
 * It belongs to the process that made it; a forked child only sees it dead.
 */
#ifndef LOOP_CONN_H
#define LOOP_CONN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <uv.h>

#include "sys/fd.h"

/* More than this in the queue, and a writer should wait. */
#define CONN_HIGH_WATER 65536

struct conn;
struct conn_chunk;

/* Whom we talk to, without the text of it: few ask. */
struct conn_peer {
	sa_family_t family;
	in_port_t port;
	struct in6_addr address;
};

struct conn_ops {
	void (*readable)(struct conn *c);
	/* Some of the queue has gone; out_bytes tells what is left. */
	void (*written)(struct conn *c);
	/* Nothing more can be sent or read: the owner closes. With err 0 only: the peer ended its
	 * side while reading was paused. */
	void (*broken)(struct conn *c, int err);
	/* The memory may be used again: nothing of libuv is left in it. */
	void (*released)(struct conn *c);
};

struct conn {
	uv_poll_t poll;
	uv_loop_t *loop;
	const struct conn_ops *ops;
	struct conn *next, *prev;
	uint64_t life;
	struct conn_chunk *out_first, *out_last;
	size_t out_bytes;
	int fd;
	unsigned generation;
	int events;
	bool polled;
	bool want_read;
	bool watch_hangup;
	bool corked;
	/* The peer has ended its side. */
	bool eof;
	struct conn_peer peer;
};

/* Takes fd, which becomes owned. The socket is watched only when first needed. */
void conn_open(struct conn *c, uv_loop_t *loop, int fd, const struct sockaddr *peer,
	       const struct conn_ops *ops);
/* Closing one that is closed does nothing. `reset` tells the peer that something is missing. */
void conn_close(struct conn *c, bool reset);

static inline bool conn_alive(const struct conn *c, uint64_t life)
{
	return c->life == life && c->generation == fork_generation();
}

/* Into and out of the list of whoever owns it, by next and prev. */
void conn_link(struct conn **list, struct conn *c);
void conn_unlink(struct conn **list, struct conn *c);

/* Level-triggered: ops->readable comes as long as there is something to read. */
int conn_watch(struct conn *c, bool read);
/*
 * Bytes read, 0 at the end (eof is then set: close, or conn_watch once more), -EAGAIN, or
 * another negative errno.
 */
ssize_t conn_read(struct conn *c, void *into, size_t len);

/*
 * Send now what the socket takes and keep a copy of the rest. Returns 0 or -errno; then the
 * owner should close.
 */
int conn_write(struct conn *c, const struct iovec *parts, int n);
/* While corked, writes only queue; uncorking sends. */
void conn_cork(struct conn *c);
int conn_uncork(struct conn *c);
/* Forget what waits to be sent. */
void conn_drop_output(struct conn *c);
/* No more will be written: the peer sees the end. */
void conn_shutdown(struct conn *c);

/* Whether neither side can send any more; TCP tells only once something was sent in vain. */
bool conn_is_cut(const struct conn *c);

/* Whether something has come that was not read: closing would reset the connection. */
bool conn_has_unread(const struct conn *c);
/* How much of what was sent the peer's kernel is not known to have. */
size_t conn_undelivered(const struct conn *c);

/* Whether the peer's kernel is known to have got all that was sent. */
bool conn_has_arrived(const struct conn *c);

/* "127.0.0.1", "::1" or "unix:"; into needs INET6_ADDRSTRLEN bytes. */
void conn_peer_text(const struct conn_peer *peer, char *into);

#endif
