/*
 * relay.c - the life of a relay: connecting, the request's body, time, and the end, of which there
 * is exactly one. It decides nothing about trying again.
 */
#include "loop/relay_parts.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "loop/slab.h"

static struct slab slab = { .size = sizeof(struct relay), .link = offsetof(struct relay, next) };
static uint64_t lives;
static const struct http_taker taker;

static void connect_up(struct relay *r);

/* ---- ends ---- */

/* Everything is let go of but the request. */
static void dispose(struct relay *r)
{
	deadline_stop(&r->limit);
	deadline_stop(&r->grace);
	if (r->connector)
		connect_cancel(r->connector);
	if (r->link)
		relay_link_close(r->link, !r->asked || r->stage == STAGE_TUNNEL);
	r->connector = NULL;
	r->link = NULL;
	buffer_free(&r->head);
	buffer_free(&r->trailers);
	relay_upstream_leave(r->up);
	r->life = 0;
	slab_put(&slab, r);
}

static void describe(const struct relay *r, struct relay_end *end, enum relay_fault fault, int err)
{
	*end = (struct relay_end){ .fault = fault,
				   .err = err,
				   .sent = r->sent,
				   .came = r->came,
				   .began = r->began,
				   .kept = r->link && r->link->used,
				   .whole = !r->taken };
}

static void end(struct relay *r, const struct relay_end *end)
{
	relay_over_cb over = r->over;
	struct relay_refs refs = r->refs;

	dispose(r);
	over(refs, end);
}

static void vfail(struct relay *r, struct relay_end *e, const char *fmt, va_list ap)
{
	int n = snprintf(e->why, sizeof(e->why), "%s: ", r->up->text);

	if (n < (int)sizeof(e->why))
		vsnprintf(e->why + n, sizeof(e->why) - (size_t)n, fmt, ap);
}

void relay_fail(struct relay *r, enum relay_fault fault, int err, const char *fmt, ...)
{
	struct relay_end e;
	va_list ap;

	describe(r, &e, fault, err);
	va_start(ap, fmt);
	vfail(r, &e, fmt, ap);
	va_end(ap);
	http_give_back(r->c);
	/* Whoever asked has gone, as far as we can tell: nobody else has anything to say to it. */
	if ((r->began || fault == RELAY_GONE) && http_alive(r->c, r->serial))
		http_fail(r->c, r->asked ? 502 : 400);
	end(r, &e);
}

/* The connection may carry another request. */
static void release_link(struct relay *r)
{
	struct relay_link *l = r->link;

	r->link = NULL;
	if (r->keep && r->reusable && r->asked && !l->conn.out_bytes)
		relay_link_keep(l);
	else
		relay_link_close(l, !r->asked);
}

/* Trailers go on where they can be told from the body, and are dropped elsewhere. */
static int finish_answer(struct relay *r, const char *bytes, size_t len)
{
	static struct buffer lines;

	/* Nothing of the body is known, as its length would be. */
	if (r->framing == BODY_NONE && r->is_head && !r->has_length && http_write(r->c, "", 0) < 0)
		return -EPIPE;
	if (!r->trailers.len)
		return http_finish(r->c, bytes, len);
	lines.len = 0;
	relay_pass_trailers(&lines, r->trailers.data, r->trailers.len);
	return http_finish_trailers(r->c, bytes, len, lines.data, lines.len);
}

void relay_finish(struct relay *r, const char *bytes, size_t len)
{
	struct relay_end e;
	int err;

	http_give_back(r->c);
	r->began = true;
	describe(r, &e, RELAY_DONE, 0);
	err = finish_answer(r, bytes, len);
	if (err) {
		e.fault = RELAY_GONE;
		e.err = err;
		snprintf(e.why, sizeof(e.why), "the client has gone");
	}
	release_link(r);
	end(r, &e);
}

void relay_tunnel_over(struct relay *r)
{
	struct relay_end e;

	http_give_back(r->c);
	describe(r, &e, RELAY_DONE, 0);
	http_tunnel_finish(r->c);
	relay_link_close(r->link, false);
	r->link = NULL;
	end(r, &e);
}

/* ---- time ---- */

