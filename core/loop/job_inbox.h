/*
 * job_inbox.h - a worker's end of its lane: the jobs that were sent to it, which it claims one by
 * one, and the answers that wait to be sent.
 *
 * For the child of the fork before which the lane was made: of the master's memory it touches the
 * shared slot alone.
 */
#ifndef LOOP_JOB_INBOX_H
#define LOOP_JOB_INBOX_H

#include "loop/buffer.h"
#include "loop/job_slot.h"
#include "loop/job_wire.h"

/* A frame is not copied: release(arg) is called when nothing in it is needed any more. */
struct inbox_frame {
	struct inbox_frame *next;
	const char *data;
	size_t size, at;
	void *arg;
};

struct job_inbox {
	struct job_slot *slot;
	void (*release)(void *arg);
	struct inbox_frame *head, *tail, *spare;
	struct buffer out;
	/* The job claimed last. */
	uint64_t seq;
	uint32_t ticket;
	double started;
};

struct inbox_job {
	uint64_t seq;
	unsigned attempt;
	const char *data;
	size_t size;
};

void inbox_init(struct job_inbox *in, struct job_slot *slot, void (*release)(void *arg));
/* Releases all frames. */
void inbox_clear(struct job_inbox *in);

/* 0; -EPROTO or -ENOMEM, and then the frame stays the caller's. */
int inbox_feed(struct job_inbox *in, const char *data, size_t size, void *arg);
/* Claim the next; false without one. The data is good until inbox_trim. */
bool inbox_next(struct job_inbox *in, double now, struct inbox_job *job);
/* Release the frames that are done with. */
void inbox_trim(struct job_inbox *in);

/* 0 or -ENOMEM; -EMSGSIZE for what no frame can hold. `now` 0: unknown. */
int inbox_put(struct job_inbox *in, uint64_t seq, enum wire_kind kind, const char *data,
	      size_t size, double now);
/* How much of `out` is the next frame, in whole records; inbox_sent drops it. */
size_t inbox_frame(const struct job_inbox *in);
void inbox_sent(struct job_inbox *in, size_t size);

#endif
