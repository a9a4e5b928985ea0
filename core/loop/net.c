/*
 * net.c - plain connections and their servers; see net.h. No protocol, and no
 * timeouts but that of standstill.
 */
#include "loop/net.h"

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "loop/accept.h"
#include "loop/deadline.h"
#include "loop/slab.h"
#include "sys/scoreboard.h"

#define READ_MAX 65536
/* For a peer to take some of what is left when its connection is closed. */
#define CLOSE_MS 60000

enum { LIMIT_IDLE, LIMIT_CLOSE };

struct net_conn {
	struct conn conn;
	struct net_server *server; /* NULL for one that we made */
	struct net_refs refs;
	struct deadline limit; /* of a server's */
	bool closing;
	bool ended;  /* our side: no more is taken to send */
	bool broken; /* the peer will take no more */
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
};

static struct slab slab = { .size = sizeof(struct net_conn), .link = offsetof(struct conn, next) };
static char scratch[READ_MAX];
static net_wake_cb wake;
static const struct conn_ops ops;

void net_set_wake(net_wake_cb cb)
{
	wake = cb;
}

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

static void leave_server(struct net_conn *c)
{
	struct net_server *s = c->server;
	struct conn *conn = &c->conn;

	c->server = NULL;
	if (!s)
		return;
	deadline_stop(&c->limit);
	if (conn->prev)
		conn->prev->next = conn->next;
	else
		s->conns = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	count(s, -1);
	check_stopped(s);
}

static void close_now(struct net_conn *c, bool reset)
{
	if (!c->conn.life)
		return;
	leave_server(c);
	conn_close(&c->conn, reset);
	/* The references are still there to be woken, though the connection is not. */
	wake(c, true, true);
}

/* Something has moved: it stands still from now on. */
static void moved(struct net_conn *c)
{
	if (c->server)
		deadline_start(&c->server->limits, c->closing ? LIMIT_CLOSE : LIMIT_IDLE,
			       &c->limit);
}

static void on_standstill(struct deadline *d, int list, void *data)
{
	(void)data;
	close_now((struct net_conn *)((char *)d - offsetof(struct net_conn, limit)),
		  list == LIMIT_CLOSE);
}

/* The peer takes no more. What it sent before that is still to be read, by whoever waits for it. */
static void stop_writing(struct net_conn *c)
{
	c->broken = true;
	conn_drop_output(&c->conn);
	if (c->closing)
		close_now(c, false);
	else
		wake(c, true, true);
}

/* ---- what the socket says ---- */

static void on_readable(struct conn *conn)
{
	struct net_conn *c = (struct net_conn *)conn;

	if (c->refs.read)
		wake(c, true, false);
	else
		conn_watch(conn, false);
}

static void on_written(struct conn *conn)
{
	struct net_conn *c = (struct net_conn *)conn;

	moved(c);
	if (c->ended && !conn->out_bytes)
		conn_shutdown(conn);
	if (c->closing && !conn->out_bytes)
		close_now(c, false);
	else if (conn->out_bytes < CONN_HIGH_WATER / 4)
		wake(c, false, !c->closing);
}

static void on_broken(struct conn *conn, int err)
{
	if (err)
		stop_writing((struct net_conn *)conn);
}

static void on_released(struct conn *conn)
{
	slab_put(&slab, conn);
}

static const struct conn_ops ops = {
	.readable = on_readable,
	.written = on_written,
	.broken = on_broken,
	.released = on_released,
};

/* ---- connections ---- */

int net_conn_open(struct net_conn **out, uv_loop_t *loop, int fd, const struct sockaddr *peer)
{
	struct net_conn *c = slab_get(&slab);

	if (!c)
		return -ENOMEM;
	conn_open(&c->conn, loop, fd, peer, &ops);
	c->server = NULL;
	c->refs = (struct net_refs){ 0, 0 };
	c->limit.next = NULL;
	c->closing = c->ended = c->broken = false;
	*out = c;
	return 0;
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
	c->conn.prev = NULL;
	c->conn.next = s->conns;
	if (s->conns)
		s->conns->prev = &c->conn;
	s->conns = &c->conn;
	count(s, 1);
	moved(c);
	s->app->connection(s->data, c);
}

