/*
 * conn.c - a socket, its watcher and its write queue. It knows no protocol and
 * decides nothing about when to close.
 */
#include "loop/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <unistd.h>

#define CHUNK_MIN 4096
#define PARTS_MAX 16

struct conn_chunk {
	struct conn_chunk *next;
	size_t start, end, cap;
	char bytes[];
};

static uint64_t lives;

static struct conn_peer peer_of(const struct sockaddr *sa)
{
	struct conn_peer peer = { .family = sa ? sa->sa_family : AF_UNIX };

	if (peer.family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		memcpy(&peer.address, &in->sin_addr, sizeof(in->sin_addr));
		peer.port = ntohs(in->sin_port);
	} else if (peer.family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		peer.address = in6->sin6_addr;
		peer.port = ntohs(in6->sin6_port);
	}
	return peer;
}

void conn_open(struct conn *c, uv_loop_t *loop, int fd, const struct sockaddr *peer,
	       const struct conn_ops *ops)
{
	c->loop = loop;
	c->ops = ops;
	c->life = ++lives;
	c->out_first = c->out_last = NULL;
	c->out_bytes = 0;
	c->fd = fd;
	c->generation = fork_generation();
	c->events = 0;
	c->polled = c->want_read = c->corked = c->eof = false;
	c->watch_hangup = false;
	c->peer = peer_of(peer);
	fd_own(fd);
}

void conn_link(struct conn **list, struct conn *c)
{
	c->prev = NULL;
	c->next = *list;
	if (*list)
		(*list)->prev = c;
	*list = c;
}

void conn_unlink(struct conn **list, struct conn *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		*list = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

static void on_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;

	c->ops->released(c);
}

void conn_drop_output(struct conn *c)
{
	while (c->out_first) {
		struct conn_chunk *chunk = c->out_first;

		c->out_first = chunk->next;
		free(chunk);
	}
	c->out_last = NULL;
	c->out_bytes = 0;
}

void conn_close(struct conn *c, bool reset)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (!c->life)
		return;
	c->life = 0;
	conn_drop_output(c);
	if (reset)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	/* The watcher goes before the number can belong to somebody else. */
	if (c->polled)
		uv_close((uv_handle_t *)&c->poll, on_closed);
	fd_close(&c->fd);
	if (!c->polled)
		c->ops->released(c);
}

static int flush(struct conn *c)
{
	while (c->out_first) {
		struct iovec parts[PARTS_MAX];
		struct msghdr msg = { .msg_iov = parts };
		ssize_t n;

		for (struct conn_chunk *k = c->out_first; k && msg.msg_iovlen < PARTS_MAX;
		     k = k->next)
			parts[msg.msg_iovlen++] =
				(struct iovec){ k->bytes + k->start, k->end - k->start };
		n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		c->out_bytes -= (size_t)n;
		while (n > 0) {
			struct conn_chunk *k = c->out_first;
			size_t part = k->end - k->start;

			if ((size_t)n < part) {
				k->start += (size_t)n;
				break;
			}
			n -= (ssize_t)part;
			c->out_first = k->next;
			free(k);
		}
	}
	c->out_last = NULL;
	return 0;
}

static void on_poll(uv_poll_t *poll, int status, int events);

/* Tell libuv what we want to know, when that has changed. */
static int update(struct conn *c)
{
	int events = 0;
	int err = 0;

	if (c->want_read && !c->eof)
		events |= UV_READABLE;
	if (c->out_bytes && !c->corked)
		events |= UV_WRITABLE;
	if (!c->want_read && c->watch_hangup && !c->eof)
		events |= UV_DISCONNECT;
	if (events == c->events)
		return 0;
	if (!c->polled) {
		err = uv_poll_init(c->loop, &c->poll, c->fd);
		if (err)
			return err;
		c->poll.data = c;
		c->polled = true;
	}
	c->events = events;
	return events ? uv_poll_start(&c->poll, events, on_poll) : uv_poll_stop(&c->poll);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct conn *c = poll->data;
	uint64_t life = c->life;
	int err;

	if (status < 0) {
		c->events = 0;
		c->ops->broken(c, status == UV_EBADF ? -ECONNRESET : status);
		return;
	}
	if ((events & UV_WRITABLE) && c->out_bytes) {
		err = flush(c);
		if (!err)
			err = update(c);
		if (err) {
			c->ops->broken(c, err);
			return;
		}
		c->ops->written(c);
		if (!conn_alive(c, life))
			return;
	}
	if ((events & UV_READABLE) && c->want_read) {
		c->ops->readable(c);
	} else if ((events & UV_DISCONNECT) && !c->want_read) {
		/* Reading pauses, but the owner should know; what was sent before is still there to
		 * read. */
		c->watch_hangup = false;
		update(c);
		c->ops->broken(c, 0);
	}
}

