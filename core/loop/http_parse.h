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
#include <string.h>
#include <strings.h>

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
	/* What the target names where no header line does; len 0: nothing. */
	struct http_slice host;
	struct http_field *fields;
	size_t count;
	uint64_t content_length;
	uint8_t minor;
	bool is_head;
	bool keep_alive;
	bool chunked;
	bool expects_continue;
};

/* More header lines than this are refused, however short they are. */
#define HTTP_FIELDS_MAX 256
/* No method that anybody has heard of is longer. */
#define HTTP_METHOD_MAX 32

/*
 * Slice a head that llhttp has accepted and stopped at. Returns 0, or the status
 * to refuse it with; the connection must then be closed. head->fields is valid until the next call.
 */
int http_head_parse(struct http_head *head, const char *base, size_t len, const llhttp_t *parser);

/*
 * The status for a head at which llhttp stopped with err; base and len are what came of it.
 * 0: it is wrong, but how can be told only when more has come.
 */
int http_head_refusal(const llhttp_t *parser, llhttp_errno_t err, const char *base, size_t len);

/* The status for a head beyond the limit: 414 while its first line has no end, else 431. */
int http_head_too_large(const char *base, size_t len);

/* Only empty lines, or not even those: nothing has been asked. */
bool http_head_is_blank(const char *base, size_t len);

/* ---- http_target.c ---- */

struct http_target {
	const char *path, *query, *host;
	/* host_len 0: the target does not name one. */
	size_t path_len, query_len, host_len;
};

/*
 * Take a request's target apart; any: it may be "*". Returns 0, or the status to refuse it
 * with.
 */
int http_target_split(struct http_target *t, const char *target, const char *end, bool any);
/* A name or address, and perhaps a port; or nothing at all. */
bool http_is_host(const char *host, size_t len);

/* ---- characters ---- */

/* Token characters of RFC 9110. */
bool http_is_token(const char *s, size_t len);
/* Whether it may stand in a header line: no CR, LF or NUL. */
bool http_is_value(const char *s, size_t len);

/* Whether it is this word, in whatever case. */
static inline bool http_is_word(const char *s, size_t len, const char *word)
{
	return strlen(word) == len && strncasecmp(s, word, len) == 0;
}

/* Blanks at either end do not count. */
static inline void http_trim(const char **from, const char **to)
{
	while (*from < *to && (**from == ' ' || **from == '\t'))
		++*from;
	while (*to > *from && ((*to)[-1] == ' ' || (*to)[-1] == '\t'))
		--*to;
}

#endif
