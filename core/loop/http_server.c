/*
 * http_server.c - opening and stopping a server, and what happens when something
 * takes too long. Single connections are http_conn.c's business.
 */
#include "loop/http_server.h"

#include <errno.h>
#include <stdlib.h>

#include "loop/accept.h"
#include "loop/http_conn.h"

/* ---- time ---- */

enum cut { CUT_BODY, CUT_WRITE, CUT_REQUEST };

/* For whoever goes on answering, and finds that nothing is owed any more. */
static void note_cut(struct http_conn *c, enum cut why)
{
	if (c->serial)
		c->cut = c->serial * 4 + why;
}

const char *http_cut_by(const struct http_conn *c, uint64_t serial)
{
	static const char *const names[] = { "body_timeout", "write_timeout", "request_timeout" };

	return c->cut / 4 == serial ? names[c->cut % 4] : "the client has gone";
}

static void body_timed_out(struct http_conn *c)
{
	note_cut(c, CUT_BODY);
	if (!http_request_open(c) || c->head_sent)
		http_close(c, true);
	else
		http_refuse(c, 408);
}

static void release(struct http_conn *c);

/* Whether a request has come at the last moment: the loop looks at the time first. */
static bool has_come(struct http_conn *c)
{
	if (!conn_has_unread(&c->conn))
		return false;
	http_input_read(c);
	return true;
}

static void on_phase_expired(struct http_conn *c, int list)
{
	switch (list) {
	case LIST_RESUME:
		if (http_drops_idle(c->server) && !c->in.len)
			release(c);
		else
			http_input_resume(c);
		break;
	case LIST_LINGER: http_lingered(c); break;
	case LIST_IDLE:
		if (!has_come(c))
			http_close(c, false);
		break;
	case LIST_HEADER:
		if (!http_head_is_blank(c->in.data, c->in.len)) {
			http_refuse_head(c, 408, c->in.data, c->in.len);
			break;
		}
		if (has_come(c))
			break;
		/* A client that has sent nothing has asked nothing, but may still be reading. */
		c->phase = PHASE_FLUSH;
		http_settle(c);
		break;
	case LIST_BODY: body_timed_out(c); break;
	default: http_close(c, false);
	}
}

static void on_expired(struct deadline *d, int list, void *data)
{
	(void)data;
	if (list == LIST_WRITE) {
		struct http_conn *c =
			(struct http_conn *)((char *)d - offsetof(struct http_conn, write_limit));

		note_cut(c, CUT_WRITE);
		http_close(c, true);
	} else if (list == LIST_REQUEST || list == LIST_DROPPED) {
		struct http_conn *c =
			(struct http_conn *)((char *)d - offsetof(struct http_conn, request_limit));

		if (list == LIST_REQUEST && !c->head_sent)
			c->keep_alive = false;
		if (list == LIST_REQUEST)
			note_cut(c, CUT_REQUEST);
		http_fail(c, list == LIST_REQUEST ? 503 : 500);
	} else {
		on_phase_expired((struct http_conn *)((char *)d -
						      offsetof(struct http_conn, phase_limit)),
				 list);
	}
}

void http_drop(struct http_conn *c)
{
	deadline_start_early(&c->server->deadlines, LIST_DROPPED, &c->request_limit, 0);
}

void http_limit_request(struct http_conn *c)
{
	struct http_server *s = c->server;

	if (!s->limits.request_timeout && !s->request_limit)
		return;
	/* The handlers before it in this turn may have taken their time. */
	uv_update_time(s->loop);
	if (s->request_limit)
		deadline_start_early(&s->deadlines, LIST_REQUEST, &c->request_limit,
				     s->request_limit);
	else
		deadline_start(&s->deadlines, LIST_REQUEST, &c->request_limit);
}

/* ---- how many connections there are ---- */

/* The one that has been idle longest, unless it is not any more. */
static bool close_idle(struct http_server *s)
{
	struct deadline *head = &s->deadlines.heads[LIST_IDLE];

	for (struct deadline *d = head->next; d != head; d = d->next) {
		struct http_conn *c =
			(struct http_conn *)((char *)d - offsetof(struct http_conn, phase_limit));

		if (!conn_has_unread(&c->conn)) {
			http_close(c, false);
			return true;
		}
	}
	return false;
}

void http_limit_conns(struct http_server *s)
{
	uint64_t most = s->limits.max_open;
	bool over = s->counts.connections > most;
	struct deadline *idle = &s->deadlines.heads[LIST_IDLE];

	if (!most || s->stopping || s->counts.connections < most)
		return;
	s->full = over ? !close_idle(s) : idle->next == idle;
	/* As long as others may be waiting, whoever is answered goes. */
	s->crowded_until = uv_now(s->loop) + HTTP_CROWDED_MS;
	if (s->full)
		acceptor_rest(s->acceptor);
}

void http_conns_fewer(struct http_server *s)
{
	s->full = false;
	if (!s->stopping)
		acceptor_go_on(s->acceptor);
}

bool http_make_room(struct http_conn *c)
{
	acceptor_back_off(c->server->acceptor, -EMFILE);
	c->server->crowded_until = uv_now(c->server->loop) + HTTP_CROWDED_MS;
	return close_idle(c->server);
}

/* ---- the server ---- */

