/*
 * pidfile.c - the pidfile of a master: locked, never stolen from a live one, taken over from
 * a dead one. It stays in the directory it was made in, wherever its path leads later.
 */
#include "sys/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/log.h"
#include "sys/place.h"

#define PATIENT_TRIES 20
#define PAUSE_MS      10

struct pidfile {
	int fd;
	pid_t owner;
	struct place place;
};

/* What a pidfile says; 0 where that is no process that runs. */
static pid_t pid_inside(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	long pid;

	if (n <= 0)
		return 0;
	text[n] = 0;
	pid = strtol(text, NULL, 10);
	if (pid <= 0 || pid > INT_MAX)
		return 0;
	return kill((pid_t)pid, 0) == 0 || errno == EPERM ? (pid_t)pid : 0;
}

/*
 * A lock of the open file, not of the process: that one would go as soon as anything in this
 * process opens the file and closes it. Each of the two kinds keeps the other away.
 */
static int lock(int fd, pid_t *holder)
{
	struct flock wanted = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_SETLK, &wanted) == 0)
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return -errno;
	/* Whoever holds it may let go in between, or not have written its number yet; that is
	 * simply not known then. */
	if (fcntl(fd, F_OFD_GETLK, &wanted) == 0 && wanted.l_type != F_UNLCK)
		*holder = wanted.l_pid > 0 ? wanted.l_pid : pid_inside(fd);
	return -EEXIST;
}

/* Is what we opened still what is there? Its last owner may have removed it before we had the
 * lock. */
static bool in_place(int fd, const struct place *place)
{
	struct stat ours;

	return fstat(fd, &ours) == 0 && place_holds(place, ours.st_dev, ours.st_ino);
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

static int open_locked(const struct place *place, int *out, pid_t *holder)
{
	const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;

	for (;;) {
		int fd = openat(place->dir, place->name, flags, 0644);
		int err;

		if (fd < 0 && errno == EINTR)
			continue;
		if (fd < 0)
			return -errno;
		err = check_content(fd);
		if (!err)
			err = lock(fd, holder);
		if (err == 0 && in_place(fd, place)) {
			*out = fd;
			return 0;
		}
		close(fd);
		if (err)
			return err;
	}
}

/*
 * Whoever was killed a moment ago may hold it for a moment longer, and who has just got it may not
 * have written its number yet: who holds it for good is known after some tries.
 */
static int open_patiently(const struct place *place, int tries, int *out, pid_t *holder)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000 };

	for (;;) {
		int err = open_locked(place, out, holder);

		if (err != -EEXIST || *holder > 0 || --tries <= 0)
			return err;
		nanosleep(&pause, NULL);
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

static int pidfile_new(struct pidfile **out, const char *path)
{
	struct pidfile *p = malloc(sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->fd = -1;
	p->owner = getpid();
	err = place_open(&p->place, path);
	if (err)
		free(p);
	else
		*out = p;
	return err;
}

int pidfile_open(struct pidfile **out, const char *path, bool patient, pid_t *holder)
{
	struct pidfile *p;
	int err = pidfile_new(&p, path);

	*holder = 0;
	if (err)
		return err;
	err = open_patiently(&p->place, patient ? PATIENT_TRIES : 1, &p->fd, holder);
	if (err)
		goto fail;
	fd_own(p->fd);
	err = write_pid(p->fd);
	if (err) {
		unlinkat(p->place.dir, p->place.name, 0);
		fd_close(&p->fd);
		goto fail;
	}
	*out = p;
	return 0;
fail:
	place_close(&p->place);
	free(p);
	return err;
}

bool pidfile_is_at(const struct pidfile *p, const char *path)
{
	struct stat ours, there;

	return fstat(p->fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino &&
	       ours.st_dev == there.st_dev;
}

int pidfile_path(const struct pidfile *p, const char *name, char *path, size_t size)
{
	char folder[PATH_MAX];
	int err = place_folder(&p->place, folder);
	int n;

	if (err)
		return err;
	n = snprintf(path, size, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder,
		     name ? name : p->place.name);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* Only one that nobody holds is replaced: we hold it ourselves meanwhile. */
static int move(const struct pidfile *p, const struct place *to, pid_t *holder)
{
	int there = -1, err;

	if (!in_place(p->fd, &p->place))
		return -ESTALE;
	if (in_place(p->fd, to))
		return 0;
	err = open_locked(to, &there, holder);
	if (err)
		return err;
	if (renameat(p->place.dir, p->place.name, to->dir, to->name) < 0) {
		err = -errno;
		unlinkat(to->dir, to->name, 0);
	}
	close(there);
	return err;
}

int pidfile_rename(struct pidfile *p, const char *name, pid_t *holder)
{
	struct place to = p->place;
	size_t size = strlen(name) + 1;
	int err;

	*holder = 0;
	if (size > sizeof(to.name))
		return -ENAMETOOLONG;
	memcpy(to.name, name, size);
	err = move(p, &to, holder);
	if (!err)
		p->place = to;
	return err;
}

static void file_remove(const struct pidfile *p)
{
	char path[PATH_MAX];
	int err;

	if (!in_place(p->fd, &p->place) || unlinkat(p->place.dir, p->place.name, 0) == 0)
		return;
	err = errno;
	log_warn("pidfile %s is left behind: %s",
		 pidfile_path(p, NULL, path, sizeof(path)) == 0 ? path : p->place.name,
		 strerror(err));
}

void pidfile_close(struct pidfile *p)
{
	if (!p)
		return;
	/* A forked child has closed the descriptors already; the file is its master's. */
	if (p->owner == getpid()) {
		file_remove(p);
		fd_close(&p->fd);
		place_close(&p->place);
	}
	free(p);
}
