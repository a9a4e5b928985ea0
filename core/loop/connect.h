/*
 * connect.h - outgoing connections: resolves off the loop, then tries the addresses one after
 * another.
 */
#ifndef LOOP_CONNECT_H
#define LOOP_CONNECT_H

#include <sys/socket.h>

#include <uv.h>

#include "sys/addr.h"

/*
 * fd: connected, nonblocking and the callee's, not yet owned; or -errno (a UV_EAI_ code
 * where a name was not found).
 */
typedef void (*connect_cb)(void *data, int fd, const struct sockaddr *peer);

struct connector;

/*
 * cb is called exactly once, later, unless connect_cancel comes first. Returns 0 or -errno;
 * then it is not called.
 */
int connect_start(struct connector **out, uv_loop_t *loop, const struct addr *addr, connect_cb cb,
		  void *data);
/* Only before cb. */
void connect_cancel(struct connector *c);

#endif