static void on_expired(struct deadline *d, int list, void *data)
{
	struct relay *r;

	(void)data;
	if (list == RELAY_IDLE) {
		relay_link_close((struct relay_link *)((char *)d -
						       offsetof(struct relay_link, limit)),
				 false);
		return;
	}
	if (list == RELAY_PROGRESS) {
		r = (struct relay *)((char *)d - offsetof(struct relay, limit));
		if (r->stage == STAGE_CONNECT && r->no_files)
			relay_fail(r, RELAY_CONNECT, r->no_files, "connect: %s",
				   uv_strerror(r->no_files));
		else if (r->stage == STAGE_CONNECT)
			relay_fail(r, RELAY_TIMEOUT, -ETIMEDOUT, "not connected within %g s",
				   (double)r->connect_timeout / 1e3);
		else
			relay_fail(r, RELAY_TIMEOUT, -ETIMEDOUT, "%s within %g s",
				   r->stage == STAGE_TUNNEL  ? "nothing more"
				   : r->link->conn.out_bytes ? "it took no more of the request"
				   : r->stage == STAGE_HEAD  ? "no answer"
							     : "no more of the answer",
				   (double)r->timeout / 1e3);
		return;
	}
	r = (struct relay *)((char *)d - offsetof(struct relay, grace));
	if (list == RELAY_AGAIN)
		connect_up(r);
	else if (http_awaits_continue(r->c))
		http_continue(r->c);
	else if (!r->began && http_client_gone(r->c))
		relay_fail(r, RELAY_GONE, -ECONNRESET, "the client has gone");
}

/* One timer for all of this process. */
struct deadlines *relay_deadlines(uv_loop_t *loop)
{
	static struct deadlines *all;
	static unsigned generation;

	if (all && generation == fork_generation())
		return all;
	/* Our parent's stays where it is: its loop is closed with it. */
	all = malloc(sizeof(*all));
	if (!all)
		abort();
	generation = fork_generation();
	deadlines_open(all, loop, on_expired, NULL);
	return all;
}

void relay_pace(struct relay *r, bool moved)
{
	uint64_t after = r->stage == STAGE_CONNECT ? r->connect_timeout : r->timeout;
	bool owes = false;

	if (r->stage == STAGE_CONNECT)
		owes = true;
	else if (r->stage == STAGE_TUNNEL)
		owes = r->ended || http_input_ended(r->c);
	else
		owes = r->link->conn.out_bytes || (r->asked && !r->link->paused);
	if (!owes || !after)
		deadline_stop(&r->limit);
	else if (moved || !r->limit.next)
		deadline_start_in(relay_deadlines(r->loop), RELAY_PROGRESS, &r->limit, after);
}

void relay_watch_client(struct relay *r)
{
	if (!r->asked || r->began || r->half || !http_client_gone(r->c))
		return;
	r->half = true;
	deadline_start_in(relay_deadlines(r->loop), RELAY_GRACE, &r->grace, RELAY_HALF_MS);
}

/* ---- waiting ---- */

static void begin_waiting(struct relay *r)
{
	r->stage = STAGE_HEAD;
	relay_pace(r, true);
	relay_watch_client(r);
	if (http_awaits_continue(r->c))
		deadline_start_in(relay_deadlines(r->loop), RELAY_GRACE, &r->grace,
				  RELAY_CONTINUE_MS);
}

/* ---- what the http server tells ---- */

static void on_body(void *data)
{
	relay_pump(data);
}

static void on_drained(void *data)
{
	struct relay *r = data;
	uint64_t life = r->life;

	if (!r->link || !r->link->paused)
		return;
	relay_link_resume(r->link);
	if (relay_alive(r, life))
		relay_pace(r, true);
}

static void on_closed(void *data)
{
	struct relay *r = data;

	if (r->stage == STAGE_TUNNEL)
		relay_tunnel_closed(r);
	else
		relay_watch_client(r);
}

static void on_ended(void *data, bool gone)
{
	struct relay *r = data;
	struct relay_end e;

	/* A tunnel whose other side had said its last. */
	describe(r, &e, r->ended ? RELAY_DONE : RELAY_GONE, -ECONNRESET);
	snprintf(e.why, sizeof(e.why), "%s",
		 gone ? "the client has gone" : "the request was answered by somebody else");
	r->asked = false;
	end(r, &e);
}

static void on_came(void *data, const char *bytes, size_t len)
{
	relay_tunnel_taken(data, bytes, len);
}

static bool has_room(void *data)
{
	return relay_tunnel_has_room(data);
}

static const struct http_taker taker = {
	.body = on_body,
	.drained = on_drained,
	.closed = on_closed,
	.ended = on_ended,
	.came = on_came,
	.has_room = has_room,
};

/* ---- the beginning ---- */

/* Descriptors are short: what is idle goes, and who has come waits for what others give back. */
static void await_room(struct relay *r, int err)
{
	bool found = relay_kept() > 0;

	r->no_files = err;
	relay_close_kept();
	found |= http_make_room(r->c);
	deadline_start_in(relay_deadlines(r->loop), RELAY_AGAIN, &r->grace,
			  found ? 0 : RELAY_AGAIN_MS);
}

