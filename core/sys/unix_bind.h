/*
 * unix_bind.h - binding a Unix socket where a crashed process may have left its file.
 */
#ifndef SYS_UNIX_BIND_H
#define SYS_UNIX_BIND_H

#include <sys/types.h>

#include "sys/addr.h"

/* A stale socket file is replaced. -EADDRINUSE: somebody listens there, *holder has begun to (0:
 * unknown, or gone since); -EEXIST: it is no socket. */
int unix_bind(int fd, const struct addr *addr, pid_t *holder);

/* Remove a socket file that nobody listens on, from a folder where nobody is just about to.
 * -EADDRINUSE: somebody does; -EEXIST: it is no socket; -EAGAIN: the folder could not be locked. */
int unix_clear(const char *path);

/*
 * Who binds in a folder keeps it locked until it listens: until then its file looks like one that
 * a crashed process has left, and who looks would replace it. -1 where the folder cannot be locked
 * soon: it may not be read, or somebody keeps it locked, as anybody may who can read it. That is
 * no reason not to bind: only starts in the same millisecond are kept apart by it.
 */
int unix_folder_lock(int dir);
void unix_folder_unlock(int lock);

#endif
