/*
 * http_taken.c - see http_taken.h. What is known of a request and its connection, for a room that
 * goes on with it; and connections that stop being HTTP. Where the bytes go is not its business.
 */
#include "loop/http_conn.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

void http_take(struct http_conn *c, const struct http_taker *taker, void *data)
{
	c->taker = taker;
	c->taken = data;
	c->body_since = uv_now(c->server->loop);
}

void http_body_hurry(struct http_conn *c)
{
	c->hurried = true;
	c->body_before = c->body_received;
}

void http_give_back(struct http_conn *c)
{
	c->taker = NULL;
}

struct http_taken http_untake(struct http_conn *c)
{
	struct http_taken taken = { c->taker, c->taken };

	c->taker = NULL;
	return taken;
}

/* ---- what is told ---- */

void http_tell_body(struct http_conn *c)
{
	uint64_t serial = c->serial;

	if (c->taker)
		c->taker->body(c->taken);
	if (http_alive(c, serial))
		c->server->app->body(c->server->data, c);
}

void http_tell_closed(struct http_conn *c)
{
	uint64_t serial = c->serial;

	c->server->app->closed(c->server->data, c);
	if (http_alive(c, serial) && c->taker)
		c->taker->closed(c->taken);
}

/* ---- the request ---- */

bool http_input_ended(const struct http_conn *c)
{
	return c->conn.eof;
}

bool http_body_is_chunked(const struct http_conn *c)
{
	return c->chunked_body;
}

bool http_body_is_untouched(const struct http_conn *c)
{
	return c->too_large || c->body_received == c->body.len;
}

bool http_body_is_gone(const struct http_conn *c)
{
	return c->body_gone;
}

uint64_t http_body_length(const struct http_conn *c)
{
	return c->body_left + c->body_received;
}

const char *http_body_trailers(const struct http_conn *c, size_t *len)
{
	*len = c->trailers.len;
	return c->trailers.data;
}

bool http_awaits_continue(const struct http_conn *c)
{
	return c->expects_continue && c->phase == PHASE_BODY && !c->body_received && !c->head_sent;
}

int http_continue(struct http_conn *c)
{
	return http_send_continue(c);
}

/* ---- its answer ---- */

struct buffer *http_lines(struct http_conn *c)
{
	return &c->headers;
}

void http_pass_head(struct http_conn *c, const struct http_passed *head)
{
	const char *usual = http_reason(head->status);

	c->status = head->status;
	c->declared = head->length;
	c->has_date = head->has_date;
	c->reason = NULL;
	if (strlen(usual) == head->reason_len && memcmp(usual, head->reason, head->reason_len) == 0)
		return;
	c->reason = head->reason;
	c->reason_len = head->reason_len;
}

int http_finish_trailers(struct http_conn *c, const char *bytes, size_t len, const char *lines,
			 size_t lines_len)
{
	if (lines_len && c->minor > 0 && c->declared == HTTP_NO_LIMIT) {
		c->tail = lines;
		c->tail_len = lines_len;
	}
	return http_finish(c, bytes, len);
}

/* ---- tunnels ---- */

/* Nobody asks the other side whether it is still there: the kernel does. */
static void watch_peer(int fd)
{
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

int http_tunnel(struct http_conn *c)
{
	static const char status[] = "HTTP/1.1 101 Switching Protocols\r\n";
	struct iovec parts[] = { { (void *)status, sizeof(status) - 1 },
				 { c->headers.data, c->headers.len },
				 { (void *)"\r\n", 2 } };
	int err;

	c->status = 101;
	c->head_sent = true;
	c->keep_alive = false;
	c->phase = PHASE_TUNNEL;
	watch_peer(c->conn.fd);
	err = conn_write(&c->conn, parts, 3);
	if (err) {
		http_close(c, false);
		return -EPIPE;
	}
	http_tunnel_resume(c);
	return 0;
}

int http_tunnel_write(struct http_conn *c, const char *bytes, size_t len)
{
	c->body_sent += len;
	return http_send_raw(c, bytes, len);
}

void http_tunnel_end(struct http_conn *c)
{
	c->ends = true;
	if (!c->conn.out_bytes)
		conn_shutdown(&c->conn);
}

void http_tunnel_resume(struct http_conn *c)
{
	if (c->in.len)
		http_input_resume(c);
	else
		http_settle(c);
}

void http_tunnel_finish(struct http_conn *c)
{
	http_request_end(c);
}

ssize_t http_tunnel_step(struct http_conn *c, const char *p, size_t len)
{
	uint64_t life = c->conn.life;

	if (!c->taker)
		return (ssize_t)len;
	if (!http_tunnel_has_room(c))
		return 0;
	c->taker->came(c->taken, p, len);
	return conn_alive(&c->conn, life) ? (ssize_t)len : -1;
}

bool http_tunnel_has_room(const struct http_conn *c)
{
	return c->taker && c->taker->has_room(c->taken);
}
