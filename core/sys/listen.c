/*
 * listen.c - opening listening sockets, and removing the socket files we made.
 *
 * It never accepts: that is each worker's own affair.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/listen_own.h"
#include "sys/log.h"
#include "sys/unix_bind.h"

#define CANDIDATES 16

/* "cannot listen on ADDRESS: STEP: what the system says". Without a step the latter says it all. */
static int failed(int err, char why[LISTEN_WHY], const char *address, const char *step)
{
	snprintf(why, LISTEN_WHY, "cannot listen on %s: %s%s%s", address, step ? step : "",
		 step ? ": " : "", strerror(-err));
	return err;
}

static int socket_open(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	fd_own(fd);
	return fd;
}

static int option_set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int socket_prepare(int fd, const struct addr *addr, const struct listen_options *o)
{
	int err = option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);

	if (!err && o->reuseport)
		err = option_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	/* Said either way: the system's default differs from machine to machine. */
	if (!err && addr->sa.ss_family == AF_INET6)
		err = option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->ipv6only);
	return err;
}

static int bind_inet(struct listener *l, const struct addr *addr, const struct listen_options *o)
{
	int err;

	l->fd = socket_open(addr->sa.ss_family);
	if (l->fd < 0)
		return l->fd;
	err = socket_prepare(l->fd, addr, o);
	if (!err && bind(l->fd, (const struct sockaddr *)&addr->sa, addr->len) < 0)
		err = -errno;
	if (err)
		fd_close(&l->fd);
	return err;
}

/* A machine without IPv6 refuses the socket or the address; then, and only then, the next one is
 * tried. */
static bool next_may_work(const struct addr *addr, int err)
{
	if (err == -EAFNOSUPPORT || err == -EPROTONOSUPPORT)
		return true;
	return err == -EADDRNOTAVAIL && (addr->kind == ADDR_ANY || addr->sa.ss_family == AF_INET6);
}

/* What the resolver says is no errno, and reads oddly as one. */
static int unresolved(int err, char why[LISTEN_WHY], const char *address, const char *host)
{
	const char *fmt = err == -ENOENT ? "cannot listen on %s: there is no host named '%s'"
					 : "cannot listen on %s: no name server says who '%s' is";

	if (err != -ENOENT && err != -EAGAIN)
		return failed(err, why, address, "resolve");
	snprintf(why, LISTEN_WHY, fmt, address, host);
	return err;
}

/* What bind says, and what helps. */
static int unbound(int err, char why[LISTEN_WHY], const char *address, unsigned port)
{
	size_t used;

	failed(err, why, address, NULL);
	used = strlen(why);
	if (err == -EADDRINUSE && port)
		snprintf(why + used, LISTEN_WHY - used, " (ss -ltnp 'sport = :%u' shows by whom)",
			 port);
	else if (err == -EACCES && port && port < IPPORT_RESERVED)
		snprintf(why + used, LISTEN_WHY - used,
			 ": ports below 1024 need root or CAP_NET_BIND_SERVICE");
	return err;
}

static int open_inet(struct listener *l, const struct addr *addr, const struct listen_options *o,
		     char *why)
{
	struct addr list[CANDIDATES];
	int n = addr_resolve(addr, list, CANDIDATES);
	int err = -EADDRNOTAVAIL;

	if (n < 0)
		return unresolved(n, why, o->address, addr->host);
	if (addr->kind == ADDR_ANY && o->ipv6only)
		n = 1;
	for (int i = 0; i < n; i++) {
		err = bind_inet(l, &list[i], o);
		if (!err)
			return 0;
		if (!next_may_work(&list[i], err))
			break;
	}
	return unbound(err, why, o->address, addr->port);
}

