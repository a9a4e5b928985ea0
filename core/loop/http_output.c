/*
 * http_output.c - responses: the head, its framing, the body. What the
 * application sets is kept as the lines that will be sent; nothing it gives can
 * end a line early.
 */
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "loop/http_conn.h"

/* A body up to this goes out in one buffer with its head: one system call, one packet. */
#define SMALL_BODY   16384
#define KEEP_HEADERS 1024

static struct buffer out;

static int put(const char *bytes, size_t len)
{
	return buffer_append(&out, bytes, len);
}

#define PUT(literal) put(literal, sizeof(literal) - 1)

static int put_status_line(const struct http_conn *c)
{
	int status = c->status;
	char line[64];

	if (c->reason) {
		int n = snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);

		return put(line, (size_t)n) || put(c->reason, c->reason_len) || PUT("\r\n");
	}
	if (status == 200)
		return PUT("HTTP/1.1 200 OK\r\n");
	return put(line, (size_t)snprintf(line, sizeof(line), "HTTP/1.1 %d %s\r\n", status,
					  http_reason(status)));
}

/* Made once a second, and only when somebody is answered in it. */
static int put_date(void)
{
	static char line[64];
	static size_t len;
	static time_t made;
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec != made || !len) {
		static const char days[] = "SunMonTueWedThuFriSat";
		static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

		made = now.tv_sec;
		gmtime_r(&made, &tm);
		len = (size_t)snprintf(line, sizeof(line),
				       "Date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n",
				       days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
				       tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
	}
	return put(line, len);
}

static int put_length(uint64_t length)
{
	char digits[24];
	char *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + length % 10);
		length /= 10;
	} while (length);
	return PUT("Content-Length: ") || put(p, (size_t)(digits + sizeof(digits) - p)) ||
	       PUT("\r\n");
}

/* Statuses whose answer ends with its head, whatever the application gives. */
static bool is_bodiless(int status)
{
	return status == 204 || status == 205 || status == 304;
}

/* What is given is what is sent: it must be as long as its Content-Length. */
static bool has_body(const struct http_conn *c)
{
	return !c->is_head && !is_bodiless(c->status);
}

/* How the client will know where the body ends. */
static int put_framing(struct http_conn *c, bool known, uint64_t length)
{
	/* The one of them for which nothing but its length tells that it ends. */
	if (c->status == 205)
		return put_length(0);
	if (is_bodiless(c->status) || c->declared != HTTP_NO_LIMIT)
		return 0;
	if (known)
		return put_length(length);
	if (c->minor > 0) {
		c->chunked = true;
		return PUT("Transfer-Encoding: chunked\r\n");
	}
	c->keep_alive = false;
	return 0;
}

static int put_connection(const struct http_conn *c)
{
	if (!c->keep_alive)
		return PUT("Connection: close\r\n");
	return c->minor == 0 ? PUT("Connection: keep-alive\r\n") : 0;
}

/* Whether the rest of the request's body stands in the way of another request. */
static bool body_in_the_way(const struct http_conn *c, bool complete)
{
	if (c->phase != PHASE_BODY)
		return false;
	return c->expects_continue || c->too_large || c->body_gone ||
	       (complete && !c->chunked_body && c->body_left > HTTP_DRAIN_MAX);
}

/*
 * Whether a stopping server answers nothing after this: what had come by then is still answered,
 * but not all that a client goes on to send.
 */
static bool is_last(struct http_conn *c)
{
	bool more = c->processing ? c->more : c->in.len > 0;

	if (c->phase != PHASE_BUSY || !(more || conn_has_unread(&c->conn)))
		return true;
	return ++c->late > HTTP_LATE_MAX;
}

