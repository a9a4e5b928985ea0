/*
 * http_headers.c - the headers an application sets, kept as finished lines. Those
 * that decide about framing are not taken on trust.
 */
#include <strings.h>

#include "loop/http_conn.h"

static bool is_name(const char *name, size_t len, const char *word)
{
	return strlen(word) == len && strncasecmp(name, word, len) == 0;
}

static void remove_lines(struct buffer *b, const char *name, size_t len)
{
	char *line = b->data, *end = b->data + b->len;

	while (line < end) {
		char *next = (char *)memchr(line, '\n', (size_t)(end - line)) + 1;

		if ((size_t)(next - line) > len && line[len] == ':' &&
		    strncasecmp(line, name, len) == 0) {
			memmove(line, next, (size_t)(end - next));
			end -= next - line;
		} else {
			line = next;
		}
	}
	b->len = (size_t)(end - b->data);
}

static int set_length(struct http_conn *c, const char *value, size_t len)
{
	uint64_t n = 0;

	if (len == 0 || len > 18)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (value[i] < '0' || value[i] > '9')
			return -EINVAL;
		n = n * 10 + (uint64_t)(value[i] - '0');
	}
	c->declared = n;
	return 0;
}

/* 1: taken note of, but not a line to keep. */
static int note(struct http_conn *c, const char *name, size_t name_len, const char *value,
		size_t len)
{
	if (is_name(name, name_len, "transfer-encoding"))
		return value ? -EPERM : 1;
	if (is_name(name, name_len, "connection")) {
		if (value && is_name(value, len, "close"))
			c->keep_alive = false;
		return 1;
	}
	if (is_name(name, name_len, "date"))
		c->has_date = value != NULL;
	if (is_name(name, name_len, "content-length")) {
		c->declared = HTTP_NO_LIMIT;
		return value ? set_length(c, value, len) : 0;
	}
	return 0;
}

static int check(struct http_conn *c, const char *name, size_t name_len, const char *value,
		 size_t len)
{
	if (!http_is_token(name, name_len) || (value && !http_is_value(value, len)))
		return -EINVAL;
	return note(c, name, name_len, value, len);
}

static int add_line(struct buffer *b, const char *name, size_t name_len, const char *value,
		    size_t len)
{
	if (buffer_reserve(b, name_len + len + 4))
		return -ENOMEM;
	buffer_append(b, name, name_len);
	buffer_append(b, ": ", 2);
	buffer_append(b, value, len);
	buffer_append(b, "\r\n", 2);
	return 0;
}

int http_set_header(struct http_conn *c, const char *name, size_t name_len, const char *value,
		    size_t value_len)
{
	int noted = check(c, name, name_len, value, value_len);

	if (noted)
		return noted < 0 ? noted : 0;
	if (c->headers.len)
		remove_lines(&c->headers, name, name_len);
	return value ? add_line(&c->headers, name, name_len, value, value_len) : 0;
}

int http_add_header(struct http_conn *c, const char *name, size_t name_len, const char *value,
		    size_t value_len)
{
	int noted = check(c, name, name_len, value, value_len);

	if (noted)
		return noted < 0 ? noted : 0;
	/* Two lengths would be two messages. */
	if (is_name(name, name_len, "content-length"))
		remove_lines(&c->headers, name, name_len);
	return add_line(&c->headers, name, name_len, value, value_len);
}
