/*
 * channel.h - framed messages, with file descriptors, between two processes.
 *
 * One end of a stream socketpair on the loop. The channel owns its socket and
 * belongs to the process that made it: in the child of a fork it is dead, and
 * must be neither used nor freed. Callbacks come from the loop or from
 * channel_read; each of them may close the channel.
 */
#ifndef LOOP_CHANNEL_H
#define LOOP_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

/* 64 MB of a user's value, and what is wrapped around it. */
#define CHANNEL_PAYLOAD_MAX ((64u << 20) + (64u << 10))
/* Types from here on are bulk: the other side can have us hold them back, control frames go on. */
#define CHANNEL_BULK 128

struct channel;

struct channel_frame {
	uint8_t type;
	uint16_t room;
	const char *data; /* received: valid during the callback */
	size_t size;
	int fd;       /* -1: none. Received: the callback's to close. Sent: duplicated */
	int fd_error; /* received: 0, or why the descriptor that belongs here was lost (-EMFILE) */
};

struct channel_ops {
	void (*frame)(void *arg, const struct channel_frame *frame);
	/* Closed by itself, once. err 0: the other side has ended; else reason says why. */
	void (*close)(void *arg, int err, const char *reason);
	/* All that had to wait has been handed to the kernel. */
	void (*drain)(void *arg);
};

/* A connected pair of ends, both owned (sys/fd.h). */
int channel_pair(int out[2]);

/* Takes over fd on success. The ops must outlive the channel. */
int channel_create(struct channel **out, uv_loop_t *loop, int fd, const struct channel_ops *ops,
		   void *arg);
/* Close now; what still waits is lost. No callback follows. NULL is legal. */
void channel_close(struct channel *ch);

/*
 * Queue a frame, in order, and send what the socket takes. With `release` the
 * data is borrowed until release(arg), which may come before this returns and
 * comes in any case once this returned 0. -EPIPE: nobody is there. -EMSGSIZE,
 * -EMFILE, -EBADF, -ENOMEM: nothing was queued.
 */
int channel_send(struct channel *ch, const struct channel_frame *frame, void (*release)(void *arg),
		 void *arg);
/* Bytes that the kernel has not taken yet. */
size_t channel_pending(const struct channel *ch);
/* Keep bulk frames back, or let them go. */
void channel_hold(struct channel *ch, bool hold);
/* Wait, blocking, until all is sent, bulk too. 0, -ETIMEDOUT or -EPIPE. */
int channel_flush(struct channel *ch, int ms);

/* Read and dispatch until nothing is left, paused or not. Nothing from within a frame callback. */
void channel_read(struct channel *ch);
void channel_pause(struct channel *ch, bool pause);
/* Whether listening keeps the loop alive (at first it does). Unsent bytes always do. */
void channel_ref(struct channel *ch, bool ref);

#endif
