/*
 * channel.c - a channel on the loop: its life, its watching, sending, and the
 * order in which things are read. What waits to be sent is channel_queue's, the
 * taking apart of what comes is channel_input's. It knows no frame type, no Lua.
 */
#include "loop/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "loop/channel_input.h"
#include "loop/channel_queue.h"
#include "loop/loop.h"
#include "loop/spin.h"
#include "sys/fd.h"

#define IOV_MAX_SENT   64
#define READS_PER_TURN 16 /* then the others on the loop have their turn */
#define RETRY_MS       10
#define WRITE_STEP     65536

struct channel {
	uv_poll_t poll;
	uv_timer_t retry; /* armed while the kernel lacks memory, or too many descriptors are under
			     way */
	int fd, events, handles;
	unsigned generation;
	const struct channel_ops *ops;
	void *arg;
	bool closed, broken, paused, reading, ref, retrying, waited;
	size_t next_write;
	struct channel_queue out;
	struct channel_input in;
};

static void on_poll(uv_poll_t *handle, int status, int events);
static void on_retry(uv_timer_t *handle);

/* ---- watching ---- */

/*
 * What we call may close it, or fork: in the child it is the parent's, and no more to be
 * touched.
 */
static bool is_over(const struct channel *ch)
{
	return ch->closed || ch->generation != fork_generation();
}

static void watch(struct channel *ch)
{
	int events = 0;

	if (is_over(ch))
		return;
	if (!ch->retrying) {
		events = ch->paused ? UV_DISCONNECT : UV_READABLE;
		if (queue_ready(&ch->out) || (ch->waited && ch->out.pending == 0))
			events |= UV_WRITABLE;
	}
	if (events != ch->events) {
		if (events)
			uv_poll_start(&ch->poll, events, on_poll);
		else
			uv_poll_stop(&ch->poll);
		ch->events = events;
	}
	if (ch->ref || ch->out.pending > 0)
		uv_ref((uv_handle_t *)&ch->poll);
	else
		uv_unref((uv_handle_t *)&ch->poll);
}

static void retry_later(struct channel *ch)
{
	ch->retrying = true;
	loop_timer_start(&ch->retry, on_retry, RETRY_MS, 0);
}

static bool is_shortage(int err)
{
	return err == -ENOMEM || err == -ENOBUFS || err == -ETOOMANYREFS;
}

/* ---- the end ---- */

static void on_closed(uv_handle_t *handle)
{
	struct channel *ch = handle->data;

	if (--ch->handles > 0)
		return;
	free(ch->in.buffer);
	free(ch);
}

void channel_close(struct channel *ch)
{
	if (!ch || ch->closed)
		return;
	ch->closed = true;
	/* The handle lets go of the descriptor before its number can belong to something else. */
	uv_close((uv_handle_t *)&ch->poll, on_closed);
	uv_close((uv_handle_t *)&ch->retry, on_closed);
	fd_close(&ch->fd);
	queue_clear(&ch->out);
	input_clear(&ch->in);
}

static void fail(struct channel *ch, int err, const char *reason)
{
	const struct channel_ops *ops = ch->ops;
	void *arg = ch->arg;

	if (is_over(ch))
		return;
	channel_close(ch);
	ops->close(arg, err, reason);
}

/* ---- sending ---- */

