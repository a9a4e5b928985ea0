/*
 * fd.h - file descriptors: how they are made, and which of them are this process's own.
 *
 * Every long-lived descriptor that brood makes for itself is owned. The child
 * of a fork closes what its parent owned, by this record and never by number;
 * descriptors handed out to the user's Lua are not owned, and survive a fork.
 * All are made close-on-exec. Functions return 0 (or what they say) or a negative errno.
 */
#ifndef SYS_FD_H
#define SYS_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Descriptors below this can be owned; limits_raise_nofile() never allows more. */
#define FD_MAX (1 << 20)

/* Record fd as this process's own. Negative numbers are legal and ignored. */
void fd_own(int fd);
/* Forget it: before a plain close(2), or when it is handed out to the user. */
void fd_disown(int fd);
bool fd_owned(int fd);
/* Disown, close, set to -1. *fd may be -1 already. */
void fd_close(int *fd);
/* In the child of a fork: close all that is owned but keep[]; what is kept stays owned. */
void fd_close_owned(const int *keep, size_t n);

/* Both ends close-on-exec, blocking and not yet owned; out[] is {-1, -1} after a failure. */
int fd_pipe(int out[2]);
int fd_socketpair(int type, int out[2]);
/* A duplicate that is close-on-exec and not owned; returns it or -errno. */
int fd_dup(int fd);
/* Let target, which must be open, be another name for what fd is. Its close-on-exec stays. */
int fd_replace(int fd, int target);
int fd_nonblock(int fd, bool on);
int fd_cloexec(int fd, bool on);

/* One read(2) or write(2), repeated while signals interrupt it. */
ssize_t fd_read(int fd, void *data, size_t size);
ssize_t fd_write(int fd, const void *data, size_t size);
/* The whole of a small file (as in /proc): at most size - 1 bytes, ended by NUL. Returns its length
 * or -errno. */
ssize_t fd_read_file(const char *path, char *data, size_t size);

/* Open /dev/null on those of 0, 1, 2 that are closed, so that no later open becomes stdio by
 * accident. */
int fd_stdio_ensure(void);

/* 0 at start, one more in the child of each Lua fork: what an object made before belongs to another
 * process. */
static inline unsigned fork_generation(void)
{
	extern unsigned fork_generation_now;

	return fork_generation_now;
}
void fork_generation_advance(void);

#endif
