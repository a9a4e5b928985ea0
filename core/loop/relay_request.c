/*
 * relay_request.c - the head of a request as the other server gets it. Every line is written from
 * what the parser took apart; where the body ends is said as we understood it, and in no
 * other way.
 */
#include "loop/relay_parts.h"

/* What each line of the request at hand is. */
static uint8_t kinds[HTTP_FIELDS_MAX];

struct writer {
	struct relay *r;
	const struct http_head *head;
	const struct relay_plan *plan;
	struct buffer *out;
	struct relay_wishes wishes;
	struct http_slice host, upgrade, forwarded;
	bool has_length, has_host, has_upgrade, trailers;
};

/* Room was made before: see room_for. */
static void put(struct buffer *b, const char *bytes, size_t len)
{
	memcpy(b->data + b->len, bytes, len);
	b->len += len;
}

#define PUT(b, literal) put(b, literal, sizeof(literal) - 1)

static const char *text_of(const struct writer *w, struct http_slice s)
{
	return w->head->base + s.at;
}

static void put_slice(struct writer *w, struct http_slice s)
{
	put(w->out, text_of(w, s), s.len);
}

static void put_line(struct writer *w, const struct http_field *f)
{
	put_slice(w, f->name);
	PUT(w->out, ": ");
	put_slice(w, f->value);
	PUT(w->out, "\r\n");
}

static void put_number(struct buffer *b, uint64_t n)
{
	char digits[24];
	char *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	put(b, p, (size_t)(digits + sizeof(digits) - p));
}

/* ---- what the lines say together ---- */

/* HTTP/2 by this way would go on unseen, past all that is decided about requests. */
static bool may_upgrade(const char *value, size_t len)
{
	return !(len >= 2 && strncasecmp(value, "h2", 2) == 0) && !memchr(value, ',', len) &&
	       !(len >= 5 && strncasecmp(value, "http/", 5) == 0) && len > 0;
}

static void note_field(struct writer *w, const struct http_field *f, enum relay_field kind)
{
	const char *value = text_of(w, f->value);

	switch (kind) {
	case FIELD_CONNECTION: relay_read_wishes(&w->wishes, value, f->value.len); break;
	case FIELD_HOST:
		w->host = f->value;
		w->has_host = true;
		break;
	case FIELD_LENGTH: w->has_length = true; break;
	case FIELD_UPGRADE:
		w->upgrade = f->value;
		w->has_upgrade = !w->has_upgrade && may_upgrade(value, f->value.len);
		break;
	case FIELD_TE: w->trailers |= http_is_word(value, f->value.len, "trailers"); break;
	default: break;
	}
}

/* ---- lines ---- */

static void put_request_line(struct writer *w)
{
	put_slice(w, w->head->method);
	PUT(w->out, " ");
	put_slice(w, w->head->path);
	/* An empty query has its mark all the same. */
	if (w->head->query.at) {
		PUT(w->out, "?");
		put_slice(w, w->head->query);
	}
	PUT(w->out, " HTTP/1.1\r\n");
}

/* HTTP/1.0 need not name whom it asks; what we speak must. */
static void put_host(struct writer *w)
{
	const char *given = w->plan->host;
	const char *address = w->r->up->text;

	PUT(w->out, "Host: ");
	if (given)
		put(w->out, given, strlen(given));
	else if (w->has_host)
		put_slice(w, w->host);
	else if (w->r->up->addr.kind == ADDR_UNIX)
		PUT(w->out, "localhost");
	else
		put(w->out, address, strlen(address));
	PUT(w->out, "\r\n");
}

static void put_field(struct writer *w, const struct http_field *f, enum relay_field kind)
{
	const char *name = text_of(w, f->name);
	bool first;

	switch (kind) {
	case FIELD_OTHER:
	case FIELD_DATE:
		if (!w->wishes.others || !relay_is_named(w->head->base, w->head->fields,
							 w->head->count, name, f->name.len))
			put_line(w, f);
		break;
	case FIELD_EXPECT:
		if (http_awaits_continue(w->r->c))
			put_line(w, f);
		break;
	case FIELD_TRAILER:
		if (w->r->chunked)
			put_line(w, f);
		break;
	case FIELD_FORWARDED_FOR:
		/* The lines of this name are one list. */
		first = w->forwarded.len == 0;
		if (f->value.len) {
			put(w->out, first ? "X-Forwarded-For: " : ", ", first ? 17 : 2);
			put_slice(w, f->value);
			w->forwarded = f->value;
		}
		break;
	default: break;
	}
}

