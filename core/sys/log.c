/*
 * log.c - writing records: when, how long to wait for a slow reader, and when to give up.
 *
 * It must never fail, block for long or signal its caller. What a record looks like is in
 * log_text.c.
 */
#include "sys/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sys/fd.h"

#define RECORD_SMALL 4096
/* A pipe with room has room for this much, so writing it cannot block. */
#define PIECE 4096
/* How long one record may wait for a reader that does not read. */
#define PATIENCE_MS 200
#define MESSAGE_MAX (256 * 1024)

static struct log_options options = { LOG_INFO, LOG_TEXT, 2, LOG_COLOR_AUTO };

/* What the descriptor is, looked at again whenever it changes; and how its reader does. */
static struct {
	int fd;
	mode_t type;
	bool color;
	bool stuck;       /* the last record found no room: do not wait for the next */
	bool broken_line; /* and was cut in the middle */
	unsigned long lost;
} sink = { .fd = -1 };

static const char *const level_names[] = { "debug", "info", "warn", "error" };

int log_level_parse(const char *name)
{
	for (int i = 0; i < LOG_LEVELS; i++)
		if (strcmp(name, level_names[i]) == 0)
			return i;
	return -1;
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

static bool log_wants(enum log_level level)
{
	return level >= options.level;
}

static bool color_wanted(int fd)
{
	const char *no = getenv("NO_COLOR");

	if (options.color != LOG_COLOR_AUTO)
		return options.color == LOG_COLOR_ON;
	return (!no || !*no) && isatty(fd);
}

static void sink_open(void)
{
	struct stat st;

	sink.fd = options.fd;
	sink.type = fstat(sink.fd, &st) == 0 ? st.st_mode & S_IFMT : S_IFREG;
	sink.color = color_wanted(sink.fd);
	sink.stuck = sink.broken_line = false;
}

void log_setup(const struct log_options *given)
{
	int saved = errno;

	options = *given;
	sink_open();
	errno = saved;
}

void log_options(struct log_options *out)
{
	*out = options;
}

static bool sink_wait(void)
{
	struct pollfd wait = { .fd = sink.fd, .events = POLLOUT };
	int n;

	do
		n = poll(&wait, 1, sink.stuck ? 0 : PATIENCE_MS);
	while (n < 0 && errno == EINTR);
	return n > 0;
}

static ssize_t sink_write(const char *data, size_t size)
{
	ssize_t n;

	do {
		if (sink.type == S_IFSOCK)
			n = send(sink.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			n = write(sink.fd, data, size);
	} while (n < 0 && errno == EINTR);
	return n;
}

/*
 * A file takes it all at once. Anything else may have a reader that sleeps, and
 * the descriptor may be blocking and not ours to change: ask before each piece.
 */
static bool sink_put(const char *data, size_t size)
{
	bool file = sink.type == S_IFREG;
	size_t done = 0;

	while (done < size) {
		size_t piece = file || size - done < PIECE ? size - done : PIECE;
		ssize_t n;

		if (!file && !sink_wait())
			break;
		n = sink_write(data + done, piece);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		/* Room by poll and yet EAGAIN (a socket short of memory): that is a full one. */
		if (n < 0 && sink.stuck)
			break;
		sink.stuck = n < 0;
		done += n < 0 ? 0 : (size_t)n;
	}
	sink.broken_line = done > 0 && done < size;
	return done == size;
}

static void sink_record(const char *data, size_t size)
{
	bool repair = sink.broken_line;

	if ((repair && !sink_put("\n", 1)) || !sink_put(data, size)) {
		sink.stuck = true;
		sink.broken_line |= repair;
		sink.lost++;
		return;
	}
	sink.stuck = false;
}

static void record_write(enum log_level level, const char *text, size_t size)
{
	char small[RECORD_SMALL], *buffer = small;
	struct log_record record = { .level = level, .pid = getpid(), .text = text, .size = size };
	struct timespec now;
	size_t length;

	clock_gettime(CLOCK_REALTIME, &now);
	record.ms = (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	length = log_encode(small, sizeof(small), options.format, sink.color, &record);
	if (length > sizeof(small)) {
		buffer = malloc(length);
		if (buffer)
			log_encode(buffer, length, options.format, sink.color, &record);
	}
	if (buffer) {
		sink_record(buffer, length);
	} else {
		/* No memory: the beginning is better than nothing, and a sixth of the room holds
		 * any escapes. */
		record.size = sizeof(small) / 8;
		sink_record(small,
			    log_encode(small, sizeof(small), options.format, sink.color, &record));
	}
	if (buffer != small)
		free(buffer);
}

void log_write(enum log_level level, const char *text, size_t size)
{
	int saved = errno;

	if (!log_wants(level))
		return;
	if (sink.fd != options.fd)
		sink_open();
	if (size > MESSAGE_MAX)
		size = MESSAGE_MAX;
	record_write(level, text, size);
	if (sink.lost && !sink.stuck) {
		char note[96];
		int n = snprintf(note, sizeof(note),
				 "log: %lu records lost, the reader was too slow", sink.lost);

		sink.lost = 0;
		record_write(LOG_WARN, note, (size_t)n);
	}
	errno = saved;
}

static void log_format_write(enum log_level level, const char *fmt, va_list ap)
{
	char small[1024], *text = small;
	int saved = errno, n;
	va_list again;

	if (!log_wants(level))
		return;
	va_copy(again, ap);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	if (n >= (int)sizeof(small)) {
		text = malloc((size_t)n + 1);
		if (text) {
			vsnprintf(text, (size_t)n + 1, fmt, again);
		} else {
			text = small;
			n = sizeof(small) - 1;
		}
	}
	va_end(again);
	if (n > 0)
		log_write(level, text, (size_t)n);
	if (text != small)
		free(text);
	errno = saved;
}

#define LOG_AT(name, level)                       \
	void name(const char *fmt, ...)           \
	{                                         \
		va_list ap;                       \
		va_start(ap, fmt);                \
		log_format_write(level, fmt, ap); \
		va_end(ap);                       \
	}

LOG_AT(log_warn, LOG_WARN)
LOG_AT(log_error, LOG_ERROR)
