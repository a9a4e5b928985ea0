/*
 * channel_queue.c - the packets that wait in a channel. Small frames share a
 * packet, large payloads are borrowed from their owner and never copied.
 */
#include "loop/channel_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sys/fd.h"

#define PACKET_SIZE 16384

struct packet {
	struct packet *next;
	int fd;
	bool bulk;
	size_t cap, size; /* of data, which holds headers and copied payloads */
	size_t sent;      /* counts through data, then through the borrowed payload */
	struct channel_payload borrowed;
	char data[];
};

static struct packet *packet_create(struct channel_queue *q, size_t need)
{
	size_t cap = need > PACKET_SIZE ? need : PACKET_SIZE;
	struct packet *p = NULL;

	if (cap == PACKET_SIZE && q->spare) {
		p = q->spare;
		q->spare = NULL;
	}
	if (!p)
		p = malloc(sizeof(*p) + cap);
	if (p)
		*p = (struct packet){ .fd = -1, .cap = cap };
	return p;
}

static void packet_destroy(struct channel_queue *q, struct packet *p)
{
	fd_close(&p->fd);
	if (p->borrowed.release)
		p->borrowed.release(p->borrowed.arg);
	if (!q->spare && p->cap == PACKET_SIZE)
		q->spare = p;
	else
		free(p);
}

static size_t packet_left(const struct packet *p)
{
	return p->size + p->borrowed.size - p->sent;
}

static void append(struct packet **head, struct packet **tail, struct packet *p)
{
	p->next = NULL;
	if (*tail)
		(*tail)->next = p;
	else
		*head = p;
	*tail = p;
}

/* May a frame join the last packet? Not behind a borrowed payload, not with a descriptor. */
static bool fits(const struct packet *p, size_t need, int fd, bool bulk)
{
	return p && fd < 0 && p->bulk == bulk && !p->borrowed.release && p->cap - p->size >= need;
}

int queue_add(struct channel_queue *q, const void *header, size_t header_size,
	      const struct channel_payload *payload, int fd, bool bulk)
{
	bool held = bulk && q->hold;
	struct packet *p = held ? q->held_tail : q->tail;
	size_t need = header_size + (payload->release ? 0 : payload->size);

	if (payload->release || !fits(p, need, fd, bulk)) {
		p = packet_create(q, need);
		if (!p)
			return -ENOMEM;
		p->fd = fd;
		p->bulk = bulk;
		if (held)
			append(&q->held_head, &q->held_tail, p);
		else
			append(&q->head, &q->tail, p);
	}
	memcpy(p->data + p->size, header, header_size);
	p->size += header_size;
	if (payload->release) {
		p->borrowed = *payload;
	} else if (payload->size > 0) {
		memcpy(p->data + p->size, payload->data, payload->size);
		p->size += payload->size;
	}
	q->pending += header_size + payload->size;
	return 0;
}

bool queue_ready(const struct channel_queue *q)
{
	return q->head != NULL;
}

size_t queue_gather(const struct channel_queue *q, struct iovec *iov, size_t max, int *fd)
{
	size_t n = 0;

	*fd = q->head->fd;
	for (struct packet *p = q->head; p && n + 2 <= max; p = p->next) {
		size_t skip = p->sent > p->size ? p->sent - p->size : 0;

		if (p != q->head && p->fd >= 0)
			break;
		if (p->sent < p->size)
			iov[n++] = (struct iovec){ p->data + p->sent, p->size - p->sent };
		if (p->borrowed.size > skip)
			iov[n++] = (struct iovec){ (char *)p->borrowed.data + skip,
						   p->borrowed.size - skip };
	}
	return n;
}

void queue_sent(struct channel_queue *q, size_t bytes)
{
	q->pending -= bytes;
	fd_close(&q->head->fd);
	while (q->head && bytes >= packet_left(q->head)) {
		struct packet *p = q->head;

		bytes -= packet_left(p);
		q->head = p->next;
		packet_destroy(q, p);
	}
	if (q->head)
		q->head->sent += bytes;
	else
		q->tail = NULL;
}

static void hold_bulk(struct channel_queue *q)
{
	struct packet *p = q->head;

	q->head = q->tail = NULL;
	while (p) {
		struct packet *next = p->next;

		if (p->bulk && p->sent == 0)
			append(&q->held_head, &q->held_tail, p);
		else
			append(&q->head, &q->tail, p);
		p = next;
	}
}

void queue_hold(struct channel_queue *q, bool hold)
{
	if (q->hold == hold)
		return;
	q->hold = hold;
	if (hold) {
		hold_bulk(q);
	} else if (q->held_head) {
		if (q->head)
			q->tail->next = q->held_head;
		else
			q->head = q->held_head;
		q->tail = q->held_tail;
		q->held_head = q->held_tail = NULL;
	}
}

void queue_clear(struct channel_queue *q)
{
	struct packet *p;

	queue_hold(q, false);
	while ((p = q->head)) {
		q->head = p->next;
		packet_destroy(q, p);
	}
	free(q->spare);
	*q = (struct channel_queue){ 0 };
}
