/*
 * relay_fields.c - header lines that are not simply passed on: those between two neighbours, those
 * that say where a message ends, and those that a relay answers for. It reads; what becomes of
 * them is decided elsewhere.
 */
#include "loop/relay_parts.h"

struct known {
	const char *name;
	enum relay_field field;
};

/*
 * CGI, and what has learnt from it, makes one name of X-Forwarded-For and X_Forwarded_For: one
 * that only looks like ours would be believed.
 */
static bool is_same(const char *name, const char *known, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char ch = name[i] == '_' ? '-' : name[i];

		if ((ch >= 'A' && ch <= 'Z' ? ch | 0x20 : ch) != known[i])
			return false;
	}
	return true;
}

/* By length first: most names are told apart from these by that alone. */
enum relay_field relay_field(const char *name, size_t len)
{
	static const struct known known[][2] = {
		[2] = { { "te", FIELD_TE } },
		[4] = { { "host", FIELD_HOST }, { "date", FIELD_DATE } },
		[6] = { { "expect", FIELD_EXPECT } },
		[7] = { { "upgrade", FIELD_UPGRADE }, { "trailer", FIELD_TRAILER } },
		[10] = { { "connection", FIELD_CONNECTION }, { "keep-alive", FIELD_KEEP_ALIVE } },
		[14] = { { "content-length", FIELD_LENGTH }, { "http2-settings", FIELD_HOP } },
		[15] = { { "x-forwarded-for", FIELD_FORWARDED_FOR } },
		[16] = { { "proxy-connection", FIELD_HOP },
			 { "x-forwarded-host", FIELD_FORWARDED } },
		[17] = { { "transfer-encoding", FIELD_CODING },
			 { "x-forwarded-proto", FIELD_FORWARDED } },
		[18] = { { "proxy-authenticate", FIELD_HOP } },
		[19] = { { "proxy-authorization", FIELD_HOP } },
	};

	if (len >= sizeof(known) / sizeof(*known))
		return FIELD_OTHER;
	for (const struct known *k = known[len]; k < known[len] + 2 && k->name; k++) {
		/* The first letter spares most of the rest. */
		if ((name[0] | 0x20) == k->name[0] && is_same(name, k->name, len))
			return memchr(name, '_', len) ? FIELD_HOP : k->field;
	}
	return FIELD_OTHER;
}

/* The next of a list's words, or false at its end. */
static bool next_word(const char **at, const char *end, const char **word, size_t *len)
{
	const char *comma, *stop;

	if (*at >= end)
		return false;
	comma = memchr(*at, ',', (size_t)(end - *at));
	stop = comma ? comma : end;
	*word = *at;
	*at = comma ? comma + 1 : end;
	http_trim(word, &stop);
	*len = (size_t)(stop - *word);
	return true;
}

void relay_read_wishes(struct relay_wishes *wishes, const char *value, size_t len)
{
	const char *at = value, *word;
	size_t n;

	while (next_word(&at, value + len, &word, &n)) {
		if (http_is_word(word, n, "close"))
			wishes->close = true;
		else if (http_is_word(word, n, "keep-alive"))
			wishes->keep_alive = true;
		else if (http_is_word(word, n, "upgrade"))
			wishes->upgrade = true;
		else if (n)
			wishes->others = true;
	}
}

bool relay_is_named(const char *base, const struct http_field *fields, size_t count,
		    const char *name, size_t len)
{
	for (size_t i = 0; i < count; i++) {
		const struct http_field *f = &fields[i];
		const char *at = base + f->value.at, *end = at + f->value.len, *word;
		size_t n;

		if (relay_field(base + f->name.at, f->name.len) != FIELD_CONNECTION)
			continue;
		while (next_word(&at, end, &word, &n)) {
			if (n == len && strncasecmp(word, name, n) == 0)
				return true;
		}
	}
	return false;
}

#define ONES  0x0101010101010101u
#define HIGHS 0x8080808080808080u

/* Whether one of eight bytes may be below a blank, or 0x7f: never wrong where it says no. */
static bool is_suspect(uint64_t eight)
{
	uint64_t low = (eight - ONES * 0x20) & ~eight & HIGHS;
	uint64_t del = eight ^ ONES * 0x7f;

	return low || ((del - ONES) & ~del & HIGHS);
}

bool relay_is_clean(const char *value, size_t len)
{
	size_t i = 0;

	while (i < len) {
		unsigned char ch;
		uint64_t eight;

		if (len - i >= 8) {
			memcpy(&eight, value + i, 8);
			if (!is_suspect(eight)) {
				i += 8;
				continue;
			}
		}
		ch = (unsigned char)value[i++];
		if ((ch < ' ' && ch != '\t') || ch == 0x7f)
			return false;
	}
	return true;
}

/*
 * What decides about a message, or who may have it, must be known before its body: behind it, it
 * would be believed by some and not by others.
 */
static bool may_trail(const char *name, size_t len)
{
	static const char *const never[] = {
		"age",           "authorization", "cache-control", "content-encoding",
		"content-range", "content-type",  "cookie",        "expires",
		"forwarded",     "location",      "max-forwards",  "range",
		"retry-after",   "set-cookie",    "vary",          "www-authenticate",
	};

	if (relay_field(name, len) != FIELD_OTHER)
		return false;
	for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++) {
		if (http_is_word(name, len, never[i]))
			return false;
	}
	return true;
}

int relay_pass_trailers(struct buffer *out, const char *lines, size_t len)
{
	const char *line = lines, *end = lines + len;

	while (line < end && *line != '\r') {
		const char *next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
		const char *colon = memchr(line, ':', (size_t)(next - line));

		if (may_trail(line, (size_t)(colon - line)) &&
		    buffer_append(out, line, (size_t)(next - line)))
			return -ENOMEM;
		line = next;
	}
	return 0;
}
