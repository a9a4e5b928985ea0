/*
 * log_text.c - one record as text or JSON. Pure: it reads no clock and writes nowhere.
 *
 * Whatever the message holds, the result is one record of valid UTF-8: control
 * characters and broken bytes are escaped (a terminal obeys them otherwise), and
 * further lines of a text record are indented.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "sys/log.h"
#include "sys/utf8.h"

/* Writes while there is room, counts always. */
struct out {
	char *data;
	size_t room, size;
};

static void put(struct out *out, const char *data, size_t size)
{
	size_t left = out->size < out->room ? out->room - out->size : 0;

	if (left)
		memcpy(out->data + out->size, data, size < left ? size : left);
	out->size += size;
}

static void put_text(struct out *out, const char *text)
{
	put(out, text, strlen(text));
}

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

static void put_escaped(struct out *out, enum log_format format, unsigned char c)
{
	char escape[8];

	if (format == LOG_TEXT && c == '\n')
		put_text(out, "\n    ");
	else if (format == LOG_TEXT && c == '\t')
		put(out, "\t", 1);
	else if (format == LOG_TEXT)
		put(out, escape, (size_t)snprintf(escape, sizeof(escape), "\\x%02x", c));
	else if (c == '\n')
		put_text(out, "\\n");
	else if (c == '\t')
		put_text(out, "\\t");
	else if (c >= 0x80)
		put_text(out, "\\ufffd");
	else if (is_control(c))
		put(out, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", c));
	else
		put(out, escape, (size_t)snprintf(escape, sizeof(escape), "\\%c", c));
}

static void put_message(struct out *out, enum log_format format, const char *text, size_t size)
{
	const unsigned char *s = (const unsigned char *)text;

	while (size && (s[size - 1] == '\n' || s[size - 1] == '\r'))
		size--;
	for (size_t i = 0, n; i < size; i += n ? n : 1) {
		/* C1 controls (U+0080 to U+009F) drive terminals as escapes do. */
		bool c1 = s[i] == 0xc2 && i + 1 < size && s[i + 1] < 0xa0;

		n = utf8_length(s + i, size - i);
		if (s[i] == '\r' && i + 1 < size && s[i + 1] == '\n')
			continue;
		if (n == 0 || is_control(s[i]) || (c1 && format == LOG_TEXT)) {
			put_escaped(out, format, s[i]);
			n = 1;
		} else if (format == LOG_JSON && (s[i] == '"' || s[i] == '\\')) {
			put_escaped(out, format, s[i]);
		} else {
			put(out, text + i, n);
		}
	}
}

static void put_time(struct out *out, long long ms)
{
	time_t seconds = (time_t)(ms / 1000);
	char text[64];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	put_text(out, text);
	put(out, text, (size_t)snprintf(text, sizeof(text), ".%03dZ", (int)(ms % 1000)));
}

static void put_text_head(struct out *out, bool color, const struct log_record *r)
{
	static const char *const colors[] = { "\033[2m", "\033[32m", "\033[33m", "\033[31m" };
	char text[64];

	put_time(out, r->ms);
	put_text(out, " ");
	if (color)
		put_text(out, colors[r->level]);
	put(out, text, (size_t)snprintf(text, sizeof(text), "%-5s", log_level_name(r->level)));
	if (color)
		put_text(out, "\033[0m");
	put(out, text, (size_t)snprintf(text, sizeof(text), " [%d] ", r->pid));
}

size_t log_encode(char *data, size_t room, enum log_format format, bool color,
		  const struct log_record *r)
{
	struct out out = { 0 };
	char text[64];

	out.data = data;
	out.room = room;
	if (format == LOG_TEXT) {
		put_text_head(&out, color, r);
		put_message(&out, format, r->text, r->size);
		put(&out, "\n", 1);
		return out.size;
	}
	put_text(&out, "{\"time\":\"");
	put_time(&out, r->ms);
	put(&out, text,
	    (size_t)snprintf(text, sizeof(text), "\",\"level\":\"%s\",\"pid\":%d,\"message\":\"",
			     log_level_name(r->level), r->pid));
	put_message(&out, format, r->text, r->size);
	put_text(&out, "\"}\n");
	return out.size;
}
