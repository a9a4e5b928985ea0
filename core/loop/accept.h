/*
 * accept.h - taking connections from borrowed listening sockets, fairly among
 * sibling processes that share them: a connection wakes one of those that are idle, and
 * whoever has more open than the others lets them go first. The listeners are never
 * closed here, and must stay open until the acceptor is closed.
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
/*
 * Leave the queues to the siblings until acceptor_go_on, or for a moment. Safe from within its own
 * callback; NULL is legal.
 */
void acceptor_rest(struct acceptor *a);
void acceptor_go_on(struct acceptor *a);
void acceptor_back_off(struct acceptor *a, int err);
/*
 * Take what waits at this moment, then close: where nobody else has the listener, the kernel
 * resets what is left in its queue.
 */
void acceptor_finish(struct acceptor *a);
/* At once: what it was woken for stays in the queue. Safe from within its own callback; NULL is
 * legal. */
void acceptor_close(struct acceptor *a);
/*
 * Look into the queues of all open acceptors of this process: a sibling has died, who may have
 * been woken in vain.
 */
void acceptors_look(void);

#endif
