/*
 * http_log.c - from requests to lines of the access log.
 *
 * Most requests are answered while their head still lies where it was read: those are logged
 * from there. Of the others a note is kept until they are over. An answer counts as sent
 * once the socket has taken all of it but what any queue may hold.
 */
#include "loop/http_log.h"

#include <strings.h>

#include "loop/http_conn.h"

/* Client closed request: nginx's number, known to whoever reads such logs. */
#define STATUS_GONE 499

struct http_note {
	struct access_slice line, method, path, query, referer, agent;
	uint64_t started;
	int request;
	int minor;
	/* Answered, with this; its last bytes still wait. */
	int status;
	uint64_t bytes;
	char text[];
};

static struct {
	bool on;
	bool timed;
	bool by_app;
	enum access_format format;
	http_log_cb cb;
} setup;

static struct http_log_now *innermost;

void http_log_setup(enum access_format format, http_log_cb cb)
{
	setup.on = true;
	setup.timed = cb || format == ACCESS_JSON;
	setup.format = format;
	setup.cb = cb ? cb : setup.cb;
	setup.by_app = cb != NULL;
}

void http_log_stop(void)
{
	setup.on = setup.by_app = false;
}

static bool is_on(void)
{
	return setup.on && access_log_is_open();
}

bool http_log_wants_request(void)
{
	return setup.by_app && is_on();
}

/* ---- what is told of a request ---- */

static struct access_slice slice(const struct http_head *head, struct http_slice s)
{
	return (struct access_slice){ head->base + s.at, s.len };
}

/* The first of each name counts. */
static void find_fields(struct access_entry *e, const struct http_head *head)
{
	for (size_t i = 0; i < head->count; i++) {
		const struct http_field *f = &head->fields[i];
		const char *name = head->base + f->name.at;

		if (f->name.len == 7 && !e->referer.bytes && strncasecmp(name, "referer", 7) == 0)
			e->referer = slice(head, f->value);
		if (f->name.len == 10 && !e->agent.bytes &&
		    strncasecmp(name, "user-agent", 10) == 0)
			e->agent = slice(head, f->value);
	}
}

static struct access_slice first_line(const char *bytes, size_t len)
{
	const char *end = memchr(bytes, '\n', len);

	len = end ? (size_t)(end - bytes) : len;
	end = memchr(bytes, '\r', len);
	return (struct access_slice){ bytes, end ? (size_t)(end - bytes) : len };
}

static void describe(struct access_entry *e, const struct http_head *head)
{
	e->line = first_line(head->base + head->method.at, head->len - head->method.at);
	e->method = slice(head, head->method);
	e->path = slice(head, head->path);
	e->query = slice(head, head->query);
	e->minor = head->minor;
	find_fields(e, head);
}

/* Most come from where the one before came from: a proxy, or a client with much to ask. */
static struct access_slice address(const struct conn_peer *peer)
{
	static struct conn_peer last;
	static char text[INET6_ADDRSTRLEN];
	static size_t len;

	if (!len || peer->family != last.family ||
	    memcmp(&peer->address, &last.address, sizeof(last.address)) != 0) {
		last = *peer;
		conn_peer_text(peer, text);
		len = strlen(text);
	}
	return (struct access_slice){ text, len };
}

static void log_entry(struct http_conn *c, struct access_entry *e, uint64_t started)
{
	e->address = address(&c->conn.peer);
	e->ns = started ? uv_hrtime() - started : 0;
	access_log_entry(setup.format, e);
}

static double seconds_since(uint64_t started)
{
	return started ? (double)(uv_hrtime() - started) / 1e9 : 0;
}

/* ---- notes ---- */

static struct access_slice copy(char **to, struct access_slice from)
{
	struct access_slice made = { from.bytes ? *to : NULL, from.len };

	if (from.bytes && from.len)
		memcpy(*to, from.bytes, from.len);
	*to += from.len;
	return made;
}

/* Without memory for it, a request goes unlogged. */
static void make_note(struct http_log_now *now)
{
	struct access_entry e = { 0 };
	struct http_note *note;
	char *to;

	describe(&e, now->head);
	note = malloc(sizeof(*note) + e.line.len + e.method.len + e.path.len + e.query.len +
		      e.referer.len + e.agent.len);
	if (!note)
		return;
	to = note->text;
	note->line = copy(&to, e.line);
	note->method = copy(&to, e.method);
	note->path = copy(&to, e.path);
	note->query = copy(&to, e.query);
	note->referer = copy(&to, e.referer);
	note->agent = copy(&to, e.agent);
	note->started = now->started;
	note->request = now->request;
	note->minor = e.minor;
	note->status = 0;
	now->c->note = note;
}

