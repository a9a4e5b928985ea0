/*
 * accept.c - our own accept4 on listeners that sibling processes share.
 *
 * uv_listen is not used: when descriptors run out it accepts and drops
 * connections that a sibling could serve, and it takes as many as there are.
 *
 * A connection is to wake one idle sibling, not all: for that the kernel wants
 * EPOLLEXCLUSIVE in the very epoll that the process sleeps in (in a nested one it
 * means nothing), which is the loop's own. libuv would not set it, so the listeners
 * are enrolled there by us, in the name of an anchor: libuv passes an event on by the
 * descriptor that is written in it, and there finds our uv_poll_t.
 *
 * Whoever was woken alone must take the connection, for no sibling knows of it. So one
 * who pauses looks into the queue a last time, and one who runs out of descriptors
 * takes that connection with a descriptor kept in reserve, and is not woken again before
 * it has another. Connections that come while a process runs are told to others, so that one
 * for each wake-up is all it owes.
 *
 * The kernel wakes the first idle one in the order of their enrolment. Whose turn it is to go
 * to the end of that line is accept_turn.c's to say.
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

#include "loop/accept_turn.h"
#include "loop/loop.h"
#include "sys/fd.h"
#include "sys/log.h"

#define BACKOFF_MS  100
#define ASIDE_MS    1
#define COMPLAIN_MS 10000
#define HANDLES     3
/* As many as any queue holds, where the system is not told otherwise. */
#define BACKLOG_MAX 4096

struct acceptor {
	uv_poll_t poll;   /* of the anchor, which never becomes readable itself */
	uv_timer_t later; /* until we enrol again */
	uv_prepare_t turn;
	struct acceptor *next, *prev;
	unsigned generation;
	int anchor, reserve;
	int *listeners;
	size_t count, first;
	int handles;
	bool enrolled;
	bool resting;
	bool closing;
	struct accept_turn state;
	/* When we last said that something is wrong. */
	uint64_t complained;
	accept_cb cb;
	void *data;
};

/* The open ones, of this process and of its parent before it forked. */
static struct acceptor *all;

static void on_ready(uv_poll_t *poll, int status, int events);
static void on_later(uv_timer_t *timer);

/* ---- the line ---- */

static int enrol_one(struct acceptor *a, int listener)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.fd = a->anchor };

	if (epoll_ctl(uv_backend_fd(a->poll.loop), EPOLL_CTL_ADD, listener, &event) == 0)
		return 0;
	return errno == EEXIST ? 0 : -errno;
}

static void leave_line(struct acceptor *a)
{
	for (size_t i = 0; i < a->count; i++)
		epoll_ctl(uv_backend_fd(a->poll.loop), EPOLL_CTL_DEL, a->listeners[i], NULL);
	a->enrolled = false;
	uv_prepare_stop(&a->turn);
}

/* At its end. If a queue is not empty, we hear of that at once. */
static int join_line(struct acceptor *a)
{
	int err = 0;

	if (a->reserve < 0) {
		a->reserve = fd_dup(a->anchor);
		if (a->reserve < 0)
			return a->reserve;
		fd_own(a->reserve);
	}
	for (size_t i = 0; i < a->count && !err; i++)
		err = enrol_one(a, a->listeners[i]);
	if (err) {
		leave_line(a);
		return err;
	}
	a->enrolled = true;
	accept_turn_open(&a->state, true);
	return 0;
}

static void join_later(struct acceptor *a, uint64_t ms)
{
	loop_timer_start(&a->later, on_later, ms, 0);
	uv_unref((uv_handle_t *)&a->later);
}

/* The queue is left to the siblings; we look again soon. */
static void back_off(struct acceptor *a, int err)
{
	uint64_t now = uv_now(a->poll.loop);

	if (!a->complained || now - a->complained > COMPLAIN_MS) {
		log_error("accept: %s; new connections wait", strerror(err));
		a->complained = now ? now : 1;
	}
	leave_line(a);
	accept_turn_open(&a->state, false);
	join_later(a, BACKOFF_MS);
}

static void on_later(uv_timer_t *timer)
{
	struct acceptor *a = timer->data;
	int err = a->resting ? 0 : join_line(a);

	if (err)
		back_off(a, -err);
}

void acceptor_rest(struct acceptor *a)
{
	if (!a || a->closing || a->resting)
		return;
	a->resting = true;
	leave_line(a);
	accept_turn_open(&a->state, false);
}

void acceptor_go_on(struct acceptor *a)
{
	int err;

	if (!a || a->closing || !a->resting)
		return;
	a->resting = false;
	err = join_line(a);
	if (err)
		back_off(a, -err);
}

void acceptor_back_off(struct acceptor *a, int err)
{
	if (!a || a->closing || !a->enrolled)
		return;
	fd_close(&a->reserve); /* somebody needs it more */
	back_off(a, -err);
}

static void rejoin(struct acceptor *a)
{
	int err;

	leave_line(a);
	err = join_line(a);
	if (err)
		back_off(a, -err);
}

static void on_turn(uv_prepare_t *turn)
{
	struct acceptor *a = turn->data;

	uv_prepare_stop(turn);
	if (accept_turn_passed(&a->state))
		rejoin(a);
}

/* We have taken some: let the siblings go first, if they have less to do. */
static void give_way(struct acceptor *a)
{
	switch (accept_turn_taken(&a->state)) {
	case TURN_ASK: uv_prepare_start(&a->turn, on_turn); break;
	case TURN_TAIL: rejoin(a); break;
	case TURN_ASIDE:
		leave_line(a);
		join_later(a, ASIDE_MS);
		break;
	default: break;
	}
}

