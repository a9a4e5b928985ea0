/*
 * accept.c - our own accept4 on a nested epoll descriptor.
 *
 * uv_listen is not used: when descriptors run out it accepts and drops
 * connections that a sibling could serve, and it takes as many as there are. Here
 * a few are taken per wake-up, and without descriptors the queue is left alone.
 */
#include "loop/accept.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>

#include "loop/loop.h"
#include "sys/fd.h"
#include "sys/log.h"

#define ACCEPTS_PER_WAKE 16
#define READY_MAX        16
#define BACKOFF_MS       100
#define COMPLAIN_MS      10000

struct acceptor {
	uv_poll_t poll;
	uv_timer_t backoff;
	int epoll;
	int handles;
	bool paused;
	bool closing;
	/* When we last said that we are out of descriptors. */
	uint64_t complained;
	accept_cb cb;
	void *data;
};

static void on_ready(uv_poll_t *poll, int status, int events);

static int watch(struct acceptor *a)
{
	return uv_poll_start(&a->poll, UV_READABLE, on_ready);
}

static void on_backoff(uv_timer_t *timer)
{
	struct acceptor *a = timer->data;

	uv_unref((uv_handle_t *)&a->backoff);
	if (!a->paused && !a->closing)
		watch(a);
}

/* The queue stays for the siblings; we look again soon. */
static void back_off(struct acceptor *a, int err)
{
	uint64_t now = uv_now(a->poll.loop);

	if (!a->complained || now - a->complained > COMPLAIN_MS)
		log_error("accept: %s; new connections wait", strerror(err));
	a->complained = now ? now : 1;
	uv_poll_stop(&a->poll);
	/* The timer stands in for the watcher in keeping the process alive. */
	uv_ref((uv_handle_t *)&a->backoff);
	loop_timer_start(&a->backoff, on_backoff, BACKOFF_MS, 0);
}

static bool out_of_resources(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS;
}

static bool take_one(struct acceptor *a, int listener)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	int fd;

	do {
		fd = accept4(listener, (struct sockaddr *)&peer, &len,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (fd < 0) {
		if (out_of_resources(errno))
			back_off(a, errno);
		return false;
	}
	a->cb(a->data, fd, (struct sockaddr *)&peer, len);
	return true;
}

/* Listeners take turns, so that a busy one does not starve the others. */
static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct acceptor *a = poll->data;
	struct epoll_event ready[READY_MAX];
	unsigned generation = fork_generation();
	int n = epoll_wait(a->epoll, ready, READY_MAX, 0);

	(void)status;
	(void)events;
	for (int taken = 0; n > 0 && taken < ACCEPTS_PER_WAKE;) {
		int left = 0;

		for (int i = 0; i < n; i++) {
			bool took = take_one(a, ready[i].data.fd);

			/* Whatever the callback did: this may be another process now. */
			if (fork_generation() != generation || a->closing || a->paused ||
			    !uv_is_active((uv_handle_t *)&a->poll))
				return;
			if (took) {
				ready[left++] = ready[i];
				taken++;
			}
		}
		n = left;
	}
}

static void on_closed(uv_handle_t *handle)
{
	struct acceptor *a = handle->data;

	if (--a->handles == 0)
		free(a);
}

int acceptor_open(struct acceptor **out, uv_loop_t *loop, accept_cb cb, void *data)
{
	struct acceptor *a = calloc(1, sizeof(*a));
	int err = -ENOMEM;

	if (!a)
		return err;
	a->cb = cb;
	a->data = data;
	a->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (a->epoll < 0) {
		err = -errno;
		goto fail;
	}
	err = uv_poll_init(loop, &a->poll, a->epoll);
	if (err)
		goto fail;
	fd_own(a->epoll);
	uv_timer_init(loop, &a->backoff);
	uv_unref((uv_handle_t *)&a->backoff);
	a->poll.data = a->backoff.data = a;
	a->handles = 2;
	err = watch(a);
	if (err) {
		acceptor_close(a);
		return err;
	}
	*out = a;
	return 0;
fail:
	if (a->epoll >= 0)
		close(a->epoll);
	free(a);
	return err;
}

int acceptor_add(struct acceptor *a, int fd)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.fd = fd };
	int one = 1;
	int err = fd_nonblock(fd, true);

	if (err)
		return err;
	/* Accepted sockets inherit it; on a Unix socket it fails, which is right. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return epoll_ctl(a->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int acceptor_remove(struct acceptor *a, int fd)
{
	return epoll_ctl(a->epoll, EPOLL_CTL_DEL, fd, NULL) < 0 ? -errno : 0;
}

void acceptor_pause(struct acceptor *a)
{
	a->paused = true;
	uv_timer_stop(&a->backoff);
	uv_unref((uv_handle_t *)&a->backoff);
	uv_poll_stop(&a->poll);
}

int acceptor_resume(struct acceptor *a)
{
	a->paused = false;
	return watch(a);
}

void acceptor_close(struct acceptor *a)
{
	if (!a || a->closing)
		return;
	a->closing = true;
	uv_close((uv_handle_t *)&a->poll, on_closed);
	uv_close((uv_handle_t *)&a->backoff, on_closed);
	fd_close(&a->epoll);
}
