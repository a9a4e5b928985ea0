/*
 * access_text.h - one line of the access log as text. Pure but for the clock, which is read
 * once per line and put into words once per second.
 */
#ifndef LOOP_ACCESS_TEXT_H
#define LOOP_ACCESS_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum access_format { ACCESS_COMBINED, ACCESS_JSON };

/* What a client sent, as it sent it; bytes NULL: it did not. */
struct access_slice {
	const char *bytes;
	size_t len;
};

struct access_entry {
	struct access_slice address;
	/* The whole first line; the four after it are NULL where it could not be taken apart. */
	struct access_slice line, method, path, query;
	struct access_slice referer, agent;
	int minor;
	int status;
	uint64_t bytes;
	uint64_t ns;
};

/*
 * Write the line, its end included, into out[], which has room for max bytes, at least
 * PIPE_BUF: what a client sent is cut, and ends in "...", where it would not fit. Returns
 * its length. Nothing a client sends ends the line or a field of it, and JSON is valid UTF-8.
 */
size_t access_text(char *out, size_t max, enum access_format format, const struct access_entry *e);

/* The same for a line that the application made: its control characters are escaped. */
size_t access_text_line(char *out, size_t max, const char *text, size_t len);

#endif
