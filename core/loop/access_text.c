/*
 * access_text.c - access log lines: nginx's combined format, and JSON. It writes to memory only.
 */
#include "loop/access_text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "sys/utf8.h"

#define MARK "..."

struct out {
	char *at, *end;
};

static size_t left(const struct out *out)
{
	return (size_t)(out->end - out->at);
}

static void put(struct out *out, const char *bytes, size_t len)
{
	memcpy(out->at, bytes, len);
	out->at += len;
}

#define PUT(out, literal) put(out, literal, sizeof(literal) - 1)

static void put_number(struct out *out, uint64_t n)
{
	char digits[20];
	char *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	put(out, p, (size_t)(digits + sizeof(digits) - p));
}

/* ---- time ---- */

static time_t now_seconds(long *ms)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	*ms = now.tv_nsec / 1000000;
	return now.tv_sec;
}

/* " - - [22/Nov/2026:04:26:28 +0000] ", in local time */
static void put_local_time(struct out *out)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	static char text[64];
	static size_t len;
	static time_t made;
	long ms, zone;
	struct tm tm;
	time_t now = now_seconds(&ms);

	if (now != made || !len) {
		made = now;
		localtime_r(&now, &tm);
		zone = tm.tm_gmtoff / 60;
		len = (size_t)snprintf(text, sizeof(text),
				       " - - [%02d/%.3s/%d:%02d:%02d:%02d %c%02ld%02ld] ",
				       tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900,
				       tm.tm_hour, tm.tm_min, tm.tm_sec, zone < 0 ? '-' : '+',
				       (zone < 0 ? -zone : zone) / 60,
				       (zone < 0 ? -zone : zone) % 60);
	}
	put(out, text, len);
}

/* "2026-11-22T04:26:28.123Z", as in the log */
static void put_utc_time(struct out *out)
{
	static char text[32];
	static time_t made;
	long ms;
	struct tm tm;
	time_t now = now_seconds(&ms);

	if (now != made || !text[0]) {
		made = now;
		gmtime_r(&now, &tm);
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.000Z", &tm);
	}
	text[20] = (char)('0' + ms / 100);
	text[21] = (char)('0' + ms / 10 % 10);
	text[22] = (char)('0' + ms % 10);
	put(out, text, 24);
}

/* ---- what clients sent ---- */

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

#define EACH(byte) (0x0101010101010101ull * (byte))

/* The high bit of each byte that is zero is set; where none is, of none. */
static uint64_t zeros(uint64_t v)
{
	return (v - EACH(1)) & ~v & EACH(0x80);
}

/* Eight bytes at a time: agents are long, and hardly ever anything but plain. */
static bool are_plain(const char *bytes)
{
	uint64_t v;

	memcpy(&v, bytes, sizeof(v));
	return !((v & EACH(0x80)) | ((v - EACH(0x20)) & ~v & EACH(0x80)) | zeros(v ^ EACH('"')) |
		 zeros(v ^ EACH('\\')) | zeros(v ^ EACH(0x7f)));
}

static size_t plain_run(const struct access_slice *s, size_t from)
{
	size_t i = from;

	while (s->len - i >= 8 && are_plain(s->bytes + i))
		i += 8;
	/* The last few, with some of those before them. */
	if (i < s->len && i - from >= 8 && s->len - i < 8 && are_plain(s->bytes + s->len - 8))
		return s->len - from;
	while (i < s->len && is_plain((unsigned char)s->bytes[i]))
		i++;
	return i - from;
}

/* One escape for the byte at s, which is not plain. Sets how many bytes of s it stands for. */
static size_t escape(char *into, enum access_format format, const char *s, size_t left,
		     size_t *used)
{
	unsigned char c = (unsigned char)*s;

	*used = 1;
	if (format == ACCESS_COMBINED)
		return (size_t)sprintf(into, "\\x%02X", c);
	if (c == '"' || c == '\\')
		return (size_t)sprintf(into, "\\%c", c);
	if (c < 0x80)
		return (size_t)sprintf(into, "\\u%04x", c);
	*used = utf8_length((const unsigned char *)s, left);
	if (*used == 0) {
		*used = 1;
		return (size_t)sprintf(into, "\\ufffd");
	}
	memcpy(into, s, *used);
	return *used;
}

