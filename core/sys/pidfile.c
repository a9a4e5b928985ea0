/*
 * pidfile.c - the pidfile of a master: locked, never stolen from a live one, taken over from
 * a dead one.
 */
#include "sys/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/log.h"

struct pidfile {
	int fd;
	pid_t owner;
	char path[];
};

static int lock(int fd, pid_t *holder)
{
	struct flock wanted = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_SETLK, &wanted) == 0)
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return -errno;
	/* Whoever holds it may let go in between; then its number is simply not known. */
	if (fcntl(fd, F_GETLK, &wanted) == 0 && wanted.l_type != F_UNLCK)
		*holder = wanted.l_pid;
	return -EEXIST;
}

/* Is what we opened still what is at the path? Its last owner may have removed it before we had the
 * lock. */
static bool same_file(int fd, const char *path)
{
	struct stat ours, there;

	return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino &&
	       ours.st_dev == there.st_dev;
}

/*
 * Another's file must survive a slip of the pen, and a device even more: what we take over is
 * empty, or holds a number as pidfiles do.
 */
static int check_content(int fd)
{
	char text[32];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size >= (off_t)sizeof(text))
		return -EBADMSG;
	n = pread(fd, text, sizeof(text), 0);
	if (n < 0)
		return -errno;
	for (ssize_t i = 0; i < n; i++) {
		if ((text[i] < '0' || text[i] > '9') && text[i] != '\n' && text[i] != ' ')
			return -EBADMSG;
	}
	return 0;
}

static int open_locked(const char *path, int *out, pid_t *holder)
{
	for (;;) {
		int fd = open(path,
			      O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
			      0644);
		int err;

		if (fd < 0 && errno == EINTR)
			continue;
		if (fd < 0)
			return -errno;
		err = check_content(fd);
		if (!err)
			err = lock(fd, holder);
		if (err == 0 && same_file(fd, path)) {
			*out = fd;
			return 0;
		}
		close(fd);
		if (err)
			return err;
	}
}

static int write_pid(int fd)
{
	char text[16];
	int size = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	ssize_t n;

	if (ftruncate(fd, 0) < 0)
		return -errno;
	n = fd_write(fd, text, (size_t)size);
	if (n < 0)
		return (int)n;
	return n == size ? 0 : -ENOSPC;
}

static struct pidfile *pidfile_new(const char *path)
{
	size_t size = strlen(path) + 1;
	struct pidfile *p = malloc(sizeof(*p) + size);

	if (!p)
		return NULL;
	p->fd = -1;
	p->owner = getpid();
	memcpy(p->path, path, size);
	return p;
}

int pidfile_open(struct pidfile **out, const char *path, pid_t *holder)
{
	struct pidfile *p = pidfile_new(path);
	int err;

	if (!p)
		return -ENOMEM;
	*holder = 0;
	err = open_locked(path, &p->fd, holder);
	if (err)
		goto fail;
	fd_own(p->fd);
	err = write_pid(p->fd);
	if (err) {
		unlink(path);
		fd_close(&p->fd);
		goto fail;
	}
	*out = p;
	return 0;
fail:
	free(p);
	return err;
}

/*
 * Only one that nobody holds is replaced: we hold it ourselves meanwhile. Ours has another inode,
 * so that its lock survives the close.
 */
static int move(struct pidfile *p, const char *path, pid_t *holder)
{
	int there = -1, err;

	if (!same_file(p->fd, p->path))
		return -ESTALE;
	if (same_file(p->fd, path))
		return 0;
	err = open_locked(path, &there, holder);
	if (err)
		return err;
	if (rename(p->path, path) < 0) {
		err = -errno;
		unlink(path);
	}
	close(there);
	return err;
}

int pidfile_rename(struct pidfile **p, const char *path, pid_t *holder)
{
	struct pidfile *renamed = pidfile_new(path);
	int err;

	if (!renamed)
		return -ENOMEM;
	*holder = 0;
	err = move(*p, path, holder);
	if (err) {
		free(renamed);
		return err;
	}
	renamed->fd = (*p)->fd;
	renamed->owner = (*p)->owner;
	free(*p);
	*p = renamed;
	return 0;
}

void pidfile_close(struct pidfile *p)
{
	if (!p)
		return;
	/* A forked child has closed the descriptor already; the file is its master's. */
	if (p->owner == getpid()) {
		if (same_file(p->fd, p->path) && unlink(p->path) < 0)
			log_warn("pidfile %s is left behind: %s", p->path, strerror(errno));
		fd_close(&p->fd);
	}
	free(p);
}
