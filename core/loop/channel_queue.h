/*
 * channel_queue.h - what a channel has still to send: frames gathered in
 * packets. Only channel.c uses it. No system calls but close and free.
 *
 * A packet begins and ends at a frame's edge, carries at most one descriptor
 * (with its first byte), and is never cut open by another packet.
 */
#ifndef LOOP_CHANNEL_QUEUE_H
#define LOOP_CHANNEL_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

struct packet;

struct channel_queue {
	struct packet *head, *tail; /* may be sent now, in this order */
	struct packet *held_head,
		*held_tail; /* bulk packets, while the other side asks us to wait */
	struct packet *spare;
	size_t pending; /* bytes in both */
	bool hold;
};

/* A frame's content. `release` NULL: it is copied; else it is borrowed until release(arg). */
struct channel_payload {
	const char *data;
	size_t size;
	void (*release)(void *arg);
	void *arg;
};

/* Takes over fd (or -1) on success. 0 or -ENOMEM. */
int queue_add(struct channel_queue *q, const void *header, size_t header_size,
	      const struct channel_payload *payload, int fd, bool bulk);
bool queue_ready(const struct channel_queue *q);
/* The next bytes to send in one piece: fills iov, tells the descriptor that goes with them (or -1).
 */
size_t queue_gather(const struct channel_queue *q, struct iovec *iov, size_t max, int *fd);
/* So many of them were sent, the descriptor too. */
void queue_sent(struct channel_queue *q, size_t bytes);
/* Keep bulk packets back, or let them go; one that is half sent is finished first. */
void queue_hold(struct channel_queue *q, bool hold);
void queue_clear(struct channel_queue *q);

#endif