/* The head into `out`; known: the body's length is. */
static int build_head(struct http_conn *c, bool known, uint64_t length)
{
	out.len = 0;
	if (body_in_the_way(c, known) || c->close_asked || (c->server->stopping && is_last(c)) ||
	    c->server->crowded_until > uv_now(c->server->loop))
		c->keep_alive = false;
	c->no_body = !has_body(c);
	/* A length is as good as the body that a 304 or HEAD stands for; here it would be a lie. */
	if (c->declared != HTTP_NO_LIMIT && (c->status == 204 || c->status == 205))
		http_set_header(c, "content-length", 14, NULL, 0);
	c->was_gone = http_client_gone(c);
	if (put_status_line(c) || (!c->has_date && put_date()) || put_framing(c, known, length) ||
	    put_connection(c) || put(c->headers.data, c->headers.len) || PUT("\r\n"))
		return -ENOMEM;
	c->head_sent = true;
	return 0;
}

void http_response_reset(struct http_conn *c)
{
	buffer_clear(&c->headers, KEEP_HEADERS);
	c->status = 200;
	c->declared = HTTP_NO_LIMIT;
	c->body_sent = 0;
	c->has_date = c->close_asked = false;
	c->reason = c->tail = NULL;
	c->ends = false;
	c->head_sent = c->chunked = c->no_body = false;
}

/*
 * A failure ends the connection, and with it the request. One that has ended its side may have
 * gone altogether: TCP tells that to whoever sends something, on this machine at once.
 */
static int send_parts(struct http_conn *c, const struct iovec *parts, int n)
{
	int err = conn_write(&c->conn, parts, n);

	if (err || (http_client_gone(c) && conn_is_cut(&c->conn))) {
		http_close(c, false);
		return -EPIPE;
	}
	if (c->hung_up || (c->conn.out_bytes && !c->write_limit.next))
		deadline_start(&c->server->deadlines, LIST_WRITE, &c->write_limit);
	return 0;
}

int http_send_continue(struct http_conn *c)
{
	static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";

	c->expects_continue = false;
	return send_parts(c, &(struct iovec){ (void *)line, sizeof(line) - 1 }, 1);
}

int http_send_raw(struct http_conn *c, const char *bytes, size_t len)
{
	int err = send_parts(c, &(struct iovec){ (void *)bytes, len }, 1);

	return err ? err : c->conn.out_bytes > CONN_HIGH_WATER;
}

static struct iovec part(const void *bytes, size_t len)
{
	return (struct iovec){ (void *)bytes, len };
}

/*
 * Head if it is still to be sent, then the bytes in their framing; last: and the end of the
 * body.
 */
static int send_body(struct http_conn *c, const char *bytes, size_t len, bool last)
{
	struct iovec parts[6];
	char size[24];
	int n = 0;

	if (!c->head_sent && build_head(c, last && !c->tail, len))
		return -ENOMEM;
	else if (out.len)
		parts[n++] = part(out.data, out.len);
	if (c->no_body)
		len = 0;
	if (len && c->chunked) {
		parts[n++] = part(size, (size_t)snprintf(size, sizeof(size), "%zx\r\n", len));
		parts[n++] = part(bytes, len);
		parts[n++] = last ? part("\r\n0\r\n", 5) : part("\r\n", 2);
	} else if (len) {
		parts[n++] = part(bytes, len);
	} else if (last && c->chunked && !c->no_body) {
		parts[n++] = part("0\r\n", 3);
	}
	if (last && c->chunked && !c->no_body) {
		if (c->tail)
			parts[n++] = part(c->tail, c->tail_len);
		parts[n++] = part("\r\n", 2);
	}
	c->body_sent += len;
	return n ? send_parts(c, parts, n) : 0;
}

/* Against a Content-Length that the application set itself. */
static bool exceeds(const struct http_conn *c, size_t len)
{
	return c->declared != HTTP_NO_LIMIT && has_body(c) && c->body_sent + len > c->declared;
}

static bool falls_short(const struct http_conn *c, size_t len)
{
	return c->declared != HTTP_NO_LIMIT && has_body(c) && c->body_sent + len < c->declared;
}

