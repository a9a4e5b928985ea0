/*
 * channel_input.c - reads the socket in large chunks and takes them apart.
 *
 * A descriptor travels with the first byte of its frame. recvmsg merges what
 * was sent apart, so descriptors are matched to the flagged frames by their
 * order; those that no frame claims are closed.
 */
#include "loop/channel_input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "sys/fd.h"

#define BUFFER_SIZE 65536

static size_t used(const struct channel_input *in)
{
	return in->end - in->start;
}

static bool peek_header(const struct channel_input *in, struct frame_header *header)
{
	if (used(in) < FRAME_HEADER_SIZE)
		return false;
	memcpy(header, in->buffer + in->start, sizeof(*header));
	return true;
}

size_t input_partial(const struct channel_input *in, size_t *total)
{
	struct frame_header header = { 0 };

	*total = FRAME_HEADER_SIZE;
	if (peek_header(in, &header))
		*total += header.size;
	return used(in);
}

static int resize(struct channel_input *in, size_t cap)
{
	size_t have = used(in);
	char *buffer = malloc(cap);

	if (!buffer)
		return -ENOMEM;
	if (have)
		memcpy(buffer, in->buffer + in->start, have);
	free(in->buffer);
	in->buffer = buffer;
	in->cap = cap;
	in->start = 0;
	in->end = have;
	return 0;
}

/*
 * Room for what comes next. A frame larger than the buffer gets one of exactly
 * its size, so that it is received in place; a smaller rest is moved to the
 * front only when the buffer is nearly used up, so each byte moves O(1) times.
 */
static int make_room(struct channel_input *in)
{
	size_t need, have = input_partial(in, &need);

	if (need > BUFFER_SIZE)
		return need > in->cap || in->start > 0 ? resize(in, need) : 0;
	if (in->cap != BUFFER_SIZE)
		return resize(in, BUFFER_SIZE);
	if (have == 0 || in->start + need > in->cap || in->cap - in->end < BUFFER_SIZE / 4) {
		memmove(in->buffer, in->buffer + in->start, have);
		in->start = 0;
		in->end = have;
	}
	return 0;
}

static void add_fd(struct channel_input *in, int fd)
{
	if (fd >= 0)
		fd_own(fd);
	if (in->nfds < sizeof(in->fds) / sizeof(in->fds[0]))
		in->fds[in->nfds++] = fd;
	else
		fd_close(&fd);
}

static void collect_fds(struct channel_input *in, struct msghdr *message)
{
	size_t before = in->nfds;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			add_fd(in, fd);
		}
	}
	/* Our table is full, the kernel has dropped it: its place in the order stays. */
	if ((message->msg_flags & MSG_CTRUNC) && in->nfds == before)
		add_fd(in, -1);
}

ssize_t input_receive(struct channel_input *in, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(FDS_PER_MESSAGE * sizeof(int))];
	} control;
	struct iovec iov;
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	ssize_t n = make_room(in);

	if (n < 0)
		return n;
	iov = (struct iovec){ in->buffer + in->end, in->cap - in->end };
	do {
		n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	collect_fds(in, &message);
	in->end += (size_t)n;
	return n;
}

bool input_short(const struct channel_input *in)
{
	return in->end < in->cap;
}

static void take_fd(struct channel_input *in, struct channel_frame *frame)
{
	frame->fd_error = -EMFILE;
	if (in->nfds == 0)
		return;
	frame->fd = in->fds[0];
	memmove(in->fds, in->fds + 1, --in->nfds * sizeof(in->fds[0]));
	if (frame->fd >= 0) {
		frame->fd_error = 0;
		fd_disown(frame->fd);
	}
}

static void drop_fds(struct channel_input *in, size_t keep)
{
	while (in->nfds > keep)
		fd_close(&in->fds[--in->nfds]);
}

static int refuse(const struct frame_header *header, char *reason, size_t size)
{
	if (header->size > CHANNEL_PAYLOAD_MAX)
		snprintf(reason, size, "a frame of type %u claims %u bytes", header->type,
			 header->size);
	else
		snprintf(reason, size, "a frame of type %u has unknown flags 0x%02x", header->type,
			 header->flags);
	return -EPROTO;
}

int input_next(struct channel_input *in, struct channel_frame *frame, char *reason,
	       size_t reason_size)
{
	struct frame_header header = { 0 };
	bool known = peek_header(in, &header);

	if (header.size > CHANNEL_PAYLOAD_MAX || (header.flags & ~FRAME_FD))
		return refuse(&header, reason, reason_size);
	if (!known || used(in) < FRAME_HEADER_SIZE + (size_t)header.size) {
		/* A descriptor that is left over belongs to the frame that is half here, or to
		 * none. */
		drop_fds(in, used(in) > 0 && (!known || header.flags) ? 1 : 0);
		return 0;
	}
	*frame = (struct channel_frame){ .type = header.type,
					 .room = header.room,
					 .data = in->buffer + in->start + FRAME_HEADER_SIZE,
					 .size = header.size,
					 .fd = -1 };
	if (header.flags)
		take_fd(in, frame);
	in->start += FRAME_HEADER_SIZE + (size_t)header.size;
	return 1;
}

/* The buffer stays: a caller further up may still look at a frame in it. */
void input_clear(struct channel_input *in)
{
	drop_fds(in, 0);
}
