/*
 * http_parse.c - slicing and the strict checks.
 *
 * llhttp has already walked the head; it accepts obsolete folding, codings
 * before `chunked`, Transfer-Encoding in HTTP/1.0, HTTP/2.0, a missing version
 * and a missing Host. Two readers that disagree about such a request can be
 * played against each other, so each of them is refused here.
 */
#include "loop/http_parse.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NO_LENGTH UINT64_MAX

/* What the lines of one head say together. */
struct seen {
	int hosts;
	int lengths;
	int encodings;
	int status;
};

static struct http_field *fields;
static size_t fields_cap;

static const bool token_chars[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
	['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
	['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

/* Registered names, addresses and ports; what could start a path, user or list is not in it. */
static const bool host_chars[256] = {
	['!'] = 1,         ['$'] = 1,         ['%'] = 1,         ['&'] = 1, ['\''] = 1, ['('] = 1,
	[')'] = 1,         ['*'] = 1,         ['+'] = 1,         ['-'] = 1, ['.'] = 1,  [':'] = 1,
	[';'] = 1,         ['='] = 1,         ['['] = 1,         [']'] = 1, ['_'] = 1,  ['~'] = 1,
	['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

static bool all_of(const bool *set, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (!set[(unsigned char)s[i]])
			return false;
	}
	return true;
}

bool http_is_token(const char *s, size_t len)
{
	return len > 0 && all_of(token_chars, s, len);
}

bool http_is_value(const char *s, size_t len)
{
	return !memchr(s, '\r', len) && !memchr(s, '\n', len) && !memchr(s, '\0', len);
}

static bool is_word(const char *s, size_t len, const char *word)
{
	return strlen(word) == len && strncasecmp(s, word, len) == 0;
}

static struct http_slice slice(const struct http_head *head, const char *from, const char *to)
{
	return (struct http_slice){ (uint32_t)(from - head->base), (uint32_t)(to - from) };
}

/* The end of the line without its CRLF, or NULL where the line is not clean. */
static const char *line_end(const char *line, const char *end)
{
	const char *lf = memchr(line, '\n', (size_t)(end - line));

	if (!lf || lf == line || lf[-1] != '\r' || !http_is_value(line, (size_t)(lf - 1 - line)))
		return NULL;
	return lf - 1;
}

/* From "http://host/path" the path: a proxy's form, which servers must take. */
static const char *skip_authority(const char *target, const char *end)
{
	const char *p = memchr(target, ':', (size_t)(end - target));

	if (*target == '/' || !p || end - p < 3 || p[1] != '/' || p[2] != '/')
		return target;
	p += 3;
	while (p < end && *p != '/' && *p != '?')
		p++;
	return p;
}

static int parse_target(struct http_head *head, const char *target, const char *end)
{
	const char *path = skip_authority(target, end);
	const char *mark = memchr(path, '?', (size_t)(end - path));

	if (target == end || memchr(target, '#', (size_t)(end - target)))
		return 400;
	head->path = slice(head, path, mark ? mark : end);
	head->query = mark ? slice(head, mark + 1, end) : (struct http_slice){ 0, 0 };
	return 0;
}

static int parse_request_line(struct http_head *head, const char *line, const char *end,
			      const llhttp_t *parser)
{
	const char *space = memchr(line, ' ', (size_t)(end - line));
	const char *version = end - 9;

	/* " HTTP/1.1", one space before and after the target. */
	if (!space || version <= space || memcmp(version, " HTTP/", 6) != 0 || version[7] != '.')
		return 400;
	if (version[6] != '1' || (version[8] != '0' && version[8] != '1'))
		return 505;
	if (memchr(space + 1, ' ', (size_t)(version - space - 1)))
		return 400;
	if (parser->method == HTTP_CONNECT)
		return 501;
	head->method = slice(head, line, space);
	head->minor = parser->http_minor;
	head->is_head = parser->method == HTTP_HEAD;
	return parse_target(head, space + 1, version);
}

static int check_length(struct http_head *head, const char *value, size_t len, struct seen *seen)
{
	uint64_t n = 0;

	if (seen->lengths++ || len == 0 || len > 18)
		return 400;
	for (size_t i = 0; i < len; i++) {
		if (value[i] < '0' || value[i] > '9')
			return 400;
		n = n * 10 + (uint64_t)(value[i] - '0');
	}
	head->content_length = n;
	return 0;
}

static int check_encoding(struct http_head *head, const char *value, size_t len, struct seen *seen)
{
	if (seen->encodings++ || head->minor == 0 || len == 0)
		return 400;
	if (is_word(value, len, "chunked")) {
		head->chunked = true;
		return 0;
	}
	/* One that we do not know, or a list: `chunked` twice is an error, others are not
	 * implemented. */
	return is_word(value, len, "chunked, chunked") || is_word(value, len, "chunked,chunked")
		       ? 400
		       : 501;
}

static int check_expect(struct http_head *head, const char *value, size_t len)
{
	if (!is_word(value, len, "100-continue"))
		return 417;
	head->expects_continue = head->minor > 0;
	return 0;
}

/* The headers that decide where the message ends, or whose message it is. */
static int check_field(struct http_head *head, const struct http_field *f, struct seen *seen)
{
	const char *name = head->base + f->name.at;
	const char *value = head->base + f->value.at;

	switch (f->name.len) {
	case 4:
		if (is_word(name, 4, "host"))
			return seen->hosts++ || !all_of(host_chars, value, f->value.len) ? 400 : 0;
		return 0;
	case 6: return is_word(name, 6, "expect") ? check_expect(head, value, f->value.len) : 0;
	case 14:
		return is_word(name, 14, "content-length")
			       ? check_length(head, value, f->value.len, seen)
			       : 0;
	case 17:
		return is_word(name, 17, "transfer-encoding")
			       ? check_encoding(head, value, f->value.len, seen)
			       : 0;
	default: return 0;
	}
}

static bool room_for_one(size_t count)
{
	size_t cap = fields_cap ? fields_cap * 2 : 64;
	struct http_field *more;

	if (count < fields_cap)
		return true;
	more = realloc(fields, cap * sizeof(*fields));
	if (!more)
		return false;
	fields = more;
	fields_cap = cap;
	return true;
}

static int parse_field(struct http_head *head, const char *line, const char *end, struct seen *seen)
{
	const char *colon = memchr(line, ':', (size_t)(end - line));
	const char *value;
	struct http_field *f;

	/* A space here would be folding; before the colon, a name that others read differently. */
	if (!colon || !http_is_token(line, (size_t)(colon - line)))
		return 400;
	if (!room_for_one(head->count))
		return 431;
	for (value = colon + 1; value < end && (*value == ' ' || *value == '\t');)
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	f = &fields[head->count++];
	f->name = slice(head, line, colon);
	f->value = slice(head, value, end);
	return check_field(head, f, seen);
}

int http_head_parse(struct http_head *head, const char *base, size_t len, const llhttp_t *parser)
{
	const char *end = base + len;
	const char *line = base, *stop;
	struct seen seen = { 0 };
	int refused;

	/* Empty lines before a request are left over from clients that send one too many. */
	while (line < end && (*line == '\r' || *line == '\n'))
		line++;
	*head = (struct http_head){ .base = line,
				    .len = (size_t)(end - line),
				    .content_length = NO_LENGTH };
	stop = line_end(line, end);
	refused = stop ? parse_request_line(head, line, stop, parser) : 400;
	while (!refused) {
		line = stop + 2;
		stop = line < end ? line_end(line, end) : NULL;
		if (!stop || stop == line)
			break;
		refused = parse_field(head, line, stop, &seen);
		/* An expectation that we cannot meet must not hide that the message is malformed.
		 */
		if (refused == 417 || refused == 501) {
			seen.status = seen.status ? seen.status : refused;
			refused = 0;
		}
	}
	if (refused)
		return refused;
	if (!stop || (seen.encodings && seen.lengths) || (head->minor > 0 && !seen.hosts))
		return 400;
	head->fields = fields;
	head->keep_alive = llhttp_should_keep_alive(parser);
	if (head->content_length == NO_LENGTH)
		head->content_length = 0;
	return seen.status;
}

int http_head_refusal(llhttp_errno_t err, const char *base, size_t len)
{
	size_t n = 0;

	switch (err) {
	case HPE_INVALID_VERSION:
	case HPE_PAUSED_H2_UPGRADE: return 505;
	case HPE_INVALID_METHOD:
		while (len && (*base == '\r' || *base == '\n')) {
			base++;
			len--;
		}
		while (n < len && base[n] != ' ')
			n++;
		/* A method that nobody has heard of, or no HTTP at all. */
		return http_is_token(base, n) ? 501 : 400;
	default: return 400;
	}
}

int http_head_too_large(const char *base, size_t len)
{
	while (len && (*base == '\r' || *base == '\n')) {
		base++;
		len--;
	}
	return memchr(base, '\n', len) ? 431 : 414;
}