int http_write(struct http_conn *c, const char *bytes, size_t len)
{
	int err;

	if (exceeds(c, len))
		return -EMSGSIZE;
	out.len = 0;
	err = send_body(c, bytes, len, false);
	return err ? err : c->conn.out_bytes > CONN_HIGH_WATER;
}

/* By far the most frequent answer: head and body known at once, and small. */
static int send_small(struct http_conn *c, const char *bytes, size_t len)
{
	if (build_head(c, true, len))
		return -ENOMEM;
	if (!c->no_body && put(bytes, len))
		return -ENOMEM;
	c->body_sent = c->no_body ? 0 : len;
	return send_parts(c, &(struct iovec){ out.data, out.len }, 1);
}

/* Nobody can tell where this body should have ended. Its Content-Length shows that it is not whole.
 */
static int refuse_length(struct http_conn *c)
{
	c->keep_alive = false;
	if (c->head_sent)
		http_request_end(c);
	return -EMSGSIZE;
}

int http_finish(struct http_conn *c, const char *bytes, size_t len)
{
	uint64_t serial = c->serial;
	int err;

	if (exceeds(c, len) || falls_short(c, len))
		return refuse_length(c);
	out.len = 0;
	if (!c->head_sent && len <= SMALL_BODY && !c->tail)
		err = send_small(c, bytes, len);
	else
		err = send_body(c, bytes, len, true);
	buffer_clear(&out, 4 * SMALL_BODY);
	if (!http_alive(c, serial))
		return -EPIPE;
	if (err)
		http_close(c, true);
	else
		http_request_end(c);
	return err;
}

static int plain_text(char *text, size_t room, int status)
{
	return snprintf(text, room, "%d %s\n", status, http_reason(status));
}

static void plain_answer(struct http_conn *c, int status)
{
	char text[64];
	int len = plain_text(text, sizeof(text), status);

	http_response_reset(c);
	c->status = status;
	buffer_append(&c->headers, "Content-Type: text/plain\r\n", 26);
	if (send_small(c, text, (size_t)len) == -ENOMEM)
		http_close(c, true);
}

void http_refuse(struct http_conn *c, int status)
{
	uint64_t life = c->conn.life;

	c->minor = 1;
	c->keep_alive = false;
	c->linger = true;
	if (c->phase == PHASE_HEAD)
		c->is_head = false;
	plain_answer(c, status);
	if (!conn_alive(&c->conn, life))
		return;
	deadline_stop(&c->phase_limit);
	http_request_end(c);
}

void http_refuse_head(struct http_conn *c, int status, const char *input, size_t len)
{
	uint64_t life = c->conn.life;
	char text[64];

	http_log_refused(c, status, (uint64_t)plain_text(text, sizeof(text), status), input, len);
	if (conn_alive(&c->conn, life))
		http_refuse(c, status);
}

/*
 * The answer breaks off behind its head. Where its framing shows that, the whole answers
 * before it still arrive; a body that ends with the connection must not pass for whole.
 */
static void cut_answer(struct http_conn *c)
{
	if (!c->chunked && c->declared == HTTP_NO_LIMIT) {
		http_close(c, true);
		return;
	}
	c->keep_alive = false;
	http_request_end(c);
}

void http_fail(struct http_conn *c, int status)
{
	uint64_t serial = c->serial;

	if (c->head_sent) {
		cut_answer(c);
		return;
	}
	plain_answer(c, status);
	if (http_alive(c, serial))
		http_request_end(c);
}

bool http_head_sent(const struct http_conn *c)
{
	return c->head_sent;
}

uint64_t http_declared(const struct http_conn *c)
{
	return c->declared;
}

uint64_t http_body_sent(const struct http_conn *c)
{
	return c->body_sent;
}

int http_set_status(struct http_conn *c, int status)
{
	if (status < 200 || status > 999)
		return -EINVAL;
	c->status = status;
	return 0;
}
