/*
 * accept.c - our own accept4 on listeners that sibling processes share.
 *
 * uv_listen is not used: when descriptors run out it accepts and drops
 * connections that a sibling could serve, and it takes as many as there are. Here
 * a few are taken per wake-up, and without descriptors the queue is left alone.
 *
 * A connection is to wake one idle sibling, not all: for that the kernel wants
 * EPOLLEXCLUSIVE in the very epoll that the process sleeps in (in a nested one it
 * means nothing), which is the loop's own. libuv would not set it, so the listeners
 * are put there by us, in the name of an anchor: libuv passes an event on by the
 * descriptor that is written in it, and there finds our uv_poll_t.
 *
 * Who was woken alone must take the connection, for no sibling knows of it. So one who is
 * about to leave looks into the queue a last time, and one who runs out of descriptors
 * takes that connection with a descriptor kept in reserve, and is not woken again before
 * it has another.
 */
#include "loop/accept.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loop/loop.h"
#include "sys/fd.h"
#include "sys/log.h"

#define ACCEPTS_PER_WAKE 16
#define BACKOFF_MS       100
#define COMPLAIN_MS      10000

struct acceptor {
	uv_poll_t poll; /* of the anchor, which never becomes readable itself */
	uv_timer_t backoff;
	int anchor, reserve;
	/* Duplicates, so that none is closed before the loop's epoll has let go of it. */
	int *listeners;
	size_t count;
	int handles;
	bool paused;
	bool closing;
	bool leaving;
	/* When we last said that we are out of descriptors. */
	uint64_t complained;
	accept_cb cb;
	void *data;
};

static void on_ready(uv_poll_t *poll, int status, int events);
static void back_off(struct acceptor *a, int err);

static int enroll(struct acceptor *a, int listener)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.fd = a->anchor };
	int loop = uv_backend_fd(a->poll.loop);

	if (epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event) == 0 || errno == EEXIST)
		return 0;
	return -errno;
}

/* Before the anchor's watch ends: libuv could not place their events then. */
static void unwatch(struct acceptor *a)
{
	for (size_t i = 0; i < a->count; i++)
		epoll_ctl(uv_backend_fd(a->poll.loop), EPOLL_CTL_DEL, a->listeners[i], NULL);
	uv_poll_stop(&a->poll);
}

static int watch(struct acceptor *a)
{
	int err;

	if (a->reserve < 0) {
		a->reserve = fd_dup(a->anchor);
		if (a->reserve < 0)
			return a->reserve;
		fd_own(a->reserve);
	}
	err = uv_poll_start(&a->poll, UV_READABLE, on_ready);
	for (size_t i = 0; i < a->count && !err; i++)
		err = enroll(a, a->listeners[i]);
	if (err)
		unwatch(a);
	return err;
}

static void on_backoff(uv_timer_t *timer)
{
	struct acceptor *a = timer->data;

	int err;

	uv_unref((uv_handle_t *)&a->backoff);
	if (a->paused || a->closing)
		return;
	err = watch(a);
	if (err)
		back_off(a, -err);
}

/* The queue stays for the siblings; we look again soon. */
static void back_off(struct acceptor *a, int err)
{
	uint64_t now = uv_now(a->poll.loop);

	if (!a->complained || now - a->complained > COMPLAIN_MS)
		log_error("accept: %s; new connections wait", strerror(err));
	a->complained = now ? now : 1;
	unwatch(a);
	/* The timer stands in for the watcher in keeping the process alive. */
	uv_ref((uv_handle_t *)&a->backoff);
	loop_timer_start(&a->backoff, on_backoff, BACKOFF_MS, 0);
}

static bool out_of_resources(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS;
}

static int take(int listener, struct sockaddr_storage *peer, socklen_t *len)
{
	int fd;

	do {
		*len = sizeof(*peer);
		fd = accept4(listener, (struct sockaddr *)peer, len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	return fd;
}

static bool take_one(struct acceptor *a, int listener)
{
	struct sockaddr_storage peer;
	socklen_t len;
	int fd = take(listener, &peer, &len);

	if (fd < 0 && out_of_resources(errno)) {
		int err = errno;

		fd_close(&a->reserve);
		fd = take(listener, &peer, &len);
		if (!a->leaving)
			back_off(a, err);
	}
	if (fd >= 0)
		a->cb(a->data, fd, (struct sockaddr *)&peer, len);
	return fd >= 0;
}

/* Listeners take turns, so that a busy one does not starve the others. */
static void take_some(struct acceptor *a)
{
	unsigned generation = fork_generation();
	size_t idle = 0;

	for (size_t i = 0, taken = 0; idle < a->count && taken < ACCEPTS_PER_WAKE; i++) {
		bool took = take_one(a, a->listeners[i % a->count]);

		/* Whatever the callback did: this may be another process now. */
		if (fork_generation() != generation || a->closing || a->paused ||
		    !uv_is_active((uv_handle_t *)&a->poll))
			return;
		taken += took;
		idle = took ? 0 : idle + 1;
	}
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct acceptor *a = poll->data;

	(void)events;
	if (status < 0)
		back_off(a, -status);
	else
		take_some(a);
}

/* No more wake-ups; and what the last one was for is taken first. */
static void leave(struct acceptor *a)
{
	bool watched = uv_is_active((uv_handle_t *)&a->poll);

	if (!watched || a->leaving)
		return;
	a->leaving = true;
	take_some(a);
	a->leaving = false;
	unwatch(a);
}

static void on_closed(uv_handle_t *handle)
{
	struct acceptor *a = handle->data;

	if (--a->handles > 0)
		return;
	free(a->listeners);
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
	a->reserve = -1;
	a->anchor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->anchor < 0) {
		err = -errno;
		goto fail;
	}
	err = uv_poll_init(loop, &a->poll, a->anchor);
	if (err)
		goto fail;
	fd_own(a->anchor);
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
	if (a->anchor >= 0)
		close(a->anchor);
	free(a);
	return err;
}

int acceptor_add(struct acceptor *a, int fd)
{
	int *more = realloc(a->listeners, (a->count + 1) * sizeof(*more));
	int one = 1;
	int err, mine;

	if (!more)
		return -ENOMEM;
	a->listeners = more;
	err = fd_nonblock(fd, true);
	if (err)
		return err;
	/* Accepted sockets inherit it; on a Unix socket it fails, which is right. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	mine = fd_dup(fd);
	if (mine < 0)
		return mine;
	fd_own(mine);
	err = uv_is_active((uv_handle_t *)&a->poll) ? enroll(a, mine) : 0;
	if (err) {
		fd_close(&mine);
		return err;
	}
	a->listeners[a->count++] = mine;
	return 0;
}

void acceptor_pause(struct acceptor *a)
{
	leave(a);
	a->paused = true;
	uv_timer_stop(&a->backoff);
	uv_unref((uv_handle_t *)&a->backoff);
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
	leave(a);
	a->closing = true;
	while (a->count > 0)
		fd_close(&a->listeners[--a->count]);
	uv_close((uv_handle_t *)&a->poll, on_closed);
	uv_close((uv_handle_t *)&a->backoff, on_closed);
	fd_close(&a->reserve);
	fd_close(&a->anchor);
}
