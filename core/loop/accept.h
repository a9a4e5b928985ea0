/*
 * accept.h - taking connections from borrowed listening sockets, fairly among
 * sibling processes that share them. The listeners are never closed here.
 */
#ifndef LOOP_ACCEPT_H
#define LOOP_ACCEPT_H

#include <stdbool.h>
#include <sys/socket.h>

#include <uv.h>

struct acceptor;

/* fd is the callee's: nonblocking, close-on-exec, not yet owned (sys/fd.h). */
typedef void (*accept_cb)(void *data, int fd, const struct sockaddr *peer, socklen_t len);

int acceptor_open(struct acceptor **out, uv_loop_t *loop, accept_cb cb, void *data);
int acceptor_add(struct acceptor *a, int fd);
int acceptor_remove(struct acceptor *a, int fd);
/* A paused one leaves the queue to the siblings. */
void acceptor_pause(struct acceptor *a);
int acceptor_resume(struct acceptor *a);
/* Safe from within its own callback. NULL is legal. */
void acceptor_close(struct acceptor *a);

#endif
