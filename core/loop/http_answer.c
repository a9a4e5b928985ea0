/*
 * http_answer.c - llhttp walks an answer; the limits are here, and what may follow
 * it on its connection. What llhttp lets through in a head is http_answer_head.c's to refuse.
 */
#include "loop/http_answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop/buffer.h"

#define HEAD_MAX 65536
/* Chunk sizes, extensions and trailers between two bytes of the body. */
#define OVERHEAD_MAX 65536
/* Kept for the next answer. */
#define KEEP_MAX 4096
/* Made room for at once, because a Content-Length says so. */
#define TRUST_MAX (1u << 20)

struct http_answer {
	llhttp_t parser;
	enum http_answer_state state;
	struct http_answer_head head;
	struct buffer head_bytes, body;
	uint64_t max_body, body_received, came, overhead;
	int failed;
	bool head_only;
	bool keeps_alive;
	char problem[160];
};

static int __attribute__((format(printf, 3, 4)))
refuse(struct http_answer *a, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(a->problem, sizeof(a->problem), fmt, ap);
	va_end(ap);
	a->state = HTTP_ANSWER_BAD;
	a->keeps_alive = false;
	return err;
}

static int malformed(struct http_answer *a, const char *what)
{
	return refuse(a, -EPROTO, "the answer is not sound HTTP: %s", what);
}

static int body_too_large(struct http_answer *a)
{
	return refuse(a, -EMSGSIZE, "the answer's body is larger than max_body (%" PRIu64 " bytes)",
		      a->max_body);
}

/* ---- what llhttp says ---- */

static int on_head(llhttp_t *parser)
{
	struct http_answer *a = parser->data;

	/* Without a body whatever the lines say; and nobody here speaks another protocol. */
	if (a->head_only || parser->status_code < 200 || parser->status_code == 204 ||
	    parser->status_code == 304)
		parser->flags |= F_SKIPBODY;
	parser->upgrade = 0;
	return HPE_PAUSED;
}

static int on_body(llhttp_t *parser, const char *bytes, size_t len)
{
	struct http_answer *a = parser->data;

	a->overhead = 0;
	a->body_received += len;
	if (a->body_received > a->max_body)
		a->failed = body_too_large(a);
	else if (buffer_append(&a->body, bytes, len))
		a->failed = refuse(a, -ENOMEM, "no memory for the answer's body");
	return a->failed ? -1 : 0;
}

static int on_end(llhttp_t *parser)
{
	struct http_answer *a = parser->data;

	a->keeps_alive = llhttp_should_keep_alive(parser);
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_headers_complete = on_head,
	.on_body = on_body,
	.on_message_complete = on_end,
};

/* ---- bytes ---- */

static int head_complete(struct http_answer *a)
{
	uint64_t length = a->parser.content_length;
	bool empty = a->parser.flags & F_SKIPBODY;
	const char *problem = NULL;
	int err = http_answer_head_parse(&a->head, a->head_bytes.data, a->head_bytes.len, &problem);

	if (err)
		return problem ? malformed(a, problem)
			       : refuse(a, err, "no memory for the answer's head");
	if (a->head.status == 101)
		return malformed(a, "101: the server changes to another protocol");
	if (a->head.status < 200) {
		/* An interim answer: the next head is the one, or the one after it. */
		a->head_bytes.len = 0;
		llhttp_reset(&a->parser);
		return 0;
	}
	a->state = HTTP_ANSWER_BODY;
	if (empty || !a->head.has_length)
		return 0;
	if (length > a->max_body)
		return body_too_large(a);
	/* Growing is for bodies that do not say how large they are, and for those that may lie. */
	if (buffer_reserve(&a->body, length < TRUST_MAX ? length : TRUST_MAX))
		return refuse(a, -ENOMEM, "no memory for the answer's body");
	return 0;
}

static int not_http(struct http_answer *a)
{
	const char *reason = llhttp_get_error_reason(&a->parser);

	return malformed(a, reason && *reason ? reason : "no status line");
}

/* Returns how many bytes belong to the head, or an error. */
static ssize_t feed_head(struct http_answer *a, const char *p, size_t len)
{
	llhttp_errno_t err = llhttp_execute(&a->parser, p, len);
	size_t used = err == HPE_PAUSED ? (size_t)(llhttp_get_error_pos(&a->parser) - p) : len;
	int failed;

	if (err != HPE_OK && err != HPE_PAUSED)
		return not_http(a);
	a->overhead += used;
	if (a->overhead > HEAD_MAX)
		return refuse(a, -EPROTO, "the answer's head is larger than 64k");
	if (buffer_append(&a->head_bytes, p, used))
		return refuse(a, -ENOMEM, "no memory for the answer's head");
	failed = err == HPE_PAUSED ? head_complete(a) : 0;
	return failed ? failed : (ssize_t)used;
}

