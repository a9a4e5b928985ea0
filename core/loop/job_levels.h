/*
 * job_levels.h - the waiting jobs in the order in which they are given out: by priority, the higher
 * first, equals as they came.
 */
#ifndef LOOP_JOB_LEVELS_H
#define LOOP_JOB_LEVELS_H

#include "loop/arena.h"
#include "loop/job.h"

#define LEVEL_HEIGHT 8

/* The jobs of one priority; a node of a skip list. */
struct job_level {
	double priority;
	unsigned height;
	struct job_link jobs;
	struct job_level *next[LEVEL_HEIGHT];
};

struct job_levels {
	struct arena *arena;
	struct job_level top;     /* before the first; its own jobs go before all others */
	struct job_level *recent; /* where a job came last, or NULL; it may be empty */
	uint32_t seed;
};

/* Where one is on the way through them; the order must not change meanwhile. */
struct job_cursor {
	struct job_level *level;
	struct job_link *link;
};

void levels_init(struct job_levels *ls, struct arena *arena);
/* Behind its equals. 0 or -ENOMEM. */
int levels_add(struct job_levels *ls, struct job *job);
/*
 * Back to where its `order` puts it among its equals. It never fails: without memory for its level
 * the job goes before all others.
 */
void levels_return(struct job_levels *ls, struct job *job);
void levels_remove(struct job_levels *ls, struct job *job);

/* The first, then the next; NULL at the end. */
struct job *levels_first(struct job_levels *ls, struct job_cursor *at);
struct job *levels_next(struct job_cursor *at);

#endif
