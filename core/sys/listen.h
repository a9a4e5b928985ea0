/*
 * listen.h - listening sockets: opened by a master, shared by its workers.
 *
 * The descriptor is nonblocking, close-on-exec and owned. Closing one in a
 * forked child leaves the parent's alone, and the socket file in place: it is
 * removed only by the process that bound it, and only while it still is its own.
 */
#ifndef SYS_LISTEN_H
#define SYS_LISTEN_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#define LISTEN_WHY 512

struct listener;

struct listen_options {
	const char *address;
	int backlog;
	bool reuseport;
	bool ipv6only;
	int mode;  /* of the socket file; -1: what umask leaves */
	uid_t uid; /* its owner; (uid_t)-1: unchanged */
	gid_t gid;
};

/*
 * A stale socket file is replaced, a live one is -EADDRINUSE. A failure is told
 * whole in why[], as in "cannot listen on 192.0.2.1:80: Cannot assign requested address".
 */
int listener_open(struct listener **out, const struct listen_options *options,
		  char why[LISTEN_WHY]);
/* Takes over a listening socket that was passed to us. -ENOTSOCK or -EINVAL when it is none; it is
 * then left alone. Whether it blocks stays as it is, for programs may share it; who accepts here
 * switches that off (loop/accept.h). */
int listener_from_fd(struct listener **out, int fd);

int listener_fd(const struct listener *l);
/* With the real port. */
const char *listener_address(const struct listener *l);
/* Its socket file, where there is one that we know of: which, and in what folder it really lies. */
bool listener_file(const struct listener *l, dev_t *dev, ino_t *ino, char folder[PATH_MAX]);
/* Whether its address leads to that file: not when somebody has removed or replaced it, or a
 * symlink on the way there has moved. */
bool listener_in_place(const struct listener *l);
/* Tell one that was passed to us which file is its, and where (NULL: where its address leads). That
 * stays another's to remove. */
int listener_know_file(struct listener *l, dev_t dev, ino_t ino, const char *folder);
/* From now on close removes the file, if it still is that one. */
void listener_adopt_file(struct listener *l);
/* Whoever uses the socket from now on (an upgraded master) removes its file: close will not. */
void listener_keep_file(struct listener *l);
/*
 * Change one that is in use: backlog and reuseport, or mode and owner of a socket file
 * that is ours to remove. What is said of the address is not looked at.
 */
int listener_change(struct listener *l, const struct listen_options *options);
/* In a forked child it closes the descriptor if that was kept open, and nothing else. NULL is
 * legal. */
void listener_close(struct listener *l);
/* Free the memory alone: for a child that has kept the descriptor for another use. */
void listener_forget(struct listener *l);

#endif
