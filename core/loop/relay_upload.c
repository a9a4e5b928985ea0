/*
 * relay_upload.c - a request's body on its way: as much of it as the other server takes, with the
 * framing its head has announced.
 */
#include "loop/relay_parts.h"

#include <stdio.h>

/* What one call sends. */
struct outgoing {
	struct iovec parts[7];
	int n;
	size_t total;
	char size[24];
};

static void add(struct outgoing *out, const void *bytes, size_t len)
{
	out->parts[out->n++] = (struct iovec){ (void *)bytes, len };
	out->total += len;
}

static void add_body(struct relay *r, struct outgoing *out, const struct buffer *body)
{
	r->taken = true;
	if (r->chunked)
		add(out, out->size,
		    (size_t)snprintf(out->size, sizeof(out->size), "%zx\r\n", body->len));
	add(out, body->data, body->len);
	if (r->chunked)
		add(out, "\r\n", 2);
}

/* Without memory for them, trailers are left out. */
static void add_end(struct relay *r, struct outgoing *out)
{
	static struct buffer lines;
	size_t len;
	const char *trailers = http_body_trailers(r->c, &len);

	lines.len = 0;
	if (len && relay_pass_trailers(&lines, trailers, len))
		lines.len = 0;
	add(out, "0\r\n", 3);
	if (lines.len)
		add(out, lines.data, lines.len);
	add(out, "\r\n", 2);
}

int relay_send(struct relay *r, const struct buffer *head)
{
	struct conn *conn = &r->link->conn;
	struct outgoing out;
	struct buffer body = { 0 };
	const char *bytes;
	size_t len;
	bool whole = http_body_peek(r->c, &bytes, &len) == HTTP_BODY_END;
	int err = 0;

	out.n = 0;
	out.total = 0;
	if (head)
		add(&out, head->data, head->len);
	if (r->upload && len) {
		http_body_lend(r->c, &body);
		add_body(r, &out, &body);
	}
	if (r->chunked && whole)
		add_end(r, &out);
	r->asked = whole;
	if (out.n)
		err = conn_write(conn, out.parts, out.n);
	if (!err && out.total > conn->out_bytes)
		r->sent = true;
	/* Last, because the client may be read on at once. */
	if (body.data) {
		http_body_return(r->c, &body, true);
		buffer_free(&body);
	}
	return err;
}

/* Returns whether r goes on. */
static bool check_body(struct relay *r)
{
	const char *bytes;
	size_t len;

	switch (http_body_peek(r->c, &bytes, &len)) {
	case HTTP_BODY_TOO_LARGE:
		relay_fail(r, RELAY_TOO_LARGE, -EMSGSIZE,
			   "the request's body is larger than max_body");
		return false;
	case HTTP_BODY_GONE:
		relay_fail(r, RELAY_GONE, -ECONNRESET,
			   "the client has gone in the middle of its request");
		return false;
	default: return true;
	}
}

void relay_pump(struct relay *r)
{
	uint64_t life = r->life;
	struct relay_link *l = r->link;
	int err;

	if (!check_body(r) || !l || r->asked || l->torn || l->conn.out_bytes >= CONN_HIGH_WATER)
		return;
	err = relay_send(r, NULL);
	if (!relay_alive(r, life))
		return;
	if (err) {
		relay_link_tear(l);
		return;
	}
	relay_pace(r, false);
	relay_watch_client(r);
}
