/*
 * http_parse.h - the head of a request as slices of the bytes it came in, and
 * the refusals that llhttp leaves to us. No sockets, no state of its own but a
 * reused array.
 */
#ifndef LOOP_HTTP_PARSE_H
#define LOOP_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llhttp.h>

struct http_slice {
	uint32_t at, len;
};

struct http_field {
	struct http_slice name, value;
};

struct http_head {
	/* Everything below is an offset from here; ends behind the last header line. */
	const char *base;
	size_t len;
	struct http_slice method, path, query;
	struct http_field *fields;
	size_t count;
	uint64_t content_length;
	uint8_t minor;
	bool is_head;
	bool keep_alive;
	bool chunked;
	bool expects_continue;
};

/*
 * Slice a head that llhttp has accepted and stopped at. Returns 0, or the status
 * to refuse it with; the connection must then be closed. head->fields is valid until the next call.
 */
int http_head_parse(struct http_head *head, const char *base, size_t len, const llhttp_t *parser);

/* The status for a head at which llhttp stopped with err; base and len are what came of it. */
int http_head_refusal(llhttp_errno_t err, const char *base, size_t len);

/* The status for a head beyond the limit: 414 while its first line has no end, else 431. */
int http_head_too_large(const char *base, size_t len);

/* Token characters of RFC 9110. */
bool http_is_token(const char *s, size_t len);
/* Whether it may stand in a header line: no CR, LF or NUL. */
bool http_is_value(const char *s, size_t len);

#endif
