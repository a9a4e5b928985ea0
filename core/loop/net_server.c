/*
 * net_server.c - servers of plain connections: whom they accept, and their end. What a
 * connection does is net.c's business.
 */
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "loop/accept.h"
#include "loop/net_conn.h"
#include "sys/scoreboard.h"

static void count(struct net_server *s, int change)
{
	struct scoreboard_slot *slot = scoreboard_mine();

	s->count += (uint64_t)change;
	if (slot)
		slot->connections += (uint64_t)change;
}

static void on_end_closed(uv_handle_t *handle)
{
	struct deadlines *limits = handle->data;
	struct net_server *s = (void *)((char *)limits - offsetof(struct net_server, limits));

	s->app->stopped(s->data);
	free(s);
}

static void check_stopped(struct net_server *s)
{
	if (!s->stopping || s->closing || s->conns)
		return;
	s->closing = true;
	deadlines_close(&s->limits, on_end_closed);
}

void net_leave_server(struct net_conn *c)
{
	struct net_server *s = c->server;

	c->server = NULL;
	deadline_stop(&c->limit);
	if (!s)
		return;
	conn_unlink(&s->conns, &c->conn);
	count(s, -1);
	check_stopped(s);
}

static void on_accept(void *data, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct net_server *s = data;
	struct net_conn *c;

	(void)len;
	if (net_conn_open(&c, s->loop, fd, peer)) {
		close(fd);
		return;
	}
	c->server = s;
	conn_link(&s->conns, &c->conn);
	count(s, 1);
	net_moved(c);
	s->app->connection(s->data, c);
}

int net_server_open(struct net_server **out, uv_loop_t *loop, const struct net_app *app, void *data)
{
	struct net_server *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->app = app;
	s->data = data;
	err = acceptor_open(&s->acceptor, loop, on_accept, s);
	if (err) {
		free(s);
		return err;
	}
	net_limits_open(&s->limits, loop);
	*out = s;
	return 0;
}

void net_server_idle_timeout(struct net_server *s, uint64_t ms)
{
	deadlines_set(&s->limits, LIMIT_IDLE, ms);
}

int net_server_listen(struct net_server *s, int fd)
{
	return s->stopping ? -ECANCELED : acceptor_add(s->acceptor, fd);
}

void net_server_shutdown(struct net_server *s)
{
	if (s->stopping)
		return;
	/* Not before we are through, whatever the callback for a last connection does. */
	s->stopping = s->closing = true;
	acceptor_finish(s->acceptor);
	s->acceptor = NULL;
	s->closing = false;
	if (s->cut)
		net_server_close(s);
	else
		check_stopped(s);
}

void net_server_close(struct net_server *s)
{
	s->cut = true;
	if (s->closing)
		return;
	acceptor_close(s->acceptor);
	s->acceptor = NULL;
	s->stopping = true;
	/* Whom one wakes may take others with it; s itself goes later, from the loop. */
	while (s->conns)
		net_close_now((struct net_conn *)s->conns, true);
	check_stopped(s);
}

uint64_t net_server_connections(const struct net_server *s)
{
	return s->count;
}
