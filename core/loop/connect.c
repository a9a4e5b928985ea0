/*
 * connect.c - see connect.h. One attempt at a time, each with a watcher of its
 * own; all that is learnt is handed on, nothing is tried twice.
 */
#include "loop/connect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "loop/loop.h"
#include "sys/fd.h"

#define ADDRESSES_MAX 16
/* A Unix socket whose queue is full says so, where TCP would wait: so do we, for so long. */
#define RETRY_FIRST_MS 1
#define RETRY_LAST_MS  50
#define RETRY_FOR_MS   30000

struct connector {
	uv_poll_t poll;
	uv_timer_t soon; /* an answer that is known at once still comes later */
	uv_getaddrinfo_t resolve;
	bool resolving;
	bool polling;
	bool over;
	int handles;
	int fd;
	int err;
	uint64_t retry_ms, retry_until;
	struct addr list[ADDRESSES_MAX];
	size_t count, next;
	connect_cb cb;
	void *data;
};

static void on_freed(uv_handle_t *handle)
{
	struct connector *c = handle->data;

	if (--c->handles == 0 && !c->resolving)
		free(c);
}

/* Let go of everything; freed when libuv has as well. */
static void dispose(struct connector *c)
{
	c->over = true;
	if (c->resolving)
		uv_cancel((uv_req_t *)&c->resolve);
	uv_close((uv_handle_t *)&c->soon, on_freed);
	if (c->polling)
		uv_close((uv_handle_t *)&c->poll, on_freed);
	c->polling = false;
	fd_close(&c->fd);
}

static void finish(struct connector *c, int err)
{
	connect_cb cb = c->cb;
	void *data = c->data;
	struct sockaddr_storage peer;
	int fd = c->fd;

	if (err) {
		dispose(c);
		cb(data, err, NULL);
		return;
	}
	memcpy(&peer, &c->list[c->next - 1].sa, sizeof(peer));
	c->fd = -1;
	fd_disown(fd);
	dispose(c);
	cb(data, fd, (struct sockaddr *)&peer);
}

static void try_next(struct connector *c);

static void on_poll_closed(uv_handle_t *handle)
{
	struct connector *c = handle->data;

	if (--c->handles == 0 && !c->resolving)
		free(c);
	else if (!c->over)
		try_next(c);
}

static void on_connected(uv_poll_t *poll, int status, int events)
{
	struct connector *c = poll->data;
	socklen_t len = sizeof(c->err);

	(void)events;
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &c->err, &len) < 0)
		c->err = errno;
	if (status < 0 && !c->err)
		c->err = ECONNREFUSED;
	c->err = -c->err;
	if (!c->err) {
		finish(c, 0);
		return;
	}
	/* The handle is used again for the next attempt, once libuv is done with it. */
	uv_close((uv_handle_t *)&c->poll, on_poll_closed);
	c->polling = false;
	fd_close(&c->fd);
}

static int attempt(struct connector *c, const struct addr *addr)
{
	int one = 1;
	int err;

	c->fd = socket(addr->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	fd_own(c->fd);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(c->fd, (const struct sockaddr *)&addr->sa, addr->len) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	err = uv_poll_init(c->soon.loop, &c->poll, c->fd);
	if (err)
		return err;
	c->poll.data = c;
	c->handles++;
	c->polling = true;
	uv_poll_start(&c->poll, UV_WRITABLE, on_connected);
	return -EINPROGRESS;
}

static void on_soon(uv_timer_t *timer);

static bool try_again_soon(struct connector *c)
{
	uint64_t now = uv_now(c->soon.loop);

	if (!c->retry_until) {
		c->retry_until = now + RETRY_FOR_MS;
		c->retry_ms = RETRY_FIRST_MS;
	} else if (now >= c->retry_until) {
		return false;
	}
	fd_close(&c->fd);
	c->next--;
	loop_timer_start(&c->soon, on_soon, c->retry_ms, 0);
	c->retry_ms = c->retry_ms * 2 < RETRY_LAST_MS ? c->retry_ms * 2 : RETRY_LAST_MS;
	return true;
}

static void try_next(struct connector *c)
{
	while (c->next < c->count) {
		c->err = attempt(c, &c->list[c->next++]);
		if (c->err == -EINPROGRESS)
			return;
		if (c->err == -EAGAIN && c->list[c->next - 1].kind == ADDR_UNIX &&
		    try_again_soon(c))
			return;
		if (!c->err)
			break;
		fd_close(&c->fd);
	}
	finish(c, c->err);
}

static void on_soon(uv_timer_t *timer)
{
	try_next(timer->data);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
	struct connector *c = request->data;

	c->resolving = false;
	if (c->over) {
		uv_freeaddrinfo(found);
		if (c->handles == 0)
			free(c);
		return;
	}
	for (struct addrinfo *a = found; a && c->count < ADDRESSES_MAX; a = a->ai_next) {
		memcpy(&c->list[c->count].sa, a->ai_addr, a->ai_addrlen);
		c->list[c->count++].len = a->ai_addrlen;
	}
	uv_freeaddrinfo(found);
	if (status || !c->count)
		finish(c, status ? status : -EADDRNOTAVAIL);
	else
		try_next(c);
}

static int resolve(struct connector *c, const struct addr *addr)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	char port[8];
	int err;

	snprintf(port, sizeof(port), "%u", addr->port);
	c->resolve.data = c;
	err = uv_getaddrinfo(c->soon.loop, &c->resolve, on_resolved, addr->host, port, &hints);
	c->resolving = err == 0;
	return err;
}

/* Without a host, or by the name that is never asked for: this one. */
static void loopback(struct connector *c, uint16_t port)
{
	struct sockaddr_in *v4 = (void *)&c->list[0].sa;
	struct sockaddr_in6 *v6 = (void *)&c->list[1].sa;

	*v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	c->list[0].len = sizeof(*v4);
	*v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
	v6->sin6_addr = in6addr_loopback;
	c->list[1].len = sizeof(*v6);
	c->count = 2;
}

int connect_start(struct connector **out, uv_loop_t *loop, const struct addr *addr, connect_cb cb,
		  void *data)
{
	struct connector *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->fd = -1;
	c->cb = cb;
	c->data = data;
	uv_timer_init(loop, &c->soon);
	c->soon.data = c;
	c->handles = 1;
	if (addr->kind == ADDR_NAME && strcasecmp(addr->host, "localhost") != 0) {
		err = resolve(c, addr);
		if (err) {
			dispose(c);
			return err;
		}
	} else {
		if (addr->kind != ADDR_IP && addr->kind != ADDR_UNIX)
			loopback(c, addr->port);
		else
			c->list[c->count++] = *addr;
		loop_timer_start(&c->soon, on_soon, 0, 0);
	}
	*out = c;
	return 0;
}

void connect_cancel(struct connector *c)
{
	dispose(c);
}
