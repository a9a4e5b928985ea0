/*
 * http_body.c - a request's body as the application takes it: on demand, so that
 * a sender is slowed down to the pace of its reader.
 */
#include "loop/http_conn.h"

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

void http_body_consume(struct http_conn *c)
{
	bool was_full = c->body.len >= HTTP_BODY_AHEAD;

	buffer_clear(&c->body, HTTP_BODY_AHEAD);
	if (was_full)
		http_settle(c);
}

int http_body_want(struct http_conn *c, bool whole)
{
	bool stalled = c->body.len >= HTTP_BODY_AHEAD && !c->whole;

	c->whole |= whole;
	if (c->phase != PHASE_BODY)
		return 0;
	if (c->expects_continue && !c->body_received && !c->head_sent)
		return http_send_continue(c);
	if (stalled && whole)
		http_settle(c);
	return 0;
}

bool http_body_too_large(const struct http_conn *c)
{
	return c->too_large;
}
