/*
 * relay_link.c - connections to other servers: what their sockets say, and those that wait for
 * another request. Kept ones are bounded, watched for their end, and never a fork's.
 */
#include "loop/relay_parts.h"

#include <stddef.h>

#include "loop/slab.h"

#define BUCKETS 64

static struct slab slab = { .size = sizeof(struct relay_link),
			    .link = offsetof(struct conn, next) };
static struct relay_upstream *upstreams[BUCKETS];
static unsigned idle_all, generation;
static char scratch[RELAY_HEAD_MAX + RELAY_READ_MAX];
static const struct conn_ops ops;

/* ---- addresses ---- */

/* In the child of a fork: what there was is the parent's, and its descriptors are closed. */
static void renew(void)
{
	if (generation == fork_generation())
		return;
	memset(upstreams, 0, sizeof(upstreams));
	idle_all = 0;
	generation = fork_generation();
}

static uint32_t hash_of(const char *text)
{
	uint32_t hash = 2166136261u;

	while (*text)
		hash = (hash ^ (unsigned char)*text++) * 16777619u;
	return hash;
}

static struct relay_upstream *make_upstream(const char *address, uint32_t hash, int *err)
{
	struct relay_upstream *up = calloc(1, sizeof(*up));
	size_t len = strlen(address);

	*err = -ENOMEM;
	if (!up)
		return NULL;
	*err = len < sizeof(up->text) ? addr_parse(&up->addr, address) : -EINVAL;
	if (*err) {
		free(up);
		return NULL;
	}
	memcpy(up->text, address, len + 1);
	up->hash = hash;
	up->next = upstreams[hash % BUCKETS];
	upstreams[hash % BUCKETS] = up;
	return up;
}

struct relay_upstream *relay_upstream_get(const char *address, int *err)
{
	uint32_t hash = hash_of(address);
	struct relay_upstream *up;

	renew();
	up = upstreams[hash % BUCKETS];
	while (up && (up->hash != hash || strcmp(up->text, address) != 0))
		up = up->next;
	if (!up)
		up = make_upstream(address, hash, err);
	if (up)
		up->users++;
	return up;
}

void relay_upstream_leave(struct relay_upstream *up)
{
	struct relay_upstream **at = &upstreams[up->hash % BUCKETS];

	if (--up->users)
		return;
	while (*at && *at != up)
		at = &(*at)->next;
	if (*at)
		*at = up->next;
	free(up);
}

/* ---- connections ---- */

static void leave_idle(struct relay_link *l)
{
	conn_unlink(&l->up->idle, &l->conn);
	deadline_stop(&l->limit);
	l->up->idle_count--;
	idle_all--;
}

void relay_link_close(struct relay_link *l, bool reset)
{
	struct relay_upstream *up = l->up;

	if (!l->relay)
		leave_idle(l);
	buffer_free(&l->in);
	conn_close(&l->conn, reset);
	relay_upstream_leave(up);
}