static ssize_t feed_body(struct http_answer *a, const char *p, size_t len)
{
	uint64_t before = a->body_received;
	llhttp_errno_t err;
	size_t used = len;

	llhttp_resume(&a->parser);
	err = llhttp_execute(&a->parser, p, len);
	if (a->failed)
		return a->failed;
	if (err == HPE_PAUSED) {
		used = (size_t)(llhttp_get_error_pos(&a->parser) - p);
		a->state = HTTP_ANSWER_DONE;
	} else if (err != HPE_OK) {
		return not_http(a);
	}
	a->overhead += used - (size_t)(a->body_received - before);
	if (a->overhead > OVERHEAD_MAX)
		return refuse(a, -EPROTO, "the answer's trailers are larger than 64k");
	return (ssize_t)used;
}

int http_answer_feed(struct http_answer *a, const char *bytes, size_t len)
{
	a->came += len;
	while (a->state == HTTP_ANSWER_HEAD && len > 0) {
		ssize_t used = feed_head(a, bytes, len);

		if (used < 0)
			return (int)used;
		bytes += used;
		len -= (size_t)used;
		if (a->state == HTTP_ANSWER_BODY)
			a->overhead = 0;
	}
	/* Without a byte, too: an answer may be complete with its head. */
	if (a->state == HTTP_ANSWER_BODY) {
		ssize_t used = feed_body(a, bytes, len);

		if (used < 0)
			return (int)used;
		len -= (size_t)used;
	}
	/* What nobody has asked for: whose answer would it be? */
	if (len > 0)
		a->keeps_alive = false;
	return 0;
}

int http_answer_end(struct http_answer *a)
{
	uint64_t left = a->parser.content_length;

	a->keeps_alive = false;
	if (a->state == HTTP_ANSWER_DONE)
		return 0;
	if (a->state == HTTP_ANSWER_BODY && !a->head.has_length && !a->head.chunked) {
		a->state = HTTP_ANSWER_DONE;
		return 0;
	}
	if (a->state == HTTP_ANSWER_HEAD && !a->came)
		return refuse(a, -ECONNRESET, "the server closed the connection without an answer");
	if (a->state == HTTP_ANSWER_HEAD)
		return refuse(
			a, -ECONNRESET,
			"the server closed the connection in the answer's head, after %" PRIu64
			" bytes",
			a->came);
	if (a->state == HTTP_ANSWER_BODY && a->head.has_length)
		return refuse(a, -ECONNRESET,
			      "the server closed the connection after %" PRIu64 " of %" PRIu64
			      " bytes of the answer's body",
			      a->body_received, a->body_received + left);
	return refuse(a, -ECONNRESET,
		      "the server closed the connection before the last chunk of the answer's body,"
		      " after %" PRIu64 " bytes",
		      a->body_received);
}

/* ---- by lifetime ---- */

int http_answer_open(struct http_answer **out)
{
	struct http_answer *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	llhttp_init(&a->parser, HTTP_RESPONSE, &settings);
	a->parser.data = a;
	http_answer_begin(a, false, HTTP_ANSWER_NO_LIMIT);
	*out = a;
	return 0;
}

void http_answer_free(struct http_answer *a)
{
	if (!a)
		return;
	buffer_free(&a->head_bytes);
	buffer_free(&a->body);
	free(a->head.fields);
	free(a);
}

void http_answer_begin(struct http_answer *a, bool no_body, uint64_t max_body)
{
	llhttp_reset(&a->parser);
	a->state = HTTP_ANSWER_HEAD;
	a->head.status = 0;
	buffer_clear(&a->head_bytes, KEEP_MAX);
	buffer_clear(&a->body, KEEP_MAX);
	a->max_body = max_body;
	a->body_received = a->came = a->overhead = 0;
	a->failed = 0;
	a->head_only = no_body;
	a->keeps_alive = false;
	a->problem[0] = 0;
}

enum http_answer_state http_answer_state(const struct http_answer *a)
{
	return a->state;
}

const struct http_answer_head *http_answer_head(const struct http_answer *a)
{
	return a->head.status >= 200 ? &a->head : NULL;
}

const char *http_answer_body(const struct http_answer *a, size_t *len)
{
	*len = a->body.len;
	return a->body.data;
}

void http_answer_drop(struct http_answer *a)
{
	buffer_clear(&a->body, HEAD_MAX * 2);
}

uint64_t http_answer_came(const struct http_answer *a)
{
	return a->came;
}

bool http_answer_keeps_alive(const struct http_answer *a)
{
	return a->state == HTTP_ANSWER_DONE && a->keeps_alive;
}

const char *http_answer_problem(const struct http_answer *a)
{
	return a->problem;
}
