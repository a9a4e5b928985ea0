/*
 * unix_bind.h - binding a Unix socket where a crashed process may have left its file.
 */
#ifndef SYS_UNIX_BIND_H
#define SYS_UNIX_BIND_H

#include "sys/addr.h"

/* A stale socket file is replaced. -EADDRINUSE: somebody listens there; -EEXIST: it is no
 * socket. */
int unix_bind(int fd, const struct addr *addr);

#endif
