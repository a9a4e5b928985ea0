/*
 * access_log.c - gathering lines and writing them: when, in which pieces, and what becomes of
 * those that nobody takes.
 *
 * Several workers write to one descriptor. To a file opened for appending each write is whole;
 * to a pipe only one up to PIPE_BUF is, so lines go there in such pieces, and none is longer.
 */
#include "loop/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "loop/loop.h"
#include "sys/fd.h"
#include "sys/log.h"

#define ROOM         65536
#define LINE_LONGEST 32768 /* beyond it a line is cut */
#define RETRY_MS     100
/* Busy, we write no more often than this. */
#define PAUSE_MS    10
#define PATIENCE_NS 200000000ull
#define COMPLAIN_NS 10000000000ull

struct access_log {
	uv_prepare_t turn;
	uv_timer_t later;
	int handles;
	int fd;
	/* Our own way to the same pipe or terminal, which cannot block; else -1. */
	int own;
	mode_t type;
	unsigned generation;
	size_t line_max;
	bool cut;         /* the last thing written is half a line */
	bool waiting;     /* the reader takes no more for now */
	bool paused;      /* a turn has written just now, and the timer will do the next */
	uint64_t written; /* when, by the clock of the loop */
	int err;
	unsigned long lost;
	uint64_t complained;
	size_t len;
	char text[ROOM];
};

static struct access_log *current;

bool access_log_is_open(void)
{
	return current && current->generation == fork_generation();
}

/* ---- what gets lost ---- */

static void complain(struct access_log *log)
{
	uint64_t now = uv_hrtime();

	if (!log->lost || (log->complained && now - log->complained < COMPLAIN_NS))
		return;
	log_warn("access log: %lu line%s lost: %s", log->lost, log->lost == 1 ? "" : "s",
		 log->err == EAGAIN ? "its reader is too slow" : strerror(log->err));
	log->lost = 0;
	log->complained = now;
}

static void lose(struct access_log *log, unsigned long lines, int err)
{
	log->lost += lines;
	log->err = err;
	complain(log);
}

static unsigned long count_lines(const char *text, size_t len)
{
	unsigned long n = 0;

	for (const char *end = text + len; text < end; text++) {
		if (*text == '\n')
			n++;
	}
	return n;
}

/* ---- writing ---- */

/* So many bytes go in one write. */
static size_t piece(const struct access_log *log, const char *text, size_t len)
{
	const char *end;

	if (S_ISREG(log->type) || len <= PIPE_BUF)
		return len;
	end = memrchr(text, '\n', PIPE_BUF);
	return end ? (size_t)(end + 1 - text) : PIPE_BUF;
}

static int time_left(uint64_t until)
{
	uint64_t now = until ? uv_hrtime() : 0;

	return until > now ? (int)((until - now) / 1000000) + 1 : 0;
}

