/*
 * http_input.c - from bytes to requests: heads, pipelining, and when to read at all.
 *
 * All reading goes through one buffer of the process, where most requests are
 * parsed in place; only what must wait is copied to the connection. Nothing is
 * parsed of a request before the one ahead of it has been answered. The application
 * may come back here while that buffer is in use: nothing is read then, nor is it moved.
 */
#include "loop/http_conn.h"

static char *scratch, *outgrown;
static size_t scratch_size;
static bool busy;

static void set_free(void)
{
	busy = false;
	free(outgrown);
	outgrown = NULL;
}

/*
 * Its work ends with the head. CONNECT and Upgrade would make it treat the rest as another
 * protocol: nobody takes them.
 */
static int on_head(llhttp_t *parser)
{
	parser->upgrade = 0;
	return HPE_PAUSED;
}

const llhttp_settings_t http_settings = { .on_headers_complete = on_head };

/* A whole head and a full read fit, whatever was left before. */
int http_input_reserve(uint64_t max_header)
{
	size_t need = max_header + 2 * HTTP_READ_MAX + HTTP_PIPELINE_MAX + HTTP_BODY_AHEAD;
	char *more;

	if (need <= scratch_size)
		return 0;
	more = malloc(need);
	if (!more)
		return -ENOMEM;
	/* A handler has opened a larger server: its own request still lies in the old one. */
	if (busy && !outgrown)
		outgrown = scratch;
	else
		free(scratch);
	scratch = more;
	scratch_size = need;
	return 0;
}

static void begin(struct http_conn *c, const struct http_head *head)
{
	c->minor = head->minor;
	c->is_head = head->is_head;
	c->keep_alive = head->keep_alive;
	c->chunked_body = head->chunked;
	c->body_left = head->content_length;
	c->body_received = c->body_before = 0;
	c->chunk = (struct http_chunk){ 0 };
	c->whole = c->gathered = c->hurried = c->body_gone = c->in_trailers = false;
	c->expects_continue = head->expects_continue;
	c->too_large = false;
	c->phase = head->chunked || head->content_length ? PHASE_BODY : PHASE_BUSY;
	c->said_last = !head->keep_alive && c->phase == PHASE_BUSY;
	if (head->content_length > c->server->limits.max_body)
		http_body_set_too_large(c);
}

/*
 * Look for the end of a head. Returns its length, 0 when more must come, or minus the status
 * to refuse it with.
 */
static ssize_t find_head(struct http_conn *c, const char *p, size_t len)
{
	size_t max = c->server->limits.max_header;
	/* No further than that, so that the answer does not depend on how the bytes were split. */
	size_t look = len > max ? max + 1 : len;
	llhttp_errno_t err = llhttp_execute(&c->parser, p + c->parsed, look - c->parsed);
	size_t used = look;

	c->parsed = look;
	/* Somebody who speaks HTTP/2, whatever else there is. */
	if (c->parser.method == HTTP_PRI)
		return -505;
	if (err == HPE_PAUSED)
		used = (size_t)(llhttp_get_error_pos(&c->parser) - p);
	else if (err != HPE_OK)
		return -http_head_refusal(&c->parser, err, p, look);
	if (used > max)
		return -http_head_too_large(p, max);
	return err == HPE_PAUSED ? (ssize_t)used : 0;
}

static ssize_t refuse(struct http_conn *c, int status, const char *p, size_t len)
{
	http_refuse_head(c, status, p, len);
	return -1;
}

