/*
 * http_conn.c - the life of connections and of the requests on them, from accept
 * to close. Bytes are http_input.c's and http_output.c's business.
 */
#include "loop/http_conn.h"

#include <stdlib.h>
#include <unistd.h>

#include "loop/slab.h"
#include "sys/scoreboard.h"

static struct slab slab = { .size = sizeof(struct http_conn), .link = offsetof(struct conn, next) };
static uint64_t serials;

/* Requests until limit_reached; without a limit it wraps around, and never gets there. */
static uint64_t requests_left;
static void (*limit_reached)(void);

static const struct conn_ops ops;

static struct http_conn *of(struct conn *conn)
{
	return (struct http_conn *)conn;
}

static void count_connections(struct http_server *s, int change)
{
	struct scoreboard_slot *slot = scoreboard_mine();

	s->counts.connections += (uint64_t)change;
	if (slot)
		slot->connections += (uint64_t)change;
}

/* ---- connections ---- */

static void reset(struct http_conn *c, struct http_server *s)
{
	c->server = s;
	c->phase = PHASE_HEAD;
	c->phase_limit.next = c->write_limit.next = c->request_limit.next = NULL;
	c->refs = (struct http_refs){ 0, 0, 0 };
	c->parsed = 0;
	c->processing = c->linger = c->more = false;
	c->late = 0;
	c->fresh = true;
	c->said_last = false;
	c->note = NULL;
	c->taker = NULL;
	c->hung_up = false;
	llhttp_init(&c->parser, HTTP_REQUEST, &http_settings);
	c->parser.data = c;
	http_response_reset(c);
}

void http_accepted(void *data, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct http_server *s = data;
	struct http_conn *c = slab_get(&slab);

	(void)len;
	if (!c) {
		close(fd);
		return;
	}
	conn_open(&c->conn, s->loop, fd, peer, &ops);
	reset(c, s);
	conn_link(&s->conns, &c->conn);
	count_connections(s, 1);
	http_limit_conns(s);
	/* The request is often here already; one that closes after it never needs the watcher. */
	http_input_read(c);
}

static void count_active(struct http_server *s, int change)
{
	struct scoreboard_slot *slot = scoreboard_mine();

	s->counts.active += (uint64_t)change;
	if (slot)
		slot->active += (uint64_t)change;
}

static struct http_refs take_refs(struct http_conn *c)
{
	struct http_refs refs = c->refs;

	c->refs = (struct http_refs){ 0, 0, 0 };
	return refs;
}

static bool has_refs(const struct http_refs *refs)
{
	return refs->body || refs->drain || refs->close;
}

void http_close(struct http_conn *c, bool reset)
{
	struct http_server *s = c->server;
	struct http_refs refs = take_refs(c);
	struct http_taken taken;
	bool open = http_request_open(c);

	if (c->phase == PHASE_DEAD)
		return;
	taken = http_untake(c);
	c->phase = PHASE_DEAD;
	c->serial = 0;
	if (open || c->note)
		http_log_closed(c);
	deadline_stop(&c->phase_limit);
	deadline_stop(&c->write_limit);
	deadline_stop(&c->request_limit);
	buffer_free(&c->in);
	buffer_free(&c->body);
	buffer_free(&c->headers);
	buffer_free(&c->trailers);
	conn_unlink(&s->conns, &c->conn);
	count_connections(s, -1);
	conn_close(&c->conn, reset);
	if (s->full)
		http_conns_fewer(s);
	if (open) {
		count_active(s, -1);
		if (taken.by)
			taken.by->ended(taken.data, true);
		if (has_refs(&refs))
			s->app->ended(s->data, refs, true);
	}
	http_check_stopped(s);
}

/* Close so that the client still gets what was sent to it, though it may be sending itself. */
static void linger(struct http_conn *c)
{
	conn_shutdown(&c->conn);
	c->phase = PHASE_LINGER;
	c->undelivered = SIZE_MAX;
	deadline_start(&c->server->deadlines, LIST_LINGER, &c->phase_limit);
	http_settle(c);
}

void http_end(struct http_conn *c)
{
	if (!c->conn.eof && (c->linger || (!c->said_last && conn_has_unread(&c->conn))))
		linger(c);
	else
		http_close(c, false);
}

/* A slow reader of a long answer has its time, as long as it reads. */
void http_lingered(struct http_conn *c)
{
	size_t left = conn_undelivered(&c->conn);

	if (!left || left >= c->undelivered) {
		http_close(c, false);
		return;
	}
	c->undelivered = left;
	deadline_start(&c->server->deadlines, LIST_LINGER, &c->phase_limit);
}

/* ---- requests ---- */

void http_request_limit(uint64_t n, void (*reached)(void))
{
	requests_left = n;
	limit_reached = reached;
}