/* Bytes written, or a negative errno. */
static ssize_t put(const struct access_log *log, const char *text, size_t len, uint64_t until)
{
	int fd = log->own >= 0 ? log->own : log->fd;
	struct pollfd wait = { .fd = fd, .events = POLLOUT };
	ssize_t n;

	if (S_ISREG(log->type))
		return fd_write(fd, text, len);
	/* The descriptor may be a blocking one that is not ours to change. */
	if (poll(&wait, 1, time_left(until)) <= 0)
		return -EAGAIN;
	if (!S_ISSOCK(log->type))
		return fd_write(fd, text, len);
	n = send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

/* End the half of a line that a full disk left, so that the next one stands by itself. */
static int mend(struct access_log *log, uint64_t until)
{
	ssize_t n = log->cut ? put(log, "\n", 1, until) : 1;

	log->cut = n <= 0;
	return n < 0 ? (int)n : 0;
}

static void keep(struct access_log *log, size_t from)
{
	log->len -= from;
	memmove(log->text, log->text + from, log->len);
}

/* Returns 0, or the errno for which what is left could not be written. */
static int write_all(struct access_log *log, size_t *done, uint64_t until)
{
	int err = mend(log, until);

	while (!err && *done < log->len) {
		const char *at = log->text + *done;
		size_t len = piece(log, at, log->len - *done);
		ssize_t n = put(log, at, len, until);

		if (n < 0)
			err = (int)n;
		else if (n == 0)
			err = -ENOSPC;
		else
			*done += (size_t)n;
	}
	return -err;
}

static void on_later(uv_timer_t *timer);

/*
 * A reader that is only slow may still take what waits; what failed for another reason is
 * gone.
 */
static void flush(struct access_log *log, uint64_t until)
{
	size_t done = 0;
	int err;

	log->waiting = log->paused = false;
	log->written = uv_now(log->later.loop);
	if (!log->len)
		return;
	err = write_all(log, &done, until);
	if (err && err != EAGAIN) {
		log->cut |= done > 0 && log->text[done - 1] != '\n';
		lose(log, count_lines(log->text + done, log->len - done), err);
		done = log->len;
	}
	keep(log, done);
	if (log->len) {
		log->waiting = true;
		loop_timer_start(&log->later, on_later, RETRY_MS, 0);
	}
}

static void on_later(uv_timer_t *timer)
{
	flush(timer->data, 0);
}

/* A line comes out at once where little happens; where much does, many go together. */
static void on_turn(uv_prepare_t *prepare)
{
	struct access_log *log = prepare->data;

	if (!log->len || log->waiting || log->paused)
		return;
	if (uv_now(prepare->loop) - log->written >= PAUSE_MS) {
		flush(log, 0);
	} else {
		log->paused = true;
		loop_timer_start(&log->later, on_later, PAUSE_MS, 0);
	}
}

/* ---- lines ---- */

/* Where the next line goes, or NULL. */
static char *room(struct access_log *log)
{
	if (ROOM - log->len < log->line_max && !log->waiting)
		flush(log, 0);
	if (ROOM - log->len >= log->line_max)
		return log->text + log->len;
	lose(log, 1, EAGAIN);
	return NULL;
}

void access_log_entry(enum access_format format, const struct access_entry *entry)
{
	char *at = access_log_is_open() ? room(current) : NULL;

	if (at)
		current->len += access_text(at, current->line_max, format, entry);
}

void access_log_line(const char *text, size_t len)
{
	char *at = access_log_is_open() ? room(current) : NULL;

	if (at)
		current->len += access_text_line(at, current->line_max, text, len);
}

/* ---- opening and closing ---- */

/* Another description of the same thing, so that it is non-blocking for us alone. */
static int reopen(const struct access_log *log)
{
	char path[32];
	int fd;

	if (!S_ISFIFO(log->type) && !S_ISCHR(log->type))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", log->fd);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd >= 0)
		fd_own(fd);
	return fd;
}

static void on_closed(uv_handle_t *handle)
{
	struct access_log *log = handle->data;

	if (--log->handles == 0)
		free(log);
}

int access_log_open(uv_loop_t *loop, int fd)
{
	struct access_log *log;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	log = malloc(sizeof(*log));
	if (!log)
		return -ENOMEM;
	/* The room for text stays untouched, and takes no memory, until it is needed. */
	memset(log, 0, offsetof(struct access_log, text));
	log->fd = fd;
	log->type = st.st_mode & S_IFMT;
	log->own = reopen(log);
	log->line_max = S_ISREG(log->type) ? LINE_LONGEST : PIPE_BUF;
	log->generation = fork_generation();
	log->handles = 2;
	uv_prepare_init(loop, &log->turn);
	uv_timer_init(loop, &log->later);
	log->turn.data = log->later.data = log;
	uv_prepare_start(&log->turn, on_turn);
	uv_unref((uv_handle_t *)&log->turn);
	uv_unref((uv_handle_t *)&log->later);
	tzset();
	access_log_close();
	current = log;
	return 0;
}

void access_log_close(void)
{
	struct access_log *log = current;

	access_log_finish();
	current = NULL;
	/* One that was made before a fork is the parent's, and so are its handles. */
	if (!log || log->generation != fork_generation())
		return;
	fd_close(&log->own);
	uv_close((uv_handle_t *)&log->turn, on_closed);
	uv_close((uv_handle_t *)&log->later, on_closed);
}

void access_log_finish(void)
{
	if (!access_log_is_open())
		return;
	flush(current, uv_hrtime() + PATIENCE_NS);
	if (current->len)
		lose(current, count_lines(current->text, current->len), EAGAIN);
	current->len = 0;
	current->complained = 0;
	complain(current);
}