/* What its server said last may have come already, without our having been told. */
static bool is_quiet(const struct relay_link *l)
{
	char byte;

	return recv(l->conn.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

struct relay_link *relay_link_take(struct relay *r, bool young)
{
	struct relay_link *l;

	/* Bytes that nobody has asked for would pass for the answer to the next request. */
	while ((l = (struct relay_link *)r->up->idle) && !is_quiet(l))
		relay_link_close(l, false);
	if (!l || (young && uv_now(r->loop) - l->since > RELAY_YOUNG_MS))
		return NULL;
	leave_idle(l);
	l->relay = r;
	l->used = true;
	uv_ref((uv_handle_t *)&l->conn.poll);
	return l;
}

int relay_link_open(struct relay *r, int fd, const struct sockaddr *peer)
{
	struct relay_link *l = slab_get(&slab);
	int err;

	if (!l) {
		fd_close(&fd);
		return -ENOMEM;
	}
	conn_open(&l->conn, r->loop, fd, peer, &ops);
	l->up = r->up;
	l->up->users++;
	l->relay = r;
	l->limit.next = NULL;
	l->in = (struct buffer){ 0 };
	l->used = l->torn = l->paused = false;
	err = conn_watch(&l->conn, true);
	if (err)
		relay_link_close(l, false);
	else
		r->link = l;
	return err;
}

void relay_link_keep(struct relay_link *l)
{
	struct relay_upstream *up = l->up;
	unsigned idle_ms = l->relay->idle_ms;

	if (up->idle_count >= RELAY_IDLE_MAX || idle_all >= RELAY_IDLE_ALL || l->conn.eof ||
	    l->torn || conn_watch(&l->conn, true)) {
		relay_link_close(l, false);
		return;
	}
	uv_unref((uv_handle_t *)&l->conn.poll);
	l->paused = false;
	l->since = uv_now(l->conn.loop);
	conn_link(&up->idle, &l->conn);
	up->idle_count++;
	idle_all++;
	deadline_start_in(relay_deadlines(l->conn.loop), RELAY_IDLE, &l->limit,
			  idle_ms && idle_ms < RELAY_IDLE_MS ? idle_ms : RELAY_IDLE_MS);
	l->relay = NULL;
}

void relay_close_kept(void)
{
	renew();
	for (int i = 0; i < BUCKETS; i++) {
		struct relay_upstream *up = upstreams[i], *next;

		for (; up; up = next) {
			next = up->next;
			up->users++;
			while (up->idle)
				relay_link_close((struct relay_link *)up->idle, false);
			relay_upstream_leave(up);
		}
	}
}

unsigned relay_kept(void)
{
	renew();
	return idle_all;
}

/* ---- what the socket says ---- */

/* Returns whether more may be there. */
static bool read_once(struct relay_link *l)
{
	uint64_t life = l->conn.life;
	struct relay *r = l->relay;
	size_t had = l->in.len;
	ssize_t n = conn_read(&l->conn, scratch + had, RELAY_READ_MAX);

	if (n == -EAGAIN)
		return false;
	if (!r) {
		/* Nobody has asked anything: whatever this is, the connection is of no use. */
		relay_link_close(l, false);
		return false;
	}
	if (n <= 0) {
		/* No more to be told of. */
		if (n == 0)
			conn_watch(&l->conn, false);
		relay_answer_ended(r, (int)n);
		return false;
	}
	if (had) {
		memcpy(scratch, l->in.data, had);
		l->in.len = 0;
	}
	if (r->stage == STAGE_TUNNEL) {
		relay_tunnel_came(r, scratch, (size_t)n);
	} else {
		uint64_t served = r->life;

		relay_answer_came(r, scratch, had + (size_t)n);
		if (relay_alive(r, served))
			relay_pace(r, true);
	}
	return conn_alive(&l->conn, life) && l->relay && !l->paused;
}

static void on_readable(struct conn *conn)
{
	struct relay_link *l = (struct relay_link *)conn;

	read_once(l);
}

/* Nothing more can be sent; an answer may have come all the same. */
void relay_link_tear(struct relay_link *l)
{
	uint64_t life = l->conn.life;

	l->torn = true;
	conn_drop_output(&l->conn);
	if (l->paused)
		return;
	while (read_once(l))
		;
	if (conn_alive(&l->conn, life) && !l->paused && !l->conn.eof)
		conn_watch(&l->conn, true);
}

static void on_written(struct conn *conn)
{
	struct relay_link *l = (struct relay_link *)conn;
	struct relay *r = l->relay;
	uint64_t life;

	if (!r)
		return;
	life = r->life;
	r->sent = true;
	if (r->stage == STAGE_TUNNEL)
		relay_tunnel_drained(r);
	else
		relay_pump(r);
	if (relay_alive(r, life))
		relay_pace(r, true);
}

static void on_broken(struct conn *conn, int err)
{
	struct relay_link *l = (struct relay_link *)conn;

	/* It has ended its side while we do not read: that comes to light when we do. */
	if (!err)
		return;
	relay_link_tear(l);
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

void relay_link_pause(struct relay_link *l)
{
	l->paused = true;
	if (!l->torn)
		conn_watch(&l->conn, false);
}

void relay_link_resume(struct relay_link *l)
{
	if (!l->paused)
		return;
	l->paused = false;
	if (l->torn)
		relay_link_tear(l);
	else if (!l->conn.eof)
		conn_watch(&l->conn, true);
}
