/*
 * http_body.c - a request's body: from the bytes of the connection to what the application
 * takes, on demand, so that a sender is slowed down to the pace of its reader.
 */
#include "loop/http_conn.h"

/* ---- bytes to body ---- */

/* The connection ends with this request: what is left of the body is read by nobody. */
void http_body_set_too_large(struct http_conn *c)
{
	c->too_large = true;
	c->keep_alive = false;
	buffer_free(&c->body);
}

/* Bytes of the body, or what announces so many. */
static int take_body(struct http_conn *c, const char *bytes, size_t len)
{
	c->body_received += len;
	if (c->phase == PHASE_DRAIN || c->too_large)
		return 0;
	if (c->body_received > c->server->limits.max_body) {
		http_body_set_too_large(c);
		return 0;
	}
	return buffer_append(&c->body, bytes, len);
}

static void body_complete(struct http_conn *c)
{
	c->phase = c->phase == PHASE_DRAIN ? PHASE_IDLE : PHASE_BUSY;
}

static ssize_t parse_sized(struct http_conn *c, const char *p, size_t len)
{
	size_t n = len < c->body_left ? len : (size_t)c->body_left;

	if (take_body(c, p, n))
		return -503;
	c->body_left -= n;
	if (!c->body_left)
		body_complete(c);
	return (ssize_t)n;
}

static int parse_chunk_data(struct http_conn *c, const char **p, const char *end)
{
	uint64_t left = c->chunk.left;
	size_t n = (uint64_t)(end - *p) < left ? (size_t)(end - *p) : (size_t)left;

	/* So much will not be taken: it need not even come. */
	if (c->phase == PHASE_BODY && left > c->server->limits.max_body - c->body_received)
		http_body_set_too_large(c);
	if (take_body(c, *p, n))
		return -503;
	http_chunk_took(&c->chunk, n);
	*p += n;
	return 0;
}

/* Few bodies have any: the empty line behind none is not worth keeping. */
static int take_trailers(struct http_conn *c, const char *from, const char *to)
{
	if (c->phase != PHASE_BODY || from == to)
		return 0;
	if (!c->trailers.len && (*from == '\r' || *from == '\n'))
		return 0;
	return buffer_append(&c->trailers, from, (size_t)(to - from));
}

static ssize_t parse_chunks(struct http_conn *c, const char *p, size_t len)
{
	const char *at = p, *end = p + len;

	while (!c->too_large || c->phase == PHASE_DRAIN) {
		const char *from = at;
		enum http_chunk_event event = http_chunk_next(&c->chunk, &at, end);

		if (c->in_trailers && take_trailers(c, from, at))
			return -503;
		switch (event) {
		case HTTP_CHUNK_DATA:
			if (parse_chunk_data(c, &at, end))
				return -503;
			break;
		case HTTP_CHUNK_LAST: c->in_trailers = true; break;
		case HTTP_CHUNK_END: body_complete(c); return at - p;
		case HTTP_CHUNK_MORE: return at - p;
		case HTTP_CHUNK_LARGE: return -431;
		case HTTP_CHUNK_BAD: return -400;
		}
	}
	return (ssize_t)len;
}

/*
 * Feed the body. Returns how many bytes belong to it, or minus the status to refuse it with.
 * Phase BODY becomes BUSY, or DRAIN becomes IDLE, when it is complete.
 */
ssize_t http_body_parse(struct http_conn *c, const char *p, size_t len)
{
	return c->chunked_body ? parse_chunks(c, p, len) : parse_sized(c, p, len);
}

bool http_body_has_room(const struct http_conn *c)
{
	return !c->too_large &&
	       (c->whole || c->phase == PHASE_DRAIN || c->body.len < HTTP_BODY_AHEAD);
}

/* A body that is not one: nothing behind it can be trusted. */
static void bad_body(struct http_conn *c, int status)
{
	c->body_gone = true;
	c->keep_alive = false;
	if (c->phase == PHASE_DRAIN) {
		c->linger = true;
		c->phase = PHASE_FLUSH;
	} else if (c->head_sent) {
		http_close(c, true);
	} else {
		http_refuse(c, status);
	}
}

ssize_t http_body_step(struct http_conn *c, const char *p, size_t len)
{
	uint64_t life = c->conn.life;
	ssize_t used;

	if (!http_body_has_room(c))
		return 0;
	used = http_body_parse(c, p, len);
	if (used < 0) {
		bad_body(c, (int)-used);
		return -1;
	}
	if (c->phase == PHASE_DRAIN && c->body_received > HTTP_DRAIN_MAX) {
		c->linger = true;
		c->phase = PHASE_FLUSH;
	}
	c->more = len > (size_t)used;
	if (http_request_open(c))
		http_tell_body(c);
	return conn_alive(&c->conn, life) ? used : -1;
}

/*
 * The time for the next piece of a body. A handler that takes it in pieces sees for itself how
 * it comes; a server behind us does not.
 */
void http_body_time(struct http_conn *c)
{
	uint64_t passed = uv_now(c->server->loop) - c->body_since;
	uint64_t grace = (c->hurried ? 1 : HTTP_BODY_GRACE) * c->server->limits.body_timeout;
	uint64_t came = c->body_received - c->body_before;
	bool in_pieces = c->phase == PHASE_BODY && !c->whole && !c->taker && !c->gathered;

	if (!c->phase_limit.next || in_pieces || passed < grace ||
	    came >= (passed - grace) * HTTP_BODY_RATE / 1000)
		deadline_start(&c->server->deadlines, LIST_BODY, &c->phase_limit);
}

/* ---- what the application takes ---- */

enum http_body_state http_body_peek(struct http_conn *c, const char **bytes, size_t *len)
{
	*bytes = c->body.data;
	*len = c->body.len;
	if (c->too_large)
		return HTTP_BODY_TOO_LARGE;
	if (c->phase == PHASE_BODY)
		return c->body_gone ? HTTP_BODY_GONE : HTTP_BODY_MORE;
	return HTTP_BODY_END;
}

void http_body_lend(struct http_conn *c, struct buffer *out)
{
	*out = c->body;
	c->body = (struct buffer){ 0 };
}

void http_body_return(struct http_conn *c, struct buffer *lent, bool taken)
{
	bool was_full = lent->len >= HTTP_BODY_AHEAD;

	if (taken)
		buffer_clear(lent, HTTP_BODY_AHEAD);
	/* Unless a finalizer has read on meanwhile. */
	if (!c->body.data) {
		c->body = *lent;
		*lent = (struct buffer){ 0 };
	}
	if (taken && was_full)
		http_settle(c);
}

int http_body_want(struct http_conn *c, bool whole)
{
	bool stalled = c->body.len >= HTTP_BODY_AHEAD && !c->whole;

	if (whole && !c->whole) {
		c->whole = true;
		c->body_since = uv_now(c->server->loop);
	}
	if (c->phase != PHASE_BODY)
		return 0;
	if (c->expects_continue && !c->body_received && !c->head_sent)
		return http_send_continue(c);
	if (stalled && whole)
		http_settle(c);
	return 0;
}

bool http_body_gather(struct http_conn *c)
{
	bool is_long = c->chunked_body || http_body_length(c) > HTTP_BODY_AHEAD;

	if (!c->gathered)
		c->body_since = uv_now(c->server->loop);
	c->gathered = true;
	return c->phase != PHASE_BODY || c->too_large || c->body_gone || http_awaits_continue(c) ||
	       (is_long && c->body_received);
}

bool http_body_too_large(const struct http_conn *c)
{
	return c->too_large;
}
