/*
 * log.h - the log: one record per line, one write(2) per record.
 *
 * Logging never fails the caller and never blocks for long: when the reader of
 * the log is stuck, records are dropped and counted. A child of a fork goes on
 * writing to the same descriptor, which the log borrows and never closes.
 */
#ifndef SYS_LOG_H
#define SYS_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_LEVELS };
enum log_format { LOG_TEXT, LOG_JSON };
enum log_color { LOG_COLOR_AUTO = -1, LOG_COLOR_OFF, LOG_COLOR_ON };

struct log_options {
	enum log_level level; /* what is less is not written */
	enum log_format format;
	int fd;
	enum log_color color; /* AUTO: on a terminal, unless NO_COLOR is set */
};

/* Starts as { LOG_INFO, LOG_TEXT, 2, LOG_COLOR_AUTO }. */
void log_setup(const struct log_options *options);
void log_options(struct log_options *out);

/* -1 when there is no such level. */
int log_level_parse(const char *name);
const char *log_level_name(enum log_level level);

void log_write(enum log_level level, const char *text, size_t size);

void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * The bytes of one record, newline included, into out[]; returns how many, or
 * how many it would have been (as snprintf). Pure: what log_write writes.
 */
struct log_record {
	enum log_level level;
	long long ms; /* since 1970 */
	int pid;
	const char *text;
	size_t size;
};
size_t log_encode(char *out, size_t room, enum log_format format, bool color,
		  const struct log_record *record);

#endif
