/*
 * unix_bind.c - binding a Unix socket where a crashed process may have left its file.
 */
#include "sys/unix_bind.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "sys/place.h"

/* Held for a few system calls; who has it longer was stopped there, or means harm. */
#define LOCK_TRIES 20
#define LOCK_PAUSE 1000000 /* ns */

/* Who called listen; whoever was given the socket since goes by the same number. */
static pid_t listener_of(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.pid <= 0)
		return 0;
	return kill(peer.pid, 0) < 0 && errno == ESRCH ? 0 : peer.pid;
}

/* Does anyone answer there? 0: no, and the file may be replaced. */
static int unix_file_stale(const struct addr *addr, pid_t *holder)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&addr->sa;
	struct stat st;
	int fd, err;

	if (lstat(un->sun_path, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (const struct sockaddr *)un, addr->len) < 0 ? -errno : -EADDRINUSE;
	if (err == -EADDRINUSE)
		*holder = listener_of(fd);
	close(fd);
	/* A full backlog (EAGAIN) and one we may not connect to (EACCES) are alive, for all we
	 * know. */
	return err == -ECONNREFUSED ? 0 : -EADDRINUSE;
}

int unix_bind(int fd, const struct addr *addr, pid_t *holder)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&addr->sa;
	int err;

	*holder = 0;
	if (bind(fd, (const struct sockaddr *)un, addr->len) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	err = unix_file_stale(addr, holder);
	if (err && err != -ENOENT)
		return err;
	if (!err && unlink(un->sun_path) < 0 && errno != ENOENT)
		return -errno;
	return bind(fd, (const struct sockaddr *)un, addr->len) < 0 ? -errno : 0;
}

int unix_folder_lock(int dir)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE };
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		nanosleep(&pause, NULL);
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

void unix_folder_unlock(int lock)
{
	if (lock >= 0)
		close(lock);
}

int unix_clear(const char *path)
{
	struct sockaddr_un *un;
	struct addr addr = { .kind = ADDR_UNIX, .len = sizeof(*un) };
	struct place place;
	pid_t holder;
	int err, lock;

	un = (struct sockaddr_un *)&addr.sa;
	if (strlen(path) >= sizeof(un->sun_path))
		return -ENAMETOOLONG;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	err = place_open(&place, path);
	if (err)
		return err;
	lock = unix_folder_lock(place.dir);
	err = lock < 0 ? -EAGAIN : unix_file_stale(&addr, &holder);
	if (!err && unlinkat(place.dir, place.name, 0) < 0)
		err = -errno;
	unix_folder_unlock(lock);
	place_close(&place);
	return err;
}