/* ---- taking ---- */

static bool out_of_resources(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS;
}

/* What the network did to a connection before it was taken; the next may be well. */
static bool concerns_one(int err)
{
	return err == EINTR || err == ECONNABORTED || err == EPROTO || err == EPERM ||
	       err == ENETDOWN || err == EHOSTDOWN || err == EHOSTUNREACH || err == ENETUNREACH ||
	       err == ENOPROTOOPT || err == ENONET;
}

static int take(int listener, struct sockaddr_storage *peer, socklen_t *len)
{
	int fd;

	do {
		*len = sizeof(*peer);
		fd = accept4(listener, (struct sockaddr *)peer, len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (fd < 0 && concerns_one(errno));
	return fd;
}

static bool take_one(struct acceptor *a, int listener)
{
	struct sockaddr_storage peer;
	socklen_t len;
	int fd = take(listener, &peer, &len);

	if (fd < 0 && errno != EAGAIN) {
		int err = errno;

		if (out_of_resources(err)) {
			fd_close(&a->reserve);
			fd = take(listener, &peer, &len);
		}
		back_off(a, err);
	}
	if (fd < 0)
		return false;
	accept_turn_count();
	a->cb(a->data, fd, (struct sockaddr *)&peer, len);
	return true;
}

/* Listeners take turns, so that a busy one does not starve the others. */
static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct acceptor *a = poll->data;
	unsigned generation = fork_generation();
	size_t empty = 0, taken = 0;

	(void)status;
	(void)events;
	while (empty < a->count && a->enrolled) {
		bool took = take_one(a, a->listeners[a->first++ % a->count]);

		/* Whatever the callback did: this may be another process now. */
		if (fork_generation() != generation || a->closing)
			return;
		empty = took ? 0 : empty + 1;
		taken += took;
		if (took && !accept_turn_more(&a->state, taken))
			break;
	}
	if (taken && a->enrolled)
		give_way(a);
}

/* ---- opening and closing ---- */

static void on_closed(uv_handle_t *handle)
{
	struct acceptor *a = handle->data;

	if (--a->handles > 0)
		return;
	free(a->listeners);
	free(a);
}

static int open_handles(struct acceptor *a, uv_loop_t *loop)
{
	int err = uv_poll_init(loop, &a->poll, a->anchor);

	if (err)
		return err;
	uv_timer_init(loop, &a->later);
	uv_prepare_init(loop, &a->turn);
	uv_unref((uv_handle_t *)&a->turn);
	a->poll.data = a->later.data = a->turn.data = a;
	a->handles = HANDLES;
	return 0;
}

static void link_in(struct acceptor *a)
{
	a->next = all;
	a->prev = NULL;
	if (all)
		all->prev = a;
	all = a;
}

static void link_out(struct acceptor *a)
{
	if (a->prev)
		a->prev->next = a->next;
	else
		all = a->next;
	if (a->next)
		a->next->prev = a->prev;
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
	a->generation = fork_generation();
	a->anchor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = a->anchor < 0 ? -errno : open_handles(a, loop);
	if (err) {
		if (a->anchor >= 0)
			close(a->anchor);
		free(a);
		return err;
	}
	fd_own(a->anchor);
	link_in(a);
	err = uv_poll_start(&a->poll, UV_READABLE, on_ready);
	if (!err)
		err = join_line(a);
	if (err) {
		acceptor_close(a);
		return err;
	}
	*out = a;
	return 0;
}

static bool queue_is_private(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &len) == 0 && on;
}

int acceptor_add(struct acceptor *a, int fd)
{
	int *more = realloc(a->listeners, (a->count + 1) * sizeof(*more));
	int one = 1;
	int err;

	if (!more)
		return -ENOMEM;
	a->listeners = more;
	err = fd_nonblock(fd, true);
	if (err)
		return err;
	/* Accepted sockets inherit it; on a Unix socket it fails, which is right. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	err = a->enrolled ? enrol_one(a, fd) : 0;
	if (err)
		return err;
	a->listeners[a->count++] = fd;
	a->state.shared |= !queue_is_private(fd);
	accept_turn_open(&a->state, a->enrolled);
	return 0;
}

/* How many connections are in the queue; of a Unix socket the kernel does not tell. */
static unsigned waiting(int listener)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return BACKLOG_MAX;
	return info.tcpi_unacked;
}

void acceptor_finish(struct acceptor *a)
{
	unsigned generation = fork_generation();

	if (!a || a->closing)
		return;
	for (size_t i = 0; i < a->count; i++) {
		/* No more than that: siblings that live on take what comes from now on. */
		unsigned left = waiting(a->listeners[i]);

		while (left-- && take_one(a, a->listeners[i])) {
			if (fork_generation() != generation || a->closing)
				return;
		}
	}
	acceptor_close(a);
}

void acceptor_close(struct acceptor *a)
{
	if (!a || a->closing)
		return;
	a->closing = true;
	/* Before the anchor's watch ends: libuv could not place their events then. */
	leave_line(a);
	accept_turn_open(&a->state, false);
	link_out(a);
	uv_close((uv_handle_t *)&a->poll, on_closed);
	uv_close((uv_handle_t *)&a->later, on_closed);
	uv_close((uv_handle_t *)&a->turn, on_closed);
	fd_close(&a->reserve);
	fd_close(&a->anchor);
}

void acceptors_look(void)
{
	for (struct acceptor *a = all; a; a = a->next)
		if (a->generation == fork_generation() && a->enrolled)
			rejoin(a);
}
