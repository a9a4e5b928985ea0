/*
 * listen_live.c - listening sockets that there are already: taken over from whoever passed them
 * to us, and changed while they are in use.
 *
 * It neither binds nor closes one, and removes no file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/listen_own.h"

int listener_from_fd(struct listener **out, int fd)
{
	struct listener *l;
	int listening = 0, err;
	socklen_t len = sizeof(listening);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return -errno;
	if (!listening)
		return -EINVAL;
	l = listener_new();
	if (!l)
		return -ENOMEM;
	l->fd = fd;
	err = listener_read_address(l);
	if (!err)
		err = fd_cloexec(fd, true);
	if (!err)
		err = fd_nonblock(fd, true);
	if (err) {
		free(l);
		return err;
	}
	fd_own(fd);
	*out = l;
	return 0;
}

bool listener_file(const struct listener *l, dev_t *dev, ino_t *ino)
{
	*dev = l->dev;
	*ino = l->ino;
	return l->path[0] != 0;
}

void listener_adopt_file(struct listener *l, dev_t dev, ino_t ino)
{
	struct sockaddr_un un = { .sun_family = AF_UNSPEC };
	socklen_t len = sizeof(un);

	/* Abstract names, and sockets of other kinds, have no file. */
	if (getsockname(l->fd, (struct sockaddr *)&un, &len) < 0 || un.sun_family != AF_UNIX ||
	    !un.sun_path[0])
		return;
	memcpy(l->path, un.sun_path, sizeof(l->path));
	l->path[sizeof(l->path) - 1] = 0;
	l->dev = dev;
	l->ino = ino;
}

void listener_keep_file(struct listener *l)
{
	l->path[0] = 0;
}

static int reuseport_change(int fd, bool on)
{
	int value = on;

	return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* By its path: what fchmod changes is the socket, which nobody looks at. */
static int file_change(const struct listener *l, const struct listen_options *o)
{
	struct stat st;

	if (lstat(l->path, &st) < 0)
		return -errno;
	if (st.st_dev != l->dev || st.st_ino != l->ino)
		return -ENOENT; /* something else lies there now */
	if (o->mode >= 0 && chmod(l->path, (mode_t)o->mode) < 0)
		return -errno;
	if ((o->uid != (uid_t)-1 || o->gid != (gid_t)-1) && lchown(l->path, o->uid, o->gid) < 0)
		return -errno;
	return 0;
}

int listener_change(struct listener *l, const struct listen_options *o)
{
	struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(sa);
	int err = 0;

	if (getsockname(l->fd, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	if (sa.ss_family != AF_UNIX)
		err = reuseport_change(l->fd, o->reuseport);
	else if (l->path[0])
		err = file_change(l, o);
	if (!err && listen(l->fd, o->backlog) < 0)
		err = -errno;
	return err;
}