static ssize_t send_packets(struct channel *ch)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov[IOV_MAX_SENT];
	struct msghdr message = { .msg_iov = iov };
	ssize_t n;
	int fd;

	message.msg_iovlen = queue_gather(&ch->out, iov, IOV_MAX_SENT, &fd);
	if (fd >= 0) {
		struct cmsghdr *cmsg;

		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		cmsg = CMSG_FIRSTHDR(&message);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	}
	do {
		n = sendmsg(ch->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/*
 * Hand over what the socket takes. When the other side is gone the channel is
 * not closed yet: what it sent before its end is still to be read.
 */
static int flush(struct channel *ch)
{
	while (queue_ready(&ch->out)) {
		ssize_t n = send_packets(ch);

		if (n >= 0) {
			queue_sent(&ch->out, (size_t)n);
		} else if (n == -EAGAIN) {
			return -EAGAIN;
		} else if (is_shortage((int)n)) {
			retry_later(ch);
			return -EAGAIN;
		} else {
			ch->broken = true;
			ch->waited = false;
			queue_clear(&ch->out);
			return -EPIPE;
		}
	}
	return 0;
}

/*
 * Write at once, so that a frame is on its way even if Lua now works for a while;
 * once the socket is full, the loop tells when. But a sender that never lets the
 * loop turn is helped on now and then: only what the other side leaves unread piles up.
 */
static bool is_time_to_write(struct channel *ch)
{
	if (ch->retrying)
		return false;
	if (!(ch->events & UV_WRITABLE))
		return true;
	if (ch->out.pending < ch->next_write)
		return false;
	ch->next_write = ch->out.pending + WRITE_STEP;
	return true;
}

int channel_send(struct channel *ch, const struct channel_frame *frame, void (*release)(void *arg),
		 void *arg)
{
	struct frame_header header = { (uint32_t)frame->size, frame->type, 0, frame->room };
	struct channel_payload payload = { frame->data, frame->size, release, arg };
	int fd = -1, err;

	if (is_over(ch) || ch->broken)
		return -EPIPE;
	if (frame->size > CHANNEL_PAYLOAD_MAX)
		return -EMSGSIZE;
	if (frame->fd >= 0) {
		fd = fd_dup(frame->fd);
		if (fd < 0)
			return fd;
		fd_own(fd);
		header.flags = FRAME_FD;
	}
	err = queue_add(&ch->out, &header, sizeof(header), &payload, fd,
			frame->type >= CHANNEL_BULK);
	if (err) {
		fd_close(&fd);
		return err;
	}
	if (is_time_to_write(ch))
		flush(ch);
	if (ch->out.pending > 0)
		ch->waited = true;
	watch(ch);
	return 0;
}

size_t channel_pending(const struct channel *ch)
{
	return ch->out.pending;
}

void channel_hold(struct channel *ch, bool hold)
{
	if (is_over(ch))
		return;
	queue_hold(&ch->out, hold);
	watch(ch);
}

int channel_flush(struct channel *ch, int ms)
{
	uint64_t deadline = uv_hrtime() / 1000000 + (uint64_t)ms;
	int err;

	if (is_over(ch))
		return -EPIPE;
	queue_hold(&ch->out, false);
	while ((err = flush(ch)) == -EAGAIN) {
		struct pollfd pfd = { .fd = ch->fd, .events = POLLOUT };
		uint64_t now = uv_hrtime() / 1000000;

		if (now >= deadline) {
			err = -ETIMEDOUT;
			break;
		}
		/* A shortage is not something that poll could wait for. */
		if (ch->retrying)
			poll(NULL, 0, RETRY_MS);
		else
			poll(&pfd, 1, (int)(deadline - now));
	}
	watch(ch);
	return ch->broken ? -EPIPE : err;
}

/* ---- receiving ---- */

/* Hand on the complete frames. Their buffer stays where it is meanwhile: nobody else reads. */
static void dispatch(struct channel *ch)
{
	struct channel_frame frame;
	char reason[96];
	int found = 0;

	while (!is_over(ch) && (found = input_next(&ch->in, &frame, reason, sizeof(reason))) > 0)
		ch->ops->frame(ch->arg, &frame);
	if (found < 0)
		fail(ch, found, reason);
}

static void end_of_input(struct channel *ch)
{
	char reason[96];
	size_t total, have = input_partial(&ch->in, &total);

	if (have == 0) {
		fail(ch, 0, "the other side has ended");
		return;
	}
	snprintf(reason, sizeof(reason),
		 "the other side ended in the middle of a frame (%zu of %zu bytes)", have, total);
	fail(ch, -EPROTO, reason);
}

/*
 * Up to so many reads, until nothing is there. On the loop a read that had room for more is the
 * last: what it has left the loop tells of again.
 */
static void read_frames(struct channel *ch, unsigned reads)
{
	bool all = reads == ~0u;

	if (ch->reading)
		return;
	ch->reading = true;
	while (!is_over(ch) && reads-- > 0) {
		ssize_t n = input_receive(&ch->in, ch->fd);

		if (n > 0) {
			if (!all && input_short(&ch->in))
				reads = 0;
			dispatch(ch);
		} else if (n == -EAGAIN) {
			break;
		} else if (n == 0 || n == -ECONNRESET) {
			/* Reset: it ended without reading all of ours. What it wrote came before.
			 */
			end_of_input(ch);
		} else if (is_shortage((int)n)) {
			retry_later(ch);
			break;
		} else {
			fail(ch, (int)n, strerror((int)-n));
		}
	}
	ch->reading = false;
	watch(ch);
}

void channel_read(struct channel *ch)
{
	read_frames(ch, ~0u);
}

/* ---- on the loop ---- */

static void notify_drained(struct channel *ch)
{
	if (is_over(ch) || ch->broken || !ch->waited || ch->out.pending > 0)
		return;
	ch->waited = false;
	ch->next_write = WRITE_STEP;
	ch->ops->drain(ch->arg);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
	struct channel *ch = handle->data;

	spin_heard();
	/*
	 * libuv gives up watching at POLLERR, which a socket has when the other side
	 * ended without reading everything. The error is taken off, its bytes remain.
	 */
	if (status < 0) {
		int err;
		socklen_t size = sizeof(err);

		getsockopt(ch->fd, SOL_SOCKET, SO_ERROR, &err, &size);
		ch->events = 0;
		events = UV_READABLE;
	}
	if (events & UV_WRITABLE) {
		flush(ch);
		notify_drained(ch);
	}
	if (!is_over(ch) && (events & UV_DISCONNECT))
		read_frames(ch, ~0u);
	else if (!is_over(ch) && (events & UV_READABLE) && !ch->paused)
		read_frames(ch, READS_PER_TURN);
	watch(ch);
}

static void on_retry(uv_timer_t *handle)
{
	struct channel *ch = handle->data;

	ch->retrying = false;
	flush(ch);
	notify_drained(ch);
	watch(ch);
}

/* ---- the beginning ---- */

int channel_pair(int out[2])
{
	int err = fd_socketpair(SOCK_STREAM, out);

	if (err)
		return err;
	fd_own(out[0]);
	fd_own(out[1]);
	return 0;
}

int channel_create(struct channel **out, uv_loop_t *loop, int fd, const struct channel_ops *ops,
		   void *arg)
{
	struct channel *ch = calloc(1, sizeof(*ch));
	int err;

	if (!ch)
		return -ENOMEM;
	err = uv_poll_init(loop, &ch->poll, fd);
	if (err) {
		free(ch);
		return err;
	}
	uv_timer_init(loop, &ch->retry);
	ch->poll.data = ch->retry.data = ch;
	ch->handles = 2;
	ch->generation = fork_generation();
	ch->fd = fd;
	ch->ops = ops;
	ch->arg = arg;
	ch->ref = true;
	ch->next_write = WRITE_STEP;
	fd_own(fd);
	watch(ch);
	*out = ch;
	return 0;
}

void channel_pause(struct channel *ch, bool pause)
{
	ch->paused = pause;
	watch(ch);
}

void channel_ref(struct channel *ch, bool ref)
{
	ch->ref = ref;
	watch(ch);
}
