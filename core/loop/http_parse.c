/*
 * http_parse.c - slicing and the strict checks.
 *
 * llhttp has already walked the head; it accepts obsolete folding, codings
 * before `chunked`, Transfer-Encoding in HTTP/1.0, HTTP/2.0, a missing version
 * and a missing Host. Two readers that disagree about such a request can be
 * played against each other, so each of them is refused here.
 */
#include "loop/http_parse.h"

/* What the lines of one head say together. */
struct seen {
	const char *nul; /* the first NUL of them all */
	struct http_slice target_host;
	struct http_field *host;
	int lengths;
	int encodings;
	int status;
};

static struct http_field fields[HTTP_FIELDS_MAX];

static const bool token_chars[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
	['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
	['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
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

static struct http_slice slice(const struct http_head *head, const char *from, const char *to)
{
	return (struct http_slice){ (uint32_t)(from - head->base), (uint32_t)(to - from) };
}

/* The end of the line without its CRLF, or NULL where the line is not clean. */
static const char *line_end(const char *line, const char *end, const struct seen *seen)
{
	const char *lf = memchr(line, '\n', (size_t)(end - line));

	if (!lf || lf == line || memchr(line, '\r', (size_t)(lf - line)) != lf - 1 ||
	    (seen->nul && seen->nul < lf))
		return NULL;
	return lf - 1;
}

static int parse_target(struct http_head *head, const char *target, const char *end, bool any,
			struct seen *seen)
{
	struct http_target t;
	int refused = http_target_split(&t, target, end, any);

	if (refused)
		return refused;
	head->path = slice(head, t.path, t.path + t.path_len);
	if (t.query)
		head->query = slice(head, t.query, t.query + t.query_len);
	if (t.host_len)
		seen->target_host = slice(head, t.host, t.host + t.host_len);
	return 0;
}

static int parse_request_line(struct http_head *head, const char *line, const char *end,
			      const llhttp_t *parser, struct seen *seen)
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
	return parse_target(head, space + 1, version, parser->method == HTTP_OPTIONS, seen);
}

static int check_length(struct http_head *head, const char *value, size_t len, struct seen *seen)
{
	uint64_t n = 0;

	if (seen->lengths++ || len == 0)
		return 400;
	for (size_t i = 0; i < len; i++) {
		if (value[i] < '0' || value[i] > '9' || n > (UINT64_MAX - 9) / 10)
			return 400;
		n = n * 10 + (uint64_t)(value[i] - '0');
	}
	head->content_length = n;
	return 0;
}

/* Codings, of which we know none: or, with `chunked` not at the end, something worse. */
static int refuse_encodings(const char *value, size_t len)
{
	const char *end = value + len;
	bool chunked = false;

	for (;;) {
		const char *comma = memchr(value, ',', (size_t)(end - value));
		const char *stop = comma ? comma : end;

		http_trim(&value, &stop);
		if (chunked || !http_is_token(value, (size_t)(stop - value)))
			return 400;
		chunked = http_is_word(value, (size_t)(stop - value), "chunked");
		if (!comma)
			return 501;
		value = comma + 1;
	}
}

static int check_encoding(struct http_head *head, const char *value, size_t len, struct seen *seen)
{
	if (seen->encodings++ || head->minor == 0)
		return 400;
	head->chunked = http_is_word(value, len, "chunked");
	return head->chunked ? 0 : refuse_encodings(value, len);
}

static int check_expect(struct http_head *head, const char *value, size_t len)
{
	if (head->minor == 0 || len == 0)
		return 0;
	head->expects_continue = http_is_word(value, len, "100-continue");
	return head->expects_continue ? 0 : 417;
}

static int check_host(struct http_field *f, const char *value, struct seen *seen)
{
	if (seen->host || !http_is_host(value, f->value.len))
		return 400;
	seen->host = f;
	return 0;
}

/* The headers that decide where the message ends, or whose message it is. */
static int check_field(struct http_head *head, struct http_field *f, struct seen *seen)
{
	const char *name = head->base + f->name.at;
	const char *value = head->base + f->value.at;

	switch (f->name.len) {
	case 4: return http_is_word(name, 4, "host") ? check_host(f, value, seen) : 0;
	case 6:
		return http_is_word(name, 6, "expect") ? check_expect(head, value, f->value.len)
						       : 0;
	case 14:
		return http_is_word(name, 14, "content-length")
			       ? check_length(head, value, f->value.len, seen)
			       : 0;
	case 17:
		return http_is_word(name, 17, "transfer-encoding")
			       ? check_encoding(head, value, f->value.len, seen)
			       : 0;
	default: return 0;
	}
}

static int parse_field(struct http_head *head, const char *line, const char *end, struct seen *seen)
{
	const char *colon = memchr(line, ':', (size_t)(end - line));
	const char *value;
	struct http_field *f;

	/* A space here would be folding; before the colon, a name that others read differently. */
	if (!colon || !http_is_token(line, (size_t)(colon - line)))
		return 400;
	if (head->count == HTTP_FIELDS_MAX)
		return 431;
	value = colon + 1;
	http_trim(&value, &end);
	f = &fields[head->count++];
	f->name = slice(head, line, colon);
	f->value = slice(head, value, end);
	return check_field(head, f, seen);
}

static void skip_empty_lines(const char **base, size_t *len)
{
	while (*len && (**base == '\r' || **base == '\n')) {
		++*base;
		--*len;
	}
}

int http_head_parse(struct http_head *head, const char *base, size_t len, const llhttp_t *parser)
{
	const char *end = base + len;
	const char *line = base, *stop;
	struct seen seen = { 0 };
	int refused;

	/*
	 * Empty lines before a request are left over from clients that send one too many. A CR or
	 * an LF alone is no empty line, and no better here than elsewhere.
	 */
	while (end - line >= 2 && line[0] == '\r' && line[1] == '\n')
		line += 2;
	*head = (struct http_head){ .base = line, .len = (size_t)(end - line), .fields = fields };
	seen.nul = memchr(line, '\0', (size_t)(end - line));
	stop = line_end(line, end, &seen);
	refused = stop ? parse_request_line(head, line, stop, parser, &seen) : 400;
	while (!refused) {
		line = stop + 2;
		stop = line < end ? line_end(line, end, &seen) : NULL;
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
	if (!stop || (seen.encodings && seen.lengths) || (head->minor > 0 && !seen.host))
		return 400;
	/* A target that names a host has the last word about it. */
	if (seen.host && seen.target_host.len)
		seen.host->value = seen.target_host;
	else
		head->host = seen.target_host;
	head->keep_alive =
		llhttp_should_keep_alive(parser) && !(parser->flags & F_CONNECTION_CLOSE);
	return seen.status;
}

bool http_head_is_blank(const char *base, size_t len)
{
	skip_empty_lines(&base, &len);
	return len == 0;
}

/* A method that nobody has heard of, or no HTTP at all? */
static int refuse_method(const char *base, size_t len)
{
	size_t n = 0;

	skip_empty_lines(&base, &len);
	while (n < len && n <= HTTP_METHOD_MAX && http_is_token(base + n, 1))
		n++;
	if (n > HTTP_METHOD_MAX)
		return 501;
	if (n == len)
		return 0;
	return n > 0 && base[n] == ' ' ? 501 : 400;
}

int http_head_refusal(const llhttp_t *parser, llhttp_errno_t err, const char *base, size_t len)
{
	/* A version, or none at all? The number alone does not say. */
	if (err == HPE_INVALID_VERSION)
		return strcmp(llhttp_get_error_reason(parser), "Invalid HTTP version") ? 400 : 505;
	if (err == HPE_INVALID_METHOD)
		return refuse_method(base, len);
	/* Methods of RTSP and ICE, which llhttp speaks too. */
	if (err == HPE_INVALID_CONSTANT &&
	    (parser->method >= HTTP_DESCRIBE || parser->method == HTTP_SOURCE))
		return 501;
	return 400;
}

int http_head_too_large(const char *base, size_t len)
{
	skip_empty_lines(&base, &len);
	if (!len)
		return 400;
	return memchr(base, '\n', len) ? 431 : 414;
}
