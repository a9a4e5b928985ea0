/*
 * fd.c - making descriptors, and the record of those this process owns.
 *
 * The record is a bitmap in zeroed memory: owning a descriptor never fails, and
 * costs pages only up to the highest number in use. It says who closes what
 * after a fork; it does not close anything by itself.
 */
#include "sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORD_BITS (sizeof(unsigned long) * CHAR_BIT)

static unsigned long owned[FD_MAX / WORD_BITS];
static size_t words_used; /* beyond these, nothing was ever owned */
unsigned fork_generation_now;

void fd_own(int fd)
{
	size_t word = (size_t)fd / WORD_BITS;

	if (fd < 0 || fd >= FD_MAX)
		return;
	owned[word] |= 1UL << ((size_t)fd % WORD_BITS);
	if (word >= words_used)
		words_used = word + 1;
}

void fd_disown(int fd)
{
	if (fd >= 0 && fd < FD_MAX)
		owned[(size_t)fd / WORD_BITS] &= ~(1UL << ((size_t)fd % WORD_BITS));
}

bool fd_owned(int fd)
{
	return fd >= 0 && fd < FD_MAX &&
	       owned[(size_t)fd / WORD_BITS] >> ((size_t)fd % WORD_BITS) & 1;
}

void fd_close(int *fd)
{
	int saved = errno;

	if (*fd < 0)
		return;
	fd_disown(*fd);
	/* Never again after EINTR: Linux has closed it all the same. */
	close(*fd);
	*fd = -1;
	errno = saved;
}

static bool among(int fd, const int *keep, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (keep[i] == fd)
			return true;
	return false;
}

void fd_close_owned(const int *keep, size_t n)
{
	for (size_t word = 0; word < words_used; word++) {
		unsigned long left = owned[word];

		while (left) {
			int fd = (int)(word * WORD_BITS) + __builtin_ctzl(left);

			left &= left - 1;
			if (!among(fd, keep, n))
				fd_close(&fd);
		}
	}
}

int fd_pipe(int out[2])
{
	if (pipe2(out, O_CLOEXEC) == 0)
		return 0;
	out[0] = out[1] = -1;
	return -errno;
}

int fd_socketpair(int type, int out[2])
{
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, out) == 0)
		return 0;
	out[0] = out[1] = -1;
	return -errno;
}

int fd_dup(int fd)
{
	/* Not below 3: a program's stdio is never taken by accident. */
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	return copy < 0 ? -errno : copy;
}

static int set_flag(int fd, int get, int set, int flag, bool on)
{
	int flags = fcntl(fd, get);

	if (flags < 0)
		return -errno;
	if (!(flags & flag) == !on)
		return 0;
	return fcntl(fd, set, on ? flags | flag : flags & ~flag) < 0 ? -errno : 0;
}

int fd_nonblock(int fd, bool on)
{
	return set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int fd_cloexec(int fd, bool on)
{
	return set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

int fd_replace(int fd, int target)
{
	int flags = fcntl(target, F_GETFD);
	int got;

	if (flags < 0)
		return -errno;
	do
		got = fd == target ? fd : dup3(fd, target, flags & FD_CLOEXEC ? O_CLOEXEC : 0);
	while (got < 0 && (errno == EINTR || errno == EBUSY));
	return got < 0 ? -errno : 0;
}

ssize_t fd_read(int fd, void *data, size_t size)
{
	ssize_t n;

	do
		n = read(fd, data, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t fd_write(int fd, const void *data, size_t size)
{
	ssize_t n;

	do
		n = write(fd, data, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t fd_read_file(const char *path, char *data, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n = 0;

	if (fd < 0)
		return -errno;
	while (used < size - 1 && (n = fd_read(fd, data + used, size - 1 - used)) > 0)
		used += (size_t)n;
	close(fd);
	data[used] = 0;
	return n < 0 ? n : (ssize_t)used;
}

int fd_stdio_ensure(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* The lowest free number is the one that is missing. */
		if (open("/dev/null", O_RDWR) < 0)
			return -errno;
	}
	return 0;
}

void fork_generation_advance(void)
{
	fork_generation_now++;
}