uint64_t net_life(const struct net_conn *c)
{
	return c->conn.life;
}

bool net_alive(const struct net_conn *c, uint64_t life)
{
	return life && conn_alive(&c->conn, life) && !c->closing;
}

struct net_refs *net_refs(struct net_conn *c)
{
	return &c->refs;
}

const struct conn_peer *net_peer(const struct net_conn *c)
{
	return &c->conn.peer;
}

ssize_t net_read(struct net_conn *c, const char **bytes)
{
	ssize_t n;
	int err;

	if (c->conn.eof)
		return 0;
	n = conn_read(&c->conn, scratch, sizeof(scratch));
	/* The write has told of the reset, and the read says only that it is over. */
	if (n == 0 && c->broken)
		n = -ECONNRESET;
	if (n > 0)
		moved(c);
	if (n == -EAGAIN || n == 0) {
		err = conn_watch(&c->conn, n != 0);
		if (err)
			n = err;
	}
	if (n < 0 && n != -EAGAIN)
		close_now(c, false);
	*bytes = scratch;
	return n;
}

int net_write(struct net_conn *c, const char *bytes, size_t len)
{
	int err;

	if (c->broken || c->ended)
		return -EPIPE;
	if (len == 0)
		return c->conn.out_bytes > CONN_HIGH_WATER;
	err = conn_write(&c->conn, &(struct iovec){ (void *)bytes, len }, 1);
	if (err) {
		stop_writing(c);
		return err;
	}
	moved(c);
	return c->conn.out_bytes > CONN_HIGH_WATER;
}

void net_end(struct net_conn *c)
{
	if (c->ended || c->broken)
		return;
	c->ended = true;
	if (!c->conn.out_bytes)
		conn_shutdown(&c->conn);
}

int net_keep(struct net_conn *c, bool keep)
{
	int err = keep ? 0 : conn_watch(&c->conn, true);

	if (!c->conn.polled)
		return err;
	if (keep)
		uv_ref((uv_handle_t *)&c->conn.poll);
	else
		uv_unref((uv_handle_t *)&c->conn.poll);
	return err;
}

/*
 * Never into the buffer that net_read hands out: a collector that closes what nobody holds
 * any more runs while the bytes of another connection are copied from there.
 */
static void discard(struct net_conn *c)
{
	char unread[4096];

	for (int i = 0; i < READ_MAX / (int)sizeof(unread); i++) {
		if (conn_read(&c->conn, unread, sizeof(unread)) <= 0)
			return;
	}
}

bool net_close(struct net_conn *c)
{
	if (c->conn.out_bytes) {
		c->closing = true;
		moved(c);
		/* Nothing is read any more, whatever may still come. */
		wake(c, true, false);
		return false;
	}
	conn_shutdown(&c->conn);
	/* Closing with bytes unread would reset the connection, and take from the peer what it has
	 * not read yet. */
	if (!c->conn.eof)
		discard(c);
	close_now(c, false);
	return true;
}

void net_abort(struct net_conn *c)
{
	close_now(c, true);
}

/* ---- servers ---- */

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
	deadlines_open(&s->limits, loop, on_standstill, s);
	deadlines_set(&s->limits, LIMIT_CLOSE, CLOSE_MS);
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

void net_server_pause(struct net_server *s)
{
	acceptor_pause(s->acceptor);
}

void net_server_shutdown(struct net_server *s)
{
	if (s->stopping)
		return;
	/* Not before we are through, whatever the callback for a last connection does. */
	s->stopping = s->closing = true;
	acceptor_pause(s->acceptor);
	acceptor_close(s->acceptor);
	s->acceptor = NULL;
	s->closing = false;
	check_stopped(s);
}

void net_server_close(struct net_server *s)
{
	if (s->closing)
		return;
	if (s->acceptor)
		acceptor_close(s->acceptor);
	s->acceptor = NULL;
	s->stopping = true;
	/* Whom one wakes may take others with it; s itself goes later, from the loop. */
	while (s->conns)
		close_now((struct net_conn *)s->conns, true);
	check_stopped(s);
}

uint64_t net_server_connections(const struct net_server *s)
{
	return s->count;
}