static void on_connected(void *data, int fd, const struct sockaddr *peer)
{
	struct relay *r = data;
	uint64_t life = r->life;
	int err = fd;

	r->connector = NULL;
	if (fd == -EMFILE || fd == -ENFILE) {
		await_room(r, fd);
		return;
	}
	if (fd >= 0)
		err = relay_link_open(r, fd, peer);
	if (err < 0) {
		relay_fail(r, RELAY_CONNECT, err, "connect: %s", uv_strerror(err));
		return;
	}
	err = relay_send(r, &r->head);
	if (!relay_alive(r, life))
		return;
	buffer_free(&r->head);
	begin_waiting(r);
	if (err)
		relay_link_tear(r->link);
}

/* A failure is told later, as all others are. */
static void connect_up(struct relay *r)
{
	int err = connect_start(&r->connector, r->loop, &r->up->addr, on_connected, r);

	if (err)
		relay_fail(r, RELAY_CONNECT, err, "connect: %s", uv_strerror(err));
}

static void describe_start(struct relay_end *end, enum relay_fault fault, int err,
			   const char *address, const char *why)
{
	*end = (struct relay_end){ .fault = fault, .err = err, .whole = true };
	snprintf(end->why, sizeof(end->why), "%s: %s", address, why);
}

/* With a connection at hand, or without one. Returns 0, or -errno: then r is still there. */
static int begin(struct relay *r, const struct http_head *head, const struct relay_plan *plan)
{
	static struct buffer out;
	uint64_t life = r->life;
	int err = relay_build_request(r, head, plan, &out);

	if (err)
		return err;
	if (!plan->fresh)
		r->link = relay_link_take(r, !relay_is_repeatable(r, head));
	if (r->link) {
		err = relay_send(r, &out);
		if (!relay_alive(r, life))
			return 0;
		if (!err)
			begin_waiting(r);
		return err;
	}
	err = buffer_append(&r->head, out.data, out.len);
	if (!err)
		err = connect_start(&r->connector, r->loop, &r->up->addr, on_connected, r);
	if (!err)
		relay_pace(r, true);
	return err;
}

static struct relay *make(uv_loop_t *loop, struct http_conn *c, const struct http_head *head,
			  const struct relay_plan *plan)
{
	struct relay *r = slab_get(&slab);

	if (!r)
		return NULL;
	*r = (struct relay){ .life = ++lives,
			     .loop = loop,
			     .c = c,
			     .serial = http_serial(c),
			     .timeout = plan->timeout,
			     .connect_timeout = plan->connect_timeout,
			     .keep = plan->keep,
			     .old_client = head->minor == 0,
			     .is_head = head->method.len == 4 &&
					memcmp(head->base + head->method.at, "HEAD", 4) == 0,
			     .chunked = http_body_is_chunked(c) };
	r->upload = r->chunked || http_body_length(c) > 0;
	return r;
}

int relay_start(uv_loop_t *loop, struct http_conn *c, const struct http_head *head,
		const struct relay_plan *plan, relay_over_cb over, struct relay_refs refs,
		struct relay_end *end)
{
	struct relay *r;
	int err;

	if (http_body_too_large(c)) {
		describe_start(end, RELAY_TOO_LARGE, -EMSGSIZE, plan->address,
			       "the request's body is larger than max_body");
		return -EMSGSIZE;
	}
	/* No news of it will come any more. */
	if (http_body_is_gone(c)) {
		describe_start(end, RELAY_GONE, -ECONNRESET, plan->address, "the client has gone");
		http_fail(c, 400);
		return -ECONNRESET;
	}
	r = make(loop, c, head, plan);
	if (!r)
		return -ENOMEM;
	r->over = over;
	r->refs = refs;
	r->up = relay_upstream_get(plan->address, &err);
	if (!r->up) {
		describe_start(end, RELAY_CONNECT, err, plan->address, addr_problem(err));
		r->life = 0;
		slab_put(&slab, r);
		return err;
	}
	http_take(c, &taker, r);
	if (!plan->keep)
		http_body_hurry(c);
	err = begin(r, head, plan);
	if (err) {
		describe(r, end, r->link ? RELAY_CLOSED : RELAY_CONNECT, err);
		snprintf(end->why, sizeof(end->why), "%s: %s", plan->address, uv_strerror(err));
		http_give_back(c);
		dispose(r);
	}
	return err;
}
