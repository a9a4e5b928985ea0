/*
 * listen_live.c - listening sockets that there are already: taken over from whoever passed them
 * to us, and changed while they are in use.
 *
 * It neither binds nor closes one, and removes no file.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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
	if (err) {
		free(l);
		return err;
	}
	fd_own(fd);
	*out = l;
	return 0;
}

/* The path it is bound to, as it was said then; false where it has none. */
static bool bound_path(const struct listener *l, char path[sizeof(struct sockaddr_un)])
{
	struct sockaddr_un un = { .sun_family = AF_UNSPEC };
	socklen_t len = sizeof(un);

	/* Abstract names, and sockets of other kinds, have no file. */
	if (getsockname(l->fd, (struct sockaddr *)&un, &len) < 0 || un.sun_family != AF_UNIX ||
	    !un.sun_path[0])
		return false;
	memcpy(path, un.sun_path, sizeof(un.sun_path));
	path[sizeof(un.sun_path)] = 0;
	return true;
}

bool listener_file(const struct listener *l, dev_t *dev, ino_t *ino, char folder[PATH_MAX])
{
	*dev = l->dev;
	*ino = l->ino;
	return place_folder(&l->file, folder) == 0;
}

bool listener_in_place(const struct listener *l)
{
	char path[sizeof(struct sockaddr_un)];
	struct stat st;

	if (l->file.dir < 0 || !bound_path(l, path))
		return true;
	return lstat(path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino;
}

int listener_know_file(struct listener *l, dev_t dev, ino_t ino, const char *folder)
{
	char bound[sizeof(struct sockaddr_un)], path[PATH_MAX];
	const char *name;

	if (!bound_path(l, bound))
		return 0;
	name = strrchr(bound, '/');
	name = name ? name + 1 : bound;
	if (folder && (size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
		return -ENAMETOOLONG;
	place_close(&l->file);
	l->dev = dev;
	l->ino = ino;
	return place_open(&l->file, folder ? path : bound);
}

void listener_adopt_file(struct listener *l)
{
	l->removes = true;
}

void listener_keep_file(struct listener *l)
{
	l->removes = false;
}

static int reuseport_change(int fd, bool on)
{
	int value = on;

	return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* By its place: what fchmod changes is the socket, which nobody looks at. */
static int file_change(const struct listener *l, const struct listen_options *o)
{
	const char *step;

	if (!place_holds(&l->file, l->dev, l->ino))
		return -ENOENT; /* nothing, or something else lies there now */
	return listener_file_change(l, o, &step);
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
	else if (l->removes)
		err = file_change(l, o);
	if (!err && listen(l->fd, o->backlog) < 0)
		err = -errno;
	return err;
}
