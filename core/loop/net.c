/*
 * net.c - plain connections; see net.h. No protocol, and no timeouts but that of
 * standstill. Servers are net_server.c's business.
 */
#include "loop/net_conn.h"

#include <stddef.h>
#include <stdlib.h>

#include "loop/slab.h"

#define READ_MAX 65536

static struct slab slab = { .size = sizeof(struct net_conn), .link = offsetof(struct conn, next) };
static char scratch[READ_MAX];
static net_wake_cb wake;
static const struct conn_ops ops;

void net_set_wake(net_wake_cb cb)
{
	wake = cb;
}

void net_close_now(struct net_conn *c, bool reset)
{
	if (!c->conn.life)
		return;
	net_leave_server(c);
	conn_close(&c->conn, reset);
	/* The references are still there to be woken, though the connection is not. */
	wake(c, true, true);
}

static void on_standstill(struct deadline *d, int list, void *data)
{
	struct net_conn *c = (struct net_conn *)((char *)d - offsetof(struct net_conn, limit));
	size_t left = list == LIMIT_LINGER ? conn_undelivered(&c->conn) : 0;

	(void)data;
	if (left && left < c->undelivered) {
		c->undelivered = left;
		net_moved(c);
		return;
	}
	net_close_now(c, list == LIMIT_CLOSE);
}

void net_limits_open(struct deadlines *limits, uv_loop_t *loop)
{
	deadlines_open(limits, loop, on_standstill, NULL);
	deadlines_set(limits, LIMIT_CLOSE, CLOSE_MS);
	deadlines_set(limits, LIMIT_LINGER, LINGER_MS);
}

/* Of connections that we made, and of this process; NULL without memory. */
static struct deadlines *own_limits(uv_loop_t *loop)
{
	static struct deadlines *own;
	static unsigned generation;

	if (own && generation == fork_generation())
		return own;
	/* Our parent's stay where they are: its loop is closed with them. */
	own = malloc(sizeof(*own));
	if (!own)
		return NULL;
	generation = fork_generation();
	net_limits_open(own, loop);
	return own;
}

void net_moved(struct net_conn *c)
{
	struct deadlines *limits = c->server    ? &c->server->limits
				   : c->closing ? own_limits(c->conn.loop)
						: NULL;

	if (limits)
		deadline_start(limits,
			       c->lingering ? LIMIT_LINGER
			       : c->closing ? LIMIT_CLOSE
					    : LIMIT_IDLE,
			       &c->limit);
}

/* The peer takes no more. What it sent before that is still to be read, by whoever waits for it. */
static void stop_writing(struct net_conn *c)
{
	c->broken = true;
	conn_drop_output(&c->conn);
	if (c->closing)
		net_close_now(c, false);
	else
		wake(c, true, true);
}

/*
 * Never into the buffer that net_read hands out: a collector that closes what nobody holds
 * any more runs while the bytes of another connection are copied from there. Returns whether
 * more may come.
 */
static bool discard(struct net_conn *c)
{
	char unread[4096];
	ssize_t n;

	for (int i = 0; i < READ_MAX / (int)sizeof(unread); i++) {
		n = conn_read(&c->conn, unread, sizeof(unread));
		if (n <= 0)
			return n == -EAGAIN;
	}
	return true;
}

/*
 * All is with the kernel. Closing with bytes unread, or before those that come while the peer
 * still reads, would reset the connection, and take from the peer what it has not got yet.
 */
static void linger(struct net_conn *c)
{
	conn_shutdown(&c->conn);
	c->closing = c->lingering = true;
	c->undelivered = SIZE_MAX;
	net_moved(c);
	if (c->conn.eof || !discard(c) || conn_watch(&c->conn, true))
		net_close_now(c, false);
	else
		wake(c, true, true);
}

/* ---- what the socket says ---- */

static void on_readable(struct conn *conn)
{
	struct net_conn *c = (struct net_conn *)conn;

	if (c->lingering) {
		if (!discard(c))
			net_close_now(c, false);
		return;
	}
	if (c->refs.read)
		wake(c, true, false);
	else
		conn_watch(conn, false);
}

static void on_written(struct conn *conn)
{
	struct net_conn *c = (struct net_conn *)conn;

	net_moved(c);
	if (c->ended && !conn->out_bytes)
		conn_shutdown(conn);
	if (c->closing && !conn->out_bytes)
		linger(c);
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
	c->closing = c->lingering = c->ended = c->broken = false;
	*out = c;
	return 0;
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
		net_moved(c);
	if (n == -EAGAIN || n == 0) {
		err = conn_watch(&c->conn, n != 0);
		if (err)
			n = err;
	}
	if (n < 0 && n != -EAGAIN)
		net_close_now(c, false);
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
	net_moved(c);
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

bool net_close(struct net_conn *c)
{
	if (c->conn.out_bytes) {
		c->closing = true;
		net_moved(c);
		/* Nothing is read any more, whatever may still come. */
		wake(c, true, false);
		return false;
	}
	if (!c->conn.eof && conn_undelivered(&c->conn) > CONN_HIGH_WATER) {
		linger(c);
		return true;
	}
	conn_shutdown(&c->conn);
	if (!c->conn.eof)
		discard(c);
	net_close_now(c, false);
	return true;
}

bool net_closed(const struct net_conn *c, uint64_t life)
{
	return !conn_alive(&c->conn, life) || c->lingering;
}

void net_abort(struct net_conn *c)
{
	net_close_now(c, true);
}
