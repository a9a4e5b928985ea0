/*
 * net_conn.h - shared by net.c (connections) and net_server.c (servers) alone.
 */
#ifndef LOOP_NET_CONN_H
#define LOOP_NET_CONN_H

#include "loop/deadline.h"
#include "loop/net.h"

/* For a peer to take some of what is left when its connection is closed. */
#define CLOSE_MS 60000
/* For it to end its side when it has been sent all. */
#define LINGER_MS 2000

enum { LIMIT_IDLE, LIMIT_CLOSE, LIMIT_LINGER };

struct net_conn {
	struct conn conn;
	struct net_server *server; /* NULL for one that we made */
	struct net_refs refs;
	struct deadline limit;
	bool closing;
	bool lingering;     /* all is sent; what comes is swallowed: a reset would undo that */
	size_t undelivered; /* when the end was last looked for in vain */
	bool ended;         /* our side: no more is taken to send */
	bool broken;        /* the peer will take no more */
};

struct net_server {
	uv_loop_t *loop;
	/* Closed last: its callback frees the server when nothing of it is left on the loop's
	 * stack. */
	struct deadlines limits;
	const struct net_app *app;
	void *data;
	struct acceptor *acceptor;
	struct conn *conns;
	uint64_t count;
	bool stopping;
	bool closing;
	bool cut; /* what there is, is not waited for */
};

/* net.c */
void net_close_now(struct net_conn *c, bool reset);
/* Something has moved: it stands still from now on. */
void net_moved(struct net_conn *c);
/* The durations, and what follows them. */
void net_limits_open(struct deadlines *limits, uv_loop_t *loop);

/* net_server.c; c may be nobody's */
void net_leave_server(struct net_conn *c);

#endif