/* Returns the bytes used, 0 when more must come, -1 when the connection is over. */
static ssize_t step_head(struct http_conn *c, const char *p, size_t len)
{
	uint64_t life = c->conn.life;
	struct http_head head;
	ssize_t used, body;
	int status;

	if (c->phase == PHASE_IDLE) {
		deadline_stop(&c->phase_limit);
		llhttp_reset(&c->parser);
		c->parsed = 0;
		c->phase = PHASE_HEAD;
	}
	used = find_head(c, p, len);
	if (used <= 0)
		return used ? refuse(c, (int)-used, p, len) : 0;
	status = http_head_parse(&head, p, (size_t)used, &c->parser);
	if (status)
		return refuse(c, status, p, len);
	deadline_stop(&c->phase_limit);
	begin(c, &head);
	if (c->phase == PHASE_BODY && len > (size_t)used && !c->too_large) {
		body = http_body_parse(c, p + used, len - (size_t)used);
		if (body < 0)
			return refuse(c, (int)-body, p, len);
		used += body;
	}
	c->more = len > (size_t)used;
	if (c->more && c->phase == PHASE_BUSY)
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
	int failed;

	c->processing = busy = true;
	while (len > 0) {
		ssize_t used = 0;

		if (c->phase == PHASE_FLUSH) {
			/* The client is still sending, or asks for more than it will get. */
			c->linger = true;
			used = (ssize_t)len;
		} else if (c->phase == PHASE_TUNNEL)
			used = http_tunnel_step(c, p, len);
		else if (c->phase == PHASE_BODY || c->phase == PHASE_DRAIN)
			used = http_body_step(c, p, len);
		else if (c->phase != PHASE_BUSY && c->conn.out_bytes < CONN_HIGH_WATER)
			used = step_head(c, p, len);
		if (used < 0) {
			if (!conn_alive(&c->conn, life)) {
				set_free();
				return;
			}
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
	failed = keep(c, p, len);
	set_free();
	if (failed || conn_uncork(&c->conn)) {
		http_close(c, true);
		return;
	}
	http_log_sent(c);
	if (conn_alive(&c->conn, life))
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
		if (c->in.len && !stalled) {
			deadline_start_early(deadlines, LIST_RESUME, &c->phase_limit, 0);
		} else if (!c->in.len && !c->conn.out_bytes) {
			deadline_start(deadlines, LIST_IDLE, &c->phase_limit);
			if (c->server->full)
				http_conns_fewer(c->server);
		}
		return c->in.len < HTTP_PIPELINE_MAX;
	case PHASE_HEAD:
		if (!c->phase_limit.next)
			deadline_start(deadlines, LIST_HEADER, &c->phase_limit);
		return true;
	case PHASE_BODY:
	case PHASE_DRAIN:
		if (!http_body_has_room(c))
			deadline_stop(&c->phase_limit);
		else if (c->in.len)
			deadline_start_early(deadlines, LIST_RESUME, &c->phase_limit, 0);
		else
			http_body_time(c);
		return http_body_has_room(c);
	case PHASE_BUSY: deadline_stop(&c->phase_limit); return c->in.len < HTTP_PIPELINE_MAX;
	case PHASE_LINGER: return true;
	case PHASE_TUNNEL: deadline_stop(&c->phase_limit); return http_tunnel_has_room(c);
	default: return false;
	}
}

/* Nothing will ever come of it any more, nor is there anything to send. */
static bool is_over(const struct http_conn *c)
{
	if ((c->in.len && c->phase != PHASE_HEAD) ||
	    (c->conn.out_bytes && c->phase != PHASE_LINGER))
		return false;
	if (c->conn.eof)
		return c->phase == PHASE_IDLE || c->phase == PHASE_HEAD ||
		       c->phase == PHASE_DRAIN || c->phase == PHASE_LINGER;
	/* A request that has just come is still answered. */
	return c->phase == PHASE_IDLE && http_drops_idle(c->server) && !conn_has_unread(&c->conn);
}

/* The client has ended its side, and the rest of the body that it announced will never come. */
static void body_cut(struct http_conn *c)
{
	uint64_t life = c->conn.life;

	c->body_gone = true;
	c->keep_alive = false;
	c->hung_up = true;
	http_tell_body(c);
	if (conn_alive(&c->conn, life) && http_request_open(c))
		http_hung_up(c);
}

void http_settle(struct http_conn *c)
{
	uint64_t life = c->conn.life;

	if (c->phase == PHASE_DEAD || c->processing)
		return;
	if (c->conn.eof && c->phase == PHASE_HEAD && !http_head_is_blank(c->in.data, c->in.len)) {
		http_refuse_head(c, 400, c->in.data, c->in.len);
		return;
	}
	if (c->conn.eof && c->phase == PHASE_BODY && !c->in.len && !c->body_gone) {
		body_cut(c);
		if (!conn_alive(&c->conn, life))
			return;
	}
	if (is_over(c)) {
		http_end(c);
		return;
	}
	if (c->phase == PHASE_FLUSH && !c->conn.out_bytes) {
		http_end(c);
		return;
	}
	if (conn_watch(&c->conn, plan(c)))
		http_close(c, true);
}

static void on_eof(struct http_conn *c)
{
	uint64_t life = c->conn.life;

	if (c->phase == PHASE_BUSY || c->phase == PHASE_TUNNEL)
		http_hung_up(c);
	if (conn_alive(&c->conn, life))
		http_settle(c);
}

bool http_input_is_busy(void)
{
	return busy;
}

/* Whoever was being read is in the midst of it for good. */
void http_input_after_fork(void)
{
	busy = false;
}

void http_input_read(struct http_conn *c)
{
	size_t had = c->in.len;
	ssize_t n;

	/* What has come stays where it is, and the loop tells of it again. */
	if (busy) {
		http_settle(c);
		return;
	}
	n = conn_read(&c->conn, scratch + had, HTTP_READ_MAX);
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
	if (busy) {
		deadline_start_early(&c->server->deadlines, LIST_RESUME, &c->phase_limit, 1);
		return;
	}
	if (had)
		memcpy(scratch, c->in.data, had);
	process(c, scratch, had);
}
