/*
 * reserve.c - names that one process has at a time. What a name stands for is not known here.
 */
#include "sys/reserve.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "sys/fd.h"

int name_reserve(const char *name, int *fd)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t len = strlen(name);
	int err = 0;

	*fd = -1;
	if (len == 0 || len > sizeof(un.sun_path) - 1)
		return -ENAMETOOLONG;
	memcpy(un.sun_path + 1, name, len); /* behind a zero byte: abstract */
	*fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return -errno;
	fd_own(*fd);
	if (bind(*fd, (struct sockaddr *)&un,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)) < 0) {
		err = -errno;
		fd_close(fd);
	}
	return err;
}