void http_request_begin(struct http_conn *c, const struct http_head *head)
{
	struct http_server *s = c->server;
	struct scoreboard_slot *slot = scoreboard_mine();
	struct http_log_now now;

	c->serial = ++serials;
	s->counts.requests++;
	count_active(s, 1);
	if (slot) {
		slot->requests++;
		scoreboard_request(slot, uv_hrtime(), head->base + head->method.at,
				   head->method.len, head->base + head->path.at, head->path.len);
	}
	if (--requests_left == 0) {
		uint64_t serial = c->serial;

		limit_reached();
		/* It may have closed the server. */
		if (!http_alive(c, serial))
			return;
	}
	http_limit_request(c);
	http_log_enter(&now, c, head);
	s->app->request(s->data, c, head);
	http_log_leave(&now);
}

void http_request_end(struct http_conn *c)
{
	struct http_server *s = c->server;
	struct http_refs refs = take_refs(c);
	struct http_taken taken = http_untake(c);
	bool incomplete = c->phase == PHASE_BODY;
	bool was_open = http_request_open(c);
	uint64_t bytes = c->body_sent;
	int status = c->status;

	c->serial = 0;
	deadline_stop(&c->request_limit);
	if (!c->conn.out_bytes)
		deadline_stop(&c->write_limit);
	buffer_clear(&c->body, 0);
	buffer_clear(&c->trailers, 0);
	/* A client that has not taken it yet may send something before it has. */
	c->linger |= c->conn.out_bytes > 0;
	if (!c->keep_alive || c->body_gone) {
		c->linger |= incomplete || c->in.len > 0;
		c->phase = PHASE_FLUSH;
	} else if (incomplete) {
		c->body_received = 0;
		c->body_since = uv_now(s->loop);
		c->hurried = false;
		c->body_before = 0;
		c->phase = PHASE_DRAIN;
	} else {
		c->phase = PHASE_IDLE;
	}
	http_response_reset(c);
	if (was_open) {
		uint64_t life = c->conn.life;

		count_active(s, -1);
		http_log_answered(c, status, bytes);
		if (taken.by)
			taken.by->ended(taken.data, false);
		if (has_refs(&refs))
			s->app->ended(s->data, refs, false);
		if (!conn_alive(&c->conn, life))
			return;
	}
	http_settle(c);
}

uint64_t http_serial(const struct http_conn *c)
{
	return c->serial;
}

bool http_alive(const struct http_conn *c, uint64_t serial)
{
	return c->serial == serial && serial != 0 && c->conn.generation == fork_generation();
}

struct http_refs *http_refs(struct http_conn *c)
{
	return &c->refs;
}

bool http_client_gone(const struct http_conn *c)
{
	return c->hung_up || c->conn.eof;
}

const struct conn_peer *http_peer(const struct http_conn *c)
{
	return &c->conn.peer;
}

/* ---- what the socket says ---- */

void http_wake_writer(struct http_conn *c)
{
	uint64_t life = c->conn.life;

	if (c->conn.out_bytes >= CONN_HIGH_WATER / 4)
		return;
	if (c->taker)
		c->taker->drained(c->taken);
	if (conn_alive(&c->conn, life) && c->refs.drain)
		c->server->app->drained(c->server->data, c);
}

/* A client that hung up tells nothing more: it must take a piece of its answer now and then. */
static void watch_writing(struct http_conn *c)
{
	deadline_stop(&c->write_limit);
	if (c->conn.out_bytes || (http_request_open(c) && http_client_gone(c)))
		deadline_start(&c->server->deadlines, LIST_WRITE, &c->write_limit);
}

/*
 * One that only ended its side waits for its answer; one that is gone altogether looks the
 * same, but on a Unix socket. Should nothing ever be sent to it, write_timeout ends it, and its
 * descriptor is not held for longer.
 */
void http_hung_up(struct http_conn *c)
{
	c->hung_up = true;
	/* In a tunnel the other way may still have an end to come. */
	if (c->phase != PHASE_TUNNEL && conn_is_cut(&c->conn)) {
		http_close(c, false);
		return;
	}
	watch_writing(c);
	http_tell_closed(c);
}

static void on_readable(struct conn *conn)
{
	http_input_read(of(conn));
}

static void on_written(struct conn *conn)
{
	struct http_conn *c = of(conn);

	uint64_t life = conn->life;

	watch_writing(c);
	if (c->ends && !conn->out_bytes)
		conn_shutdown(conn);
	http_log_sent(c);
	if (conn_alive(conn, life))
		http_wake_writer(c);
	if (conn_alive(conn, life))
		http_settle(c);
}

static void on_broken(struct conn *conn, int err)
{
	struct http_conn *c = of(conn);

	if (err || !http_request_open(c)) {
		http_close(c, false);
		return;
	}
	/* Only the client's side has ended, and we were not reading. */
	http_hung_up(c);
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
