/*
 * http_input.c - from bytes to requests: heads, bodies, pipelining.
 *
 * All reading goes through one buffer of the process, where most requests are
 * parsed in place; only what must wait is copied to the connection. Nothing is
 * parsed of a request before the one ahead of it has been answered.
 */
#include "loop/http_conn.h"

/* How much later a body chunk's framing may be than the bytes of the body. */
#define OVERHEAD_MAX 16384

static char *scratch;
static size_t scratch_size;

static int on_body(llhttp_t *parser, const char *bytes, size_t len)
{
	struct http_conn *c = parser->data;

	c->body_received += len;
	c->overhead = 0;
	if (c->phase == PHASE_DRAIN || c->too_large)
		return 0;
	if (c->body_received > c->server->limits.max_body) {
		c->too_large = true;
		buffer_free(&c->body);
		return 0;
	}
	return buffer_append(&c->body, bytes, len) ? -1 : 0;
}

/* CONNECT and Upgrade would make llhttp treat the rest as another protocol: nobody takes them. */
static int on_head(llhttp_t *parser)
{
	parser->upgrade = 0;
	return HPE_PAUSED;
}

static int on_end(llhttp_t *parser)
{
	(void)parser;
	return HPE_PAUSED;
}

const llhttp_settings_t http_settings = {
	.on_headers_complete = on_head,
	.on_body = on_body,
	.on_message_complete = on_end,
};

/* A whole head and a full read fit, whatever was left before. */
int http_input_reserve(uint64_t max_header)
{
	size_t need = max_header + 2 * HTTP_READ_MAX + HTTP_PIPELINE_MAX + HTTP_BODY_AHEAD;
	char *more;

	if (need <= scratch_size)
		return 0;
	more = realloc(scratch, need);
	if (!more)
		return -ENOMEM;
	scratch = more;
	scratch_size = need;
	return 0;
}

/*
 * Feed the body. Returns how many bytes belong to it; -1: the request was
 * refused. Phase BODY becomes BUSY, or DRAIN becomes IDLE, when it is complete.
 */
static ssize_t parse_body(struct http_conn *c, const char *p, size_t len)
{
	uint64_t before = c->body_received;
	llhttp_errno_t err;
	size_t used = len;

	llhttp_resume(&c->parser);
	err = llhttp_execute(&c->parser, p, len);
	if (err == HPE_PAUSED)
		used = (size_t)(llhttp_get_error_pos(&c->parser) - p);
	if (c->chunked_body) {
		c->overhead += used - (size_t)(c->body_received - before);
		if (c->overhead > OVERHEAD_MAX && err == HPE_OK)
			err = HPE_USER;
	} else {
		c->body_left -= c->body_received - before;
	}
	if (err == HPE_PAUSED)
		c->phase = c->phase == PHASE_DRAIN ? PHASE_IDLE : PHASE_BUSY;
	else if (err != HPE_OK)
		return -1;
	return (ssize_t)used;
}

static bool body_has_room(const struct http_conn *c)
{
	return !c->too_large &&
	       (c->whole || c->phase == PHASE_DRAIN || c->body.len < HTTP_BODY_AHEAD);
}

/* A body that is not one: nothing behind it can be trusted. */
static void bad_body(struct http_conn *c)
{
	c->body_gone = true;
	c->keep_alive = false;
	if (c->phase == PHASE_DRAIN || c->head_sent)
		http_close(c, true);
	else
		http_refuse(c, 400);
}

static ssize_t step_body(struct http_conn *c, const char *p, size_t len)
{
	uint64_t life = c->conn.life;
	ssize_t used;

	if (!body_has_room(c))
		return 0;
	used = parse_body(c, p, len);
	if (used < 0) {
		bad_body(c);
		return -1;
	}
	if (c->phase == PHASE_DRAIN && c->body_received > HTTP_DRAIN_MAX) {
		c->linger = true;
		c->phase = PHASE_FLUSH;
	}
	if (http_request_open(c))
		c->server->app->body(c->server->data, c);
	return conn_alive(&c->conn, life) ? used : -1;
}

static void begin(struct http_conn *c, const struct http_head *head)
{
	c->minor = head->minor;
	c->is_head = head->is_head;
	c->keep_alive = head->keep_alive;
	c->chunked_body = head->chunked;
	c->body_left = head->content_length;
	c->body_received = 0;
	c->overhead = 0;
	c->whole = c->body_gone = false;
	c->expects_continue = head->expects_continue;
	c->too_large = head->content_length > c->server->limits.max_body;
	c->phase = head->chunked || head->content_length ? PHASE_BODY : PHASE_BUSY;
}

/* Returns the bytes used, 0 when more must come, -1 when the connection is over. */
static ssize_t step_head(struct http_conn *c, const char *p, size_t len)
{
	uint64_t max = c->server->limits.max_header;
	uint64_t life = c->conn.life;
	struct http_head head = { 0 };
	llhttp_errno_t err;
	ssize_t used, body;
	int status;

	if (c->phase == PHASE_IDLE) {
		deadline_stop(&c->phase_limit);
		llhttp_reset(&c->parser);
		c->parsed = 0;
		c->phase = PHASE_HEAD;
	}
	err = llhttp_execute(&c->parser, p + c->parsed, len - c->parsed);
	c->parsed = len;
	used = err == HPE_PAUSED ? llhttp_get_error_pos(&c->parser) - p : 0;
	if (err != HPE_OK && err != HPE_PAUSED)
		status = http_head_refusal(err, p, len);
	else if ((err == HPE_OK ? len : (size_t)used) > max)
		status = http_head_too_large(p, max < len ? max : len);
	else if (err == HPE_OK)
		return 0;
	else
		status = http_head_parse(&head, p, (size_t)used, &c->parser);
	if (status) {
		http_refuse(c, status);
		return -1;
	}
	deadline_stop(&c->phase_limit);
	begin(c, &head);
	if (c->phase == PHASE_BODY && len > (size_t)used) {
		body = parse_body(c, p + used, len - (size_t)used);
		if (body < 0) {
			http_refuse(c, 400);
			return -1;
		}
		used += body;
	}
	if (len > (size_t)used && c->phase == PHASE_BUSY)
		conn_cork(&c->conn);
	http_request_begin(c, &head);
	return conn_alive(&c->conn, life) ? used : -1;
}