int listener_file_change(const struct listener *l, const struct listen_options *o,
			 const char **step)
{
	*step = "chmod";
	if (o->mode >= 0 && fchmodat(l->file.dir, l->file.name, (mode_t)o->mode, 0) < 0)
		return -errno;
	*step = "chown";
	if ((o->uid != (uid_t)-1 || o->gid != (gid_t)-1) &&
	    fchownat(l->file.dir, l->file.name, o->uid, o->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

/* Nobody can connect before listen, so mode and owner are in force before the first client. */
static int unix_file_claim(struct listener *l, const char *path, const struct listen_options *o,
			   char *why)
{
	const char *step;
	struct stat st;
	int err;

	if (lstat(path, &st) < 0)
		return failed(-errno, why, o->address, "stat");
	/* A symlink may have moved between the two: then it may lie here or there. */
	if (!place_holds(&l->file, st.st_dev, st.st_ino))
		return failed(-ESTALE, why, o->address, "its folder");
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	l->removes = true;
	err = listener_file_change(l, o, &step);
	return err ? failed(err, why, o->address, step) : 0;
}

/* Who has the path, or how that is found out. */
static int unix_taken(char *why, const struct listen_options *o, const char *path, pid_t holder)
{
	int err = failed(-EADDRINUSE, why, o->address, NULL);
	size_t used = strlen(why);
	char file[32], name[32] = "";
	ssize_t n;
	int fd;

	if (!holder) {
		snprintf(why + used, LISTEN_WHY - used, " (ss -lxp | grep %s shows by whom)", path);
		return err;
	}
	snprintf(file, sizeof(file), "/proc/%d/comm", (int)holder);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, name, sizeof(name) - 1);
	name[n > 0 ? strcspn(name, "\n") : 0] = '\0';
	if (fd >= 0)
		close(fd);
	snprintf(why + used, LISTEN_WHY - used, " by %s (pid %d)", *name ? name : "another process",
		 (int)holder);
	return err;
}

/* *lock is to be held until it listens. */
static int open_unix(struct listener *l, const struct addr *addr, const struct listen_options *o,
		     char *why, int *lock)
{
	const char *path = ((const struct sockaddr_un *)&addr->sa)->sun_path;
	pid_t holder = 0;
	int err;

	l->fd = socket_open(AF_UNIX);
	if (l->fd < 0)
		return failed(l->fd, why, o->address, "socket");
	err = place_open(&l->file, path);
	if (!err) {
		*lock = unix_folder_lock(l->file.dir);
		err = unix_bind(l->fd, addr, &holder);
	}
	if (err == -EEXIST) {
		snprintf(why, LISTEN_WHY,
			 "cannot listen on %s: it exists and is no socket; it is left alone",
			 o->address);
		return -EADDRINUSE; /* as bind has it */
	}
	if (err == -EADDRINUSE)
		return unix_taken(why, o, path, holder);
	if (err)
		return failed(err, why, o->address, NULL);
	return unix_file_claim(l, path, o, why);
}

static ino_t socket_inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? st.st_ino : 0;
}

int listener_read_address(struct listener *l)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getsockname(l->fd, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	l->socket = socket_inode(l->fd);
	addr_format((const struct sockaddr *)&sa, len, l->address);
	return 0;
}

struct listener *listener_new(void)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->fd = -1;
	l->file = PLACE_NONE;
	l->creator = getpid();
	return l;
}

int listener_open(struct listener **out, const struct listen_options *o, char why[LISTEN_WHY])
{
	struct listener *l = NULL;
	struct addr addr;
	int err = addr_parse(&addr, o->address), lock = -1;

	if (err) {
		snprintf(why, LISTEN_WHY, "cannot listen on '%s': %s", o->address,
			 addr_problem(err));
		return err;
	}
	l = listener_new();
	if (!l)
		return failed(-ENOMEM, why, o->address, NULL);
	err = addr.kind == ADDR_UNIX ? open_unix(l, &addr, o, why, &lock)
				     : open_inet(l, &addr, o, why);
	if (err)
		goto fail;
	if (listen(l->fd, o->backlog) < 0) {
		err = unbound(-errno, why, o->address, addr.port);
		goto fail;
	}
	unix_folder_unlock(lock);
	lock = -1;
	err = listener_read_address(l);
	if (err) {
		failed(err, why, o->address, "getsockname");
		goto fail;
	}
	*out = l;
	return 0;
fail:
	listener_close(l);
	unix_folder_unlock(lock);
	return err;
}

int listener_fd(const struct listener *l)
{
	return l->fd;
}

const char *listener_address(const struct listener *l)
{
	return l->address;
}

static void file_remove(const struct listener *l)
{
	if (!l->removes || !place_holds(&l->file, l->dev, l->ino))
		return;
	if (unlinkat(l->file.dir, l->file.name, 0) < 0)
		log_warn("socket %s is left behind: %s", l->address, strerror(errno));
}

void listener_close(struct listener *l)
{
	if (!l)
		return;
	if (l->creator == getpid()) {
		/* The file goes first: whoever finds it gets an answer. */
		file_remove(l);
		fd_close(&l->fd);
		place_close(&l->file);
	} else if (socket_inode(l->fd) == l->socket) {
		/* Else it was closed after the fork, and its number is another's. */
		fd_close(&l->fd);
	}
	free(l);
}

void listener_forget(struct listener *l)
{
	free(l);
}
