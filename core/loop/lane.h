/*
 * lane.h - the master's end of one worker: which jobs it was given, which of these it has claimed,
 * and what its answers mean. The worker's end is job_inbox.h's; between them are frames and a slot
 * that they share (job_slot.h).
 *
 * Like its store it exists only in the process that made it.
 */
#ifndef LOOP_LANE_H
#define LOOP_LANE_H

#include "loop/job_wire.h"
#include "loop/store.h"

struct lane_result {
	uint64_t seq;
	enum wire_kind kind;
	bool late; /* the job had ended before, or is another worker's now: this one is dropped */
	const char *data;
	size_t size;
	uint32_t client;
};

/* Before its worker is forked. */
int lane_create(struct lane **out, struct store *s);
/*
 * Its worker must have been reaped, for the slot is used again. Jobs that it still has wait again,
 * or are held where it had begun them. NULL is legal.
 */
void lane_free(struct lane *lane);
struct job_slot *lane_slot(const struct lane *lane);
unsigned lane_number(const struct lane *lane);

/*
 * A frame with the best of the waiting jobs, in lane->store->frame: how many, perhaps 0, or
 * -ENOMEM. They are still waiting until lane_give, which must be the next call; then it is the
 * worker's, and may be sent: lane_give empties the buffer.
 */
long lane_plan(struct lane *lane, size_t max);
void lane_give(struct lane *lane, size_t n);

/* Given and not answered, with those that were removed meanwhile. */
size_t lane_outstanding(const struct lane *lane);
/* The job begun last, where it was not answered, and when. */
bool lane_running(struct lane *lane, uint64_t *seq, double *started);
/* Those given and not answered in order, without removed ones: the one after `job`, NULL: first. */
struct job *lane_next(struct lane *lane, struct job *job);

/*
 * The record at *offset of a "results" frame, and *offset behind it. 1, 0 at the frame's end, or
 * -EPROTO: no worker of ours says that. A final one's job is held, unless it is late.
 */
int lane_take(struct lane *lane, const char *frame, size_t size, size_t *offset, double now,
	      struct lane_result *result);

/* What the worker has not begun waits again, where it was: how many. */
size_t lane_take_back(struct lane *lane);
/* The same; and what it has begun is held. */
void lane_abandon(struct lane *lane);

/* ---- for the store ---- */

/* Another record of the same job takes its place. */
void lane_replace(struct lane *lane, struct job *job, struct job *by);
/* It was removed; its answer is still to come. */
void lane_haunt(struct lane *lane, struct job *job);

#endif