/* Whom the request came from, behind those that were named already. */
static void put_forwarded(struct writer *w)
{
	static struct conn_peer last;
	static char text[INET6_ADDRSTRLEN];
	const struct conn_peer *peer = http_peer(w->r->c);

	if (!text[0] || peer->family != last.family ||
	    memcmp(&peer->address, &last.address, sizeof(last.address)) != 0) {
		last = *peer;
		conn_peer_text(peer, text);
	}
	for (size_t i = 0; i < w->head->count; i++) {
		if (kinds[i] == FIELD_FORWARDED_FOR)
			put_field(w, &w->head->fields[i], kinds[i]);
	}
	/* A Unix socket has no address: what is in front of us has named its own client. */
	if (peer->family != AF_UNIX) {
		bool first = w->forwarded.len == 0;

		put(w->out, first ? "X-Forwarded-For: " : ", ", first ? 17 : 2);
		put(w->out, text, strlen(text));
		PUT(w->out, "\r\n");
	} else if (w->forwarded.len) {
		PUT(w->out, "\r\n");
	}
	PUT(w->out, "X-Forwarded-Proto: http\r\n");
	if (w->has_host) {
		PUT(w->out, "X-Forwarded-Host: ");
		put_slice(w, w->host);
		PUT(w->out, "\r\n");
	}
}

static void put_connection(struct writer *w)
{
	struct relay *r = w->r;
	bool te = w->trailers && !r->old_client;

	if (te)
		PUT(w->out, "TE: trailers\r\n");
	if (r->upgrade) {
		PUT(w->out, "Upgrade: ");
		put_slice(w, w->upgrade);
		PUT(w->out, "\r\n");
	}
	if (r->keep && !te && !r->upgrade)
		return;
	PUT(w->out, "Connection: ");
	if (r->upgrade)
		PUT(w->out, "upgrade");
	else if (!r->keep)
		PUT(w->out, "close");
	if (te)
		put(w->out, r->upgrade || !r->keep ? ", TE" : "TE", r->upgrade || !r->keep ? 4 : 2);
	PUT(w->out, "\r\n");
}

static void put_framing(struct writer *w)
{
	if (w->r->chunked) {
		PUT(w->out, "Transfer-Encoding: chunked\r\n");
	} else if (w->has_length) {
		PUT(w->out, "Content-Length: ");
		put_number(w->out, http_body_length(w->r->c));
		PUT(w->out, "\r\n");
	}
}

/* Every line is at most its own length and that of what goes between name, value and end. */
static int room_for(struct writer *w)
{
	size_t host = w->plan->host ? strlen(w->plan->host) : 0;

	return buffer_reserve(w->out, w->head->len + w->head->count * 4 + 2 * w->host.len + host +
					      ADDR_TEXT + 512);
}

int relay_build_request(struct relay *r, const struct http_head *head,
			const struct relay_plan *plan, struct buffer *out)
{
	struct writer w = { .r = r, .head = head, .plan = plan, .out = out };

	for (size_t i = 0; i < head->count; i++) {
		const struct http_field *f = &head->fields[i];

		kinds[i] = relay_field(text_of(&w, f->name), f->name.len);
		note_field(&w, f, kinds[i]);
	}
	if (!w.has_host && head->host.len) {
		w.host = head->host;
		w.has_host = true;
	}
	r->upgrade = w.wishes.upgrade && w.has_upgrade && !r->old_client && !r->upload;
	out->len = 0;
	if (room_for(&w))
		return -ENOMEM;
	put_request_line(&w);
	put_host(&w);
	for (size_t i = 0; i < head->count; i++) {
		if (kinds[i] != FIELD_FORWARDED_FOR)
			put_field(&w, &head->fields[i], kinds[i]);
	}
	put_forwarded(&w);
	put_connection(&w);
	put_framing(&w);
	PUT(out, "\r\n");
	return 0;
}

bool relay_is_repeatable(const struct relay *r, const struct http_head *head)
{
	static const char *const words[] = { "GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "PUT" };

	if (r->upload)
		return false;
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (head->method.len == strlen(words[i]) &&
		    memcmp(head->base + head->method.at, words[i], head->method.len) == 0)
			return true;
	}
	return false;
}
