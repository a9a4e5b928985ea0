/*
 * http_headers.c - the headers an application sets, kept as finished lines. Those
 * that decide about framing are not taken on trust.
 */
#include "loop/http_conn.h"

/* No control bytes: some readers end a line or a value at one. */
static bool is_text(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char ch = (unsigned char)value[i];

		if ((ch < ' ' && ch != '\t') || ch == 127)
			return false;
	}
	return true;
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

static bool parse_length(const char *value, size_t len, uint64_t *out)
{
	uint64_t n = 0;

	if (len == 0 || len > 18)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (value[i] < '0' || value[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(value[i] - '0');
	}
	*out = n;
	return true;
}

/* Whether the list of words holds "close". */
static bool asks_to_close(const char *value, size_t len)
{
	const char *end = value + len;

	while (value < end) {
		const char *comma = memchr(value, ',', (size_t)(end - value));
		const char *stop = comma ? comma : end;

		http_trim(&value, &stop);
		if (http_is_word(value, (size_t)(stop - value), "close"))
			return true;
		value = comma ? comma + 1 : end;
	}
	return false;
}

enum http_header_fault http_check_header(const char *name, size_t name_len, const char *value,
					 size_t len)
{
	uint64_t length;

	if (!http_is_token(name, name_len))
		return HTTP_HEADER_NAME;
	if (!value)
		return HTTP_HEADER_FINE;
	if (!is_text(value, len))
		return HTTP_HEADER_VALUE;
	if (http_is_word(name, name_len, "transfer-encoding"))
		return HTTP_HEADER_OWN;
	if (http_is_word(name, name_len, "content-length") && !parse_length(value, len, &length))
		return HTTP_HEADER_LENGTH;
	return HTTP_HEADER_FINE;
}

/* Whether it is a line to keep. */
static bool note(struct http_conn *c, const char *name, size_t name_len, const char *value,
		 size_t len)
{
	if (http_is_word(name, name_len, "connection")) {
		c->close_asked = value && asks_to_close(value, len);
		return false;
	}
	if (http_is_word(name, name_len, "date"))
		c->has_date = value != NULL;
	if (http_is_word(name, name_len, "content-length")) {
		c->declared = HTTP_NO_LIMIT;
		if (value)
			parse_length(value, len, &c->declared);
	}
	return true;
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
	if (!note(c, name, name_len, value, value_len))
		return 0;
	if (c->headers.len)
		remove_lines(&c->headers, name, name_len);
	return value ? add_line(&c->headers, name, name_len, value, value_len) : 0;
}

int http_add_header(struct http_conn *c, const char *name, size_t name_len, const char *value,
		    size_t value_len)
{
	bool closes = c->close_asked;

	if (note(c, name, name_len, value, value_len))
		return add_line(&c->headers, name, name_len, value, value_len);
	c->close_asked |= closes;
	return 0;
}
