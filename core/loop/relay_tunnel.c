/*
 * relay_tunnel.c - after an upgrade both sides agreed on: bytes both ways, unseen. Each way
 * ends by itself, and all of it when both have.
 */
#include "loop/relay_parts.h"

static void watch_peer(int fd)
{
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

/* Over when each side has said its last. */
static bool is_over(struct relay *r)
{
	return r->ended && http_input_ended(r->c);
}

void relay_tunnel_begin(struct relay *r, const char *bytes, size_t len)
{
	uint64_t life = r->life;

	r->stage = STAGE_TUNNEL;
	r->began = true;
	r->reusable = false;
	watch_peer(r->link->conn.fd);
	if (http_tunnel(r->c))
		return;
	if (relay_alive(r, life) && len)
		relay_tunnel_came(r, bytes, len);
	if (relay_alive(r, life))
		relay_pace(r, true);
}

/* From the other server. */
void relay_tunnel_came(struct relay *r, const char *bytes, size_t len)
{
	uint64_t life = r->life;
	int got = http_tunnel_write(r->c, bytes, len);

	if (!relay_alive(r, life))
		return;
	if (got > 0)
		relay_link_pause(r->link);
	relay_pace(r, true);
}

void relay_tunnel_ended(struct relay *r)
{
	r->ended = true;
	if (is_over(r)) {
		relay_tunnel_over(r);
		return;
	}
	http_tunnel_end(r->c);
	relay_pace(r, true);
}

/* The client has ended its side; what it had sent before may still be unread. */
void relay_tunnel_closed(struct relay *r)
{
	if (!http_input_ended(r->c))
		return;
	if (is_over(r)) {
		relay_tunnel_over(r);
		return;
	}
	if (!r->link->conn.out_bytes)
		conn_shutdown(&r->link->conn);
	relay_pace(r, true);
}

/* From the client. */
void relay_tunnel_taken(struct relay *r, const char *bytes, size_t len)
{
	int err = conn_write(&r->link->conn, &(struct iovec){ (void *)bytes, len }, 1);

	if (err)
		relay_fail(r, RELAY_CLOSED, err, "the tunnel has broken: %s", uv_strerror(err));
	else
		relay_pace(r, true);
}

/* Some of what is for the other server has gone. */
void relay_tunnel_drained(struct relay *r)
{
	if (!r->link->conn.out_bytes && http_input_ended(r->c))
		conn_shutdown(&r->link->conn);
	else if (relay_tunnel_has_room(r))
		http_tunnel_resume(r->c);
}

bool relay_tunnel_has_room(const struct relay *r)
{
	return r->link->conn.out_bytes < CONN_HIGH_WATER;
}
