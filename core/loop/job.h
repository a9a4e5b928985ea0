/*
 * job.h - one job as the store keeps it: 78 bytes, and its data behind them.
 */
#ifndef LOOP_JOB_H
#define LOOP_JOB_H

#include <stddef.h>
#include <stdint.h>

enum job_state {
	JOB_WAITING, /* in a level */
	JOB_DELAYED, /* in the heap */
	JOB_GIVEN,   /* in a lane's list, not known to have been claimed */
	JOB_CLAIMED, /* in a lane's list: the worker has begun it */
	JOB_HELD,    /* answered, or its worker died: Lua says what becomes of it */
	JOB_GHOST,   /* in a lane's list, removed while it was there: only the answer is missing */
};

struct job_link {
	struct job_link *next, *prev;
};

struct job {
	uint64_t seq;
	union {
		uint64_t order; /* of coming, from when it waits until it is held */
		double due;     /* while delayed */
	};
	double priority;
	union {
		struct job_link link; /* of the level or lane */
		size_t place;         /* in the heap, while delayed */
	};
	double since;   /* when it began to wait */
	double timeout; /* seconds; -1: the pool's */
	uint32_t size;
	int32_t retries; /* -1: the pool's */
	uint32_t client;
	uint32_t ticket : 24; /* which of its lane's it is */
	uint32_t state : 8;
	uint32_t attempt;
	uint16_t lane; /* 0: none */
	char data[];
};

#define JOB_BYTES(size) (offsetof(struct job, data) + (size))

static inline struct job *job_of(struct job_link *link)
{
	return (struct job *)((char *)link - offsetof(struct job, link));
}

static inline void job_link_init(struct job_link *list)
{
	list->next = list->prev = list;
}

static inline void job_link_before(struct job_link *next, struct job_link *link)
{
	link->next = next;
	link->prev = next->prev;
	next->prev->next = link;
	next->prev = link;
}

static inline void job_unlink(struct job_link *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
}

#endif