static void log_note(struct http_conn *c, int status, uint64_t bytes)
{
	struct http_note *note = c->note;
	struct access_entry e = { .status = status, .bytes = bytes, .minor = note->minor };

	c->note = NULL;
	if (note->request) {
		setup.cb(c, note->request, NULL, status, bytes, seconds_since(note->started),
			 http_log_wants_request());
	} else if (is_on() && !setup.by_app) {
		e.line = note->line;
		e.method = note->method;
		e.path = note->path;
		e.query = note->query;
		e.referer = note->referer;
		e.agent = note->agent;
		log_entry(c, &e, note->started);
	}
	free(note);
}

static void log_now(struct http_log_now *now, int status, uint64_t bytes)
{
	struct http_conn *c = now->c;
	struct access_entry e = { .status = status, .bytes = bytes };

	now->c = NULL;
	if (now->request) {
		setup.cb(c, now->request, NULL, status, bytes, seconds_since(now->started),
			 http_log_wants_request());
	} else if (is_on() && !setup.by_app) {
		describe(&e, now->head);
		log_entry(c, &e, now->started);
	}
}

/* ---- the life of a request ---- */

static struct http_log_now *find(const struct http_conn *c)
{
	struct http_log_now *now = innermost;

	while (now && now->c != c)
		now = now->outer;
	return now;
}

void http_log_enter(struct http_log_now *now, struct http_conn *c, const struct http_head *head)
{
	if (c->note)
		log_note(c, c->note->status, c->note->bytes);
	now->outer = innermost;
	now->c = is_on() ? c : NULL;
	if (!now->c)
		return;
	now->head = head;
	now->request = 0;
	now->started = setup.timed ? uv_hrtime() : 0;
	innermost = now;
}

void http_log_leave(struct http_log_now *now)
{
	if (now->c)
		make_note(now);
	innermost = now->outer;
}

void http_log_after_fork(void)
{
	innermost = NULL;
}

void http_log_hold(struct http_conn *c, int request)
{
	struct http_log_now *now = find(c);

	if (now)
		now->request = request;
}

/*
 * A client that ended its side before its answer began may have done no more than that. If so,
 * it takes the answer, which we see where it does at once; most have given up.
 */
static bool has_left(const struct http_conn *c)
{
	return c->was_gone && !conn_has_arrived(&c->conn);
}

void http_log_answered(struct http_conn *c, int status, uint64_t bytes)
{
	struct http_log_now *now = innermost ? find(c) : NULL;

	if (!now && !c->note)
		return;
	if (has_left(c)) {
		status = STATUS_GONE;
		bytes = 0;
	}
	if (now && c->conn.out_bytes >= CONN_HIGH_WATER) {
		make_note(now);
		now->c = NULL;
	} else if (now) {
		log_now(now, status, bytes);
	}
	if (!c->note)
		return;
	c->note->status = status;
	c->note->bytes = bytes;
	http_log_sent(c);
}

void http_log_sent(struct http_conn *c)
{
	if (c->note && c->note->status && c->conn.out_bytes < CONN_HIGH_WATER)
		log_note(c, c->note->status, c->note->bytes);
}

/* What still waits to be sent never will be. */
static uint64_t less_unsent(const struct http_conn *c, uint64_t bytes)
{
	return bytes > c->conn.out_bytes ? bytes - c->conn.out_bytes : 0;
}

void http_log_closed(struct http_conn *c)
{
	struct http_log_now *now = innermost ? find(c) : NULL;
	bool left = !c->head_sent || c->was_gone;
	int status = left ? STATUS_GONE : c->status;
	uint64_t bytes = left ? 0 : less_unsent(c, c->body_sent);

	if (now)
		log_now(now, status, bytes);
	else if (c->note && c->note->status)
		log_note(c, c->note->status, less_unsent(c, c->note->bytes));
	else if (c->note)
		log_note(c, status, bytes);
}

void http_log_refused(struct http_conn *c, int status, uint64_t bytes, const char *input,
		      size_t len)
{
	struct access_entry e = { .status = status, .bytes = bytes };

	if (!is_on())
		return;
	/* Empty lines before the first are legal, and tell nothing. */
	for (; len > 0 && (*input == '\r' || *input == '\n'); len--)
		input++;
	e.line = first_line(input, len);
	if (setup.by_app) {
		struct http_head head = { .base = input, .len = e.line.len, .minor = 1 };

		head.path.len = (uint32_t)e.line.len;
		setup.cb(c, 0, &head, status, bytes, 0, true);
	} else {
		log_entry(c, &e, 0);
	}
}