/* At most `budget` bytes. */
static void put_slice(struct out *out, enum access_format format, const struct access_slice *s,
		      size_t budget)
{
	char *end = out->at + budget - sizeof(MARK);
	char text[8];

	for (size_t i = 0; i < s->len;) {
		size_t used = plain_run(s, i), len = used;
		const char *bytes = s->bytes + i;

		if (used == 0) {
			len = escape(text, format, bytes, s->len - i, &used);
			bytes = text;
		}
		if (len > (size_t)(end - out->at)) {
			if (bytes != text)
				put(out, bytes, (size_t)(end - out->at));
			PUT(out, MARK);
			return;
		}
		put(out, bytes, len);
		i += used;
	}
}

/* ---- the formats ---- */

static void put_quoted(struct out *out, const struct access_slice *s, size_t budget)
{
	PUT(out, "\"");
	if (s->bytes)
		put_slice(out, ACCESS_COMBINED, s, budget);
	else
		PUT(out, "-");
	PUT(out, "\"");
}

static void put_combined(struct out *out, const struct access_entry *e)
{
	put(out, e->address.bytes, e->address.len);
	put_local_time(out);
	put_quoted(out, &e->line, left(out) / 2);
	PUT(out, " ");
	put_number(out, (uint64_t)e->status);
	PUT(out, " ");
	put_number(out, e->bytes);
	PUT(out, " ");
	put_quoted(out, &e->referer, left(out) / 2);
	PUT(out, " ");
	put_quoted(out, &e->agent, left(out) - 8);
	PUT(out, "\n");
}

static void put_json_value(struct out *out, const struct access_slice *s, size_t budget)
{
	if (!s->bytes) {
		PUT(out, "null");
		return;
	}
	PUT(out, "\"");
	put_slice(out, ACCESS_JSON, s, budget);
	PUT(out, "\"");
}

/* A first line that could not be taken apart is given as a whole. */
static void put_json_request(struct out *out, const struct access_entry *e)
{
	PUT(out, ",\"method\":");
	put_json_value(out, &e->method, left(out) / 16);
	PUT(out, ",\"path\":");
	put_json_value(out, &e->path, left(out) / 4);
	if (e->query.len) {
		PUT(out, ",\"query\":");
		put_json_value(out, &e->query, left(out) / 4);
	}
	if (!e->method.bytes && e->line.bytes) {
		PUT(out, ",\"request\":");
		put_json_value(out, &e->line, left(out) / 4);
	}
	if (!e->method.bytes)
		PUT(out, ",\"version\":null");
	else if (e->minor)
		PUT(out, ",\"version\":\"1.1\"");
	else
		PUT(out, ",\"version\":\"1.0\"");
}

static void put_seconds(struct out *out, uint64_t ns)
{
	char fraction[8] = ".000000";
	uint64_t us = ns / 1000;

	put_number(out, us / 1000000);
	us %= 1000000;
	for (int i = 6; i > 0; i--, us /= 10)
		fraction[i] = (char)('0' + us % 10);
	put(out, fraction, 7);
}

static void put_json(struct out *out, const struct access_entry *e)
{
	PUT(out, "{\"time\":\"");
	put_utc_time(out);
	PUT(out, "\",\"remote_address\":\"");
	put(out, e->address.bytes, e->address.len);
	PUT(out, "\"");
	put_json_request(out, e);
	PUT(out, ",\"status\":");
	put_number(out, (uint64_t)e->status);
	PUT(out, ",\"bytes\":");
	put_number(out, e->bytes);
	PUT(out, ",\"seconds\":");
	put_seconds(out, e->ns);
	PUT(out, ",\"referer\":");
	put_json_value(out, &e->referer, left(out) / 2);
	PUT(out, ",\"user_agent\":");
	put_json_value(out, &e->agent, left(out) - 8);
	PUT(out, "}\n");
}

size_t access_text(char *into, size_t max, enum access_format format, const struct access_entry *e)
{
	struct out out = { into, into + max };

	if (format == ACCESS_JSON)
		put_json(&out, e);
	else
		put_combined(&out, e);
	return (size_t)(out.at - into);
}

size_t access_text_line(char *into, size_t max, const char *text, size_t len)
{
	char *at = into, *end = into + max - sizeof(MARK) - 4;

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (at >= end) {
			at += sprintf(at, MARK);
			break;
		}
		if ((c >= 0x20 && c != 0x7f) || c == '\t')
			*at++ = (char)c;
		else if (c == '\n' || c == '\r')
			at += sprintf(at, c == '\n' ? "\\n" : "\\r");
		else
			at += sprintf(at, "\\x%02X", c);
	}
	*at++ = '\n';
	return (size_t)(at - into);
}
