/*
 * channel_input.h - the receiving half of a channel: bytes and descriptors from
 * the socket, frames out. Only channel.c uses it. It calls nobody back.
 */
#ifndef LOOP_CHANNEL_INPUT_H
#define LOOP_CHANNEL_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "loop/channel.h"

#define FRAME_HEADER_SIZE 8
#define FRAME_FD          1   /* a flag: the frame carries a descriptor */
#define FDS_PER_MESSAGE   253 /* the kernel's SCM_MAX_FD */

/* On the wire, in host order: both ends are on one machine. */
struct frame_header {
	uint32_t size; /* of the payload */
	uint8_t type, flags;
	uint16_t room;
};

struct channel_input {
	char *buffer;
	size_t start, end, cap;
	/* Received and not yet matched to a frame; -1: lost on the way. */
	int fds[FDS_PER_MESSAGE + 3];
	size_t nfds;
};

/* One read: the number of bytes, 0 at the end, or a negative errno. */
ssize_t input_receive(struct channel_input *in, int fd);
/* Whether that read had room for more: then most likely nothing else is there. */
bool input_short(const struct channel_input *in);
/*
 * 1 and the next frame, its data valid until the next input_receive; 0: none is
 * complete; -EPROTO and the reason.
 */
int input_next(struct channel_input *in, struct channel_frame *frame, char *reason,
	       size_t reason_size);
/* Bytes of a frame that is half here, and how many it will have. */
size_t input_partial(const struct channel_input *in, size_t *total);
void input_clear(struct channel_input *in);

#endif
