/*
 * http_answer_head.c - the lines of an answer's head. llhttp lets through two
 * lengths, a length beside chunks, codings other than `chunked` and folded
 * lines. Readers that disagree about where such an answer ends can be played
 * against each other, and a kept connection would hand its rest to the next request.
 */
#include "loop/http_answer_head.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct lines {
	struct http_answer_head *head;
	const char **problem;
	int lengths, codings;
};

static int refuse(struct lines *l, const char *what)
{
	*l->problem = what;
	return -EPROTO;
}

static bool is_word(const struct http_answer_head *head, struct http_slice s, const char *word)
{
	return http_is_word(head->base + s.at, s.len, word);
}

static struct http_slice slice(const struct http_answer_head *head, const char *from,
			       const char *to)
{
	return (struct http_slice){ (uint32_t)(from - head->base), (uint32_t)(to - from) };
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 Reason", or without the reason and its space. */
static int parse_status_line(struct lines *l, const char *line, const char *end)
{
	struct http_answer_head *head = l->head;

	if (end - line < 12 || memcmp(line, "HTTP/1.", 7) != 0 ||
	    (line[7] != '0' && line[7] != '1') || line[8] != ' ' ||
	    (end - line > 12 && line[12] != ' '))
		return refuse(l, "a status line other than 'HTTP/1.1 200 Reason'");
	head->minor = (unsigned)(line[7] - '0');
	head->status = 0;
	for (const char *digit = line + 9; digit < line + 12; digit++) {
		if (!is_digit(*digit))
			return refuse(l, "a status that is no number");
		head->status = head->status * 10 + (unsigned)(*digit - '0');
	}
	head->reason = slice(head, end - line > 13 ? line + 13 : end, end);
	if (head->status < 100)
		return refuse(l, "a status below 100");
	return 0;
}

static int check_length(struct lines *l, struct http_slice value)
{
	const char *digits = l->head->base + value.at;

	if (l->lengths++)
		return refuse(l, "more than one Content-Length");
	if (value.len == 0 || value.len > 18)
		return refuse(l, "a Content-Length that is no length");
	for (uint32_t i = 0; i < value.len; i++) {
		if (!is_digit(digits[i]))
			return refuse(l, "a Content-Length that is no length");
		l->head->length = l->head->length * 10 + (uint64_t)(digits[i] - '0');
	}
	l->head->has_length = true;
	return 0;
}

static int check_coding(struct lines *l, struct http_slice value)
{
	if (l->codings++ || !is_word(l->head, value, "chunked"))
		return refuse(l, "a Transfer-Encoding other than 'chunked'");
	if (l->head->minor == 0)
		return refuse(l, "a Transfer-Encoding in HTTP/1.0");
	l->head->chunked = true;
	return 0;
}

static struct http_field *add_field(struct http_answer_head *head)
{
	size_t cap = head->cap ? head->cap * 2 : 16;
	struct http_field *more;

	if (head->count == head->cap) {
		more = realloc(head->fields, cap * sizeof(*more));
		if (!more)
			return NULL;
		head->fields = more;
		head->cap = cap;
	}
	return &head->fields[head->count++];
}

static int parse_field(struct lines *l, const char *line, const char *end)
{
	const char *colon = memchr(line, ':', (size_t)(end - line));
	const char *value;
	struct http_field *f;

	if (*line == ' ' || *line == '\t')
		return refuse(l, "a header line that is folded");
	if (!colon || !http_is_token(line, (size_t)(colon - line)))
		return refuse(l, "a header line without a name");
	if (l->head->count == HTTP_ANSWER_FIELDS_MAX)
		return refuse(l, "more than 1000 header lines");
	f = add_field(l->head);
	if (!f)
		return -ENOMEM;
	value = colon + 1;
	http_trim(&value, &end);
	f->name = slice(l->head, line, colon);
	f->value = slice(l->head, value, end);
	if (is_word(l->head, f->name, "content-length"))
		return check_length(l, f->value);
	if (is_word(l->head, f->name, "transfer-encoding"))
		return check_coding(l, f->value);
	return 0;
}

int http_answer_head_parse(struct http_answer_head *head, const char *bytes, size_t len,
			   const char **problem)
{
	struct lines l = { .head = head, .problem = problem };
	const char *line = bytes, *end = bytes + len;
	bool first = true;
	int err = 0;

	*head = (struct http_answer_head){ .base = bytes,
					   .fields = head->fields,
					   .cap = head->cap };
	while (!err && line < end) {
		const char *lf = memchr(line, '\n', (size_t)(end - line));
		const char *stop = lf && lf > line && lf[-1] == '\r' ? lf - 1 : NULL;

		if (!stop || !http_is_value(line, (size_t)(stop - line)))
			return refuse(&l, "a bare CR, a bare LF or a NUL in the head");
		if (stop == line)
			break;
		err = first ? parse_status_line(&l, line, stop) : parse_field(&l, line, stop);
		first = false;
		line = lf + 1;
	}
	if (!err && l.lengths && l.codings)
		return refuse(&l, "both a Content-Length and a Transfer-Encoding");
	return err;
}