int http_server_open(struct http_server **out, uv_loop_t *loop, const struct http_limits *limits,
		     const struct http_app *app, void *data)
{
	struct http_server *s = calloc(1, sizeof(*s));
	int err = -ENOMEM;

	if (!s)
		return err;
	s->loop = loop;
	s->limits = *limits;
	s->app = app;
	s->data = data;
	err = http_input_reserve(limits->max_header);
	if (err)
		goto fail;
	err = acceptor_open(&s->acceptor, loop, http_accepted, s);
	if (err)
		goto fail;
	deadlines_open(&s->deadlines, loop, on_expired, s);
	deadlines_set(&s->deadlines, LIST_HEADER, limits->header_timeout);
	deadlines_set(&s->deadlines, LIST_IDLE, limits->idle_timeout);
	deadlines_set(&s->deadlines, LIST_BODY, limits->body_timeout);
	deadlines_set(&s->deadlines, LIST_WRITE, limits->write_timeout);
	deadlines_set(&s->deadlines, LIST_REQUEST, limits->request_timeout);
	deadlines_set(&s->deadlines, LIST_LINGER, HTTP_LINGER_MS);
	*out = s;
	return 0;
fail:
	free(s);
	return err;
}

int http_server_listen(struct http_server *s, int fd)
{
	return s->stopping ? -ECANCELED : acceptor_add(s->acceptor, fd);
}

static void on_server_closed(uv_handle_t *handle)
{
	struct http_server *s = (struct http_server *)((char *)handle - offsetof(struct http_server,
										 deadlines.timer));

	s->app->stopped(s->data);
	free(s);
}

/*
 * The last connection of a stopping server is gone: so is the server, as soon as libuv has
 * let go of its timer.
 */
void http_check_stopped(struct http_server *s)
{
	if (!s->stopping || s->closing || s->conns)
		return;
	s->closing = true;
	deadlines_close(&s->deadlines, on_server_closed);
}

/*
 * A new connection without a request yet was accepted from a queue that siblings share: it gets
 * its chance.
 */
static uint64_t chance(const struct http_server *s)
{
	uint64_t had = uv_now(s->loop) - s->stopped_at;

	return had < HTTP_FRESH_MS ? HTTP_FRESH_MS - had : 0;
}

/*
 * One whose request may be on its way: read once more, and if there is nothing, do as the
 * phase says.
 */
static void release(struct http_conn *c)
{
	struct deadlines *deadlines = &c->server->deadlines;

	if (c->phase == PHASE_IDLE || (c->phase == PHASE_HEAD && c->fresh)) {
		uint64_t life = c->conn.life;

		/* A handler closed the server: what its client sent must not be read over. */
		if (http_input_is_busy()) {
			deadline_start_early(deadlines, LIST_RESUME, &c->phase_limit, 0);
			return;
		}
		http_input_read(c);
		if (conn_alive(&c->conn, life) && c->phase == PHASE_HEAD && c->fresh)
			deadline_start_early(deadlines, LIST_HEADER, &c->phase_limit,
					     chance(c->server));
	}
}

static void each_conn(struct http_server *s, void (*fn)(struct http_conn *c))
{
	struct conn *conn = s->conns, *next;

	for (; conn; conn = next) {
		uint64_t life;

		next = conn->next;
		life = next ? next->life : 0;
		fn((struct http_conn *)conn);
		/* The application may have closed the next one as well: then from the start. */
		if (next && !conn_alive(next, life))
			next = s->conns;
	}
}

static void cut(struct http_conn *c)
{
	http_close(c, http_request_open(c));
}

/* Whom we called may have asked for more than we began with. */
static void end_closing(struct http_server *s)
{
	if (s->cut)
		each_conn(s, cut);
	s->closing = false;
	http_check_stopped(s);
}

/* Accept no more. What waits is taken, and may be served and call out at once. */
static void begin_stop(struct http_server *s)
{
	s->stopped_at = uv_now(s->loop);
	s->stopping = true;
	acceptor_finish(s->acceptor);
	s->acceptor = NULL;
}

void http_server_shutdown(struct http_server *s, bool keep_idle)
{
	bool again = s->stopping;

	if (again && (keep_idle || !s->keeps_idle))
		return;
	s->keeps_idle = keep_idle;
	/* Whoever is called by the first one asks again: that one is not through yet, and sees it.
	 */
	if (s->closing)
		return;
	/* The list must not look empty, and s not go, before we are through. */
	s->closing = true;
	if (!again)
		begin_stop(s);
	if (!s->keeps_idle)
		each_conn(s, release);
	end_closing(s);
}

void http_server_close(struct http_server *s)
{
	s->cut = true;
	if (s->closing)
		return;
	acceptor_close(s->acceptor);
	s->acceptor = NULL;
	s->stopping = s->closing = true;
	end_closing(s);
}

void http_server_limit(struct http_server *s, uint64_t ms)
{
	struct conn *conn;
	uint64_t end;

	uv_update_time(s->loop);
	end = uv_now(s->loop) + ms;
	if (s->limits.request_timeout && s->limits.request_timeout <= ms)
		return;
	s->request_limit = ms;
	for (conn = s->conns; conn; conn = conn->next) {
		struct http_conn *c = (struct http_conn *)conn;

		/* One that began long ago may have less time left. */
		if (http_request_open(c) && (!c->request_limit.next || c->request_limit.at > end))
			deadline_start_early(&s->deadlines, LIST_REQUEST, &c->request_limit, ms);
	}
}

void http_after_fork(void)
{
	http_request_limit(0, NULL);
	http_input_after_fork();
	http_log_after_fork();
}

struct http_counts http_server_counts(const struct http_server *s)
{
	return s->counts;
}
