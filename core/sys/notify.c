/*
 * notify.c - sd_notify datagrams, in and out. What a message means is not decided here.
 */
#include "sys/notify.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "sys/fd.h"

/* More descriptors than this in one message are dropped by the kernel. */
#define NOTIFY_FDS 16

static int name_read(int fd, char path[NOTIFY_PATH])
{
	struct sockaddr_un un;
	socklen_t len = sizeof(un);

	if (getsockname(fd, (struct sockaddr *)&un, &len) < 0)
		return -errno;
	/* The kernel chose an abstract name: a zero byte and five hexadecimal digits, without an
	 * end. */
	snprintf(path, NOTIFY_PATH, "@%.*s",
		 (int)(len - offsetof(struct sockaddr_un, sun_path)) - 1, un.sun_path + 1);
	return 0;
}

int notify_open(int *out, char path[NOTIFY_PATH])
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int on = 1, err = 0;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	fd_own(fd);
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&un, sizeof(un.sun_family)) < 0)
		err = -errno;
	if (!err)
		err = name_read(fd, path);
	if (err)
		fd_close(&fd);
	*out = fd;
	return err;
}

static void fds_close(const struct cmsghdr *c)
{
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
		fd_close(&fd);
	}
}

ssize_t notify_receive(int fd, char text[NOTIFY_TEXT], pid_t *pid, uid_t *uid)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(NOTIFY_FDS * sizeof(int))];
	} control;
	struct iovec iov;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;

	iov.iov_base = text;
	iov.iov_len = NOTIFY_TEXT;
	*pid = -1;
	*uid = (uid_t)-1;
	do
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		struct ucred cred;

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS)
			fds_close(c);
		if (c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
			*pid = cred.pid;
			*uid = cred.uid;
		}
	}
	return n;
}

int notify_send(const char *path, const char *text, size_t size)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	socklen_t len;
	ssize_t n;
	int fd;

	if ((*path != '/' && *path != '@') || length < 2)
		return -EINVAL;
	if (length >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path, length);
	if (*path == '@')
		un.sun_path[0] = 0;
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (*path == '/'));
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	do
		n = sendto(fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&un,
			   len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		n = -errno;
	fd_close(&fd);
	return n < 0 ? (int)n : 0;
}