/* Keep what is not used yet. The bytes may be those of c->in itself. */
static int keep(struct http_conn *c, const char *p, size_t len)
{
	if (len == 0) {
		buffer_clear(&c->in, 0);
		return 0;
	}
	c->in.len = 0;
	return buffer_append(&c->in, p, len);
}

static void process(struct http_conn *c, const char *p, size_t len)
{
	uint64_t life = c->conn.life;

	c->processing = true;
	while (len > 0) {
		ssize_t used = 0;

		if (c->phase == PHASE_FLUSH) {
			/* The client is still sending, or asks for more than it will get. */
			c->linger = true;
			used = (ssize_t)len;
		} else if (c->phase == PHASE_BODY || c->phase == PHASE_DRAIN)
			used = step_body(c, p, len);
		else if (c->phase != PHASE_BUSY && c->conn.out_bytes < CONN_HIGH_WATER)
			used = step_head(c, p, len);
		if (used < 0) {
			if (!conn_alive(&c->conn, life))
				return;
			/* Refused: what is left of the input matters to nobody, but the client may
			 * still be sending. */
			len = 0;
			break;
		}
		if (used == 0)
			break;
		p += used;
		len -= (size_t)used;
	}
	c->processing = false;
	if (keep(c, p, len) || conn_uncork(&c->conn)) {
		http_close(c, true);
		return;
	}
	http_wake_writer(c);
	if (conn_alive(&c->conn, life))
		http_settle(c);
}

/* What to do next in this phase: whether to read, and how long that may take. */
static bool plan(struct http_conn *c)
{
	struct deadlines *deadlines = &c->server->deadlines;
	bool stalled = c->conn.out_bytes >= CONN_HIGH_WATER;

	switch (c->phase) {
	case PHASE_IDLE:
		if (c->in.len && !stalled)
			deadline_start_early(deadlines, LIST_RESUME, &c->phase_limit, 0);
		else if (!c->in.len)
			deadline_start(deadlines, LIST_IDLE, &c->phase_limit);
		return c->in.len < HTTP_PIPELINE_MAX;
	case PHASE_HEAD:
		if (!c->phase_limit.next)
			deadline_start(deadlines, LIST_HEADER, &c->phase_limit);
		return true;
	case PHASE_BODY:
	case PHASE_DRAIN:
		if (!body_has_room(c))
			deadline_stop(&c->phase_limit);
		else if (c->in.len)
			deadline_start_early(deadlines, LIST_RESUME, &c->phase_limit, 0);
		else
			deadline_start(deadlines, LIST_BODY, &c->phase_limit);
		return body_has_room(c);
	case PHASE_BUSY: deadline_stop(&c->phase_limit); return c->in.len < HTTP_PIPELINE_MAX;
	case PHASE_LINGER: return true;
	default: return false;
	}
}

/* Nothing will ever come of it any more. */
static bool is_over(const struct http_conn *c)
{
	if (c->conn.eof)
		return (c->phase == PHASE_IDLE && !c->in.len) || c->phase == PHASE_HEAD ||
		       c->phase == PHASE_LINGER || (c->phase == PHASE_DRAIN && !c->in.len);
	return c->phase == PHASE_IDLE && c->server->stopping && !c->in.len && !c->conn.out_bytes;
}

void http_settle(struct http_conn *c)
{
	if (c->phase == PHASE_DEAD || c->processing)
		return;
	if (is_over(c)) {
		http_close(c, false);
		return;
	}
	if (c->phase == PHASE_FLUSH && !c->conn.out_bytes) {
		http_flushed(c);
		return;
	}
	if (conn_watch(&c->conn, plan(c)))
		http_close(c, true);
}

static void on_eof(struct http_conn *c)
{
	uint64_t life = c->conn.life;

	switch (c->phase) {
	case PHASE_BODY:
		c->body_gone = true;
		c->keep_alive = false;
		c->hung_up = true;
		c->server->app->body(c->server->data, c);
		if (conn_alive(&c->conn, life) && http_request_open(c))
			c->server->app->closed(c->server->data, c);
		break;
	case PHASE_BUSY:
		c->hung_up = true;
		c->server->app->closed(c->server->data, c);
		break;
	default: break;
	}
	if (conn_alive(&c->conn, life))
		http_settle(c);
}

void http_input_read(struct http_conn *c)
{
	size_t had = c->in.len;
	ssize_t n = conn_read(&c->conn, scratch + had, HTTP_READ_MAX);

	if (n == -EAGAIN) {
		http_settle(c);
	} else if (n < 0) {
		http_close(c, false);
	} else if (n == 0) {
		on_eof(c);
	} else if (c->phase != PHASE_LINGER) {
		if (had)
			memcpy(scratch, c->in.data, had);
		c->fresh = false;
		process(c, scratch, had + (size_t)n);
	}
}

void http_input_resume(struct http_conn *c)
{
	size_t had = c->in.len;

	if (c->processing)
		return;
	if (had)
		memcpy(scratch, c->in.data, had);
	process(c, scratch, had);
}
