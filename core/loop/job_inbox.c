/*
 * job_inbox.c - frames as they came, read once from front to back; answers as they are put. It
 * reads no clock and sends nothing.
 */
#include "loop/job_inbox.h"

#include <errno.h>

void inbox_init(struct job_inbox *in, struct job_slot *slot, void (*release)(void *arg))
{
	*in = (struct job_inbox){ .slot = slot, .release = release };
}

static void drop_frame(struct job_inbox *in)
{
	struct inbox_frame *frame = in->head;

	in->head = frame->next;
	if (!in->head)
		in->tail = NULL;
	in->release(frame->arg);
	if (in->spare)
		free(frame);
	else
		in->spare = frame;
}

void inbox_clear(struct job_inbox *in)
{
	while (in->head)
		drop_frame(in);
	free(in->spare);
	buffer_free(&in->out);
	*in = (struct job_inbox){ .slot = in->slot, .release = in->release };
}

static bool is_whole(const char *data, size_t size)
{
	struct wire_job head;
	size_t at = 0;

	while (at != size) {
		if (!wire_job_read(data, size, at, &head))
			return false;
		at += sizeof(head) + head.size;
	}
	return size > 0;
}

int inbox_feed(struct job_inbox *in, const char *data, size_t size, void *arg)
{
	struct inbox_frame *frame = in->spare;

	if (!is_whole(data, size))
		return -EPROTO;
	in->spare = NULL;
	if (!frame)
		frame = malloc(sizeof(*frame));
	if (!frame)
		return -ENOMEM;
	*frame = (struct inbox_frame){ .data = data, .size = size, .arg = arg };
	if (in->tail)
		in->tail->next = frame;
	else
		in->head = frame;
	in->tail = frame;
	return 0;
}

void inbox_trim(struct job_inbox *in)
{
	while (in->head && in->head->at == in->head->size)
		drop_frame(in);
}

bool inbox_next(struct job_inbox *in, double now, struct inbox_job *job)
{
	struct wire_job head;

	inbox_trim(in);
	for (struct inbox_frame *frame = in->head; frame; inbox_trim(in), frame = in->head) {
		const char *at = frame->data + frame->at;

		memcpy(&head, at, sizeof(head));
		frame->at += sizeof(head) + head.size;
		if (!slot_claim(in->slot, head.generation, head.ticket, head.seq, now))
			continue;
		in->seq = head.seq;
		in->ticket = head.ticket;
		in->started = now;
		*job = (struct inbox_job){ head.seq, head.attempt, at + sizeof(head), head.size };
		return true;
	}
	return false;
}

int inbox_put(struct job_inbox *in, uint64_t seq, enum wire_kind kind, const char *data,
	      size_t size, double now)
{
	bool stray = seq != in->seq;
	struct wire_result head = {
		.seq = seq,
		.started = stray ? 0 : in->started,
		.ended = now,
		.size = (uint32_t)size,
		.ticket = stray ? 0 : in->ticket,
		.kind = kind,
		.stray = stray,
	};
	int err;

	if (size > WIRE_PAYLOAD_MAX)
		return -EMSGSIZE;
	err = buffer_reserve(&in->out, sizeof(head) + size);
	if (err)
		return err;
	memcpy(in->out.data + in->out.len, &head, sizeof(head));
	if (size)
		memcpy(in->out.data + in->out.len + sizeof(head), data, size);
	in->out.len += sizeof(head) + size;
	return 0;
}

size_t inbox_frame(const struct job_inbox *in)
{
	struct wire_result head;
	size_t size = 0;

	if (in->out.len <= CHANNEL_PAYLOAD_MAX)
		return in->out.len;
	for (;;) {
		memcpy(&head, in->out.data + size, sizeof(head));
		if (size + sizeof(head) + head.size > CHANNEL_PAYLOAD_MAX)
			return size;
		size += sizeof(head) + head.size;
	}
}

void inbox_sent(struct job_inbox *in, size_t size)
{
	in->out.len -= size;
	memmove(in->out.data, in->out.data + size, in->out.len);
	if (in->out.len == 0)
		buffer_clear(&in->out, WIRE_FRAME);
}