int conn_watch(struct conn *c, bool read)
{
	if (c->want_read && !read)
		c->watch_hangup = true;
	c->want_read = read;
	return update(c);
}

ssize_t conn_read(struct conn *c, void *into, size_t len)
{
	ssize_t n;

	do {
		n = recv(c->fd, into, len, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		c->eof = true;
	return n;
}

static int queue(struct conn *c, const char *bytes, size_t len)
{
	struct conn_chunk *last = c->out_last;

	if (last && last->cap - last->end >= len) {
		memcpy(last->bytes + last->end, bytes, len);
		last->end += len;
	} else {
		size_t cap = len > CHUNK_MIN ? len : CHUNK_MIN;
		struct conn_chunk *chunk = malloc(sizeof(*chunk) + cap);

		if (!chunk)
			return -ENOMEM;
		*chunk = (struct conn_chunk){ .end = len, .cap = cap };
		memcpy(chunk->bytes, bytes, len);
		if (last)
			last->next = chunk;
		else
			c->out_first = chunk;
		c->out_last = chunk;
	}
	c->out_bytes += len;
	return 0;
}

static ssize_t send_now(struct conn *c, const struct iovec *parts, int n)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)n };
	ssize_t sent;

	do {
		if (n == 1)
			sent = send(c->fd, parts[0].iov_base, parts[0].iov_len,
				    MSG_NOSIGNAL | MSG_DONTWAIT);
		else
			sent = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return errno == EAGAIN ? 0 : -errno;
	return sent;
}

int conn_write(struct conn *c, const struct iovec *parts, int n)
{
	ssize_t sent = 0;

	if (!c->out_first && !c->corked) {
		sent = send_now(c, parts, n);
		if (sent < 0)
			return (int)sent;
	}
	for (int i = 0; i < n; i++) {
		size_t len = parts[i].iov_len;
		size_t skip = (size_t)sent < len ? (size_t)sent : len;
		int err;

		sent -= (ssize_t)skip;
		if (skip == len)
			continue;
		err = queue(c, (const char *)parts[i].iov_base + skip, len - skip);
		if (err)
			return err;
	}
	return c->out_first ? update(c) : 0;
}

void conn_cork(struct conn *c)
{
	c->corked = true;
}

int conn_uncork(struct conn *c)
{
	int err;

	if (!c->corked)
		return 0;
	c->corked = false;
	err = flush(c);
	return err ? err : update(c);
}

void conn_shutdown(struct conn *c)
{
	shutdown(c->fd, SHUT_WR);
}

bool conn_is_cut(const struct conn *c)
{
	struct pollfd state = { .fd = c->fd };

	return poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR));
}

bool conn_has_unread(const struct conn *c)
{
	int waiting = 0;

	return ioctl(c->fd, FIONREAD, &waiting) == 0 && waiting > 0;
}

size_t conn_undelivered(const struct conn *c)
{
	int waiting = 0;

	/* Of a Unix socket this would be what the peer has not read yet. */
	if (c->peer.family != AF_UNIX)
		ioctl(c->fd, SIOCOUTQ, &waiting);
	return waiting > 0 ? (size_t)waiting : 0;
}

bool conn_has_arrived(const struct conn *c)
{
	int err = 0;
	socklen_t len = sizeof(err);

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	return !err && !conn_undelivered(c);
}

/* The access log wants one per request, and inet_ntop takes its time. */
static void put_v4(const unsigned char *bytes, char *into)
{
	for (int i = 0; i < 4; i++) {
		unsigned n = bytes[i];

		if (n >= 100)
			*into++ = (char)('0' + n / 100);
		if (n >= 10)
			*into++ = (char)('0' + n / 10 % 10);
		*into++ = (char)('0' + n % 10);
		*into++ = i < 3 ? '.' : '\0';
	}
}

void conn_peer_text(const struct conn_peer *peer, char *into)
{
	const unsigned char *bytes = (const unsigned char *)&peer->address;

	if (peer->family == AF_INET)
		put_v4(bytes, into);
	else if (peer->family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&peer->address))
		put_v4(bytes + 12, into);
	else if (peer->family == AF_INET6)
		inet_ntop(AF_INET6, bytes, into, INET6_ADDRSTRLEN);
	else
		memcpy(into, "unix:", sizeof("unix:"));
}
